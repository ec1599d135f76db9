//! The records that a message leaves behind.

use bytes::Bytes;
use serde::Serialize;
use sluice_protocol::message::{Record, properties, sys_flag};
use sluice_protocol::topic::{
    DLQ_PREFIX, RETRY_PREFIX, SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC,
    TRANS_HALF_TOPIC,
};

use crate::{Broker, copies, dead_letters, timer};

/// A record of a message.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    /// Its offset message id.
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) queue_offset: i64,
    pub(super) stored_ms: i64,
    /// How often it had come back.
    pub(super) reconsume_times: i32,
    /// The group whose retry or dead letter it is.
    pub(super) group: Option<String>,
    /// Of what waits: where it goes then, when, and whether it has.
    pub(super) to: Option<String>,
    pub(super) due_ms: Option<i64>,
    pub(super) done: Option<bool>,
    /// Of a dead letter: why.
    pub(super) reason: Option<String>,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    Message,
    Committed,
    Delayed,
    Half,
    GivenUp,
    Retry,
    DeadLetter,
    /// A dead letter that an operator sent again.
    Resent,
}

impl Broker {
    /// What a record of a message of the topic `home` is.
    pub(super) fn place(&self, record: &Record<'_>, home: &str) -> Place {
        let kind = match self.is_resent(record) {
            true => Kind::Resent,
            false => kind(record),
        };
        let waits = matches!(kind, Kind::Delayed | Kind::Half);
        let to = record.property(properties::REAL_TOPIC).filter(|_| waits);
        let group = group_in(record.topic(), home).or_else(|| group_in(to?, home));
        let reason = record.property(dead_letters::REASON);
        Place {
            id: record.message_id().to_string(),
            kind,
            topic: record.topic().to_owned(),
            queue_id: record.queue_id(),
            queue_offset: record.queue_offset(),
            stored_ms: record.store_timestamp(),
            reconsume_times: record.reconsume_times(),
            group: group.map(str::to_owned),
            due_ms: self.due_ms(record),
            done: self.is_done(record),
            reason: reason
                .filter(|_| kind == Kind::DeadLetter)
                .map(str::to_owned),
            to: to.map(str::to_owned),
        }
    }

    fn is_resent(&self, record: &Record<'_>) -> bool {
        let is_letter = |bytes: Bytes| {
            Record::parse(&bytes).is_ok_and(|source| source.topic().starts_with(DLQ_PREFIX))
        };
        let source = copies::source_of(record).and_then(|source| self.store.record_at(source));
        source.is_some_and(is_letter)
    }

    /// When a message that waits is due.
    fn due_ms(&self, record: &Record<'_>) -> Option<i64> {
        match record.topic() {
            SCHEDULE_TOPIC => {
                let (queue, offset) = (record.queue_id(), record.queue_offset());
                let unit = self.store.unit_at(SCHEDULE_TOPIC, queue, offset)?;
                Some(unit.tags_code)
            }
            TIMER_TOPIC => {
                let out_ms = record.property(properties::TIMER_OUT_MS)?.parse().ok()?;
                Some(timer::due_ms(self, out_ms))
            }
            _ => None,
        }
    }

    /// Whether what it waited for has come; `None`: it does not wait, or only its copies can tell.
    fn is_done(&self, record: &Record<'_>) -> Option<bool> {
        match record.topic() {
            SCHEDULE_TOPIC => {
                let offsets = self.delay_levels.offsets();
                let next = offsets.get(&(record.queue_id() + 1));
                Some(next.is_some_and(|next| *next > record.queue_offset()))
            }
            TRANS_HALF_TOPIC => {
                let id = record.property(properties::UNIQ_KEY)?;
                let undecided = self.undecided_by_id(id);
                Some(undecided.is_none_or(|(half, _)| half.half_offset != record.queue_offset()))
            }
            _ => None,
        }
    }
}

/// The topic that a message was sent to, whichever of its records this is.
pub(super) fn home<'a>(record: &Record<'a>) -> &'a str {
    let said = record.property(properties::RETRY_TOPIC);
    let real = record.property(properties::REAL_TOPIC);
    match record.topic() {
        topic if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) => {
            said.unwrap_or(topic)
        }
        topic @ (SCHEDULE_TOPIC | TIMER_TOPIC | TRANS_HALF_TOPIC | TRANS_CHECK_MAX_TIME_TOPIC) => {
            match real {
                Some(real) if real.starts_with(RETRY_PREFIX) => said.unwrap_or(real),
                Some(real) => real,
                None => topic,
            }
        }
        topic => topic,
    }
}

/// The group to whose retries or dead letters a topic belongs, of messages of the topic `home`.
pub(super) fn group_in<'a>(topic: &'a str, home: &str) -> Option<&'a str> {
    if let Some(group) = topic.strip_prefix(DLQ_PREFIX) {
        return Some(group);
    }
    let group = topic.strip_prefix(RETRY_PREFIX)?;
    let of_pops = group.strip_suffix(home);
    let of_pops = of_pops.and_then(|rest| rest.strip_suffix(['_', '+']));
    Some(of_pops.unwrap_or(group))
}

fn kind(record: &Record<'_>) -> Kind {
    match record.topic() {
        SCHEDULE_TOPIC | TIMER_TOPIC => Kind::Delayed,
        TRANS_HALF_TOPIC => Kind::Half,
        TRANS_CHECK_MAX_TIME_TOPIC => Kind::GivenUp,
        topic if topic.starts_with(RETRY_PREFIX) => Kind::Retry,
        topic if topic.starts_with(DLQ_PREFIX) => Kind::DeadLetter,
        _ if record.sys_flag() & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_COMMIT => {
            Kind::Committed
        }
        _ => Kind::Message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_and_letters_name_their_group() {
        assert_eq!(group_in("%RETRY%g", "t"), Some("g"));
        assert_eq!(group_in("%RETRY%g_t", "t"), Some("g"));
        assert_eq!(group_in("%RETRY%g+t", "t"), Some("g"));
        assert_eq!(group_in("%RETRY%g_u", "t"), Some("g_u"));
        assert_eq!(group_in("%DLQ%g", "t"), Some("g"));
        assert_eq!(group_in("t", "t"), None);
    }
}
