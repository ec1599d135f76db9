//! INVOKE_BROKER_TO_RESET_OFFSET (222): moves a group on a topic by time or to an offset.
//!
//! The new offset is stored, and handed out at the queue's next pull, so that it also reaches
//! consumers that are running; parked pulls are woken for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::ResetOffsetBody;
use sluice_protocol::header::ResetOffsetRequestHeader;
use sluice_remoting::Responder;
use sluice_store::Boundary;

use crate::Broker;
use crate::error::Refusal;

/// Resets one queue or all queues of the topic; the answer lists the new offsets.
pub fn invoke_broker_to_reset_offset(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = ResetOffsetRequestHeader::decode(&request.ext)?;
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
        let queues = if header.queue_id >= 0 {
            header.queue_id..header.queue_id + 1
        } else {
            0..queues
        };
        let mut offset_table = BTreeMap::new();
        for queue_id in queues {
            let offset = target(broker, &header, queue_id)?;
            broker.offsets.reset(group, topic, queue_id, offset);
            offset_table.insert(broker.queue(topic, queue_id), offset);
        }
        broker.long_poll.wake_topic(topic);
        tracing::info!(group, topic, timestamp = header.timestamp, "offsets reset");
        broker.json(&ResetOffsetBody { offset_table })
    });
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
