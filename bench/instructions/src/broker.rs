//! A broker and its client in one thread, over a loopback socket: their tasks take turns, and so what
//! the broker has read, and with it the way of a request, is the same each time.

use std::time::Duration;

use bytes::BytesMut;
use sluice_broker::{Broker, BrokerConfig, RunningBroker};
use sluice_protocol::body::{ConsumerData, HeartbeatData, SubscriptionData};
use sluice_protocol::code::{request, response};
use sluice_protocol::message::{sys_flag, view};
use sluice_protocol::{RemotingCommand, Serialization, fastjson, frame};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};

use crate::Call;
use crate::inputs::{QUEUE, TOPIC, send_request};

/// Where the broker handles all requests that have come together: cutting their frames, decoding them,
/// their handlers, and encoding their answers are inside.
pub const TOGETHER: &str =
    "<sluice_broker::dispatch::Dispatch as sluice_remoting::Handler>::together";

const GROUP: &str = "billing";
const BURST: usize = 32;
/// Tries, ten milliseconds apart, until what was sent can be pulled.
const TRIES: u32 = 1_000;

/// 32 sends that come with one read.
pub fn sends_32(serialization: Serialization) -> Call {
    let mut served = Served::start();
    let sends = send_request(serialization).encode().repeat(BURST);
    Box::new(move || {
        let answers = served.exchange(&sends, BURST);
        assert!(
            answers
                .iter()
                .all(|answer| answer.code == response::SUCCESS)
        );
    })
}

/// One pull of the last 32 messages, as a push consumer makes it.
pub fn pull_of_32() -> Call {
    let mut served = Served::start();
    let sends = send_request(Serialization::Json).encode().repeat(BURST);
    served.exchange(&sends, BURST);
    served.exchange(&sends, BURST);
    served.exchange(&heartbeat().encode(), 1);
    let pull = pull(BURST).encode();
    let mut tries = 0..TRIES;
    while !gives_all(&served.exchange(&pull, 1)[0]) {
        tries.next().expect("what was sent becomes visible");
        std::thread::sleep(Duration::from_millis(10));
    }
    Box::new(move || {
        let answer = &served.exchange(&pull, 1)[0];
        assert!(gives_all(answer), "{} {}", answer.code, answer.remark());
    })
}

fn gives_all(answer: &RemotingCommand) -> bool {
    answer.code == response::SUCCESS && view::records(&answer.body).count() == BURST
}

/// A consumer of all messages.
fn heartbeat() -> RemotingCommand {
    let subscription = SubscriptionData {
        expression_type: "TAG".to_owned(),
        sub_string: "*".to_owned(),
        sub_version: 1,
        topic: TOPIC.to_owned(),
        ..SubscriptionData::default()
    };
    let consumer = ConsumerData {
        group_name: GROUP.to_owned(),
        subscription_data_set: vec![subscription],
        ..ConsumerData::default()
    };
    let heartbeat = HeartbeatData {
        client_id: "127.0.0.1@1".to_owned(),
        consumer_data_set: vec![consumer],
        ..HeartbeatData::default()
    };
    let body = fastjson::to_vec(&heartbeat).expect("a heartbeat");
    RemotingCommand::request(request::HEART_BEAT, 1).with_body(body)
}

fn pull(offset: usize) -> RemotingCommand {
    let flags = sys_flag::PULL_COMMIT_OFFSET | sys_flag::PULL_SUSPEND;
    let mut command = RemotingCommand::request(request::PULL_MESSAGE, 1);
    for (name, value) in [
        ("consumerGroup", GROUP.to_owned()),
        ("topic", TOPIC.to_owned()),
        ("queueId", QUEUE.to_string()),
        ("queueOffset", offset.to_string()),
        ("maxMsgNums", BURST.to_string()),
        ("sysFlag", flags.to_string()),
        ("commitOffset", offset.to_string()),
        ("suspendTimeoutMillis", "15000".to_owned()),
        ("subVersion", "1".to_owned()),
        ("expressionType", "TAG".to_owned()),
    ] {
        command.ext.put(name, value);
    }
    command
}

/// A broker that serves one connection.
struct Served {
    runtime: Runtime,
    /// Until it is dropped.
    broker: Option<RunningBroker>,
    stream: TcpStream,
    came: BytesMut,
    _directory: TempDir,
}

impl Served {
    fn start() -> Served {
        let directory = tempfile::tempdir().expect("a directory");
        let config = BrokerConfig {
            broker_name: "b".to_owned(),
            broker_ip1: "127.0.0.1".to_owned(),
            broker_ip2: "127.0.0.1".to_owned(),
            bind_address: "127.0.0.1".to_owned(),
            listen_port: 0,
            http_address: None,
            store_path_root_dir: directory.path().to_owned(),
            ..BrokerConfig::default()
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (broker, stream) = runtime.block_on(async {
            let no_compiler = Box::new(|_: &_| Err("there is no compiler here".to_owned()));
            let broker = Broker::start(config, None, no_compiler).await;
            let broker = broker.expect("a broker");
            let stream = TcpStream::connect(broker.address()).await;
            (broker, stream.expect("a connection"))
        });
        Served {
            runtime,
            broker: Some(broker),
            stream,
            came: BytesMut::new(),
            _directory: directory,
        }
    }

    /// Sends all of `requests` at once and takes so many answers.
    fn exchange(&mut self, requests: &[u8], count: usize) -> Vec<RemotingCommand> {
        let mut answers = Vec::with_capacity(count);
        self.runtime.block_on(async {
            let written = self.stream.write_all(requests).await;
            written.expect("the broker reads");
            while answers.len() < count {
                let read = self.stream.read_buf(&mut self.came).await;
                assert_ne!(read.expect("the broker answers"), 0, "the broker hung up");
                answers.extend(commands(&mut self.came).filter(RemotingCommand::is_response));
            }
        });
        answers
    }
}

/// Takes what has come: answers, and what a broker tells its consumers unasked.
fn commands(came: &mut BytesMut) -> impl Iterator<Item = RemotingCommand> {
    std::iter::from_fn(|| frame::split(came, frame::FRAME_SIZE_MAX).expect("a frame"))
        .map(|frame| RemotingCommand::decode(&frame).expect("a command"))
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            let ended = self.runtime.block_on(broker.shutdown());
            ended.expect("the broker ends in order");
        }
    }
}
