//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).

mod inner_batch;

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use sluice_plugins::Bound;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::TopicConfig;
use sluice_protocol::code::response;
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::message::inner_batch::PACKED;
use sluice_protocol::message::{MessageId, RecordError, RecordFields, batch, properties, sys_flag};
use sluice_protocol::topic;
use sluice_remoting::Responder;
use sluice_store::{AppendError, Appended, Durability};

use super::topic_admin::finish_deletion;
use crate::config::BrokerRole;
use crate::deferral::{self, Deferred};
use crate::error::Refusal;
use crate::send_hooks::{self, Incoming};
use crate::stats::MessageType;
use crate::topic_attributes::is_compacted;
use crate::topics::Topic;
use crate::{Broker, BrokerConfig};
use crate::{retries, timer, topics, transactions};

/// The send hooks that a message has passed.
type Hooks = Vec<Arc<Bound>>;

/// A send that has passed all checks of its header.
struct Send {
    header: SendMessageRequestHeader,
    topic: Arc<Topic>,
    queue_id: i32,
    body: Bytes,
    born_host: SocketAddr,
    /// The settings that it goes by.
    config: Arc<BrokerConfig>,
}

/// Stores a message, or all messages of a batch, and answers when it is as durable as promised.
pub fn send_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let header = match SendMessageRequestHeader::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return broker.refuse(responder, error),
    };
    if let Err(refusal) = check(broker, &header) {
        return broker.refuse(responder, refusal);
    }
    let incoming = Incoming {
        header,
        body: request.body,
    };
    let hooks = send_hooks::chain(broker, &incoming.header.topic);
    if hooks.is_empty() {
        return admit(broker, incoming, hooks, responder);
    }
    if hooks.iter().any(|hook| hook.is_slow()) {
        return broker.aside_for_plugins(responder, |broker, responder| {
            pass_hooks(broker, incoming, hooks, responder);
        });
    }
    pass_hooks(broker, incoming, hooks, responder);
}

fn pass_hooks(broker: &Arc<Broker>, incoming: Incoming, hooks: Hooks, responder: Responder) {
    let passed = send_hooks::before(broker, &hooks, incoming).and_then(|incoming| {
        // The topic may be another one now.
        check(broker, &incoming.header)?;
        Ok(incoming)
    });
    match passed {
        Ok(incoming) => admit(broker, incoming, hooks, responder),
        Err(refusal) => broker.refuse(responder, refusal),
    }
}

