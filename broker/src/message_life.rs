//! One message's way through this broker, read from the log, the queues and the groups' offsets.
//!
//! A message leaves records behind: itself, where it waited before it could be read, and a copy for each
//! time that a group gave it back. All have its unique key, so the index finds them. Nothing is written
//! down for this: what only deliveries could tell, nobody knows.

mod groups;
mod place;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;
use sluice_protocol::message::{MessageId, Record, properties};
use sluice_protocol::topic::{
    DLQ_PREFIX, RETRY_PREFIX, SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC,
    TRANS_HALF_TOPIC,
};

use self::groups::OfGroup;
use self::place::{Kind, Place, group_in, home};
use crate::Broker;
use crate::error::Refusal;
use crate::http::content::Content;
use crate::pop::names;

/// Messages that one key shows.
const SHOWN_MAX: usize = 32;
/// Records that one query of the index gives.
const FOUND_MAX: usize = 64;
/// Topics in which a key is looked for when none is named.
const TOPICS_MAX: usize = 10_000;
/// Groups of which is told what they made of the message.
const GROUPS_MAX: usize = 100;

/// Messages that were asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Lives {
    messages: Vec<Life>,
    /// There are more with that key.
    more: bool,
}

/// A message, and what became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Life {
    #[serde(flatten)]
    record: Place,
    unique_key: Option<String>,
    tags: Option<String>,
    keys: Option<String>,
    born_ms: i64,
    born_host: String,
    store_host: String,
    body_size: usize,
    #[serde(flatten)]
    content: Content,
    state: State,
    /// All records of it that are kept, in the order in which they were stored.
    way: Vec<Place>,
    groups: Vec<OfGroup>,
    /// Groups that are not shown.
    groups_left_out: usize,
}

/// What a message is now, whatever groups made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    /// Consumers can read it.
    Readable,
    /// It waits for its time.
    Delayed,
    /// Its producer has not decided.
    Half,
    /// Its producer took it back, or what was committed is no longer kept.
    RolledBack,
    /// Its producer was asked in vain.
    GivenUp,
    /// The message itself is no longer kept, only copies of it.
    Expired,
}

