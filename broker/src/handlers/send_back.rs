//! CONSUMER_SEND_MSG_BACK (36): a consumer could not handle a message and wants it again later.

use std::sync::Arc;

use bytes::Bytes;
use sluice_plugins::World;
use sluice_protocol::body::SubscriptionGroupConfig;
use sluice_protocol::code::response;
use sluice_protocol::header::ConsumerSendMsgBackRequestHeader;
use sluice_protocol::message::{MessageId, Record, inner_batch, properties, sys_flag};
use sluice_protocol::topic::{self, perm};
use sluice_protocol::{RemotingCommand, version};
use sluice_remoting::Responder;
use sluice_store::Durability;

use crate::clients::Seat;
use crate::copies::Copy;
use crate::dead_letters::Reason;
use crate::deferral::{self, Deferred};
use crate::error::Refusal;
use crate::{Broker, consume_hooks, shares, topics};

/// The level of the first retry: 10 s in the default table.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Stores the message among the group's retries or its dead letters; answers when that is as durable as
/// promised, for the group then goes on past it.
///
/// Source: `AbstractSendMessageProcessor.consumerSendMsgBack`.
pub fn consumer_send_msg_back(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    let header = match ConsumerSendMsgBackRequestHeader::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return broker.refuse(responder, error),
    };
    let says_max = request.version >= version::V3_4_9;
    let seat = broker.seat(&header.group, responder.connection().id());
    broker.aside(responder, move |broker, responder| {
        match store(broker, &header, says_max, &seat) {
            Ok(None) => succeed(responder),
            Ok(Some(end)) => answer_when_durable(broker, end, responder),
            Err(refusal) => broker.refuse(responder, refusal),
        }
    });
}

fn succeed(responder: Responder) {
    let success = responder.response(response::SUCCESS);
    responder.answer(success);
}

fn answer_when_durable(broker: &Arc<Broker>, end: i64, responder: Responder) {
    let refuser = broker.clone();
    let done = move |durability: Durability| match durability {
        Durability::Durable => succeed(responder),
        Durability::TimedOut => {
            refuser.refuse(responder, Refusal::System("FLUSH_DISK_TIMEOUT".to_owned()))
        }
        Durability::Failed(reason) => refuser.refuse(responder, Refusal::System(reason)),
    };
    broker.store.when_durable(end, Box::new(done));
}

/// Where the log ends behind what was stored; `None` when the group wants no retries at all.
fn store(
    broker: &Broker,
    header: &ConsumerSendMsgBackRequestHeader,
    says_max: bool,
    seat: &Seat,
) -> Result<Option<i64>, Refusal> {
    let group = broker
        .groups
        .get(&header.group)
        .ok_or_else(|| Refusal::GroupNotExist(header.group.to_string()))?;
    let config = broker.config();
    if config.broker_permission & perm::WRITE == 0 {
        return Err(Refusal::NoPermission(format!(
            "the broker[{}] sending message is forbidden",
            config.broker_ip1
        )));
    }
    if group.retry_queue_nums <= 0 {
        return Ok(None);
    }
    let retry_topic = writable_retry_topic(broker, &group, header.unit_mode)?;
    let bytes = broker.store.message_at(header.offset).ok_or_else(|| {
        Refusal::System(format!("look message by offset failed, {}", header.offset))
    })?;
    let bytes = sent_back(bytes, header.origin_msg_id.as_deref())?;
    let record = Record::parse(&bytes).map_err(|error| Refusal::System(error.to_string()))?;
    let said = header.max_reconsume_times.filter(|_| says_max);
    let max = said.unwrap_or(group.retry_max_times);
    let end = if header.delay_level < 0 || record.reconsume_times() >= max {
        let reason = match header.delay_level < 0 {
            true => Reason::SentByConsumer,
            false => Reason::Exhausted(max),
        };
        broker.bury_retried(&header.group, &record, reason)?
    } else {
        let level = match header.delay_level {
            0 => FIRST_RETRY_LEVEL.saturating_add(record.reconsume_times()),
            level => level,
        };
        put_back(broker, &record, &retry_topic, level, seat)?
    };
    let first_topic = record.property(properties::RETRY_TOPIC);
    let first_topic = first_topic.unwrap_or(record.topic());
    broker.stats.sent_back(first_topic, &header.group);
    if broker.plugins.has_any(World::ConsumeHook) {
        consume_hooks::after(broker, &header.group, &record);
    }
    Ok(Some(end))
}

