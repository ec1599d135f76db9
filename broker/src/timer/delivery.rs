//! From the wheel to the messages' topics.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use sluice_protocol::message::record::PROPERTIES_SIZE_MAX;
use sluice_protocol::message::{Record, properties};
use sluice_protocol::topic::{TIMER_TOPIC, TRANS_HALF_TOPIC};
use sluice_store::timer::{Slot, TimerEntry, magic};

use super::filing::message;
use super::{QUEUE, State, Timer};
use crate::copies::{self, Copy};
use crate::{Broker, BrokerError};

/// Messages delivered before a round looks round.
const DELIVERED_MAX: usize = 5_000;
/// Entries of one slot that are held in memory; the others are read again when these are delivered.
const WAITING_MAX: usize = 200_000;

/// When an entry is due, and where it lies in the timer log: the order of delivery.
type Key = (i64, i64);

/// Recalls of one message.
#[derive(Debug)]
struct Recalls {
    /// Under which they are counted as waiting.
    topic: String,
    count: i64,
    /// Messages that they kept from being delivered.
    kept: i64,
}

/// The slot that is being delivered.
#[derive(Debug)]
pub(super) struct OpenSlot {
    pub(super) time_ms: i64,
    waiting: BTreeMap<Key, TimerEntry>,
    /// Entries behind this key are not held.
    cut: Option<Key>,
    recalls: HashMap<String, Recalls>,
    /// Where in the log the messages lie that have been delivered.
    pub(super) delivered: Vec<i64>,
}

impl OpenSlot {
    fn new(time_ms: i64) -> OpenSlot {
        OpenSlot {
            time_ms,
            waiting: BTreeMap::new(),
            cut: None,
            recalls: HashMap::new(),
            delivered: Vec::new(),
        }
    }

    /// Takes one more in that has just been filed.
    pub(super) fn add(
        &mut self,
        position: i64,
        entry: TimerEntry,
        topic: &str,
        recalls: Option<String>,
    ) {
        match recalls.filter(|_| entry.magic & magic::ROLL == 0) {
            Some(key) => self.recall(key, topic.to_owned()),
            None => self.hold((entry.time_ms() + 1, position), entry),
        }
    }

    fn recall(&mut self, key: String, topic: String) {
        let none = Recalls {
            topic,
            count: 0,
            kept: 0,
        };
        self.recalls.entry(key).or_insert(none).count += 1;
    }

    fn hold(&mut self, key: Key, entry: TimerEntry) {
        if self.cut.is_none_or(|cut| key <= cut) {
            self.waiting.insert(key, entry);
        }
    }

    /// Holds what is due first, if all would be too many.
    fn hold_first(&mut self, key: Key, entry: TimerEntry) {
        self.hold(key, entry);
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_last();
            self.cut = self.waiting.last_key_value().map(|(key, _)| *key);
        }
    }
}

impl Timer {
    /// Delivers what is due. Answers when the next message may be, Unix milliseconds.
    pub(super) fn deliver_due(
        &self,
        broker: &Broker,
        state: &mut State,
        now_ms: i64,
    ) -> Result<i64, BrokerError> {
        let mut left = DELIVERED_MAX;
        loop {
            if state.open.is_none() {
                let next = self.wheel.next(state.read_ms)?;
                let Some(slot) = next.filter(|slot| slot.time_ms <= now_ms) else {
                    self.move_on(state, self.wheel.tick(now_ms));
                    return Ok(next.map_or(i64::MAX, |slot| slot.time_ms));
                };
                self.move_on(state, slot.time_ms);
                self.open_slot(broker, state, slot)?;
            }
            if let Some(next_ms) = self.deliver_open(broker, state, now_ms, &mut left)? {
                return Ok(next_ms);
            }
            if state.filed_to < state.rolled_to {
                return Ok(now_ms);
            }
        }
    }

    fn move_on(&self, state: &mut State, read_ms: i64) {
        state.read_ms = state.read_ms.max(read_ms);
        if state.read_ms > state.done_up_to_ms {
            state.done.clear();
        }
    }

    fn open_slot(&self, broker: &Broker, state: &mut State, slot: Slot) -> Result<(), BrokerError> {
        let mut open = OpenSlot::new(slot.time_ms);
        self.read_chain(broker, state, &mut open, slot.last, None)?;
        if state.done.is_empty() {
            state.copies_from = broker.store.log_end();
        }
        state.open = Some(open);
        Ok(())
    }

