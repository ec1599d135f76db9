//! A broker that nobody uses leaves its disk alone.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Served;
use sluice_store::{Environment, SimulatedFiles};

/// What a start has changed is written by then.
const SETTLED: Duration = Duration::from_secs(3);
const WATCHED: Duration = Duration::from_secs(4);
/// The timer's time may be written down once meanwhile: two writes and two syncs. Looking costs nothing.
const CALLS_MAX: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_broker_writes_next_to_nothing() {
    let files = SimulatedFiles::new();
    let environment = Environment {
        files: Arc::new(files.clone()),
        ..Environment::system()
    };
    let served = Served::start_in(environment, |config| {
        config.flush_consumer_offset_interval = 500;
    })
    .await;
    tokio::time::sleep(SETTLED).await;
    let before = files.calls();
    tokio::time::sleep(WATCHED).await;
    let calls = files.calls() - before;
    assert!(calls <= CALLS_MAX, "{calls} calls in {WATCHED:?}");
    served.broker.shutdown().await.unwrap();
}
