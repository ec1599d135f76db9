//! A broker that nobody uses leaves its disk alone.

mod common;

use std::time::Duration;

use common::{Served, environment_on};
use sluice_broker::config::FlushDiskType;
use sluice_protocol::code::response;
use sluice_protocol::language::Language;
use sluice_store::SimulatedFiles;

/// What a start and a few messages have changed is written by then.
const SETTLED: Duration = Duration::from_secs(3);
const DISPATCHED: Duration = Duration::from_secs(10);
const WATCHED: Duration = Duration::from_secs(4);
/// The timer's time may be written down once meanwhile: two writes and two syncs. Looking costs nothing.
const CALLS_MAX: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_broker_writes_next_to_nothing() {
    let files = SimulatedFiles::new();
    let served = Served::start_in(environment_on(&files), |config| {
        config.flush_consumer_offset_interval = 500;
        // What is sent is on the disk when it is answered, not ten seconds later.
        config.flush_disk_type = FlushDiskType::SyncFlush;
    })
    .await;
    let (asker, _asked) = served.client();
    for _ in 0..100 {
        assert_eq!(asker.send("", b"x", false).await.code, response::SUCCESS);
    }
    asker.heartbeat("c", "*", Language::Java).await;
    let dispatched = async {
        while asker.pull(99, 0, &[]).await.code != response::SUCCESS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let dispatched = tokio::time::timeout(DISPATCHED, dispatched).await;
    assert!(dispatched.is_ok(), "the last message is not in its queue");
    tokio::time::sleep(SETTLED).await;
    let before = files.calls();
    tokio::time::sleep(WATCHED).await;
    let calls = files.calls() - before;
    assert!(calls <= CALLS_MAX, "{calls} calls in {WATCHED:?}");
    served.broker.shutdown().await.unwrap();
}
