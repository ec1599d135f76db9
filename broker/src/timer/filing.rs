//! From the queue into the timer log and the wheel.

use bytes::Bytes;
use sluice_protocol::message::{Record, java_hash, properties};
use sluice_protocol::topic::TIMER_TOPIC;
use sluice_store::timer::{Slot, TimerEntry, magic};

use super::{QUEUE, State, Timer, defer};
use crate::{Broker, BrokerError};

/// Messages filed before a round goes on to deliver.
const FILED_MAX: i64 = 20_000;
/// Rounds, half a second each, in which a message that can't be read is tried.
const TRIES_MAX: u32 = 20;

/// How far a round got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filed {
    /// To the queue's end.
    All,
    /// More waits.
    Some,
}

/// What the timer has to know of a message.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) topic: String,
    /// Its entry's time: the millisecond before it is due.
    pub(super) time_ms: i64,
    physical: i64,
    size: i32,
    recalls: Option<String>,
}

impl Wanted {
    /// What it adds to the messages that wait.
    pub(super) fn counts(&self) -> i64 {
        if self.recalls.is_some() { -1 } else { 1 }
    }
}

/// Reads a message of the timer's queue; `None` when it is gone for good or makes no sense. One that
/// could not be read often enough is gone, or it would keep up all others.
///
/// # Errors
/// It can't be read, which may pass.
pub(super) fn message(broker: &Broker, physical: i64) -> Result<Option<Bytes>, BrokerError> {
    let bytes = broker.store.record_at(physical);
    if bytes.is_some() {
        return Ok(bytes);
    }
    if physical >= broker.store.log_start() && !is_given_up(broker, physical) {
        return Err(BrokerError::Config(format!(
            "the log can't be read at {physical}"
        )));
    }
    tracing::error!(physical, "a delayed message is gone from the log");
    Ok(None)
}

/// Counts the tries in a row to read a message.
fn is_given_up(broker: &Broker, physical: i64) -> bool {
    let Some(timer) = &broker.timer else {
        return true;
    };
    let mut unreadable = timer.unreadable.lock();
    unreadable.1 = match unreadable.0 == physical {
        true => unreadable.1.saturating_add(1),
        false => 1,
    };
    unreadable.0 = physical;
    unreadable.1 > TRIES_MAX
}

impl Timer {
    /// Files what has come to the queue.
    pub(super) fn file_arrivals(
        &self,
        broker: &Broker,
        state: &mut State,
        now_ms: i64,
    ) -> Result<Filed, BrokerError> {
        // A slot that is done is used again only when it is written down that it is: see `free`.
        if state.read_ms - state.saved.read_ms > self.wheel.span_ms() / 2 {
            self.save(broker, state)?;
        }
        let bounds = broker.bounds(TIMER_TOPIC, QUEUE);
        state.queue_offset = state.queue_offset.max(bounds.min);
        let end = bounds.max.min(state.queue_offset + FILED_MAX);
        while state.queue_offset < end {
            let wanted = self.wanted(broker, state.queue_offset)?;
            // After a crash, what was filed and delivered may come by again.
            if let Some(wanted) = wanted
                && !state.done.contains(&wanted.physical)
            {
                self.file(state, wanted, now_ms)?;
            }
            state.queue_offset += 1;
        }
        Ok(match state.queue_offset < bounds.max {
            true => Filed::Some,
            false => Filed::All,
        })
    }

    fn wanted(&self, broker: &Broker, offset: i64) -> Result<Option<Wanted>, BrokerError> {
        let Some(unit) = broker.store.read_unit(TIMER_TOPIC, QUEUE, offset)? else {
            tracing::error!(offset, "a message was removed from the timer's queue");
            return Ok(None);
        };
        let Some(bytes) = message(broker, unit.physical_offset)? else {
            return Ok(None);
        };
        let wanted = Record::parse(&bytes)
            .ok()
            .and_then(|record| self.wanted_by(&record));
        if wanted.is_none() {
            tracing::error!(
                offset,
                "a message of the timer's queue does not say when and where it goes"
            );
        }
        Ok(wanted)
    }