    /// Reads the entries of a slot, or those behind a key.
    fn read_chain(
        &self,
        broker: &Broker,
        state: &mut State,
        open: &mut OpenSlot,
        last: i64,
        after: Option<Key>,
    ) -> Result<(), BrokerError> {
        let mut position = last;
        while position >= 0 {
            let Some((entry, _)) = state.log.entry(position)? else {
                tracing::error!(
                    position,
                    slot = open.time_ms,
                    "the timer log has no entry here"
                );
                break;
            };
            if entry.magic & (magic::DELETE | magic::ROLL) == magic::DELETE {
                if after.is_none()
                    && let Some((key, topic)) = recalled(broker, entry.physical)?
                {
                    open.recall(key, topic);
                }
            } else {
                let due_ms = match entry.exact {
                    true => entry.time_ms() + 1,
                    false => open.time_ms + self.wheel.precision_ms(),
                };
                let key = (due_ms, position);
                if after.is_none_or(|after| key > after) {
                    open.hold_first(key, entry);
                }
            }
            // Java's chains, too, go backwards only.
            position = match entry.previous < position {
                true => entry.previous,
                false => -1,
            };
        }
        Ok(())
    }

    /// Delivers from the open slot; `None` when it is done.
    fn deliver_open(
        &self,
        broker: &Broker,
        state: &mut State,
        now_ms: i64,
        left: &mut usize,
    ) -> Result<Option<i64>, BrokerError> {
        let Some(mut open) = state.open.take() else {
            return Ok(None);
        };
        let delivered = self.deliver_waiting(broker, state, &mut open, now_ms, left);
        let next_ms = match delivered {
            Ok(next_ms) => next_ms,
            Err(error) => {
                state.open = Some(open);
                return Err(error);
            }
        };
        let end_ms = open.time_ms + self.wheel.precision_ms();
        if next_ms.is_some() || end_ms > now_ms {
            // More may come to the slot of now.
            state.open = Some(open);
            return Ok(Some(next_ms.unwrap_or(end_ms)));
        }
        for recalls in open.recalls.values() {
            self.pending
                .add(&recalls.topic, recalls.count - recalls.kept);
        }
        self.wheel.finish(open.time_ms);
        self.move_on(state, end_ms);
        Ok(None)
    }

    /// Delivers what is due of a slot; answers when the next is, `None` when all are.
    fn deliver_waiting(
        &self,
        broker: &Broker,
        state: &mut State,
        open: &mut OpenSlot,
        now_ms: i64,
        left: &mut usize,
    ) -> Result<Option<i64>, BrokerError> {
        loop {
            let Some((&key, &entry)) = open.waiting.first_key_value() else {
                let Some(cut) = open.cut else {
                    return Ok(None);
                };
                self.read_behind(broker, state, open, cut)?;
                continue;
            };
            if key.0 > now_ms || *left == 0 {
                return Ok(Some(key.0));
            }
            *left -= 1;
            if !state.done.contains(&entry.physical) {
                let delivered = self.deliver(broker, state, open, &entry, now_ms)?;
                open.delivered.extend(delivered.then_some(entry.physical));
            }
            open.waiting.pop_first();
        }
    }

    /// Reads the entries of the open slot behind a key; on an error it stays as it was.
    fn read_behind(
        &self,
        broker: &Broker,
        state: &mut State,
        open: &mut OpenSlot,
        cut: Key,
    ) -> Result<(), BrokerError> {
        open.cut = None;
        let slot = self.wheel.slot(open.time_ms);
        let read = slot.map_err(BrokerError::from).and_then(|slot| {
            let last = slot.map_or(-1, |slot| slot.last);
            self.read_chain(broker, state, open, last, Some(cut))
        });
        if read.is_err() {
            open.waiting.clear();
            open.cut = Some(cut);
        }
        read
    }

    /// Stores a message under its own topic, or again in the timer's. What can't be delivered at all
    /// is left where it lies. Answers whether anything was stored.
    fn deliver(
        &self,
        broker: &Broker,
        state: &mut State,
        open: &mut OpenSlot,
        entry: &TimerEntry,
        now_ms: i64,
    ) -> Result<bool, BrokerError> {
        let at = entry.physical;
        let Some(bytes) = message(broker, at)? else {
            return Ok(false);
        };
        let record = Record::parse(&bytes)
            .ok()
            .filter(|record| record.topic() == TIMER_TOPIC);
        let Some(record) = record else {
            tracing::error!(at, "no delayed message lies where the timer log says");
            return Ok(false);
        };
        let place = record.property(properties::REAL_TOPIC).zip(
            record
                .property(properties::REAL_QID)
                .and_then(|id| id.parse().ok()),
        );
        let Some((topic, queue_id)) = place.filter(|(topic, _)| !is_kept_from(topic)) else {
            tracing::error!(at, "a delayed message does not say where it goes");
            return Ok(false);
        };
        let rolls = entry.magic & magic::ROLL != 0;
        if !rolls && is_recalled(open, topic, &record) {
            return Ok(false);
        }
        let counts = if entry.magic & magic::DELETE != 0 {
            1
        } else {
            -1
        };
        self.pending.add(topic, counts);
        let (to, queue_id) = match rolls {
            true => (TIMER_TOPIC, QUEUE),
            false => (topic, queue_id),
        };
        let text = passed(&record, entry, rolls, now_ms);
        let copy = Copy {
            topic: to,
            queue_id,
            sys_flag: record.sys_flag(),
            reconsume_times: record.reconsume_times(),
            properties: &text,
        };
        match broker.append_copy(&record, copy) {
            Ok(appended) => {
                if rolls {
                    state.rolled_to = appended.end_offset;
                }
                broker.stats.stored(to, 1, record.size());
                Ok(true)
            }
            Err(error) if copies::is_hopeless(&error) => {
                tracing::error!(at, topic = to, %error, "a delayed message can't be stored under its topic");
                Ok(false)
            }
            Err(error) => {
                self.pending.add(topic, -counts);
                Err(BrokerError::Config(error.to_string()))
            }
        }
    }

