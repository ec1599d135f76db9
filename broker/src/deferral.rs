//! Where a message goes at first that is not to be delivered at once.
//!
//! Asked for every message on its way into the log but those that are delivered by it: sends, messages
//! that come back, committed transactions.

use sluice_protocol::message::properties;

use crate::error::Refusal;
use crate::{Broker, delay_levels, timer};

/// A queue of the broker's own, where a message waits for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deferred {
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
}

/// Where a message waits for its time, if it is to wait; its properties then tell where it goes after.
///
/// Source: `HookUtils.handleScheduleMessage`.
///
/// # Errors
/// It asks for a time that it can't have.
pub(crate) fn defer(
    broker: &Broker,
    topic: &str,
    queue_id: i32,
    text: &mut Vec<u8>,
) -> Result<Option<Deferred>, Refusal> {
    match delay_levels::defer(broker, topic, queue_id, text) {
        Some(deferred) => Ok(Some(deferred)),
        None => timer::defer(broker, topic, queue_id, text),
    }
}

/// Writes down where a message goes when its time has come.
pub(crate) fn remember_place(topic: &str, queue_id: i32, text: &mut Vec<u8>) {
    *text = properties::without(text, &[properties::REAL_TOPIC, properties::REAL_QID]);
    properties::put(text, properties::REAL_TOPIC, topic);
    properties::put(text, properties::REAL_QID, &queue_id.to_string());
}
