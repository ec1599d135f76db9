//! Delay levels by a clock that the test moves: never early, also when the clock is set back.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Asker, Served};
use sluice_protocol::code::response;
use sluice_protocol::message::{sys_flag, view};
use sluice_store::{Environment, TestClock};

/// The delay of level 3.
const DELAY_MS: i64 = 10_000;
/// A delivery looks at the clock twice a second; in so much time it would have come if it were due.
const LOOKED: Duration = Duration::from_millis(1_200);
const SOON: Duration = Duration::from_secs(20);

async fn served(clock: &Arc<TestClock>) -> Served {
    let environment = Environment {
        clock: clock.clone(),
        ..Environment::system()
    };
    Served::start_in(environment, |_| {}).await
}

async fn delivered(client: &Asker) -> Vec<String> {
    let flags = sys_flag::PULL_SUBSCRIPTION;
    let answer = client.pull(0, flags, &[("subscription", "*")]).await;
    if answer.code != response::SUCCESS {
        return Vec::new();
    }
    let body = |record: sluice_protocol::message::Record<'_>| {
        String::from_utf8_lossy(record.body()).into_owned()
    };
    view::records(&answer.body)
        .map(|record| body(record.unwrap()))
        .collect()
}

async fn until_delivered(client: &Asker, bodies: &[&str]) {
    let wait = async {
        while delivered(client).await != bodies {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(SOON, wait).await;
    assert!(waited.is_ok(), "{bodies:?} were not delivered");
}

async fn send_delayed(client: &Asker, body: &str) {
    let answer = client
        .send("DELAY\u{1}3\u{2}", body.as_bytes(), false)
        .await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_comes_when_its_time_has_come() {
    let clock = Arc::new(TestClock::new(1_700_000_000_000));
    let served = served(&clock).await;
    let (client, _asked) = served.client();
    send_delayed(&client, "later").await;
    client.send("", b"now", false).await;
    until_delivered(&client, &["now"]).await;
    clock.advance(DELAY_MS - 1);
    tokio::time::sleep(LOOKED).await;
    assert_eq!(delivered(&client).await, ["now"], "1 ms before its time");
    clock.advance(1);
    until_delivered(&client, &["now", "later"]).await;
    served.broker.shutdown().await.unwrap();
}

/// What waited when the clock was set back waits its delay once more, not the whole time set back.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_makes_nothing_early_or_lost() {
    const HOUR_MS: i64 = 3_600_000;
    let clock = Arc::new(TestClock::new(1_700_000_000_000));
    let served = served(&clock).await;
    let (client, _asked) = served.client();
    send_delayed(&client, "waits").await;
    clock.advance(-HOUR_MS);
    tokio::time::sleep(LOOKED).await;
    clock.advance(DELAY_MS - 100);
    send_delayed(&client, "came after").await;
    tokio::time::sleep(LOOKED).await;
    assert!(delivered(&client).await.is_empty());
    clock.advance(100);
    until_delivered(&client, &["waits"]).await;
    clock.advance(DELAY_MS - 200);
    tokio::time::sleep(LOOKED).await;
    assert_eq!(delivered(&client).await, ["waits"]);
    clock.advance(DELAY_MS);
    until_delivered(&client, &["waits", "came after"]).await;
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_delivers_all_that_is_due() {
    let clock = Arc::new(TestClock::new(1_700_000_000_000));
    let served = served(&clock).await;
    let (client, _asked) = served.client();
    for number in 0..20 {
        send_delayed(&client, &number.to_string()).await;
    }
    clock.advance(86_400_000);
    let all: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    until_delivered(&client, &all).await;
    served.broker.shutdown().await.unwrap();
}

/// Progress names the end of the log, from which on a start reads it: also when nobody delays anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_clean_stop_reads_little_of_the_log() {
    const UNREAD_MAX: i64 = 16 << 20;
    let clock = Arc::new(TestClock::new(1_700_000_000_000));
    let served = served(&clock).await;
    let (client, _asked) = served.client();
    let mut log_end = 0;
    for _ in 0..40 {
        let answer = client.send("", &[b'x'; 1 << 20], false).await;
        assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
        let id = answer.ext.get("msgId").unwrap();
        log_end = i64::from_str_radix(&id[16..], 16).unwrap();
    }
    served.broker.shutdown().await.unwrap();
    let path = served.directory.path().join("config/delayOffset.json");
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let unread = log_end - saved["logEnd"].as_i64().unwrap();
    assert!(unread < UNREAD_MAX, "{unread} of {log_end}");
}
