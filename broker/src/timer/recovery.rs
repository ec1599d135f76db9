//! A start: what the files say, ours or Java's, and what the log says beyond them.
//!
//! Our checkpoint: the timer log is cut where the checkpoint says it was synced, slots that were
//! written later are led back behind it, and messages from the checkpoint's queue offset on are filed
//! again. What was delivered meanwhile lies in the log as copies, and is known by their sources.
//!
//! Java's: its last files are read as Java reads them. Java leaves slots that it has read as they are;
//! they are emptied. What lies between its last entry and its queue offset was delivered without an
//! entry if it was late; the rest was lost with a power loss, and is filed again.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use sluice_protocol::message::{Record, properties};
use sluice_protocol::topic::TIMER_TOPIC;
use sluice_store::timer::{ENTRY_SIZE, Slot, TimerEntry, magic};

use super::{QUEUE, State, Timer};
use crate::{Broker, BrokerError};

/// Java hides popped messages no longer, `timerMaxDelaySec`.
const JAVAS_LONGEST_MS: i64 = 3 * 24 * 3_600_000;

impl Broker {
    /// Takes up where the timer was, and writes that down.
    ///
    /// # Errors
    /// A file or the log can't be read or written.
    pub(crate) fn recover_timer(&self) -> Result<(), BrokerError> {
        let Some(timer) = &self.timer else {
            return Ok(());
        };
        let mut state = timer.state.lock();
        let state = &mut *state;
        timer.wheel.sync()?;
        match state.trusted {
            true => {
                state.checkpoint.settle(&state.saved)?;
                timer.take_up(state)?;
            }
            false => timer.take_over(self, state)?,
        }
        let bounds = self.bounds(TIMER_TOPIC, QUEUE);
        state.queue_offset = state.queue_offset.clamp(bounds.min, bounds.max);
        state.started_at = bounds.max;
        let left_until_ms = timer.left_until(state, self.now_ms())?;
        timer.left_until_ms.store(left_until_ms, Ordering::Relaxed);
        timer.find_delivered(self, state);
        // Recalls of before may not be filed yet.
        *timer.recalled_to.lock() = self.store.log_end();
        timer.recount(self, state)?;
        timer.reached_ms.store(state.read_ms, Ordering::Relaxed);
        timer.save(self, state)
    }
}

impl Timer {
    /// When the last of what waits is over that may be a pop of Java's.
    fn left_until(&self, state: &State, now_ms: i64) -> Result<i64, BrokerError> {
        let last = self.wheel.all_used()?.iter().map(|slot| slot.time_ms).max();
        let longest = now_ms.saturating_add(JAVAS_LONGEST_MS);
        match state.queue_offset < state.started_at {
            true => Ok(longest),
            false => Ok(last.unwrap_or(0).min(longest)),
        }
    }

    fn take_up(&self, state: &mut State) -> Result<(), BrokerError> {
        let mut end = state.saved.log_end;
        let torn = self.clear_torn(state)?;
        if self.has_turned(state)? {
            let earliest = self.wheel.earliest()?.unwrap_or(state.read_ms);
            state.read_ms = earliest.min(state.read_ms);
        } else {
            // What is finished may not have been written as empty.
            self.wheel.clear_before(state.read_ms)?;
            // The old places count: new ones may lie behind them as well, where something comes nearer by
            // rolling.
            if state.saved.turned_at > 0 {
                end = state.saved.turned_at;
            }
        }
        self.lead_back(state, end)?;
        state.log.truncate(end)?;
        self.rebuild(state, &torn)
    }

    /// Whether a crash came when a clock had been set back and all that waited in the slot of then had its
    /// new places on disk: those lie before it.
    fn has_turned(&self, state: &State) -> Result<bool, BrokerError> {
        let turned_at = state.saved.turned_at;
        if turned_at == 0 {
            return Ok(false);
        }
        let slot = self.wheel.slot(state.read_ms)?;
        Ok(slot.is_none_or(|slot| slot.first >= turned_at))
    }

    /// Empties slots that a power loss has torn while they were written: the last entry of a whole one
    /// is of its time. Answers which.
    fn clear_torn(&self, state: &mut State) -> Result<BTreeSet<i64>, BrokerError> {
        let mut torn: BTreeSet<i64> = self.wheel.clear_torn()?.into_iter().collect();
        for slot in self.wheel.all_used()? {
            let last = state.log.entry(slot.last)?;
            let whole =
                last.is_some_and(|(last, _)| self.wheel.tick(last.time_ms()) == slot.time_ms);
            if !whole {
                torn.insert(self.wheel.index(slot.time_ms));
                self.wheel.clear(slot.time_ms);
            }
        }
        Ok(torn)
    }

