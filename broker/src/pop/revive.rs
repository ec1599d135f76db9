//! What is not acked in time comes back: it goes to the group's retry topic, or, when it has come
//! back often enough, to the group's dead letters.
//!
//! Check points are read from the revive topic and held until all their messages are acked or have
//! come back; the stored offset of [`names::REVIVE_GROUP`] is that of the last one of the done ones at
//! the front, as Java has it. Java's timer brings check points and acks into the topic when they are
//! due; one that lies there earlier waits here.

use std::collections::{BTreeMap, HashMap};

use sluice_protocol::body::{PopAck, PopCheckPoint};
use sluice_protocol::message::record::PROPERTIES_SIZE_MAX;
use sluice_protocol::message::{Record, properties, sys_flag};
use sluice_protocol::topic::{DLQ_PREFIX, RETRY_PREFIX, perm};
use sluice_store::{AppendError, ReadRequest, ReadStatus, RecordFilter};

use super::names;
use super::records::{self, Entry};
use crate::Broker;
use crate::copies::Copy;
use crate::dead_letters::Reason;
use crate::error::BrokerError;
use crate::error::Refusal;

/// How long after its time a message comes back at the earliest: acks of the last moment have come
/// by then. Java waits as long.
const SETTLE_MS: i64 = 2000;
/// Records read in one go.
const READ_MAX: usize = 1024;
const READ_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Topic, group, queue id, start, time and broker of a pop.
type Key = (String, String, i32, i64, i64, String);

/// Check points that are not done, by queue of the revive topic.
#[derive(Debug, Default)]
pub(crate) struct Revival {
    lines: Vec<Line>,
    /// Copies that the log held at the start and no stored offset tells of: source and topic, and how
    /// many.
    copied: HashMap<(i64, String), u32>,
    /// Topics were made for copies, and not written for certain.
    made_topics: bool,
}

/// One queue of the revive topic.
#[derive(Debug)]
struct Line {
    id: i32,
    /// Next record to read.
    next: i64,
    /// Where the queue ended at the start: only check points before it may have copies in the log.
    recovered: i64,
    held: BTreeMap<i64, Held>,
    by_key: HashMap<Key, i64>,
}

#[derive(Debug)]
struct Held {
    point: PopCheckPoint,
    done: bool,
    /// Where its first copy lies in the log.
    first_copy: Option<i64>,
}

/// A message that is popped and not acked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// Where it was popped from, perhaps a retry topic.
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    /// When it comes back.
    pub(crate) due_ms: i64,
}

/// Everything passes.
struct All;

impl RecordFilter for All {
    fn matches_tags_code(&self, _: i64) -> bool {
        true
    }
}

fn key(point: &PopCheckPoint) -> Key {
    (
        point.topic.clone(),
        point.group.clone(),
        point.queue_id,
        point.start_offset,
        point.pop_time,
        point.broker_name.clone(),
    )
}

impl Revival {
    /// Takes note of the copies that the log holds from a position on.
    pub(crate) fn recover(&mut self, broker: &Broker, since: Option<i64>) {
        let topic = names::revive_topic(&broker.config().broker_cluster_name);
        self.lines = (0..broker.revive_queues())
            .map(|id| {
                let bounds = broker.bounds(&topic, id);
                let stored = broker.offsets.get(names::REVIVE_GROUP, &topic, id);
                Line {
                    id,
                    next: stored.map_or(0, |offset| offset + 1).max(bounds.min),
                    recovered: bounds.max,
                    held: BTreeMap::new(),
                    by_key: HashMap::new(),
                }
            })
            .collect();
        let Some(since) = since else { return };
        for copied in broker.copies_since(since) {
            let Ok(record) = Record::parse(&copied.record) else {
                continue;
            };
            if record.topic().starts_with(RETRY_PREFIX) || record.topic().starts_with(DLQ_PREFIX) {
                let key = (copied.source, record.topic().to_owned());
                *self.copied.entry(key).or_default() += 1;
            }
        }
    }

