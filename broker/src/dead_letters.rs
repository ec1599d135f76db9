//! Messages that a group can't have go to its dead letters, `%DLQ%<group>`, and say why.
//!
//! An operator looks at them ([`look`]), sends them again or drops them ([`resend`]), which is written
//! down ([`marks`]).

mod look;
mod marks;
mod resend;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use sluice_protocol::message::record::PROPERTIES_SIZE_MAX;
use sluice_protocol::message::{MessageId, Record, properties, sys_flag};
use sluice_protocol::topic::{self, perm};
use sluice_store::{AppendError, Appended};

pub(crate) use self::look::{Letter, OfGroup, Page, Selection};
pub(crate) use self::marks::Marks;
pub(crate) use self::resend::{AT_ONCE_MAX, Outcome, Resending};
use crate::Broker;
use crate::copies::{self, Copy};
use crate::pop::names;

/// Messages that are remembered as buried lately.
const REMEMBERED_MAX: usize = 10_000;

/// Where a message was first, and where it lay there; the latter two are ours.
pub(crate) const ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
pub(crate) const ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
pub(crate) const ORIGIN_QUEUE_ID: &str = "DLQ_ORIGIN_QUEUE_ID";
pub(crate) const ORIGIN_OFFSET: &str = "DLQ_ORIGIN_OFFSET";
/// Why it is here; ours.
pub(crate) const REASON: &str = "DLQ_REASON";

/// What was buried lately, by group and place in the log: a pull that is asked again because its answer
/// was lost makes no second letter. In doubt there are two.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    lately: Mutex<Lately>,
    marks: Marks,
    /// Held while letters are sent again: of two who send one, the second is to know.
    resending: Mutex<()>,
}

impl DeadLetters {
    pub(crate) fn new(marks: Marks) -> DeadLetters {
        DeadLetters {
            lately: Mutex::default(),
            marks,
            resending: Mutex::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Lately {
    buried: HashSet<(String, i64)>,
    order: VecDeque<(String, i64)>,
}

impl Lately {
    fn note(&mut self, of: (String, i64)) {
        if !self.buried.insert(of.clone()) {
            return;
        }
        self.order.push_back(of);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.buried.remove(&oldest);
        }
    }
}

/// Why a message is a dead letter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reason<'a> {
    /// It came back as often as the group lets it.
    Exhausted(i32),
    /// A consumer asked for it, by a negative delay level.
    SentByConsumer,
    /// It was popped so often and not acked.
    NotAcked(i32),
    /// A plugin with the policy `dead-letter` had no answer.
    Plugin(&'a str),
}

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Exhausted(max) => write!(f, "consumed in vain, at most {max} retries"),
            Reason::SentByConsumer => f.write_str("the consumer gave it up"),
            Reason::NotAcked(times) => write!(f, "popped {times} times and not acked"),
            Reason::Plugin(cause) => write!(f, "plugin: {cause}"),
        }
    }
}

impl Broker {
    /// Stores a copy of a message that a plugin leaves to the group's dead letters. With SYNC_FLUSH it
    /// is synced when this returns.
    ///
    /// # Errors
    /// It could not be stored, so the group must not go on past it.
    pub(crate) fn bury(
        &self,
        group: &str,
        record: &Record<'_>,
        cause: &str,
    ) -> Result<(), AppendError> {
        let of = (group.to_owned(), record.physical_offset());
        if self.dead_letters.lately.lock().buried.contains(&of) {
            return Ok(());
        }
        let times = record.reconsume_times();
        self.append_letter(group, record, times, Reason::Plugin(cause))?;
        if self.flushes_in_sync() && !self.store.flush_once() {
            return Err(AppendError::LogStopped {
                reason: "a dead letter can't be synced".to_owned(),
            });
        }
        self.dead_letters.lately.lock().note(of);
        Ok(())
    }

