//! Delayed messages and a broker that is killed again and again: each that was acknowledged is delivered
//! once, and none before its time.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_protocol::code::response;
use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::process::wait_until;
use sluice_tests::wire::{Wire, delivered, send};

const TOPIC: &str = "later";
const ROUNDS: usize = 8;
/// The delay of level 1 in these tests.
const DELAY_MS: i64 = 2_000;
const DELIVERED: Duration = Duration::from_secs(60);

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_millis() as i64
}

/// Sends until the broker is gone; what was acknowledged, and when it was sent.
fn send_until_gone(address: &str, round: usize) -> Vec<(String, i64)> {
    let mut acknowledged = Vec::new();
    let Ok(mut wire) = Wire::connect(address) else {
        return acknowledged;
    };
    for number in 0..100_000 {
        let body = format!("{round}-{number}");
        let sent_ms = now_ms();
        match wire.ask(&send(TOPIC, "DELAY\u{1}1\u{2}", body.as_bytes())) {
            Ok(answer) if answer.code == response::SUCCESS => acknowledged.push((body, sent_ms)),
            _ => break,
        }
        thread::sleep(Duration::from_millis(1));
    }
    acknowledged
}

fn each_is_delivered_once(settings: &str) {
    let broker = format!("messageDelayLevel={}s\n{settings}", DELAY_MS / 1000);
    let more = More {
        broker: &broker,
        ..More::default()
    };
    let mut cluster = Cluster::start_with(Kind::Sluice, more);
    let mut acknowledged = HashMap::new();
    for round in 0..ROUNDS {
        let address = cluster.broker.address();
        let sending = thread::spawn(move || send_until_gone(&address, round));
        thread::sleep(Duration::from_millis(1_500 + 137 * round as u64));
        cluster.broker.kill();
        acknowledged.extend(sending.join().expect("the sending thread"));
        cluster.broker.start_again(Kind::Sluice);
    }
    assert!(acknowledged.len() > 50 * ROUNDS, "hardly anything was sent");
    let address = cluster.broker.address();
    let all = wait_until("all delayed messages", DELIVERED, || {
        let all = delivered(&address, TOPIC);
        let bodies: std::collections::HashSet<&String> = all.iter().map(|(body, _)| body).collect();
        acknowledged
            .keys()
            .all(|body| bodies.contains(body))
            .then_some(all)
    });
    // What the last moments would bring twice comes as well.
    thread::sleep(Duration::from_millis(DELAY_MS as u64));
    assert_eq!(delivered(&address, TOPIC).len(), all.len());
    let mut seen = HashMap::new();
    for (body, stored_ms) in &all {
        *seen.entry(body).or_insert(0) += 1;
        if let Some(sent_ms) = acknowledged.get(body) {
            let early = sent_ms + DELAY_MS - stored_ms;
            assert!(early <= 0, "{body} was delivered {early} ms early");
        }
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "delivered more than once: {twice:?}");
}

#[test]
fn kill_9_delivers_each_delayed_message_once() {
    each_is_delivered_once("");
}

#[test]
fn kill_9_with_sync_flush_delivers_each_delayed_message_once() {
    each_is_delivered_once("flushDiskType=SYNC_FLUSH\nflushDelayOffsetInterval=300\n");
}
