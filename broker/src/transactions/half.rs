//! Half messages as they lie in `RMQ_SYS_TRANS_HALF_TOPIC`, and what becomes of them.

use sluice_protocol::message::{Record, properties, sys_flag};
use sluice_protocol::topic::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC, perm};
use sluice_store::{AppendError, Appended};

use super::ledger::Half;
use crate::copies::{self, Copy};
use crate::error::Refusal;
use crate::{Broker, BrokerConfig, deferral};

/// The id of the transaction: the message's own unique key.
const TRANSACTION_ID: &str = "__transactionId__";
/// Seconds before the first check; -1 is the broker's `transactionTimeOut`.
const CHECK_IMMUNITY: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// How often the producer has been asked.
const CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";

/// Makes the properties of a message those of a half message of it.
pub(crate) fn prepare(text: &mut Vec<u8>, topic: &str, queue_id: i32) {
    let replaced = [TRANSACTION_ID, properties::REAL_TOPIC, properties::REAL_QID];
    let mut half = properties::without(text, &replaced);
    if let Some(id) = properties::find(text, properties::UNIQ_KEY) {
        properties::put(&mut half, TRANSACTION_ID, id);
    }
    properties::put(&mut half, properties::REAL_TOPIC, topic);
    properties::put(&mut half, properties::REAL_QID, &queue_id.to_string());
    *text = half;
}

/// Topic and queue that a half message is for.
pub(crate) fn destination<'a>(half: &Record<'a>) -> (&'a str, i32) {
    let topic = half.property(properties::REAL_TOPIC).unwrap_or_default();
    let queue_id = half.property(properties::REAL_QID);
    (topic, queue_id.and_then(|id| id.parse().ok()).unwrap_or(0))
}

/// The producer group of a half message.
pub(crate) fn group<'a>(half: &Record<'a>) -> &'a str {
    half.property(properties::PGROUP).unwrap_or_default()
}

/// Milliseconds between storing and the first check, if the message says so itself.
pub(crate) fn immunity_ms(half: &Record<'_>, config: &BrokerConfig) -> Option<i64> {
    let seconds = half.property(CHECK_IMMUNITY)?;
    let timeout = config.transaction_time_out;
    Some(match seconds.parse::<i64>() {
        Ok(-1) | Err(_) => timeout,
        Ok(seconds) => seconds.max(0).saturating_mul(1000),
    })
}

/// What is remembered of a half message. Its times are counted by this broker's clock, from when
/// it was stored; Java counts from when the producer, by its own clock, made it.
pub(super) fn remembered(half: &Record<'_>, config: &BrokerConfig) -> Half {
    let checks: u32 = half
        .property(CHECK_TIMES)
        .and_then(|times| times.parse().ok())
        .unwrap_or(0);
    let timeout = config.transaction_time_out;
    let wait = match checks {
        0 => immunity_ms(half, config).unwrap_or(timeout),
        _ => config.transaction_check_interval,
    };
    Half {
        physical: half.physical_offset(),
        due_ms: half.store_timestamp().saturating_add(wait),
        since_ms: half.store_timestamp(),
        checks,
        group: group(half).into(),
    }
}

/// The properties of a half message after so many checks.
pub(super) fn after_checks(half: &Record<'_>, checks: u32) -> Vec<u8> {
    let mut text = properties::without(half.properties(), &[CHECK_TIMES]);
    if checks > 0 {
        properties::put(&mut text, CHECK_TIMES, &checks.to_string());
    }
    text
}

impl Broker {
    /// The message that a half message was for; its properties stay all there, as Java leaves them.
    ///
    /// # Errors
    /// It could not be stored, or asks for a time that it can't have.
    pub(super) fn append_committed(&self, half: &Record<'_>) -> Result<Appended, Refusal> {
        let (topic, queue_id) = destination(half);
        let mut text = half.properties().to_vec();
        let deferred = deferral::defer(self, topic, queue_id, &mut text)?;
        let place = deferred.as_ref();
        let (topic, queue_id) =
            place.map_or((topic, queue_id), |place| (&*place.topic, place.queue_id));
        let appended = self.append_copy(
            half,
            Copy {
                topic,
                queue_id,
                sys_flag: half.sys_flag() | sys_flag::TRANSACTION_COMMIT,
                reconsume_times: half.reconsume_times(),
                properties: &text,
            },
        )?;
        self.stats.stored(topic, 1, half.size());
        Ok(appended)
    }

    /// The half message at the end of its queue, after so many checks.
    pub(super) fn append_again(
        &self,
        half: &Record<'_>,
        checks: u32,
    ) -> Result<Appended, AppendError> {
        self.append_half(half, TRANS_HALF_TOPIC, &after_checks(half, checks))
    }

    /// A half message nobody decided, among those for an operator to look at.
    pub(super) fn append_given_up(&self, half: &Record<'_>) -> Result<Appended, AppendError> {
        self.ensure_topic(TRANS_CHECK_MAX_TIME_TOPIC, 1, perm::READ | perm::WRITE);
        self.append_half(half, TRANS_CHECK_MAX_TIME_TOPIC, half.properties())
    }

    fn append_half(
        &self,
        half: &Record<'_>,
        topic: &str,
        properties: &[u8],
    ) -> Result<Appended, AppendError> {
        let copy = Copy {
            topic,
            queue_id: super::QUEUE,
            sys_flag: half.sys_flag() & !sys_flag::TRANSACTION_MASK,
            reconsume_times: half.reconsume_times(),
            properties,
        };
        self.append_copy(half, copy)
    }

    /// The queue offsets at which a half message lay before it was put again; empty for most.
    pub(super) fn former_places(&self, half: &Record<'_>) -> Vec<i64> {
        let mut places = Vec::new();
        let mut at = half.physical_offset();
        let mut source = copies::source_of(half);
        // A source lies before its copy, so this ends whatever the log says.
        while let Some(before) = source.filter(|before| *before < at) {
            at = before;
            let Some(bytes) = self.store.record_at(at) else {
                break;
            };
            let Some(record) = Record::parse(&bytes).ok().filter(is_half) else {
                break;
            };
            places.push(record.queue_offset());
            source = copies::source_of(&record);
        }
        places
    }
}

/// Whether a record lies in the half queue.
pub(crate) fn is_half(record: &Record<'_>) -> bool {
    record.topic() == TRANS_HALF_TOPIC && record.queue_id() == super::QUEUE
}