    /// Stores a copy of a message that came back once too often; where the log ends behind it.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn bury_retried(
        &self,
        group: &str,
        record: &Record<'_>,
        reason: Reason<'_>,
    ) -> Result<i64, AppendError> {
        let times = record.reconsume_times().saturating_add(1);
        let appended = self.append_letter(group, record, times, reason)?;
        tracing::info!(group, topic = record.topic(), times, %reason, "dead letter");
        Ok(appended.end_offset)
    }

    fn append_letter(
        &self,
        group: &str,
        record: &Record<'_>,
        reconsume_times: i32,
        reason: Reason<'_>,
    ) -> Result<Appended, AppendError> {
        let name = self.letters_of(group);
        let text = self.letter_properties(group, record, reason);
        let copy = Copy {
            topic: &name,
            queue_id: 0,
            sys_flag: record.sys_flag() & !sys_flag::TRANSACTION_MASK,
            reconsume_times,
            properties: &text,
        };
        let appended = self.append_copy(record, copy)?;
        self.stats.stored(&name, 1, record.size());
        let origin = record.property(properties::RETRY_TOPIC);
        self.stats.buried(origin.unwrap_or(record.topic()), group);
        Ok(appended)
    }

    /// The topic of a group's dead letters, made if need be.
    pub(crate) fn letters_of(&self, group: &str) -> String {
        let name = format!("{}{group}", topic::DLQ_PREFIX);
        self.ensure_topic(&name, 1, perm::READ | perm::WRITE);
        name
    }

    fn letter_properties<'a>(
        &self,
        group: &str,
        record: &Record<'a>,
        reason: Reason<'_>,
    ) -> Cow<'a, [u8]> {
        let first = self.first_stored(record);
        let first = first.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        let first = first.as_ref().unwrap_or(record);
        // A retry of a pop says where it was by the name of its topic alone.
        let topic = names::normal_topic(record.topic(), group);
        let topic = record.property(properties::RETRY_TOPIC).unwrap_or(topic);
        let first_id = first.message_id().to_string();
        let id = record
            .property(properties::ORIGIN_MESSAGE_ID)
            .unwrap_or(&first_id);
        let mut given = vec![
            (properties::RETRY_TOPIC, topic.to_owned()),
            (properties::ORIGIN_MESSAGE_ID, id.to_owned()),
            (ORIGIN_TOPIC, topic.to_owned()),
            (ORIGIN_MESSAGE_ID, id.to_owned()),
            (REASON, reason.to_string()),
        ];
        // If it is no longer kept, nobody knows where in its topic it was.
        if first.topic() == topic {
            given.push((ORIGIN_QUEUE_ID, first.queue_id().to_string()));
            given.push((ORIGIN_OFFSET, first.queue_offset().to_string()));
        }
        let dropped = [
            properties::WAIT,
            properties::DELAY,
            properties::REAL_TOPIC,
            properties::REAL_QID,
        ];
        let replaced: Vec<&str> = given.iter().map(|(name, _)| *name).chain(dropped).collect();
        let mut text = properties::without(record.properties(), &replaced);
        for (name, value) in &given {
            properties::put(&mut text, name, value);
        }
        if text.len() > PROPERTIES_SIZE_MAX {
            // The letter matters more than what it says of itself.
            return Cow::Borrowed(record.properties());
        }
        Cow::Owned(text)
    }

    /// The message as it was stored at first, as far as this broker still has it: by the id that retries
    /// carry, or from copy to source.
    fn first_stored(&self, record: &Record<'_>) -> Option<Bytes> {
        if let Some(id) = record.property(properties::ORIGIN_MESSAGE_ID) {
            let id: MessageId = id.parse().ok()?;
            return (id.store_host == self.store_host())
                .then(|| self.store.record_at(id.physical_offset))?;
        }
        let mut first = None;
        let mut source = retried_from(record);
        // A source lies before its copy, so this ends.
        while let Some(bytes) = source.and_then(|source| self.store.record_at(source)) {
            source = retried_from(&Record::parse(&bytes).ok()?);
            first = Some(bytes);
        }
        first
    }
}

/// Of what a retry is a copy.
fn retried_from(record: &Record<'_>) -> Option<i64> {
    let source = copies::source_of(record)?;
    let is_retry = record.topic().starts_with(topic::RETRY_PREFIX);
    (is_retry && source < record.physical_offset()).then_some(source)
}