fn admit(broker: &Arc<Broker>, incoming: Incoming, hooks: Hooks, responder: Responder) {
    let incoming = match retries::admit(broker, incoming, responder.connection().id()) {
        Ok(incoming) => incoming,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    match broker.topics.get(&incoming.header.topic) {
        Some(topic) => store(broker, incoming, topic, &hooks, responder),
        None => create_topic_and_store(broker, incoming, hooks, responder),
    }
}

pub(super) fn check(broker: &Broker, header: &SendMessageRequestHeader) -> Result<(), Refusal> {
    let config = broker.config();
    let now = broker.now_ms();
    if now < config.start_accept_send_request_time_stamp {
        return Err(Refusal::System(format!(
            "broker unable to service, until {}",
            config.start_accept_send_request_time_stamp
        )));
    }
    if header.sys_flag & PACKED != 0 {
        return Err(Refusal::MessageIllegal(
            "the message is illegal: only the broker marks inner batches".to_owned(),
        ));
    }
    topic::validate(&header.topic).map_err(|error| Refusal::InvalidParameter(error.to_string()))?;
    // Java takes what clients put into the timer's own topic, and its timer then stops at it for ever.
    if topic::is_send_forbidden(&header.topic) || header.topic == topic::TIMER_TOPIC {
        return Err(Refusal::NoPermission(format!(
            "Sending message to topic[{}] is forbidden.",
            header.topic
        )));
    }
    if config.broker_permission & topic::perm::WRITE == 0 {
        return Err(Refusal::NoPermission(format!(
            "the broker[{}] sending message is forbidden",
            config.broker_ip1
        )));
    }
    Ok(())
}

/// The first message of a topic: the topic is written and registered before the answer leaves.
fn create_topic_and_store(
    broker: &Arc<Broker>,
    incoming: Incoming,
    hooks: Hooks,
    responder: Responder,
) {
    let Some(wanted) = wanted_topic(broker, &incoming.header) else {
        let topic = incoming.header.topic.to_string();
        return broker.refuse(responder, Refusal::TopicNotExist(topic));
    };
    let name = wanted.topic_name.clone();
    if let Err(refusal) = finish_deletion(broker, &wanted) {
        return broker.refuse(responder, refusal);
    }
    if broker.topics.create(wanted, broker.now_ms()) {
        tracing::info!(topic = name, producer = %responder.connection().peer(), "topic created for its first message");
        broker.changes.note_topic();
    }
    let broker = broker.clone();
    tokio::spawn(async move {
        if let Err(unsettled) = broker.changes.settled().await {
            tracing::warn!(topic = name, %unsettled, "a message made a topic");
        }
        if responder.connection().is_closed() && !responder.is_one_way() {
            // Nobody learns what became of it, so its producer sends it again.
            return;
        }
        match broker.topics.get(&name) {
            Some(topic) => store(&broker, incoming, topic, &hooks, responder),
            None => broker.refuse(responder, Refusal::TopicNotExist(name)),
        }
    });
}

fn wanted_topic(broker: &Broker, header: &SendMessageRequestHeader) -> Option<TopicConfig> {
    let retry = header.topic.starts_with(topic::RETRY_PREFIX);
    let unit = match (header.unit_mode, retry) {
        (false, _) => 0,
        (true, false) => topic::SYS_FLAG_UNIT,
        (true, true) => topic::SYS_FLAG_UNIT_SUB,
    };
    let read_write = topic::perm::READ | topic::perm::WRITE;
    let from_template = topics::from_template(
        &broker.topics,
        &header.topic,
        &header.default_topic,
        header.default_topic_queue_nums,
        unit,
    );
    from_template.or_else(|| retry.then(|| topics::plain(&header.topic, 1, read_write)))
}

fn store(
    broker: &Arc<Broker>,
    incoming: Incoming,
    topic: Arc<Topic>,
    hooks: &[Arc<Bound>],
    responder: Responder,
) {
    let born_host = responder.connection().peer();
    let send = match place(broker, incoming, topic, born_host) {
        Ok(send) => send,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    match append(broker, &send, hooks) {
        Ok(stored) => answer(broker, &send, stored, responder),
        Err(refusal) => {
            if matches!(refusal, Refusal::Append(_)) {
                broker.stats.not_stored();
            }
            broker.refuse(responder, refusal);
        }
    }
}

/// Stores a reply, whose sender is answered otherwise; its queue and place.
pub(super) fn store_reply(
    broker: &Broker,
    incoming: Incoming,
    born_host: SocketAddr,
) -> Result<(i32, Appended), Refusal> {
    let name = &incoming.header.topic;
    let topic = broker.topics.get(name);
    let topic = topic.ok_or_else(|| Refusal::TopicNotExist(name.to_string()))?;
    let send = place(broker, incoming, topic, born_host)?;
    let stored = append(broker, &send, &[])?;
    broker.stats.stored_in(&send.topic.counts, 1, stored.size);
    Ok((send.queue_id, stored.appended))
}

/// Checks or chooses the queue.
fn place(
    broker: &Broker,
    incoming: Incoming,
    topic: Arc<Topic>,
    born_host: SocketAddr,
) -> Result<Send, Refusal> {
    let Incoming { header, body } = incoming;
    let queues = topic.write_queue_nums.max(topic.read_queue_nums);
    if header.queue_id >= queues {
        return Err(Refusal::InvalidParameter(format!(
            "request queueId[{}] is illegal, {} Producer: {born_host}",
            header.queue_id, **topic
        )));
    }
    let queue_id = match header.queue_id {
        id if id < 0 => rand::random_range(0..topic.write_queue_nums.max(1)),
        id => id,
    };
    Ok(Send {
        header,
        topic,
        queue_id,
        body,
        born_host,
        config: broker.config(),
    })
}

thread_local! {
    /// Where a message is laid out before it is copied into the log.
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
/// A layout buffer that one huge message has grown is given back.
const RECORDS_KEEP_MAX: usize = 1 << 20;

/// Most bytes of one batch in the log. Its body is bounded by `maxMessageSize`, but the properties
/// of the whole batch are repeated for each of its messages.
const BATCH_RECORDS_MAX: usize = 32 << 20;

/// A message in the log.
struct Stored {
    appended: Appended,
    elsewhere: Option<Elsewhere>,
    recall_handle: Option<String>,
    /// Bytes of its records.
    size: usize,
    /// Its producer waits for durability.
    waits: bool,
    message_type: MessageType,
}

/// Lays the message out and appends it.
fn append(broker: &Broker, send: &Send, hooks: &[Arc<Bound>]) -> Result<Stored, Refusal> {
    RECORDS.with_borrow_mut(|records| {
        records.clear();
        let stored = lay_out_and_append(broker, send, records);
        if stored.is_ok() {
            send_hooks::after(broker, hooks, records);
        }
        if records.capacity() > RECORDS_KEEP_MAX {
            *records = Vec::new();
        }
        stored
    })
}

fn lay_out_and_append(
    broker: &Broker,
    send: &Send,
    records: &mut Vec<u8>,
) -> Result<Stored, Refusal> {
    let laid_out = if send.header.batch {
        lay_out_batch(broker, send, records)
    } else {
        lay_out_one(broker, send, records)
    }?;
    let (topic, queue_id) = laid_out.place(send);
    let appended = match laid_out.elsewhere.is_none() && send.topic.is_batch() {
        true => broker.store.append_batched(topic, queue_id, records)?,
        false => broker.store.append_gathered(topic, queue_id, records)?,
    };
    Ok(Stored {
        appended,
        size: records.len(),
        waits: laid_out.waits,
        message_type: laid_out.message_type,
        elsewhere: laid_out.elsewhere,
        recall_handle: laid_out.recall_handle,
    })
}

/// Records ready to be appended.
struct LaidOut {
    waits: bool,
    /// Where they go for now, if not where they were sent to.
    elsewhere: Option<Elsewhere>,
    recall_handle: Option<String>,
    message_type: MessageType,
}

struct Elsewhere {
    topic: String,
    queue_id: i32,
    /// Of a half message.
    transaction_id: Option<String>,
}

impl From<Deferred> for Elsewhere {
    fn from(deferred: Deferred) -> Elsewhere {
        Elsewhere {
            topic: deferred.topic,
            queue_id: deferred.queue_id,
            transaction_id: None,
        }
    }
}

impl LaidOut {
    fn place<'a>(&'a self, send: &'a Send) -> (&'a str, i32) {
        match &self.elsewhere {
            Some(elsewhere) => (&elsewhere.topic, elsewhere.queue_id),
            None => (&send.topic.topic_name, send.queue_id),
        }
    }
}

fn lay_out_one(broker: &Broker, send: &Send, records: &mut Vec<u8>) -> Result<LaidOut, Refusal> {
    let given = send.header.properties.as_bytes();
    let seen = Seen::in_properties(given);
    let mut text = Vec::with_capacity(given.len() + 80);
    if seen.strip {
        text = properties::without(given, &STRIPPED)
    } else {
        text.extend_from_slice(given)
    }
    if !seen.unique_key {
        properties::put(&mut text, properties::UNIQ_KEY, &broker.unique_ids.next());
    }
    put_broker_s(&send.config, &mut text);
    let mut laid_out = LaidOut {
        waits: !seen.does_not_wait,
        message_type: seen.message_type(),
        elsewhere: None,
        recall_handle: None,
    };
    // Clients before 4.6.1 leave the mark on what they send back.
    let comes_back = send.header.reconsume_times > 0 && seen.delayed;
    require_key(send, &seen, &Seen::default())?;
    if seen.half && !comes_back {
        // What could never be committed is refused now.
        timer::check(broker, &text)?;
        laid_out.elsewhere = Some(as_half(broker, send, &mut text)?);
    } else if seen.delayed || seen.timed {
        let topic = &send.topic.topic_name;
        let deferred = deferral::defer(broker, topic, send.queue_id, &mut text)?;
        laid_out.recall_handle = recall_handle(broker, topic, deferred.as_ref(), &text);
        laid_out.elsewhere = deferred.map(Elsewhere::from);
    }
    let message = (send.header.flag, &*send.body, &*text);
    lay_out(broker, send, laid_out.place(send), message, records)?;
    Ok(laid_out)
}

/// Properties that are not kept as they came.
const STRIPPED: [&str; 6] = [
    properties::WAIT,
    properties::POP_CK,
    properties::INNER_NUM,
    properties::INNER_BASE,
    properties::MSG_REGION,
    properties::TRACE_ON,
];

/// What the broker says of each message. Consumers of 5.x trace none without a region.
fn put_broker_s(config: &BrokerConfig, text: &mut Vec<u8>) {
    properties::put(text, properties::MSG_REGION, &config.region_id);
    properties::put(text, properties::TRACE_ON, trace_on(config));
    properties::put(text, properties::CLUSTER, &config.broker_cluster_name);
}

fn trace_on(config: &BrokerConfig) -> &'static str {
    match config.trace_on {
        true => "true",
        false => "false",
    }
}

/// What the producer can recall the message by, if it waits in the timer.
fn recall_handle(
    broker: &Broker,
    topic: &str,
    deferred: Option<&Deferred>,
    text: &[u8],
) -> Option<String> {
    let in_timer = deferred.is_some_and(|deferred| deferred.topic == topic::TIMER_TOPIC);
    let recallable = in_timer && !topic.starts_with(topic::RETRY_PREFIX);
    let handle = recallable.then(|| timer::Handle::of(broker, topic, text))??;
    Some(handle.encode())
}

fn as_half(broker: &Broker, send: &Send, text: &mut Vec<u8>) -> Result<Elsewhere, Refusal> {
    broker.check_half()?;
    transactions::prepare(text, &send.topic.topic_name, send.queue_id);
    Ok(Elsewhere {
        topic: topic::TRANS_HALF_TOPIC.to_owned(),
        queue_id: transactions::QUEUE,
        transaction_id: properties::find(text, properties::UNIQ_KEY).map(str::to_owned),
    })
}

fn lay_out_batch(broker: &Broker, send: &Send, records: &mut Vec<u8>) -> Result<LaidOut, Refusal> {
    if send.header.topic.starts_with(topic::RETRY_PREFIX) {
        return Err(Refusal::MessageIllegal(format!(
            "batch request does not support retry group {}",
            send.header.topic
        )));
    }
    if send.body.len() > send.config.max_message_size {
        return Err(too_large(send, send.body.len()));
    }
    // Properties of the whole batch belong to each message, but for the joined unique keys.
    let whole = send.header.properties.as_bytes();
    let of_all = Seen::in_properties(whole);
    refuse_in_batch(&of_all)?;
    if inner_batch::unique_key(send).is_some() {
        return inner_batch::lay_out_whole(broker, send, &of_all, records);
    }
    let (mut waits, mut message_type) = (!of_all.does_not_wait, of_all.message_type());
    let mut common = properties::without(
        &properties::without(whole, &STRIPPED),
        &[properties::UNIQ_KEY],
    );
    put_broker_s(&send.config, &mut common);
    let mut text = Vec::new();
    for item in batch::iter(&send.body) {
        let item = item.map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
        let seen = Seen::in_properties(item.properties);
        refuse_in_batch(&seen)?;
        require_key(send, &seen, &of_all)?;
        waits &= !seen.does_not_wait;
        message_type = message_type.max(seen.message_type());
        text.clear();
        if seen.strip && send.topic.is_batch() {
            text = properties::without(item.properties, &STRIPPED);
        } else {
            text.extend_from_slice(item.properties);
        }
        if !text.is_empty() && text.last() != Some(&properties::PROPERTY_SEPARATOR) {
            text.push(properties::PROPERTY_SEPARATOR);
        }
        text.extend_from_slice(&common);
        let place = (&*send.topic.topic_name, send.queue_id);
        let message = (item.flag, item.body, &*text);
        lay_out(broker, send, place, message, records)?;
        if records.len() > BATCH_RECORDS_MAX {
            return Err(Refusal::MessageIllegal(format!(
                "the batch is illegal: its messages take more than {BATCH_RECORDS_MAX} bytes in the log"
            )));
        }
    }
    if records.is_empty() {
        return Err(Refusal::MessageIllegal(
            "the batch holds no message".to_owned(),
        ));
    }
    Ok(LaidOut {
        waits,
        message_type,
        elsewhere: None,
        recall_handle: None,
    })
}

/// A topic whose messages are kept by their last key takes none without. Java lets those of a batch pass
/// and then does not keep them.
fn require_key(send: &Send, own: &Seen, of_batch: &Seen) -> Result<(), Refusal> {
    if own.key || of_batch.key || !is_compacted(&send.topic.attributes) {
        return Ok(());
    }
    Err(Refusal::MessageIllegal(
        "Required message key is missing".to_owned(),
    ))
}

/// What a batch or one of its messages can't ask for.
fn refuse_in_batch(seen: &Seen) -> Result<(), Refusal> {
    let illegal = |what: &str| {
        Err(Refusal::MessageIllegal(format!(
            "the message is illegal: one of a batch is {what}"
        )))
    };
    match seen {
        Seen { half: true, .. } => illegal("transactional"),
        Seen { delayed: true, .. } => illegal("delayed (DELAY)"),
        Seen { timed: true, .. } => illegal("delayed (TIMER_*)"),
        _ => Ok(()),
    }
}

/// Lays out one message, given as flag, body and properties, for a topic and queue.
fn lay_out(
    broker: &Broker,
    send: &Send,
    (topic, queue_id): (&str, i32),
    (flag, body, text): (i32, &[u8], &[u8]),
    records: &mut Vec<u8>,
) -> Result<(), Refusal> {
    if body.len() > send.config.max_message_size {
        return Err(too_large(send, body.len()));
    }
    if body.is_empty() {
        // As in Java, where no body and a body of no bytes are the same on the wire.
        return Err(Refusal::MessageIllegal(
            "the message is illegal: its body is empty".to_owned(),
        ));
    }
    let header = &send.header;
    let multi_tags = if send.topic.topic_filter_type == topics::MULTI_TAG {
        sys_flag::MULTI_TAGS
    } else {
        0
    };
    let fields = RecordFields {
        topic,
        queue_id,
        flag,
        sys_flag: (header.sys_flag & !sys_flag::TRANSACTION_MASK) | multi_tags,
        born_timestamp: header.born_timestamp,
        born_host: send.born_host,
        store_host: broker.store_host(),
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
        body,
        properties: text,
    };
    fields.encode(records).map_err(|error| match error {
        RecordError::TooLong { .. } => Refusal::MessageIllegal(format!(
            "the message is illegal, maybe msg body or properties length not matched: {error}"
        )),
        other => Refusal::System(other.to_string()),
    })?;
    Ok(())
}

fn too_large(send: &Send, size: usize) -> Refusal {
    let max = send.config.max_message_size;
    Refusal::MessageIllegal(format!(
        "the message is illegal, maybe msg body or properties length not matched. msg body length limit {max}B, msg properties length limit 32KB. The body has {size} bytes."
    ))
}

/// What one pass over a message's properties finds.
#[derive(Default)]
struct Seen {
    unique_key: bool,
    key: bool,
    does_not_wait: bool,
    delayed: bool,
    timed: bool,
    strip: bool,
    half: bool,
    ordered: bool,
}

impl Seen {
    fn in_properties(text: &[u8]) -> Self {
        let mut seen = Seen::default();
        for (name, value) in properties::iter(text) {
            match name {
                properties::UNIQ_KEY => seen.unique_key = true,
                properties::KEYS => seen.key = !value.trim().is_empty(),
                properties::WAIT if value.eq_ignore_ascii_case("false") => {
                    seen.does_not_wait = true;
                    seen.strip = true;
                }
                properties::POP_CK
                | properties::MSG_REGION
                | properties::TRACE_ON
                | properties::INNER_NUM
                | properties::INNER_BASE => seen.strip = true,
                properties::DELAY if value.parse::<i32>().is_ok_and(|level| level > 0) => {
                    seen.delayed = true;
                }
                properties::TIMER_DELAY_SEC
                | properties::TIMER_DELAY_MS
                | properties::TIMER_DELIVER_MS => seen.timed = true,
                properties::SHARDING_KEY => seen.ordered = true,
                properties::TRAN_MSG => seen.half = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        seen
    }

    /// Source: `BrokerMetricsManager.getMessageType`.
    fn message_type(&self) -> MessageType {
        match self {
            Seen { half: true, .. } => MessageType::Transaction,
            Seen { ordered: true, .. } => MessageType::Fifo,
            Seen { delayed: true, .. } | Seen { timed: true, .. } => MessageType::Delay,
            _ => MessageType::Normal,
        }
    }
}

/// Answers now, or when the flush has caught up.
fn answer(broker: &Arc<Broker>, send: &Send, stored: Stored, responder: Responder) {
    let Stored {
        appended,
        elsewhere,
        recall_handle,
        size,
        waits,
        message_type,
    } = stored;
    let messages = appended.messages;
    send.topic.counts.incoming.add(message_type, messages, size);
    match &elsewhere {
        Some(elsewhere) => broker.stats.stored(&elsewhere.topic, messages, size),
        None => broker.stats.stored_in(&send.topic.counts, messages, size),
    }
    let mut success = responder.response(response::SUCCESS);
    let ids = MessageIds {
        store_host: broker.store_host(),
        physical_offsets: &appended.physical_offsets,
    };
    success.ext.put_shown("msgId", ids);
    success.ext.put_number("queueId", send.queue_id);
    success.ext.put_number("queueOffset", appended.queue_offset);
    if let Some(key) = inner_batch::unique_key(send) {
        // It tells the producer that there is one id for all messages.
        success.ext.put("batchUniqId", key);
    }
    if let Some(id) = elsewhere.and_then(|elsewhere| elsewhere.transaction_id) {
        success.ext.put("transactionId", id);
    }
    let config = &send.config;
    if let Some(handle) = recall_handle {
        success.ext.put("recallHandle", handle);
    }
    success.ext.put(properties::MSG_REGION, &config.region_id);
    success.ext.put(properties::TRACE_ON, trace_on(config));
    if waits && config.broker_role == BrokerRole::SyncMaster {
        // It is stored, and who asked for a second copy is told that there is nobody to keep one.
        success.code = response::SLAVE_NOT_AVAILABLE;
    }
    if !waits || !broker.flushes_in_sync() {
        return responder.answer(success);
    }
    let refuser = broker.clone();
    let done = move |durability: Durability| match durability {
        Durability::Durable => responder.answer(success),
        Durability::TimedOut => {
            success.code = response::FLUSH_DISK_TIMEOUT;
            responder.answer(success);
        }
        Durability::Failed(reason) => refuser.refuse(responder, AppendError::LogStopped { reason }),
    };
    broker
        .store
        .when_durable(appended.end_offset, Box::new(done));
}

/// Message ids of all records of one append, as an answer lists them.
struct MessageIds<'a> {
    store_host: SocketAddr,
    physical_offsets: &'a [i64],
}

impl fmt::Display for MessageIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, &physical_offset) in self.physical_offsets.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            let id = MessageId {
                store_host: self.store_host,
                physical_offset,
            };
            id.fmt(f)?;
        }
        Ok(())
    }
}