    /// Leaves of the open slot only what is still to be delivered: Java knows no other way to tell.
    pub(super) fn shut_slot(&self, broker: &Broker, state: &mut State) -> Result<(), BrokerError> {
        let partly = |open: &OpenSlot| !open.delivered.is_empty() && open.cut.is_none();
        if !state.open.as_ref().is_some_and(partly) {
            return Ok(());
        }
        self.save(broker, state)?;
        let Some(mut open) = state.open.take() else {
            return Ok(());
        };
        let mut slot = Slot {
            time_ms: open.time_ms,
            first: -1,
            last: -1,
            count: 0,
        };
        for mut entry in std::mem::take(&mut open.waiting).into_values() {
            if self.is_over(broker, state, &mut open, &entry)? {
                continue;
            }
            let position = state.log.make_room()?;
            entry.previous = slot.last;
            state.log.append(&entry);
            slot.first = if slot.first < 0 { position } else { slot.first };
            slot.last = position;
            slot.count += 1;
        }
        if slot.count > 0 {
            self.keep_entries(state, 0)?;
            self.wheel.put(slot);
        } else {
            self.wheel.finish(open.time_ms);
            self.move_on(state, open.time_ms + self.wheel.precision_ms());
        }
        Ok(())
    }

    /// Whether a message that waits is recalled, or was delivered before the start.
    fn is_over(
        &self,
        broker: &Broker,
        state: &State,
        open: &mut OpenSlot,
        entry: &TimerEntry,
    ) -> Result<bool, BrokerError> {
        if state.done.contains(&entry.physical) {
            return Ok(true);
        }
        if open.recalls.is_empty() || entry.magic & magic::ROLL != 0 {
            return Ok(false);
        }
        let bytes = message(broker, entry.physical)?;
        let record = bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        Ok(record.is_some_and(|record| {
            let topic = record.property(properties::REAL_TOPIC);
            topic.is_some_and(|topic| is_recalled(open, topic, &record))
        }))
    }
}

/// Half messages are put by transactions alone.
fn is_kept_from(topic: &str) -> bool {
    topic == TRANS_HALF_TOPIC || topic == TIMER_TOPIC
}

/// What a recall recalls, and its own topic.
fn recalled(broker: &Broker, physical: i64) -> Result<Option<(String, String)>, BrokerError> {
    let Some(bytes) = message(broker, physical)? else {
        return Ok(None);
    };
    let record = Record::parse(&bytes).ok();
    Ok(record.and_then(|record| {
        let key = record.property(properties::TIMER_DEL_UNIQKEY)?;
        let topic = record.property(properties::REAL_TOPIC)?;
        Some((key.to_owned(), topic.to_owned()))
    }))
}

fn is_recalled(open: &mut OpenSlot, topic: &str, record: &Record<'_>) -> bool {
    if open.recalls.is_empty() {
        return false;
    }
    let key = record.property(properties::UNIQ_KEY);
    let recall = key.and_then(|key| open.recalls.get_mut(&format!("{topic}+{key}")));
    recall.is_some_and(|recalls| {
        recalls.kept += 1;
        true
    })
}

/// The properties of a message that leaves the timer.
///
/// Source: `TimerMessageStore.convert`.
fn passed<'a>(record: &Record<'a>, entry: &TimerEntry, rolls: bool, now_ms: i64) -> Cow<'a, [u8]> {
    let rolled: u64 = record
        .property(properties::TIMER_ROLL_TIMES)
        .and_then(|times| times.parse().ok())
        .unwrap_or(0);
    let mut replaced = vec![properties::TIMER_ENQUEUE_MS, properties::TIMER_DEQUEUE_MS];
    replaced.extend(rolls.then_some(properties::TIMER_ROLL_TIMES));
    let mut text = properties::without(record.properties(), &replaced);
    properties::put(
        &mut text,
        properties::TIMER_ENQUEUE_MS,
        &entry.written_ms.to_string(),
    );
    if rolls {
        let times = rolled.saturating_add(1).to_string();
        properties::put(&mut text, properties::TIMER_ROLL_TIMES, &times);
    }
    properties::put(&mut text, properties::TIMER_DEQUEUE_MS, &now_ms.to_string());
    match text.len() > PROPERTIES_SIZE_MAX {
        // The message matters more than what is said of its wait.
        true => Cow::Borrowed(record.properties()),
        false => Cow::Owned(text),
    }
}