    pub(super) fn wanted_by(&self, record: &Record<'_>) -> Option<Wanted> {
        let out_ms: i64 = record.property(properties::TIMER_OUT_MS)?.parse().ok()?;
        let due_ms = defer::due_ms(out_ms, self.wheel.precision_ms());
        Some(Wanted {
            topic: record.property(properties::REAL_TOPIC)?.to_owned(),
            time_ms: due_ms - 1,
            physical: record.physical_offset(),
            size: record.size() as i32,
            recalls: record
                .property(properties::TIMER_DEL_UNIQKEY)
                .map(str::to_owned),
        })
    }

    /// Enters a message.
    pub(super) fn file(
        &self,
        state: &mut State,
        wanted: Wanted,
        now_ms: i64,
    ) -> Result<(), BrokerError> {
        // What is late goes into the slot that is delivered next.
        let time_ms = wanted.time_ms.max(state.read_ms);
        let now_tick = self.wheel.tick(now_ms);
        let written_ms = now_tick.min(self.wheel.tick(time_ms));
        let (time_ms, rolls) = self.step(time_ms, written_ms);
        let (time_ms, nearer) = self.free(state, time_ms, now_tick)?;
        let rolls = rolls || nearer;
        let tick = self.wheel.tick(time_ms);
        let chained = self.wheel.slot(time_ms)?;
        let position = state.log.make_room()?;
        let delete = if wanted.recalls.is_some() {
            magic::DELETE
        } else {
            0
        };
        let roll = if rolls { magic::ROLL } else { 0 };
        let entry = TimerEntry {
            previous: chained.map_or(-1, |slot| slot.last),
            magic: magic::DEFAULT | delete | roll,
            written_ms,
            delay_ms: (time_ms - written_ms) as i32,
            physical: wanted.physical,
            size: wanted.size,
            topic_hash: java_hash(&wanted.topic),
            exact: true,
        };
        state.log.append(&entry);
        self.wheel.put(Slot {
            time_ms: tick,
            first: chained.map_or(position, |slot| slot.first),
            last: position,
            count: chained.map_or(0, |slot| slot.count) + wanted.counts() as i32,
        });
        self.pending.add(&wanted.topic, wanted.counts());
        if let Some(open) = state.open.as_mut().filter(|open| open.time_ms == tick) {
            open.add(position, entry, &wanted.topic, wanted.recalls);
        }
        Ok(())
    }

    /// A time of which the slot is not taken by another round of the wheel, and whether it is nearer
    /// than what was asked for. While the timer is behind by a large part of a round, or the clock has
    /// been set back so far, a message comes nearer by rolling.
    fn free(
        &self,
        state: &State,
        wanted_ms: i64,
        now_tick: i64,
    ) -> Result<(i64, bool), BrokerError> {
        let precision_ms = self.wheel.precision_ms();
        // A crash needs the slots again that are done since the checkpoint.
        let kept_from = match state.unsynced {
            true => state.read_ms,
            false => state.read_ms.min(state.saved.read_ms),
        };
        let last_ms = kept_from + self.wheel.span_ms() - precision_ms;
        let mut time_ms = match wanted_ms >= last_ms + precision_ms {
            true => last_ms.min(now_tick),
            false => wanted_ms,
        };
        loop {
            let occupant = self.wheel.occupant(time_ms)?;
            let taken = occupant.is_some_and(|slot| {
                slot.time_ms != self.wheel.tick(time_ms) && slot.time_ms >= state.read_ms
            });
            if !taken {
                return Ok((time_ms, time_ms != wanted_ms));
            }
            time_ms = self.wheel.tick(time_ms) - precision_ms;
            if time_ms <= state.read_ms {
                return Err(BrokerError::Config(
                    "the wheel has no free slot: the clock has been set back too far".to_owned(),
                ));
            }
        }
    }

    /// The time of the entry, and whether the message is stored again then: one that lies too far
    /// ahead comes nearer first.
    ///
    /// Source: `TimerMessageStore.doEnqueue`.
    fn step(&self, time_ms: i64, written_ms: i64) -> (i64, bool) {
        let rest = time_ms - written_ms - self.window_ms;
        if rest < 0 {
            return (time_ms, false);
        }
        // Enough is left for the next step.
        let step = match rest < self.window_ms / 3 {
            true => self.window_ms / 2,
            false => self.window_ms,
        };
        (written_ms + step, true)
    }
}
