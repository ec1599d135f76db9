//! Dead letters as an operator sees them.

use bytes::Bytes;
use serde::Serialize;
use sluice_protocol::message::{MessageId, Record, properties};
use sluice_protocol::topic;
use sluice_store::Boundary;

use super::marks::{Mark, Resent};
use super::{ORIGIN_MESSAGE_ID, ORIGIN_OFFSET, ORIGIN_QUEUE_ID, ORIGIN_TOPIC, REASON};
use crate::Broker;
use crate::error::Refusal;

/// The queue of dead letters: a broker puts none in another, whatever the topic has.
const QUEUE: i32 = 0;
/// Letters that one page looks at; with a key most may be others'.
const SCANNED_MAX: i64 = 10_000;

/// A dead letter.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Letter {
    /// Its offset message id.
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) queue_offset: i64,
    /// When it died, Unix milliseconds.
    pub(crate) died_ms: i64,
    /// Why; unknown of letters that a Java broker made.
    pub(crate) reason: Option<String>,
    /// Where the message was first.
    pub(crate) topic: Option<String>,
    pub(crate) origin_queue_id: Option<i32>,
    pub(crate) origin_offset: Option<i64>,
    pub(crate) origin_id: Option<String>,
    pub(crate) unique_key: Option<String>,
    pub(crate) tags: Option<String>,
    pub(crate) keys: Option<String>,
    /// How often it was tried in vain.
    pub(crate) reconsume_times: i32,
    pub(crate) born_ms: i64,
    pub(crate) born_host: String,
    pub(crate) body_size: usize,
    pub(crate) dropped_ms: Option<i64>,
    pub(crate) resent: Option<Resent>,
}

/// Which letters.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) group: String,
    /// Died at or after, Unix milliseconds.
    pub(crate) from_ms: i64,
    /// Died at or before.
    pub(crate) to_ms: i64,
    /// One of the message's keys, or its unique key.
    pub(crate) key: Option<String>,
    /// Queue offset to begin at.
    pub(crate) start: i64,
    /// Queue offset to end before: letters that come while others are sent again are not among these.
    pub(crate) end: i64,
    /// At most.
    pub(crate) count: usize,
    /// Dropped ones, too.
    pub(crate) all: bool,
}

/// A part of the letters that were asked for, in the order in which they died.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) letters: Vec<Bytes>,
    /// Where the next part begins; `None`: there is none.
    pub(crate) next: Option<i64>,
    /// Where the last part ends, as of now.
    pub(crate) end: i64,
}

/// The letters of one group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfGroup {
    pub(crate) group: String,
    /// How many are kept, dropped ones too.
    pub(crate) letters: i64,
    pub(crate) dropped: usize,
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) newest_ms: Option<i64>,
}

impl Broker {
    /// Groups that have letters, by name, from the one after `after` on, so many at most.
    pub(crate) fn groups_with_letters(&self, after: &str, max: usize) -> Vec<OfGroup> {
        let topics = self.topics.all();
        let names = topics
            .keys()
            .filter_map(|name| name.strip_prefix(topic::DLQ_PREFIX));
        names
            .filter(|group| *group > after)
            .map(|group| self.letter_counts(group))
            .filter(|of_group| of_group.letters > 0)
            .take(max)
            .collect()
    }

    /// How many letters a group has.
    pub(crate) fn letter_counts(&self, group: &str) -> OfGroup {
        let name = format!("{}{group}", topic::DLQ_PREFIX);
        let bounds = self.bounds(&name, QUEUE);
        let time = |offset| self.store.store_timestamp(&name, QUEUE, offset);
        OfGroup {
            group: group.to_owned(),
            letters: bounds.max - bounds.min,
            dropped: self.dead_letters.marks.dropped(group),
            oldest_ms: time(bounds.min),
            newest_ms: time(bounds.max - 1),
        }
    }

