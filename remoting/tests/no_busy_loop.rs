//! Alone in its file, and so in its process: it looks at the process's own processor time.
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use common::*;
use sluice_remoting::ServerOptions;

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_slow_peer_costs_no_processor_time() {
    let (server, script, _events) = serve(ServerOptions::default()).await;
    let mut slow = Peer::connect(server.address()).await;
    for opaque in 0..8 {
        slow.send(&large(8 * MIB, opaque)).await;
    }
    let handled = || script.requests.load(std::sync::atomic::Ordering::SeqCst);
    until("answers wait", || handled() > 0).await;
    let before = processor_ticks();
    let waited = tokio::time::Instant::now() + Duration::from_secs(2);
    tokio::time::sleep_until(waited).await;
    let spent = processor_ticks() - before;
    // Two seconds of a busy loop are 200 ticks.
    assert!(spent < 100, "{spent} ticks of 10 ms within two seconds");
    drop(slow);
}

/// User and system time of this process in ticks of 10 ms.
fn processor_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit_once(')').expect("a name in brackets").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |at: usize| fields[at].parse::<u64>().expect("a number");
    number(11) + number(12)
}