    /// Fills slots from the timer log, whose entries are older than the slots on disk.
    fn rebuild(&self, state: &mut State, torn: &BTreeSet<i64>) -> Result<(), BrokerError> {
        if torn.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            slots = torn.len(),
            "slots of the timer's wheel are torn and read from its log"
        );
        let mut at = state.head.max(state.log.start());
        while let Some((entry, next)) = state.log.entry(at)? {
            at = next;
            let waits = entry.time_ms() >= state.read_ms;
            if waits && torn.contains(&self.wheel.index(entry.time_ms())) {
                self.enter(&entry, next)?;
            }
        }
        Ok(())
    }

    /// Leads slots whose last entries lie behind a position back to those before it.
    fn lead_back(&self, state: &mut State, end: i64) -> Result<(), BrokerError> {
        for mut slot in self.wheel.all_used()? {
            if slot.last < end {
                continue;
            }
            while slot.last >= end {
                let entry = state.log.entry(slot.last)?.map(|(entry, _)| entry);
                let previous = entry.map_or(-1, |entry| entry.previous);
                slot.count -= entry.map_or(0, |entry| counts(&entry));
                slot.last = if previous < slot.last { previous } else { -1 };
            }
            match slot.last >= 0 {
                true => self.wheel.put(slot),
                false => self.wheel.clear(slot.time_ms),
            }
        }
        Ok(())
    }

    fn take_over(&self, broker: &Broker, state: &mut State) -> Result<(), BrokerError> {
        let now_tick = self.wheel.tick(broker.now_ms());
        let found = state.saved;
        if state.read_ms <= 0 {
            // Nothing was ever read: the oldest slot, if there is one, is the next.
            let earliest = self.wheel.earliest()?.unwrap_or(now_tick);
            state.read_ms = earliest.min(now_tick);
        }
        state.read_ms = self.wheel.tick(state.read_ms);
        let (end, last) = self.read_log(state, found.log_end)?;
        self.lead_back(state, end)?;
        state.log.truncate(end)?;
        self.wheel.clear_before(state.read_ms)?;
        state.head = state.log.start();
        state.queue_offset = self.unfiled_from(broker, state, last, found.queue_offset)?;
        state.copies_from = broker.store.log_end();
        Ok(())
    }

    /// Enters what Java may not have written to the wheel yet; answers where its log ends, and its
    /// last entry.
    ///
    /// Source: `TimerMessageStore.recoverAndRevise`.
    fn read_log(
        &self,
        state: &mut State,
        flushed_to: i64,
    ) -> Result<(i64, Option<TimerEntry>), BrokerError> {
        let before = state.log.file_start(flushed_to.max(1) - 1);
        let mut at = state.log.file_before(before).max(state.log.start());
        let mut last = None;
        while let Some((entry, next)) = state.log.entry(at)? {
            // A blank may have been passed.
            at = next;
            last = Some(entry);
            if entry.time_ms() >= state.read_ms {
                self.enter(&entry, next)?;
            }
        }
        Ok((at, last))
    }

    fn enter(&self, entry: &TimerEntry, next: i64) -> Result<(), BrokerError> {
        let position = next - ENTRY_SIZE as i64;
        let tick = self.wheel.tick(entry.time_ms());
        let known = self
            .wheel
            .occupant(tick)?
            .filter(|slot| slot.time_ms == tick);
        if known.is_none_or(|slot| slot.last < position) {
            self.wheel.put(Slot {
                time_ms: tick,
                first: known.map_or(position, |slot| slot.first),
                last: position,
                count: known.map_or(0, |slot| slot.count) + counts(entry),
            });
        }
        Ok(())
    }

    /// The queue offset behind Java's last entry; what was delivered late, without one, is passed.
    fn unfiled_from(
        &self,
        broker: &Broker,
        state: &State,
        last: Option<TimerEntry>,
        javas: i64,
    ) -> Result<i64, BrokerError> {
        // A file that lies may say anything; and Java's log may be shorter than its timer's.
        let javas = javas.min(broker.bounds(TIMER_TOPIC, QUEUE).max);
        let bytes = last.and_then(|entry| broker.store.record_at(entry.physical));
        let record = bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        let record = record.filter(|record| record.topic() == TIMER_TOPIC);
        let mut next = record.map_or(javas, |record| record.queue_offset() + 1);
        while next < javas {
            let unit = broker.store.read_unit(TIMER_TOPIC, QUEUE, next)?;
            let bytes = unit.and_then(|unit| broker.store.record_at(unit.physical_offset));
            let record = bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok());
            let out_ms = record.and_then(|record| {
                let out_ms = record.property(properties::TIMER_OUT_MS)?;
                out_ms.parse::<i64>().ok()
            });
            if out_ms.is_some_and(|out_ms| out_ms >= state.read_ms) {
                break;
            }
            next += 1;
        }
        Ok(next)
    }

    /// What was delivered since the checkpoint, of slots that it does not call done.
    fn find_delivered(&self, broker: &Broker, state: &mut State) {
        let mut newest_ms = broker.now_ms();
        for copied in broker.copies_since(state.copies_from) {
            let Ok(record) = Record::parse(&copied.record) else {
                continue;
            };
            if record.property(properties::TIMER_OUT_MS).is_some() {
                state.done.insert(copied.source);
                newest_ms = newest_ms.max(record.store_timestamp());
            }
        }
        state.done_up_to_ms = self.wheel.tick(newest_ms);
    }

    /// Counts what is pending by topic: the file may be older than the log.
    fn recount(&self, broker: &Broker, state: &mut State) -> Result<(), BrokerError> {
        self.pending.clear();
        let mut at = state.head.max(state.log.start());
        while let Some((entry, next)) = state.log.entry(at)? {
            at = next;
            let position = next - ENTRY_SIZE as i64;
            let slot = self.wheel.slot(entry.time_ms())?;
            // A slot that is done, and used again since the clock was set back, starts behind it.
            let waits = slot.is_some_and(|slot| (slot.first..=slot.last).contains(&position));
            if !waits || state.done.contains(&entry.physical) {
                continue;
            }
            let topic = || {
                let bytes = broker.store.record_at(entry.physical)?;
                let record = Record::parse(&bytes).ok()?;
                record.property(properties::REAL_TOPIC).map(str::to_owned)
            };
            let by = i64::from(counts(&entry));
            self.pending.add_hashed(entry.topic_hash, topic, by);
        }
        Ok(())
    }
}

/// What an entry adds to the messages of its slot.
fn counts(entry: &TimerEntry) -> i32 {
    match entry.magic & magic::DELETE {
        0 => 1,
        _ => -1,
    }
}