    /// A part of a group's letters. Reads a disk.
    ///
    /// # Errors
    /// The queue can't be read.
    pub(crate) fn letters(&self, wanted: &Selection) -> Result<Page, Refusal> {
        let name = format!("{}{}", topic::DLQ_PREFIX, wanted.group);
        let bounds = self.bounds(&name, QUEUE);
        let from = self
            .store
            .offset_by_time(&name, QUEUE, wanted.from_ms, Boundary::Lower)
            .map_err(|error| Refusal::System(error.to_string()))?;
        let mut at = from.max(wanted.start).max(bounds.min);
        let mut page = Page {
            end: bounds.max.min(wanted.end),
            ..Page::default()
        };
        let end = page.end.min(at.saturating_add(SCANNED_MAX));
        while at < end && page.letters.len() < wanted.count {
            let unit = self.store.unit_at(&name, QUEUE, at);
            at += 1;
            let bytes = unit.and_then(|unit| self.store.record_at(unit.physical_offset));
            let Some(bytes) = bytes else { continue };
            let Ok(record) = Record::parse(&bytes) else {
                continue;
            };
            if record.store_timestamp() > wanted.to_ms {
                return Ok(page);
            }
            if wanted.key.as_deref().is_none_or(|key| record.has_key(key))
                && (wanted.all || !self.is_dropped(&record))
            {
                page.letters.push(bytes);
            }
        }
        page.next = (at < page.end).then_some(at);
        Ok(page)
    }

    /// The letter with this id; `None` when no dead letter has it.
    pub(crate) fn letter_by_id(&self, id: &str) -> Option<Bytes> {
        let id: MessageId = id.parse().ok()?;
        let bytes = self.store.message_at(id.physical_offset)?;
        let record = Record::parse(&bytes).ok()?;
        let is_it = record.store_host() == id.store_host && group_of(&record).is_some();
        is_it.then(|| bytes.clone())
    }

    /// What a letter says of itself, and what was done with it; `None` if it is none.
    pub(crate) fn letter(&self, record: &Record<'_>) -> Option<Letter> {
        let Mark {
            dropped_ms, resent, ..
        } = self.dead_letters.marks.of(record).unwrap_or_default();
        let text = |name: &str| record.property(name).map(str::to_owned);
        let origin = self.origin_place(record);
        Some(Letter {
            id: record.message_id().to_string(),
            group: group_of(record)?.to_owned(),
            queue_offset: record.queue_offset(),
            died_ms: record.store_timestamp(),
            reason: text(REASON),
            topic: origin_topic(record).map(str::to_owned),
            origin_queue_id: origin.map(|(queue_id, _)| queue_id),
            origin_offset: origin.map(|(_, offset)| offset),
            origin_id: origin_id(record).map(str::to_owned),
            unique_key: text(properties::UNIQ_KEY),
            tags: text(properties::TAGS),
            keys: text(properties::KEYS),
            reconsume_times: record.reconsume_times(),
            born_ms: record.born_timestamp(),
            born_host: record.born_host().to_string(),
            body_size: record.body().len(),
            dropped_ms,
            resent,
        })
    }

    /// Queue and offset where a message was first: as its letter says, else while it is kept.
    fn origin_place(&self, letter: &Record<'_>) -> Option<(i32, i64)> {
        let said = |name| letter.property(name);
        if let (Some(queue_id), Some(offset)) = (said(ORIGIN_QUEUE_ID), said(ORIGIN_OFFSET)) {
            return Some((queue_id.parse().ok()?, offset.parse().ok()?));
        }
        let id: MessageId = origin_id(letter)?.parse().ok()?;
        if id.store_host != self.store_host() {
            return None;
        }
        let bytes = self.store.message_at(id.physical_offset)?;
        let first = Record::parse(&bytes).ok()?;
        let is_it = Some(first.topic()) == origin_topic(letter);
        is_it.then(|| (first.queue_id(), first.queue_offset()))
    }

    pub(super) fn is_dropped(&self, record: &Record<'_>) -> bool {
        let mark = self.dead_letters.marks.of(record);
        mark.is_some_and(|mark| mark.dropped_ms.is_some())
    }
}

/// Whose dead letter it is.
pub(super) fn group_of<'a>(record: &Record<'a>) -> Option<&'a str> {
    record.topic().strip_prefix(topic::DLQ_PREFIX)
}

fn origin_id<'a>(record: &Record<'a>) -> Option<&'a str> {
    let said = record.property(ORIGIN_MESSAGE_ID);
    said.or_else(|| record.property(properties::ORIGIN_MESSAGE_ID))
}

/// Where it was first; Java says so in the property of retries alone.
pub(super) fn origin_topic<'a>(record: &Record<'a>) -> Option<&'a str> {
    let said = record.property(ORIGIN_TOPIC);
    said.or_else(|| record.property(properties::RETRY_TOPIC))
}