/// The message that comes back: of an inner batch, which has one place in the log, the one whose id the
/// client says. Java refuses those; its clients then send the message to the retry topic themselves.
fn sent_back(bytes: Bytes, id: Option<&str>) -> Result<Bytes, Refusal> {
    let record = Record::parse(&bytes).map_err(|error| Refusal::System(error.to_string()))?;
    if !inner_batch::is_packed(&record) {
        return Ok(bytes);
    }
    let messages = inner_batch::unwrap(&record).unwrap_or_default();
    let wanted = |one: &Vec<u8>| {
        let key = Record::parse(one).ok();
        key.is_some_and(|one| id.is_some() && one.property(properties::UNIQ_KEY) == id)
    };
    let found = messages.into_iter().find(wanted);
    found.map(Bytes::from).ok_or_else(|| {
        Refusal::System(format!(
            "MESSAGE_ILLEGAL: the inner batch at {} has no message with the id {id:?}",
            record.physical_offset()
        ))
    })
}

/// The group's retry topic, made if need be.
///
/// # Errors
/// It can't be written to.
pub(crate) fn writable_retry_topic(
    broker: &Broker,
    group: &SubscriptionGroupConfig,
    unit_mode: bool,
) -> Result<Retries, Refusal> {
    let name = format!("{}{}", topic::RETRY_PREFIX, group.group_name);
    // The group may come from a file that nobody has checked.
    let queues = group.retry_queue_nums.min(topics::QUEUES_MAX);
    if broker.topics.get(&name).is_none() {
        let mut wanted = topics::plain(&name, queues, perm::READ | perm::WRITE);
        wanted.topic_sys_flag = if unit_mode {
            topic::SYS_FLAG_UNIT_SUB
        } else {
            0
        };
        if broker.topics.create(wanted, broker.now_ms()) {
            broker.changes.note_topic();
        }
    }
    let writable = broker
        .topics
        .get(&name)
        .is_some_and(|topic| topic.perm & perm::WRITE != 0);
    if !writable {
        return Err(Refusal::NoPermission(format!(
            "the topic[{name}] sending message is forbidden"
        )));
    }
    Ok(Retries { name, queues })
}

/// A group's retry topic.
pub(crate) struct Retries {
    pub(crate) name: String,
    pub(crate) queues: i32,
}

/// Stores the message for its next delivery, which waits a level's delay.
pub(crate) fn put_back(
    broker: &Broker,
    record: &Record<'_>,
    retries: &Retries,
    level: i32,
    seat: &Seat,
) -> Result<i64, Refusal> {
    let mut text = retried_properties(record);
    if let Seat::Share(share) = seat {
        text = shares::mark(&text, share);
    }
    properties::put(&mut text, properties::DELAY, &level.to_string());
    let queue_id = rand::random_range(0..retries.queues);
    let deferred = deferral::defer(broker, &retries.name, queue_id, &mut text)?;
    let place = deferred.unwrap_or(Deferred {
        topic: retries.name.clone(),
        queue_id,
    });
    let copy = Copy {
        topic: &place.topic,
        queue_id: place.queue_id,
        sys_flag: record.sys_flag() & !sys_flag::TRANSACTION_MASK,
        reconsume_times: record.reconsume_times().saturating_add(1),
        properties: &text,
    };
    let appended = broker.append_copy(record, copy)?;
    broker.stats.stored(&place.topic, 1, record.size());
    Ok(appended.end_offset)
}

/// Properties of a message that comes back: where it was first, and its first id.
pub(crate) fn retried_properties(record: &Record<'_>) -> Vec<u8> {
    let replaced = [
        properties::WAIT,
        properties::DELAY,
        properties::REAL_TOPIC,
        properties::REAL_QID,
        properties::RETRY_TOPIC,
        properties::ORIGIN_MESSAGE_ID,
        // Of another group, or of before the group was split.
        shares::RETRY_SHARE,
    ];
    let mut text = properties::without(record.properties(), &replaced);
    let id = MessageId {
        store_host: record.store_host(),
        physical_offset: record.physical_offset(),
    }
    .to_string();
    let first_topic = record
        .property(properties::RETRY_TOPIC)
        .unwrap_or(record.topic());
    let first_id = record
        .property(properties::ORIGIN_MESSAGE_ID)
        .unwrap_or(&id);
    properties::put(&mut text, properties::RETRY_TOPIC, first_topic);
    properties::put(&mut text, properties::ORIGIN_MESSAGE_ID, first_id);
    properties::put(&mut text, properties::WAIT, "false");
    text
}
