//! Which messages wait for a time of their own, and which are refused.

use sluice_protocol::message::properties;
use sluice_protocol::topic::TIMER_TOPIC;

use super::QUEUE;
use crate::Broker;
use crate::deferral::{Deferred, remember_place};
use crate::error::Refusal;

/// The properties that ask for the timer, the first that is there counts.
const ASKING: [&str; 3] = [
    properties::TIMER_DELAY_SEC,
    properties::TIMER_DELAY_MS,
    properties::TIMER_DELIVER_MS,
];

/// Whether a message is to be delivered at a time of its own. One that has waited already is not.
fn is_asked_for(text: &[u8]) -> bool {
    // One pass for all that ask for nothing: the three share their beginning.
    let asks = text
        .split(|byte| *byte == properties::PROPERTY_SEPARATOR)
        .any(|piece| piece.starts_with(b"TIMER_DEL"));
    let is_there = |name: &&str| properties::find(text, name).is_some();
    asks && ASKING.iter().any(is_there)
        && properties::find(text, properties::TIMER_OUT_MS).is_none()
}

/// When a message is to be delivered, if later than now.
///
/// # Errors
/// The timer is off, the time can't be read or lies too far ahead.
pub(crate) fn check(broker: &Broker, text: &[u8]) -> Result<Option<i64>, Refusal> {
    if !is_asked_for(text) {
        return Ok(None);
    }
    if broker.timer.is_none() {
        return Err(Refusal::System(
            "accurate timer message is not enabled, timerWheelEnable is false".to_owned(),
        ));
    }
    let now_ms = broker.now_ms();
    let max_ms = (broker.config().timer_max_delay_sec as i64).saturating_mul(1000);
    let Some(deliver_ms) = deliver_ms(text, now_ms) else {
        return Err(illegal(max_ms));
    };
    if deliver_ms > now_ms {
        return match deliver_ms.saturating_sub(now_ms) > max_ms {
            true => Err(illegal(max_ms)),
            false => Ok(Some(deliver_ms)),
        };
    }
    match properties::find(text, properties::TIMER_DEL_UNIQKEY) {
        Some(_) => Err(illegal(max_ms)),
        None => Ok(None),
    }
}

fn illegal(max_ms: i64) -> Refusal {
    Refusal::MessageIllegal(format!(
        "timer message illegal, the delay time should not be bigger than the max delay {max_ms}ms; or if set del msg, the delay time should be bigger than the current time"
    ))
}

fn deliver_ms(text: &[u8], now_ms: i64) -> Option<i64> {
    let (name, value) = ASKING
        .iter()
        .find_map(|name| Some((*name, properties::find(text, name)?)))?;
    let number: i64 = value.parse().ok()?;
    Some(match name {
        properties::TIMER_DELAY_SEC => now_ms.saturating_add(number.saturating_mul(1000)),
        properties::TIMER_DELAY_MS => now_ms.saturating_add(number),
        _ => number,
    })
}

/// The timer's queue, for a message that wants to be delivered later; its properties then tell when
/// and where.
///
/// Source: `HookUtils.transformTimerMessage`.
///
/// # Errors
/// See [`check`]; or too many messages wait for the same moment.
pub(crate) fn defer(
    broker: &Broker,
    topic: &str,
    queue_id: i32,
    text: &mut Vec<u8>,
) -> Result<Option<Deferred>, Refusal> {
    let Some(deliver_ms) = check(broker, text)? else {
        return Ok(None);
    };
    let out_ms = out_ms(deliver_ms, broker.config().timer_precision_ms as i64);
    if is_congested(broker, out_ms) {
        return Err(Refusal::System(format!(
            "timer message is under flow control, max num limit is {} or the current value is greater than {} and less than {}, trigger random flow control",
            broker
                .config()
                .timer_congest_num_each_slot
                .saturating_mul(2),
            broker.config().timer_congest_num_each_slot,
            broker
                .config()
                .timer_congest_num_each_slot
                .saturating_mul(2),
        )));
    }
    properties::put(text, properties::TIMER_OUT_MS, &out_ms.to_string());
    remember_place(topic, queue_id, text);
    Ok(Some(Deferred {
        topic: TIMER_TOPIC.to_owned(),
        queue_id: QUEUE,
    }))
}

/// The last moment in the timer: the millisecond before delivery. Java writes the start of its slot
/// and delivers at its end; so it is never one here, lest it be read as Java's.
pub(super) fn out_ms(deliver_ms: i64, precision_ms: i64) -> i64 {
    let out_ms = deliver_ms - 1;
    match out_ms % precision_ms == 0 && precision_ms > 1 {
        true => out_ms + 1,
        false => out_ms,
    }
}

/// When a message with that last moment is due: see [`out_ms`].
pub(super) fn due_ms(out_ms: i64, precision_ms: i64) -> i64 {
    match out_ms % precision_ms {
        0 => out_ms.saturating_add(precision_ms),
        _ => out_ms.saturating_add(1),
    }
}

/// Source: `TimerMessageStore.isReject`.
fn is_congested(broker: &Broker, out_ms: i64) -> bool {
    let most = broker.config().timer_congest_num_each_slot;
    if most >= i32::MAX as u64 {
        return false;
    }
    let slot = broker.timer.as_ref().map(|timer| timer.wheel.slot(out_ms));
    let count = match slot {
        Some(Ok(Some(slot))) => slot.count.max(0) as u64,
        _ => 0,
    };
    count > most && count - most > rand::random_range(0..most.max(1))
}
