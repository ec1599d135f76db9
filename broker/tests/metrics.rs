//! Metrics say what happened, health what is wrong.

use std::io::{Read, Write};
use std::net::TcpStream;

use sluice_protocol::code::{request, response};
use sluice_protocol::language::Language;
use sluice_protocol::message::sys_flag;

mod common;
use common::{GROUP, Served, TOPIC};

async fn get(served: &Served, path: &str) -> (u16, String) {
    let address = served.broker.http_address().unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let asking = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = asking.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The value of the one sample of a family that has all these labels.
fn value(metrics: &str, family: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |line: &&str| {
        let all = labels
            .iter()
            .all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")));
        line.split(['{', ' ']).next() == Some(family) && all
    };
    let found: Vec<&str> = metrics.lines().filter(has).collect();
    assert_eq!(found.len(), 1, "{family} {labels:?} in\n{metrics}");
    found[0].rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_and_got_is_told() {
    let served = Served::start(|config| {
        config.http_address = Some("127.0.0.1:0".to_owned());
        config.metrics_label = Some("zone:a1".to_owned());
    })
    .await;
    let (asker, _asked) = served.client();
    for body in ["one", "two", "three"] {
        let sent = asker.send("", body.as_bytes(), false).await;
        assert_eq!(sent.code, response::SUCCESS);
    }
    let delayed = asker.send("DELAY\u{1}18\u{2}", b"later", false).await;
    assert_eq!(delayed.code, response::SUCCESS);
    let ordered = asker.send("__SHARDINGKEY\u{1}k\u{2}", b"four", false).await;
    assert_eq!(ordered.code, response::SUCCESS);
    asker.heartbeat("c1", "*", Language::Java).await;
    let pull = async |offset: i64, commit: &str| {
        let more = [("commitOffset", commit)];
        let flags = sys_flag::PULL_COMMIT_OFFSET;
        asker.pull(offset, flags, &more).await
    };
    assert_eq!(pull(0, "0").await.code, response::SUCCESS);
    // Asks for what comes behind the third, and has consumed the first.
    assert_eq!(pull(3, "1").await.code, response::SUCCESS);

    let (status, metrics) = get(&served, "/metrics").await;
    assert_eq!(status, 200);
    let of_type = |family: &str, message_type: &str| {
        let labels = [
            ("zone", "a1"),
            ("cluster", "DefaultCluster"),
            ("node_id", "b"),
            ("node_type", "broker"),
            ("topic", TOPIC),
            ("message_type", message_type),
            ("is_system", "false"),
        ];
        value(&metrics, family, &labels)
    };
    assert_eq!(of_type("rocketmq_messages_in_total", "normal"), 3.0);
    assert_eq!(of_type("rocketmq_messages_in_total", "delay"), 1.0);
    assert_eq!(of_type("rocketmq_messages_in_total", "fifo"), 1.0);
    assert_eq!(of_type("rocketmq_message_size_count", "normal"), 3.0);
    let of_group = |family: &str| {
        let labels = [("topic", TOPIC), ("consumer_group", GROUP)];
        value(&metrics, family, &labels)
    };
    // Four at first, then the last again.
    assert_eq!(of_group("rocketmq_messages_out_total"), 5.0);
    assert_eq!(of_group("rocketmq_consumer_lag_messages"), 3.0);
    assert_eq!(of_group("rocketmq_consumer_inflight_messages"), 2.0);
    assert_eq!(of_group("rocketmq_consumer_ready_messages"), 1.0);
    assert_eq!(of_group("rocketmq_send_to_dlq_messages_total"), 0.0);
    let group = [("consumer_group", GROUP), ("language", "java")];
    assert_eq!(
        value(&metrics, "rocketmq_consumer_connections", &group),
        1.0
    );
    let stored = value(&metrics, "rocketmq_storage_size_bytes", &[]);
    assert!(stored >= (64 << 20) as f64, "{stored}");
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_the_day_outlive_the_broker() {
    let served = Served::start(|_| {}).await;
    let (asker, _) = served.client();
    for _ in 0..3 {
        asker.send("", b"x", false).await;
    }
    let Served { broker, directory } = served;
    broker.shutdown().await.unwrap();
    let again = Served::start(|config| {
        config.store_path_root_dir = directory.path().to_owned();
    })
    .await;
    let (asker, _) = again.client();
    asker.send("", b"x", false).await;
    let code = request::GET_BROKER_RUNTIME_INFO;
    let info = asker.ask(code, &[], Vec::new()).await;
    let info: serde_json::Value = serde_json::from_slice(&info.body).unwrap();
    assert_eq!(info["table"]["msgPutTotalTodayNow"], "4");
    again.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_can_t_store_is_not_ready() {
    let served = Served::start(|config| {
        config.http_address = Some("127.0.0.1:0".to_owned());
        // Any disk is fuller than that.
        config.disk_max_used_space_ratio = 0;
        config.disk_space_warning_level_ratio = 0;
    })
    .await;
    assert_eq!(get(&served, "/healthz").await, (200, "ok\n".to_owned()));
    let (status, why) = get(&served, "/readyz").await;
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("messages are not accepted"), "{why}");
    served.broker.shutdown().await.unwrap();
}