    /// Reads what is new, and lets come back what is due.
    pub(crate) fn round(&mut self, broker: &Broker) {
        let topic = names::revive_topic(&broker.config().broker_cluster_name);
        // With acks unread, what looks due may be acked.
        let now = broker.now_ms();
        // Java's acks may still wait in the timer.
        let caught_up = broker.has_timer_passed(now - SETTLE_MS) && broker.store.catch_up();
        for line in &mut self.lines {
            let before = line.next;
            let read = line.read(broker, &topic) && caught_up;
            if line.next != before || line.is_due(now) {
                broker.pop.touch();
            }
            let topics = &mut self.made_topics;
            if read && let Err(error) = line.revive(broker, now, &mut self.copied, topics) {
                tracing::error!(queue = line.id, %error, "messages can't come back, trying again");
            }
        }
        let recovering = |line: &Line| {
            let first = line.held.first_key_value();
            first.map_or(line.next, |(offset, _)| *offset) < line.recovered
        };
        if !self.lines.iter().any(recovering) {
            self.copied = HashMap::new();
        }
    }

    /// Check points that are not done, and how long the oldest that is due has waited, milliseconds.
    pub(crate) fn backlog(&self, now: i64) -> (u64, u64) {
        let held = || {
            let all = self.lines.iter().flat_map(|line| line.held.values());
            all.filter(|held| !held.done)
        };
        let due = held().map(|held| held.point.revive_time.saturating_add(SETTLE_MS));
        let lag = due.min().map_or(0, |due| now.saturating_sub(due));
        (held().count() as u64, lag.max(0) as u64)
    }

    /// Messages that a group has popped, and that are neither acked nor back, as of the last round.
    pub(crate) fn in_flight(&self, group: &str) -> Vec<InFlight> {
        let held = self.lines.iter().flat_map(|line| line.held.values());
        held.filter(|held| !held.done && held.point.group == group)
            .flat_map(|held| {
                let point = &held.point;
                open(point).map(|at| InFlight {
                    topic: point.topic.clone(),
                    queue_id: point.queue_id,
                    offset: records::offset_at(point, at),
                    due_ms: point.revive_time,
                })
            })
            .collect()
    }

    /// Group, topic and number of messages of each pop that is not over, as of the last round.
    pub(crate) fn all_in_flight(&self) -> impl Iterator<Item = (&str, &str, i64)> {
        let held = self.lines.iter().flat_map(|line| line.held.values());
        held.filter(|held| !held.done).map(|held| {
            let point = &held.point;
            (&*point.group, &*point.topic, open(point).count() as i64)
        })
    }

    /// Writes the topics that copies lie in.
    ///
    /// # Errors
    /// They can't be written: what lies in them must be found again.
    pub(crate) fn save_topics(&mut self, broker: &Broker) -> Result<(), BrokerError> {
        if self.made_topics {
            broker.topics.save()?;
            self.made_topics = false;
        }
        Ok(())
    }

    /// Stores how far it is; answers from which position on the log may hold copies that these
    /// offsets do not tell of. The log must be synced up to `log_end`, and no round have run since.
    pub(crate) fn commit(&self, broker: &Broker, log_end: i64) -> i64 {
        let topic = names::revive_topic(&broker.config().broker_cluster_name);
        let mut since = log_end;
        for line in &self.lines {
            let first = line.held.first_key_value();
            let done = first.map_or(line.next, |(offset, _)| *offset) - 1;
            let stored = broker.offsets.get(names::REVIVE_GROUP, &topic, line.id);
            if done >= 0 && stored != Some(done) {
                broker
                    .offsets
                    .commit(names::REVIVE_GROUP, &topic, line.id, done);
            }
            let copies = line.held.values().filter_map(|held| held.first_copy);
            since = copies.fold(since, i64::min);
        }
        // What was found at the start and is not accounted for yet must be found again.
        match self.copied.keys().map(|(source, _)| *source).min() {
            Some(source) => since.min(source),
            None => since,
        }
    }
}

