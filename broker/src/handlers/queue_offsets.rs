//! GET_MAX_OFFSET (30), GET_MIN_OFFSET (31), SEARCH_OFFSET_BY_TIMESTAMP (29),
//! GET_EARLIEST_MSG_STORETIME (32).

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::header::{
    GetEarliestMsgStoretimeRequestHeader, GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader,
    SearchOffsetRequestHeader,
};
use sluice_remoting::Responder;
use sluice_store::Boundary;

use crate::error::Refusal;
use crate::{Answer, Broker};

/// Where the queue's next message will stand; 0 for an unknown queue.
pub fn get_max_offset(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply(responder, || {
        let header = GetMaxOffsetRequestHeader::decode(&request.ext)?;
        let bounds = broker.bounds(&header.topic, header.queue_id);
        Ok(Answer::field("offset", bounds.max))
    });
}

/// Where the queue's oldest message stands; 0 for an unknown queue, -1 if it would be a batch consume
/// queue.
pub fn get_min_offset(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply(responder, || {
        let header = GetMinOffsetRequestHeader::decode(&request.ext)?;
        let min = broker.told_min(&header.topic, header.queue_id);
        Ok(Answer::field("offset", min))
    });
}

/// The first message at or after a time, or (`UPPER`) the last at or before it.
pub fn search_offset_by_timestamp(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = SearchOffsetRequestHeader::decode(&request.ext)?;
        let upper = header
            .boundary_type
            .as_deref()
            .is_some_and(|boundary| boundary.eq_ignore_ascii_case("UPPER"));
        let boundary = if upper {
            Boundary::Upper
        } else {
            Boundary::Lower
        };
        let offset = broker
            .store
            .offset_by_time(&header.topic, header.queue_id, header.timestamp, boundary)
            .map_err(|error| Refusal::System(error.to_string()))?;
        Ok(Answer::field("offset", offset))
    });
}

/// When the queue's oldest message was stored; -1 if there is none.
pub fn get_earliest_msg_storetime(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = GetEarliestMsgStoretimeRequestHeader::decode(&request.ext)?;
        let min = broker
            .store
            .queue_bounds(&header.topic, header.queue_id)
            .map(|bounds| bounds.min);
        let timestamp = min.and_then(|min| {
            broker
                .store
                .store_timestamp(&header.topic, header.queue_id, min)
        });
        Ok(Answer::field("timestamp", timestamp.unwrap_or(-1)))
    });
}
