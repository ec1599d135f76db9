//! QUERY_CONSUMER_OFFSET (14), UPDATE_CONSUMER_OFFSET (15), GET_ALL_CONSUMER_OFFSET (43).

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::ConsumerOffsetSerializeWrapper;
use sluice_protocol::header::{
    QueryConsumerOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use sluice_remoting::Responder;

use crate::clients::Seat;
use crate::error::Refusal;
use crate::{Answer, Broker, shares};

/// The stored offset of a group, or of the share of it that asks. Without one: 0 while the queue's first
/// message is near the log's end, so that a new group on a young topic misses nothing, else "not found" and the
/// client decides.
pub fn query_consumer_offset(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let connection = responder.connection().id();
    broker.reply(responder, || {
        let header = QueryConsumerOffsetRequestHeader::decode(&request.ext)?;
        let (group, topic) = (&*header.consumer_group, &*header.topic);
        let of = |reader: &str| broker.offsets.get(reader, topic, header.queue_id);
        let stored = match broker.seat(group, connection) {
            Seat::Group => of(group),
            Seat::Share(share) => of(&share.name).or_else(|| {
                // On what it reads without having subscribed to it, it begins where the group is.
                (!share.subscriptions.contains_key(topic)).then(|| of(group))?
            }),
            // Told where the group is, it would go on there and store that for its share later.
            Seat::Nowhere => return Err(shares::no_seat(group)),
        };
        if let Some(offset) = stored.filter(|offset| *offset >= 0) {
            return Ok(Answer::field("offset", offset));
        }
        if header.set_zero_if_not_found == Some(false) {
            return Err(Refusal::NotFound(
                "Not found, do not set to zero, maybe this group boot first".to_owned(),
            ));
        }
        let min = broker
            .store
            .queue_bounds(&header.topic, header.queue_id)
            .map_or(0, |bounds| bounds.min);
        if min <= 0 && broker.store.is_near_end(&header.topic, header.queue_id, 0) {
            return Ok(Answer::field("offset", 0));
        }
        Err(Refusal::NotFound(
            "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first".to_owned(),
        ))
    });
}

/// Stores an offset of a group, or of the share of it that asks; while a reset waits to be handed out, the
/// reset stays.
pub fn update_consumer_offset(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    let connection = responder.connection().id();
    broker.reply(responder, || {
        let header = UpdateConsumerOffsetRequestHeader::decode(&request.ext)?;
        let (group, topic) = (&*header.consumer_group, &*header.topic);
        if broker.groups.get(group).is_none() {
            return Err(Refusal::NoSuchGroup(format!("Group {group} not exist!")));
        }
        let Some(config) = broker.topics.get(topic) else {
            return Err(Refusal::NoSuchTopic(format!("Topic {topic} not exist!")));
        };
        let queues = config.read_queue_nums.max(config.write_queue_nums);
        if !(0..queues).contains(&header.queue_id) || header.commit_offset < 0 {
            return Err(Refusal::InvalidParameter(format!(
                "offset {} of queue {} can't be kept: topic {topic} has {queues} queues",
                header.commit_offset, header.queue_id
            )));
        }
        let reader = broker.reader(group, connection)?;
        let is_reset = broker.offsets.has_reset(&reader, topic, header.queue_id);
        if is_reset || broker.is_unled(group, connection, topic, header.queue_id) {
            return Ok(Answer::remark("Offset has been previously reset"));
        }
        broker
            .offsets
            .commit(&reader, topic, header.queue_id, header.commit_offset);
        Ok(Answer::default())
    });
}

/// All offsets of all groups.
pub fn get_all_consumer_offset(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, |broker| {
        let (data_version, offset_table) = broker.offsets.all();
        broker.json(&ConsumerOffsetSerializeWrapper {
            data_version,
            offset_table,
        })
    });
}
