//! INVOKE_BROKER_TO_RESET_OFFSET (222): moves a group on a topic by time or to an offset.
//!
//! The new offset is stored, and handed out at the queue's next pull, so that it also reaches
//! consumers that are running; parked pulls are woken for it. With `useServerSideResetOffset` off,
//! the running consumers are told instead (220), as brokers did before 5.x.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sluice_protocol::body::{ResetOffsetBody, ResetOffsetBodyForC};
use sluice_protocol::code::request;
use sluice_protocol::header::ResetOffsetRequestHeader;
use sluice_protocol::language::Language;
use sluice_protocol::{RemotingCommand, fastjson};
use sluice_remoting::Responder;
use sluice_store::Boundary;

use crate::error::Refusal;
use crate::{Answer, Broker};

/// Resets one queue or all queues of the topic; the answer lists the new offsets.
pub fn invoke_broker_to_reset_offset(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = ResetOffsetRequestHeader::decode(&request.ext)?;
        let queues = queues(broker, &header)?;
        if broker.config().use_server_side_reset_offset {
            hand_out(broker, &header, queues)
        } else {
            tell_consumers(broker, &header, queues)
        }
    })
}

fn queues(broker: &Broker, header: &ResetOffsetRequestHeader) -> Result<Range<i32>, Refusal> {
    let (group, topic) = (&*header.group, &*header.topic);
    let config = broker
        .topics
        .get(topic)
        .ok_or_else(|| Refusal::NoSuchTopic(format!("Topic {topic} does not exist")))?;
    if broker.groups.get(group).is_none() {
        return Err(Refusal::NoSuchGroup(format!(
            "Group {group} does not exist"
        )));
    }
    let queues = config.read_queue_nums;
    if header.queue_id >= queues {
        return Err(Refusal::InvalidParameter(format!(
            "queueId {} is beyond the topic's {queues} queues",
            header.queue_id
        )));
    }
    if header.queue_id >= 0 {
        Ok(header.queue_id..header.queue_id + 1)
    } else {
        Ok(0..queues)
    }
}

/// Stores the offsets; the next pull of each queue is answered with its own.
fn hand_out(
    broker: &Broker,
    header: &ResetOffsetRequestHeader,
    queues: Range<i32>,
) -> Result<Answer, Refusal> {
    let (group, topic) = (&*header.group, &*header.topic);
    let mut offset_table = BTreeMap::new();
    // Check points of before must not move the queues on after a crash.
    broker
        .save_pops()
        .map_err(|error| Refusal::System(error.to_string()))?;
    let readers = broker.readers(group, topic);
    for queue_id in queues {
        let offset = target(broker, header, queue_id)?;
        for reader in &readers {
            broker.offsets.reset(reader, topic, queue_id, offset);
        }
        offset_table.insert(broker.queue(topic, queue_id), offset);
    }
    broker.long_poll.wake_topic(topic);
    tracing::info!(group, topic, timestamp = header.timestamp, "offsets reset");
    broker.json(&ResetOffsetBody { offset_table })
}

/// Sends the offsets to all connected consumers, who store them. Without force, offsets only go
/// back.
fn tell_consumers(
    broker: &Broker,
    header: &ResetOffsetRequestHeader,
    queues: Range<i32>,
) -> Result<Answer, Refusal> {
    let (group, topic) = (&*header.group, &*header.topic);
    let mut offset_table = BTreeMap::new();
    for queue_id in queues {
        let stored = broker.offsets.get(group, topic, queue_id);
        let stored = stored
            .ok_or_else(|| Refusal::System(format!("THe consumer group <{group}> not exist")))?;
        let wanted = target(broker, header, queue_id)?;
        let offset = if header.is_force {
            wanted
        } else {
            wanted.min(stored)
        };
        offset_table.insert(broker.queue(topic, queue_id), offset);
    }
    let consumers = broker.consumers.get(group).ok_or_else(|| {
        Refusal::ConsumerNotOnline(format!(
            "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {}",
            header.timestamp
        ))
    })?;
    let offsets = ResetOffsetBody { offset_table };
    for member in consumers.members() {
        member
            .connection
            .one_way(push(header, &offsets, member.language)?);
    }
    tracing::info!(
        group,
        topic,
        timestamp = header.timestamp,
        "consumers told to reset offsets"
    );
    broker.json(&offsets)
}

/// The C++ client, and what is built on it, reads a list; all others read Java's map.
fn push(
    header: &ResetOffsetRequestHeader,
    offsets: &ResetOffsetBody,
    language: Language,
) -> Result<RemotingCommand, Refusal> {
    let body = match language {
        Language::Cpp | Language::Python => {
            fastjson::to_vec(&ResetOffsetBodyForC::from(offsets.clone()))
        }
        _ => fastjson::to_vec(offsets),
    };
    let body = body.map_err(|error| Refusal::System(error.to_string()))?;
    let mut command =
        RemotingCommand::request(request::RESET_CONSUMER_CLIENT_OFFSET, 0).with_body(body);
    header.encode(&mut command.ext);
    Ok(command)
}

fn target(
    broker: &Broker,
    header: &ResetOffsetRequestHeader,
    queue_id: i32,
) -> Result<i64, Refusal> {
    let bounds = broker.bounds(&header.topic, queue_id);
    match header.offset {
        Some(offset) if header.queue_id >= 0 && offset >= 0 => {
            if (bounds.min..=bounds.max).contains(&offset) {
                return Ok(offset);
            }
            Err(Refusal::System(format!(
                "Target offset {offset} not in consume queue range [{}-{}]",
                bounds.min, bounds.max
            )))
        }
        _ if header.timestamp < 0 => Ok(bounds.max),
        _ => Ok(broker
            .store
            .offset_by_time(&header.topic, queue_id, header.timestamp, Boundary::Lower)
            .map_err(|error| Refusal::System(error.to_string()))?
            .clamp(bounds.min, bounds.max)),
    }
}