impl Line {
    /// Reads to the end of the queue; whether it got there.
    fn read(&mut self, broker: &Broker, topic: &str) -> bool {
        loop {
            let request = ReadRequest {
                topic,
                queue_id: self.id,
                offset: self.next,
                max_messages: READ_MAX,
                max_bytes: READ_SIZE_MAX,
            };
            let read = broker.store.read(&request, &All);
            match read.status {
                ReadStatus::Found => {}
                ReadStatus::Unreadable | ReadStatus::Held => return false,
                ReadStatus::OffsetTooSmall
                | ReadStatus::OffsetFoundNull
                | ReadStatus::MessageWasRemoving
                    if read.next_begin_offset > self.next =>
                {
                    self.next = read.next_begin_offset;
                    continue;
                }
                ReadStatus::OffsetOverflowBadly => {
                    self.next = read.max_offset;
                    return true;
                }
                _ => return true,
            }
            for bytes in &read.records {
                if let Ok(record) = Record::parse(bytes) {
                    self.take(&record);
                }
            }
            self.next = read.next_begin_offset;
        }
    }

    fn is_due(&self, now: i64) -> bool {
        self.held.values().any(|held| held.is_due(now))
    }

    fn take(&mut self, record: &Record<'_>) {
        match records::read(record) {
            Some(Entry::CheckPoint(point)) => {
                let offset = record.queue_offset();
                if let Some(older) = self.by_key.insert(key(&point), offset) {
                    // The same pop once more replaces the first, as in Java.
                    self.finish(older);
                }
                let held = Held {
                    point,
                    done: false,
                    first_copy: None,
                };
                self.held.insert(offset, held);
            }
            Some(Entry::Ack(ack)) => self.ack(&ack),
            None => {}
        }
        self.drop_done();
    }

    fn ack(&mut self, ack: &PopAck) {
        let key = (
            ack.topic.clone(),
            ack.group.clone(),
            ack.queue_id,
            ack.start_offset,
            ack.pop_time,
            ack.broker_name.clone(),
        );
        let Some(offset) = self.by_key.get(&key).copied() else {
            return;
        };
        let Some(held) = self.held.get_mut(&offset) else {
            return;
        };
        for acked in records::offsets(ack) {
            if let Some(at) = records::position_of(&held.point, *acked) {
                held.point.bit_map |= 1 << at;
            }
        }
        if open(&held.point).next().is_none() {
            self.by_key.remove(&key);
            self.finish(offset);
        }
    }

    fn finish(&mut self, offset: i64) {
        if let Some(held) = self.held.get_mut(&offset) {
            held.done = true;
        }
    }

    fn drop_done(&mut self) {
        while let Some(first) = self.held.first_entry()
            && first.get().done
        {
            first.remove();
        }
    }

    fn revive(
        &mut self,
        broker: &Broker,
        now: i64,
        copied: &mut HashMap<(i64, String), u32>,
        made_topics: &mut bool,
    ) -> Result<(), Refusal> {
        let mut outcome = Ok(());
        for (offset, held) in self.held.iter_mut().filter(|(_, held)| held.is_due(now)) {
            // Only what lay there before the start can have been copied before it.
            let mut none = HashMap::new();
            let known = match *offset < self.recovered {
                true => &mut *copied,
                false => &mut none,
            };
            outcome = held.revive(broker, known, made_topics);
            if outcome.is_err() {
                break;
            }
            self.by_key.remove(&key(&held.point));
            held.done = true;
        }
        self.drop_done();
        outcome
    }
}

/// Positions of messages that are not acked.
fn open(point: &PopCheckPoint) -> impl Iterator<Item = usize> {
    let (bits, count) = (point.bit_map, records::count(point));
    (0..count).filter(move |at| bits & (1 << at) == 0)
}

impl Held {
    fn is_due(&self, now: i64) -> bool {
        !self.done && self.point.revive_time.saturating_add(SETTLE_MS) <= now
    }

    fn revive(
        &mut self,
        broker: &Broker,
        copied: &mut HashMap<(i64, String), u32>,
        made_topics: &mut bool,
    ) -> Result<(), Refusal> {
        let (topic, group) = (self.point.topic.clone(), self.point.group.clone());
        let normal = names::normal_topic(&topic, &group);
        // Nobody pops with names that are too long, but anybody may change an invisible time.
        let possible = names::is_possible(&names::retry_topic(normal, &group, false));
        if !possible || broker.topics.get(normal).is_none() || broker.groups.get(&group).is_none() {
            tracing::warn!(
                topic,
                group,
                "popped messages of what is gone do not come back"
            );
            return Ok(());
        }
        for at in open(&self.point).collect::<Vec<_>>() {
            let appended = self.revive_one(broker, at, copied, made_topics)?;
            self.first_copy = self.first_copy.or(appended);
            self.point.bit_map |= 1 << at;
        }
        Ok(())
    }

