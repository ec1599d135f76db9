//! Retries that a consumer sends itself: an orderly consumer that gives a message up, or any whose
//! CONSUMER_SEND_MSG_BACK failed, sends it to its group's retry topic as an ordinary message.

use sluice_protocol::message::properties;
use sluice_protocol::topic;

use crate::Broker;
use crate::dead_letters::{self, Reason};
use crate::error::Refusal;
use crate::send_hooks::Incoming;

/// Turns a retry that came once too often into a dead letter. While the group holds a queue lock it
/// consumes in order and has retried the message already: then each is one.
///
/// Source: `SendMessageProcessor.handleRetryAndDLQ`.
///
/// # Errors
/// There is no such group.
pub(crate) fn bury_if_exhausted(
    broker: &Broker,
    mut incoming: Incoming,
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
    let in_order = broker.locks.holds_any(group, broker.now_ms());
    if header.reconsume_times <= max && !in_order {
        return Ok(incoming);
    }
    let reason = Reason::Exhausted(max).to_string();
    tracing::info!(group, times = header.reconsume_times, reason, "dead letter");
    let text = header.properties.as_bytes();
    let mut letter = properties::without(text, &[properties::DELAY, dead_letters::REASON]);
    properties::put(&mut letter, dead_letters::REASON, &reason);
    for (name, from) in [
        (dead_letters::ORIGIN_TOPIC, properties::RETRY_TOPIC),
        (
            dead_letters::ORIGIN_MESSAGE_ID,
            properties::ORIGIN_MESSAGE_ID,
        ),
    ] {
        if let Some(value) = properties::find(text, from) {
            letter = properties::without(&letter, &[name]);
            properties::put(&mut letter, name, value);
        }
    }
    let letter = String::from_utf8(letter);
    header.properties = letter
        .map_err(|_| Refusal::MessageIllegal("its properties are not UTF-8".to_owned()))?
        .into();
    header.topic = broker.letters_of(group).into();
    header.queue_id = 0;
    Ok(incoming)
}
