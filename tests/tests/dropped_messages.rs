//! A pull that waits behind a filter is answered when a message passes, not for each one that does not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::json;
use sluice_protocol::code::{request, response};
use sluice_protocol::message::{sys_flag, view};
use sluice_protocol::{RemotingCommand, frame};
use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::plugins::verdict_guest;

const TOPIC: &str = "orders";
const GROUP: &str = "risk";
/// How long the pull may wait, far longer than the messages take.
const HOLD_MS: &str = "25000";

struct Client(TcpStream, BytesMut);

impl Client {
    fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the broker");
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("a time-out");
        Client(stream, BytesMut::new())
    }

    fn ask(&mut self, code: i32, fields: &[(&'static str, &str)], body: &[u8]) {
        let mut command = RemotingCommand::request(code, 1).with_body(body.to_vec());
        for (name, value) in fields {
            command.ext.put(*name, *value);
        }
        self.0.write_all(&command.encode()).expect("a request");
    }

    fn answer(&mut self) -> RemotingCommand {
        let mut piece = [0; 4096];
        loop {
            if let Some(frame) = frame::split(&mut self.1, 1 << 20).expect("a frame") {
                return RemotingCommand::decode(&frame).expect("a command");
            }
            let size = self.0.read(&mut piece).expect("an answer in time");
            assert!(size > 0, "the broker ended the connection");
            self.1.extend_from_slice(&piece[..size]);
        }
    }

    fn send(&mut self, verdict: &str, body: &str) {
        let properties = format!("verdict\u{1}{verdict}\u{2}");
        let fields = [
            ("a", "shop"),
            ("b", TOPIC),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", &properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        self.ask(request::SEND_MESSAGE_V2, &fields, body.as_bytes());
        assert_eq!(self.answer().code, response::SUCCESS);
    }

    fn pull(&mut self, offset: &str) {
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
        self.ask(request::PULL_MESSAGE, &fields, b"");
    }
}

#[test]
fn a_waiting_pull_is_answered_with_what_passes() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put(
        "verdict",
        &std::fs::read(verdict_guest()).expect("the guest"),
    );
    let mut producer = Client::connect(&cluster.broker.address());
    let mut consumer = Client::connect(&cluster.broker.address());
    producer.send("p", "first");
    plugins.bind("verdict", TOPIC, GROUP, json!({}));
    consumer.pull("1");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(20));
        producer.send("d", "dropped");
    }
    producer.send("p", "wanted");
    let answer = consumer.answer();
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
    let bodies: Vec<Vec<u8>> = view::records(&answer.body)
        .map(|record| record.expect("a record").body().to_vec())
        .collect();
    assert_eq!(bodies, [b"wanted".to_vec()]);
    assert_eq!(answer.ext.get("nextBeginOffset"), Some("22"));
    let rows = &plugins.stats("verdict", TOPIC, 1)["rows"];
    assert_eq!(rows, 21, "each message is judged once");
}
