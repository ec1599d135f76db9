//! Retries that a consumer sends itself: an orderly consumer that gives a message up, or any whose
//! CONSUMER_SEND_MSG_BACK failed, sends it to its group's retry topic as an ordinary message.

use bytestring::ByteString;
use sluice_protocol::message::properties;
use sluice_protocol::topic;

use crate::clients::Seat;
use crate::dead_letters::{self, Reason};
use crate::error::Refusal;
use crate::send_hooks::Incoming;
use crate::{Broker, shares};

/// Marks a retry with the share that sends it, and turns one that came once too often into a dead letter. While
/// the group holds a queue lock it
/// consumes in order and has retried the message already: then each is one.
///
/// Source: `SendMessageProcessor.handleRetryAndDLQ`.
///
/// # Errors
/// There is no such group.
pub(crate) fn admit(
    broker: &Broker,
    mut incoming: Incoming,
    connection: u64,
) -> Result<Incoming, Refusal> {
    let header = &mut incoming.header;
    let Some(group) = header.topic.strip_prefix(topic::RETRY_PREFIX) else {
        return Ok(incoming);
    };
    let known = broker
        .groups
        .get(group)
        .ok_or_else(|| Refusal::GroupNotExist(group.to_owned()))?;
    let max = header.max_reconsume_times.unwrap_or(known.retry_max_times);
    let seat = broker.seat(group, connection);
    let holds = |reader: &String| broker.locks.holds_any(reader, broker.now_ms());
    let in_order = match &seat {
        Seat::Group => broker.locks.holds_any(group, broker.now_ms()),
        Seat::Share(share) => holds(&share.name),
        Seat::Nowhere => broker.offsets.shares_of(group).iter().any(holds),
    };
    if header.reconsume_times <= max && !in_order {
        if let Seat::Share(share) = &seat {
            let marked = shares::mark(header.properties.as_bytes(), share);
            header.properties = text(marked)?;
        }
        return Ok(incoming);
    }
    let reason = Reason::Exhausted(max).to_string();
    tracing::info!(group, times = header.reconsume_times, reason, "dead letter");
    let before = header.properties.as_bytes();
    let mut letter = properties::without(before, &[properties::DELAY, dead_letters::REASON]);
    properties::put(&mut letter, dead_letters::REASON, &reason);
    for (name, from) in [
        (dead_letters::ORIGIN_TOPIC, properties::RETRY_TOPIC),
        (
            dead_letters::ORIGIN_MESSAGE_ID,
            properties::ORIGIN_MESSAGE_ID,
        ),
    ] {
        if let Some(value) = properties::find(before, from) {
            letter = properties::without(&letter, &[name]);
            properties::put(&mut letter, name, value);
        }
    }
    header.properties = text(letter)?;
    header.topic = broker.letters_of(group).into();
    header.queue_id = 0;
    Ok(incoming)
}

fn text(properties: Vec<u8>) -> Result<ByteString, Refusal> {
    ByteString::try_from(properties)
        .map_err(|_| Refusal::MessageIllegal("its properties are not UTF-8".to_owned()))
}
