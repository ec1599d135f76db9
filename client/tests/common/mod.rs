//! A cluster of one scripted peer: name server and broker at once, all in memory.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sluice_client::{MessageQueue, PushConsumer, PushConsumerBuilder, StartAt};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    BrokerData, GetConsumerListByGroupResponseBody, HeartbeatData, LockBatchRequestBody,
    LockBatchResponseBody, MessageQueueAssignment, MessageRequestMode, QueryAssignmentResponseBody,
    QueueData, ResetOffsetBody, TopicRouteData,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::fastjson;
use sluice_protocol::message::RecordFields;
use sluice_protocol::message::record::assign;
use sluice_remoting::{CloseReason, Connection, Handler, Responder, Server, ServerOptions};

/// The longest a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The broker's name.
pub const BROKER: &str = "b";
/// Route of topics that do not exist yet.
pub const TEMPLATE: &str = "TBW102";

/// Waits, but not for ever.
pub async fn within<F: Future>(event: F) -> F::Output {
    tokio::time::timeout(PATIENCE, event)
        .await
        .expect("the event comes")
}

/// Looks until `done`, giving others their turn.
pub async fn until(what: &str, done: impl Fn() -> bool) {
    let looked = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looked).await;
    assert!(looked.is_ok(), "did not happen: {what}");
}

/// Long enough for what must not happen to happen.
pub async fn let_things_happen() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

pub fn queue(topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue {
        topic: topic.to_owned(),
        broker_name: BROKER.to_owned(),
        queue_id,
    }
}

pub struct Cluster {
    server: Server,
    broker: Arc<Broker>,
}

/// What the peer knows and was asked.
#[derive(Default)]
struct Broker {
    address: OnceLock<String>,
    queues_of: Mutex<BTreeMap<String, i32>>,
    records: Mutex<HashMap<MessageQueue, Vec<Bytes>>>,
    parked: Mutex<Vec<(RemotingCommand, Responder)>>,
    offsets: Mutex<BTreeMap<MessageQueue, i64>>,
    members: Mutex<BTreeSet<String>>,
    seen: Mutex<Vec<RemotingCommand>>,
    holds: Mutex<Vec<(i32, Option<String>)>>,
    assignment: Mutex<Option<QueryAssignmentResponseBody>>,
    held: Mutex<Vec<(RemotingCommand, Responder)>>,
}

impl Cluster {
    /// With these topics, each with so many queues.
    pub async fn start(topics: &[(&str, i32)]) -> Cluster {
        let broker = Arc::new(Broker::default());
        let topics = topics.iter().map(|(topic, n)| ((*topic).to_owned(), *n));
        broker.queues_of.lock().extend(topics);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(any, ServerOptions::default(), broker.clone()).await;
        let server = server.expect("a listener");
        let address = server.address().to_string();
        broker.address.set(address).expect("set once");
        Cluster { server, broker }
    }

    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// A consumer of the topic from its beginning; it lacks a listener.
    pub fn consumer(&self, topic: &str) -> PushConsumerBuilder {
        PushConsumer::builder("g")
            .name_server(self.address())
            .subscribe(topic, "*")
            .start_at(StartAt::First)
    }

    /// From now on requests of this code, and of this topic if one is named, are left unanswered.
    pub fn hold(&self, code: i32, topic: Option<&str>) {
        let topic = topic.map(str::to_owned);
        self.broker.holds.lock().push((code, topic));
    }

    /// Answers what was held back, and whatever comes.
    pub fn release(&self) {
        self.broker.holds.lock().clear();
        let held = std::mem::take(&mut *self.broker.held.lock());
        for (request, responder) in held {
            self.broker.answer(request, responder);
        }
    }

    /// Requests of this code so far.
    pub fn seen(&self, code: i32) -> Vec<RemotingCommand> {
        let seen = self.broker.seen.lock();
        seen.iter().filter(|r| r.code == code).cloned().collect()
    }

    /// Stores a message and wakes who waits for it.
    pub fn put(&self, topic: &str, queue_id: i32, body: &str) {
        self.put_as(topic, queue_id, body.as_bytes(), 0);
    }

