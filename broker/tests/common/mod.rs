//! A broker over real sockets, and who asks it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_broker::{Broker, BrokerConfig, RunningBroker};
use sluice_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, LockBatchRequestBody, MessageModel,
    MessageQueue, ProducerData, SubscriptionData,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::language::Language;
use sluice_protocol::{RemotingCommand, fastjson};
use sluice_remoting::{Client, ClientOptions, Connection, Handler, Responder};
use sluice_store::{Environment, SimulatedFiles};
use tokio::sync::mpsc;

const HOLD_MS: &str = "15000";
pub const TOPIC: &str = "orders";
pub const GROUP: &str = "billing";

/// No plugin is put here.
pub fn no_compiler() -> sluice_plugins::Compile {
    Box::new(|_| Err("there is no compiler here".to_owned()))
}

/// Files of one's own, and the system's clock.
pub fn environment_on(files: &SimulatedFiles) -> Environment {
    Environment {
        files: Arc::new(files.clone()),
        ..Environment::system()
    }
}

pub struct Served {
    pub broker: RunningBroker,
    pub directory: tempfile::TempDir,
}

impl Served {
    pub async fn start(change: impl FnOnce(&mut BrokerConfig)) -> Served {
        Served::start_in(Environment::system(), change).await
    }

    pub async fn start_in(
        environment: Environment,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Served {
        let directory = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig {
            broker_name: "b".to_owned(),
            broker_ip1: "127.0.0.1".to_owned(),
            broker_ip2: "127.0.0.1".to_owned(),
            bind_address: "127.0.0.1".to_owned(),
            listen_port: 0,
            http_address: None,
            store_path_root_dir: directory.path().to_owned(),
            mapped_file_size_commit_log: 64 << 20,
            max_hash_slot_num: 100,
            max_index_num: 400,
            ..BrokerConfig::default()
        };
        change(&mut config);
        let started = Broker::start_in(environment, config, None, no_compiler()).await;
        let broker = started.unwrap();
        Served { broker, directory }
    }

    /// Another connection, with what the broker asks of it.
    pub fn client(&self) -> (Asker, mpsc::UnboundedReceiver<RemotingCommand>) {
        let (told, asked) = mpsc::unbounded_channel();
        (self.client_that(Told(Mutex::new(told))), asked)
    }

    /// Another connection, on which the broker's requests are handled so.
    pub fn client_that(&self, handles: impl Handler) -> Asker {
        let client = Client::new(ClientOptions::default(), Arc::new(handles)).unwrap();
        let address = self.broker.address().to_owned();
        Asker { client, address }
    }
}

struct Told(Mutex<mpsc::UnboundedSender<RemotingCommand>>);

impl Handler for Told {
    fn handle(&self, _: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        let _ = self.0.lock().send(request);
        responder.stay_silent();
    }
}

pub struct Asker {
    client: Client,
    address: String,
}

impl Asker {
    pub async fn ask(&self, code: i32, fields: &[(&str, &str)], body: Vec<u8>) -> RemotingCommand {
        let mut command = RemotingCommand::request(code, 0).with_body(body);
        for (name, value) in fields {
            command.ext.put(*name, *value);
        }
        self.call(command).await
    }

    pub async fn call(&self, command: RemotingCommand) -> RemotingCommand {
        let patience = Duration::from_secs(30);
        self.client
            .call(&self.address, command, patience)
            .await
            .unwrap()
    }

    pub async fn send(&self, properties: &str, body: &[u8], batch: bool) -> RemotingCommand {
        let fields = [
            ("a", "shop"),
            ("b", TOPIC),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", properties),
            ("j", "0"),
            ("k", "false"),
            ("m", if batch { "true" } else { "false" }),
        ];
        self.ask(request::SEND_MESSAGE_V2, &fields, body.to_vec())
            .await
    }

    pub async fn pull(&self, offset: i64, flags: i32, more: &[(&str, &str)]) -> RemotingCommand {
        let (offset, flags) = (offset.to_string(), flags.to_string());
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", "0"),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", &flags),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", HOLD_MS),
        ];
        self.ask(request::PULL_MESSAGE, &[&fields, more].concat(), Vec::new())
            .await
    }

    pub async fn heartbeat(&self, client_id: &str, expression: &str, language: Language) {
        let model = MessageModel::Clustering;
        self.heartbeat_as(client_id, expression, language, model)
            .await;
    }

    pub async fn heartbeat_as(
        &self,
        client_id: &str,
        expression: &str,
        language: Language,
        message_model: MessageModel,
    ) {
        let consumer = ConsumerData {
            consume_from_where: ConsumeFromWhere::default(),
            consume_type: ConsumeType::default(),
            group_name: GROUP.to_owned(),
            message_model,
            subscription_data_set: vec![SubscriptionData {
                expression_type: "TAG".to_owned(),
                sub_string: expression.to_owned(),
                sub_version: 1,
                topic: TOPIC.to_owned(),
                ..SubscriptionData::default()
            }],
            unit_mode: false,
        };
        let heartbeat = HeartbeatData {
            client_id: client_id.to_owned(),
            consumer_data_set: vec![consumer],
            heartbeat_fingerprint: 0,
            producer_data_set: Vec::new(),
            ..HeartbeatData::default()
        };
        let mut command = RemotingCommand::request(request::HEART_BEAT, 0)
            .with_body(fastjson::to_vec(&heartbeat).unwrap());
        command.language = language;
        assert_eq!(self.call(command).await.code, response::SUCCESS);
    }

    /// The connection becomes a producer of the group.
    pub async fn produces(&self, client_id: &str, group: &str) {
        let heartbeat = HeartbeatData {
            client_id: client_id.to_owned(),
            producer_data_set: vec![ProducerData {
                group_name: group.to_owned(),
            }],
            ..HeartbeatData::default()
        };
        let body = fastjson::to_vec(&heartbeat).unwrap();
        let answer = self.ask(request::HEART_BEAT, &[], body).await;
        assert_eq!(answer.code, response::SUCCESS);
    }

    pub async fn reset(&self, timestamp: &str) -> RemotingCommand {
        let fields = [
            ("topic", TOPIC),
            ("group", GROUP),
            ("timestamp", timestamp),
            ("isForce", "true"),
        ];
        self.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields, Vec::new())
            .await
    }

    pub async fn locks(&self, code: i32, client_id: &str) -> RemotingCommand {
        let body = LockBatchRequestBody {
            client_id: client_id.to_owned(),
            consumer_group: GROUP.to_owned(),
            mq_set: vec![MessageQueue {
                broker_name: "b".to_owned(),
                queue_id: 0,
                topic: TOPIC.to_owned(),
            }],
            only_this_broker: false,
        };
        self.ask(code, &[], fastjson::to_vec(&body).unwrap()).await
    }
}
