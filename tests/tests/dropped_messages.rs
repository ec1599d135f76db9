//! A pull that waits behind a filter is answered when a message passes, not for each one that does not.

use std::time::Duration;

use serde_json::json;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::message::{sys_flag, view};
use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::plugins::verdict_guest;
use sluice_tests::process::wait_until;
use sluice_tests::wire::{Wire, command, send};

const TOPIC: &str = "orders";
const GROUP: &str = "risk";
/// How long the pull may wait, far longer than the messages take.
const HOLD_MS: &str = "25000";

fn pull(offset: &str) -> RemotingCommand {
    let flags = (sys_flag::PULL_SUSPEND | sys_flag::PULL_SUBSCRIPTION).to_string();
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("queueOffset", offset),
        ("maxMsgNums", "32"),
        ("sysFlag", &flags),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", HOLD_MS),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    command(request::PULL_MESSAGE, &fields, b"")
}

#[test]
fn a_waiting_pull_is_answered_with_what_passes() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put(
        "verdict",
        &std::fs::read(verdict_guest()).expect("the guest"),
    );
    let mut producer = Wire::connect(&cluster.broker.address()).expect("the broker");
    let mut consumer = Wire::connect(&cluster.broker.address()).expect("the broker");
    let mut store = |verdict: &str, body: &str| {
        let properties = format!("verdict\u{1}{verdict}\u{2}");
        let answer = producer.ask(&send(TOPIC, &properties, body.as_bytes()));
        assert_eq!(answer.expect("an answer").code, response::SUCCESS);
    };
    store("p", "first");
    plugins.bind("verdict", TOPIC, GROUP, json!({}));
    // It is acknowledged before it is visible; nobody may ask for what lies behind it before that.
    let end = command(
        request::GET_MAX_OFFSET,
        &[("topic", TOPIC), ("queueId", "0")],
        b"",
    );
    wait_until("the first message", Duration::from_secs(20), || {
        let answer = consumer.ask(&end).expect("an answer");
        (answer.ext.get("offset") == Some("1")).then_some(())
    });
    consumer.out = pull("1").encode().to_vec();
    consumer.flush().expect("a request");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(20));
        store("d", "dropped");
    }
    store("p", "wanted");
    let answer = consumer.read().expect("an answer in time");
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
    let bodies: Vec<Vec<u8>> = view::records(&answer.body)
        .map(|record| record.expect("a record").body().to_vec())
        .collect();
    assert_eq!(bodies, [b"wanted".to_vec()]);
    assert_eq!(answer.ext.get("nextBeginOffset"), Some("22"));
    let rows = &plugins.stats("verdict", TOPIC, 1)["rows"];
    assert_eq!(rows, 21, "each message is judged once");
}