    pub fn put_as(&self, topic: &str, queue_id: i32, body: &[u8], sys_flag: i32) {
        let mut records = self.broker.records.lock();
        let records = records.entry(queue(topic, queue_id)).or_default();
        records.push(record(
            topic,
            queue_id,
            records.len() as i64,
            body,
            sys_flag,
        ));
        let parked = std::mem::take(&mut *self.broker.parked.lock());
        for (request, responder) in parked {
            // Not under the lock of the records.
            let broker = self.broker.clone();
            tokio::spawn(async move { broker.answer(request, responder) });
        }
    }

    /// What the group has committed on the queue.
    pub fn committed(&self, queue: &MessageQueue) -> Option<i64> {
        self.broker.offsets.lock().get(queue).copied()
    }

    /// What QUERY_ASSIGNMENT answers from now on; it is not served before. Everybody is told that the
    /// group has changed.
    pub fn assign(&self, queues: Option<&[MessageQueue]>, mode: MessageRequestMode) {
        let assignment = |queue: &MessageQueue| MessageQueueAssignment {
            message_queue: Some(queue.clone()),
            mode,
        };
        *self.broker.assignment.lock() = Some(QueryAssignmentResponseBody {
            message_queue_assignments: queues.map(|queues| queues.iter().map(assignment).collect()),
        });
        let mut changed = RemotingCommand::request(request::NOTIFY_CONSUMER_IDS_CHANGED, 0);
        changed.ext.put("consumerGroup", "g");
        for connection in self.server.connections() {
            connection.one_way(changed.clone());
        }
    }

    /// RESET_CONSUMER_CLIENT_OFFSET to everybody.
    pub fn reset(&self, queue: MessageQueue, offset: i64) {
        let mut reset = RemotingCommand::request(request::RESET_CONSUMER_CLIENT_OFFSET, 0);
        reset.ext.put("group", "g");
        reset.ext.put("topic", queue.topic.as_str());
        let body = ResetOffsetBody {
            offset_table: BTreeMap::from([(queue, offset)]),
        };
        let reset = reset.with_body(json(&body));
        for connection in self.server.connections() {
            connection.one_way(reset.clone());
        }
    }
}

impl Handler for Broker {
    fn handle(&self, _: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        self.seen.lock().push(request.clone());
        let topic = request.ext.get("topic").or(request.ext.get("b"));
        let is_held = |(code, of): &(i32, Option<String>)| {
            *code == request.code && (of.is_none() || of.as_deref() == topic)
        };
        if self.holds.lock().iter().any(is_held) {
            return self.held.lock().push((request, responder));
        }
        self.answer(request, responder);
    }

    fn closed(&self, _: &Arc<Connection>, _: &CloseReason) {}
}