impl Broker {
    /// What became of the messages with an id: an offset message id, a unique key, or a key; one that is
    /// no offset message id is looked for in `topic`, or everywhere. Reads a disk.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn lives(&self, id: &str, topic: Option<&str>) -> Result<Lives, Refusal> {
        if let Some(bytes) = self.message_by_offset_id(id) {
            return Ok(Lives {
                messages: self.life(&bytes).into_iter().collect(),
                more: false,
            });
        }
        let found = self.messages_by_key(id, topic)?;
        if found.is_empty() {
            return Err(Refusal::NotFound(self.not_found(id, topic)));
        }
        Ok(Lives {
            more: found.len() > SHOWN_MAX,
            messages: found
                .iter()
                .take(SHOWN_MAX)
                .filter_map(|bytes| self.life(bytes))
                .collect(),
        })
    }

    fn message_by_offset_id(&self, id: &str) -> Option<Bytes> {
        let id: MessageId = id.parse().ok()?;
        let bytes = self.store.message_at(id.physical_offset)?;
        let record = Record::parse(&bytes).ok()?;
        (record.store_host() == id.store_host).then(|| bytes.clone())
    }

    fn not_found(&self, id: &str, topic: Option<&str>) -> String {
        let place = match topic {
            Some(topic) => format!("of topic {topic} "),
            None => String::new(),
        };
        let text = format!("no message {place}has the id or key {id:?}");
        let expired = id.parse::<MessageId>().is_ok_and(|id| {
            id.store_host == self.store_host() && id.physical_offset < self.store.log_start()
        });
        match expired {
            true => format!("{text}; as an offset it lies before what is kept"),
            false => text,
        }
    }

    /// One record of each message with the key: the message itself, if it is kept.
    fn messages_by_key(&self, key: &str, topic: Option<&str>) -> Result<Vec<Bytes>, Refusal> {
        let topics: Vec<String> = match topic {
            Some(topic) => vec![topic.to_owned()],
            None => self.topics.all().into_keys().collect(),
        };
        if topics.len() > TOPICS_MAX {
            let text = format!("there are {} topics: say in which it is", topics.len());
            return Err(Refusal::InvalidParameter(text));
        }
        let mut found: BTreeMap<String, (bool, i64, Bytes)> = BTreeMap::new();
        for topic in &topics {
            for bytes in self.records_with(topic, key) {
                let Ok(record) = Record::parse(&bytes) else {
                    continue;
                };
                let own = record.property(properties::UNIQ_KEY);
                let own = own.map_or_else(|| record.message_id().to_string(), str::to_owned);
                // The message before its copies, the first before others.
                let rank = (home(&record) != record.topic(), record.physical_offset());
                let best = found.get(&own);
                if best.is_none_or(|(copy, offset, _)| rank < (*copy, *offset)) {
                    found.insert(own, (rank.0, rank.1, bytes.clone()));
                }
            }
        }
        Ok(found.into_values().map(|(_, _, bytes)| bytes).collect())
    }

    /// Records of a topic that have the key; the index alone may err.
    fn records_with(&self, topic: &str, key: &str) -> Vec<Bytes> {
        let mut found = self
            .store
            .query_by_key(topic, key, FOUND_MAX, 0, i64::MAX)
            .records;
        found.retain(|bytes| {
            Record::parse(bytes).is_ok_and(|record| record.topic() == topic && record.has_key(key))
        });
        found
    }

    fn life(&self, bytes: &Bytes) -> Option<Life> {
        let record = Record::parse(bytes).ok()?;
        let home = home(&record);
        let mut groups = self.offsets.groups_of(home);
        groups.extend(self.consumers.subscribers_of(home));
        groups.extend(group_in(record.topic(), home).map(str::to_owned));
        let groups_left_out = groups.len().saturating_sub(GROUPS_MAX);
        let groups: BTreeSet<String> = groups.into_iter().take(GROUPS_MAX).collect();
        let records = self.records_of(&record, bytes, home, &groups);
        let parsed = records.iter().filter_map(|bytes| Record::parse(bytes).ok());
        let way: Vec<Place> = parsed.map(|record| self.place(&record, home)).collect();
        let itself = records.iter().find_map(|bytes| {
            let record = Record::parse(bytes).ok()?;
            (record.topic() == home).then_some(record)
        });
        let text = |name: &str| record.property(name).map(str::to_owned);
        Some(Life {
            record: self.place(&record, home),
            unique_key: text(properties::UNIQ_KEY),
            tags: text(properties::TAGS),
            keys: text(properties::KEYS),
            born_ms: record.born_timestamp(),
            born_host: record.born_host().to_string(),
            store_host: record.store_host().to_string(),
            body_size: record.body().len(),
            content: Content::of(&record),
            state: state(itself.is_some(), &way),
            groups: groups
                .into_iter()
                .map(|group| self.of_group(group, itself.as_ref(), &way))
                .collect(),
            groups_left_out,
            way,
        })
    }

    /// All that is kept of a message, in the order of the log.
    fn records_of(
        &self,
        record: &Record<'_>,
        bytes: &Bytes,
        home: &str,
        groups: &BTreeSet<String>,
    ) -> Vec<Bytes> {
        let Some(key) = record.property(properties::UNIQ_KEY) else {
            return vec![bytes.clone()];
        };
        let own = [
            home,
            SCHEDULE_TOPIC,
            TIMER_TOPIC,
            TRANS_HALF_TOPIC,
            TRANS_CHECK_MAX_TIME_TOPIC,
        ];
        let mut topics: Vec<String> = own.map(str::to_owned).into();
        for group in groups {
            topics.extend([
                format!("{RETRY_PREFIX}{group}"),
                names::retry_topic(home, group, false),
                names::retry_topic(home, group, true),
                format!("{DLQ_PREFIX}{group}"),
            ]);
        }
        let there = topics
            .iter()
            .filter(|topic| self.topics.get(topic).is_some());
        let mut records: BTreeMap<i64, Bytes> = BTreeMap::new();
        records.insert(record.physical_offset(), bytes.clone());
        for bytes in there.flat_map(|topic| self.records_with(topic, key)) {
            if let Ok(found) = Record::parse(&bytes)
                && found.property(properties::UNIQ_KEY) == Some(key)
            {
                records.insert(found.physical_offset(), bytes.clone());
            }
        }
        records.into_values().collect()
    }
}

fn state(is_kept: bool, way: &[Place]) -> State {
    let waits = |kind| {
        way.iter()
            .any(|place| place.kind == kind && place.done != Some(true))
    };
    let first = way.iter().find(|place| place.group.is_none());
    match first.map(|place| place.kind) {
        _ if is_kept => State::Readable,
        Some(_) if waits(Kind::Half) => State::Half,
        Some(Kind::Delayed) if waits(Kind::Delayed) => State::Delayed,
        Some(_) if way.iter().any(|place| place.kind == Kind::GivenUp) => State::GivenUp,
        Some(Kind::Half) => State::RolledBack,
        _ => State::Expired,
    }
}