    /// Where the copy lies, if one was made now.
    fn revive_one(
        &self,
        broker: &Broker,
        at: usize,
        copied: &mut HashMap<(i64, String), u32>,
        made_topics: &mut bool,
    ) -> Result<Option<i64>, Refusal> {
        let point = &self.point;
        let offset = records::offset_at(point, at);
        let request = ReadRequest {
            topic: &point.topic,
            queue_id: point.queue_id,
            offset,
            max_messages: 1,
            max_bytes: 1,
        };
        let read = broker.store.read(&request, &All);
        let record = read
            .records
            .first()
            .and_then(|bytes| Record::parse(bytes).ok());
        let Some(record) = record.filter(|record| record.queue_offset() == offset) else {
            let kept = broker.store.is_kept(&point.topic, point.queue_id, offset);
            // What can't be told may pass.
            if kept.unwrap_or(true) {
                return Err(Refusal::System(format!(
                    "a popped message can't be read: {}@{} offset {offset}",
                    point.topic, point.queue_id
                )));
            }
            tracing::warn!(
                topic = point.topic,
                queue = point.queue_id,
                offset,
                group = point.group,
                "a popped message is no longer kept and does not come back"
            );
            return Ok(None);
        };
        let retries_max = broker
            .groups
            .get(&point.group)
            .map_or(16, |group| group.retry_max_times);
        let dead = record.reconsume_times() >= retries_max;
        let to = match (dead, point.topic.starts_with(RETRY_PREFIX)) {
            (true, _) => format!("{DLQ_PREFIX}{}", point.group),
            (false, true) => point.topic.clone(),
            (false, false) => {
                let v2 = broker.config().enable_retry_topic_v2;
                names::retry_topic(&point.topic, &point.group, v2)
            }
        };
        // A copy that the log holds may be all that is left of its topic.
        if broker.topics.get(&to).is_none() {
            broker.ensure_topic(&to, 1, perm::READ | perm::WRITE);
            *made_topics = true;
        }
        if let Some(count) = copied.get_mut(&(record.physical_offset(), to.clone())) {
            *count -= 1;
            if *count == 0 {
                copied.remove(&(record.physical_offset(), to));
            }
            return Ok(None);
        }
        let before = broker.store.log_end();
        if dead {
            let times = record.reconsume_times().saturating_add(1);
            broker.bury_retried(&point.group, &record, Reason::NotAcked(times))?;
        } else {
            self.put_back(broker, &record, &to)?;
        }
        Ok(Some(before))
    }

    fn put_back(&self, broker: &Broker, record: &Record<'_>, to: &str) -> Result<(), AppendError> {
        if broker.offsets.get(&self.point.group, to, 0).is_none() {
            broker.offsets.commit(&self.point.group, to, 0, 0);
        }
        let mut text = record.properties().to_vec();
        let first = record.property(properties::FIRST_POP_TIME);
        if record.reconsume_times() == 0 || first.is_none() {
            text = properties::without(&text, &[properties::FIRST_POP_TIME]);
            let time = self.point.pop_time.to_string();
            properties::put(&mut text, properties::FIRST_POP_TIME, &time);
        }
        if text.len() > PROPERTIES_SIZE_MAX {
            // That it comes back matters more than when it was popped first.
            text = record.properties().to_vec();
        }
        let copy = Copy {
            topic: to,
            queue_id: 0,
            sys_flag: record.sys_flag() & !sys_flag::TRANSACTION_MASK,
            reconsume_times: record.reconsume_times().saturating_add(1),
            properties: &text,
        };
        broker.append_copy(record, copy)?;
        broker.stats.stored(to, 1, record.size());
        Ok(())
    }
}