impl Broker {
    fn answer(&self, request: RemotingCommand, responder: Responder) {
        let success = responder.response(response::SUCCESS);
        let answer = match request.code {
            request::GET_ROUTEINFO_BY_TOPIC => match self.route(field(&request, "topic")) {
                Some(route) => success.with_body(json(&route)),
                None => return responder.refuse(response::TOPIC_NOT_EXIST, "no such topic"),
            },
            request::HEART_BEAT => {
                let heartbeat: HeartbeatData = body(&request);
                self.members.lock().insert(heartbeat.client_id);
                success
            }
            request::GET_CONSUMER_LIST_BY_GROUP => {
                let body = GetConsumerListByGroupResponseBody {
                    consumer_id_list: self.members.lock().iter().cloned().collect(),
                };
                success.with_body(json(&body))
            }
            request::QUERY_ASSIGNMENT => match &*self.assignment.lock() {
                Some(assignment) => success.with_body(json(assignment)),
                None => {
                    return responder.refuse(response::REQUEST_CODE_NOT_SUPPORTED, "400");
                }
            },
            request::QUERY_CONSUMER_OFFSET => match self.offsets.lock().get(&queue_of(&request)) {
                Some(offset) => with(success, &[("offset", *offset)]),
                None => return responder.refuse(response::QUERY_NOT_FOUND, "none yet"),
            },
            request::UPDATE_CONSUMER_OFFSET => {
                let offset = field(&request, "commitOffset").parse().expect("a number");
                self.offsets.lock().insert(queue_of(&request), offset);
                success
            }
            request::GET_MIN_OFFSET => with(success, &[("offset", 0)]),
            request::GET_MAX_OFFSET => {
                let records = self.records.lock();
                let count = records.get(&queue_of(&request)).map_or(0, Vec::len);
                with(success, &[("offset", count as i64)])
            }
            request::LOCK_BATCH_MQ => {
                let body: LockBatchRequestBody = body(&request);
                success.with_body(json(&LockBatchResponseBody {
                    lock_ok_mq_set: body.mq_set,
                }))
            }
            request::SEND_MESSAGE_V2 => {
                let mut stored = with(success, &[("queueOffset", 0)]);
                stored.ext.put("msgId", "7F00000100002A9F0000000000001000");
                stored.ext.put("queueId", field(&request, "e"));
                stored
            }
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => {
                match self.pulled(&request, success) {
                    Some(pulled) => pulled,
                    None => return self.parked.lock().push((request, responder)),
                }
            }
            request::UNREGISTER_CLIENT | request::UNLOCK_BATCH_MQ => success,
            code => {
                return responder.refuse(response::REQUEST_CODE_NOT_SUPPORTED, code.to_string());
            }
        };
        responder.answer(answer);
    }

    fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let count = *self.queues_of.lock().get(topic)?;
        let address = self.address.get().expect("set at the start");
        Some(TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_addrs: [(0, address.clone())].into_iter().collect(),
                broker_name: BROKER.to_owned(),
                cluster: "c".to_owned(),
                ..BrokerData::default()
            }],
            queue_datas: vec![QueueData {
                broker_name: BROKER.to_owned(),
                perm: 6,
                read_queue_nums: count,
                write_queue_nums: count,
                ..QueueData::default()
            }],
            ..TopicRouteData::default()
        })
    }

    fn pulled(
        &self,
        request: &RemotingCommand,
        success: RemotingCommand,
    ) -> Option<RemotingCommand> {
        let records = self.records.lock();
        let of_queue = records.get(&queue_of(request))?;
        let from: usize = field(request, "queueOffset").parse().expect("an offset");
        let count: usize = field(request, "maxMsgNums").parse().expect("a count");
        let found = of_queue.get(from..).filter(|found| !found.is_empty())?;
        let found = &found[..count.min(found.len())];
        let next = (from + found.len()) as i64;
        let offsets = [
            ("nextBeginOffset", next),
            ("minOffset", 0),
            ("maxOffset", of_queue.len() as i64),
            ("suggestWhichBrokerId", 0),
        ];
        Some(with(success, &offsets).with_body(found.concat()))
    }
}

fn with(mut response: RemotingCommand, fields: &[(&'static str, i64)]) -> RemotingCommand {
    for (name, value) in fields {
        response.ext.put(*name, value.to_string());
    }
    response
}

/// A field that was sent.
pub fn field<'a>(request: &'a RemotingCommand, name: &str) -> &'a str {
    request.ext.get(name).expect("the field is sent")
}

fn queue_of(request: &RemotingCommand) -> MessageQueue {
    let id = field(request, "queueId").parse().expect("a queue id");
    queue(field(request, "topic"), id)
}

fn json(body: &impl serde::Serialize) -> Vec<u8> {
    fastjson::to_vec(body).expect("plain data")
}

fn body<T: serde::de::DeserializeOwned>(request: &RemotingCommand) -> T {
    fastjson::from_slice(&request.body).expect("a body")
}

fn record(topic: &str, queue_id: i32, offset: i64, body: &[u8], sys_flag: i32) -> Bytes {
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    let fields = RecordFields {
        topic,
        queue_id,
        flag: 0,
        sys_flag,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
    };
    let mut record = Vec::new();
    fields.encode(&mut record).expect("it fits");
    assign(&mut record, offset, offset * 1000, 2);
    record.into()
}
