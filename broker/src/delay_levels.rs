//! Messages with a delay level: each level is a queue of `SCHEDULE_TOPIC_XXXX`, in the order of its
//! times, and one task delivers what is due.
//!
//! How far each level is delivered lies in `config/delayOffset.json`, Java's file, with one key more:
//! the end of the log at that moment. Copies that lie behind it are not made again after a crash.
//!
//! A unit's tags code is its delivery time. Never early: when the clock has been set back, what waits
//! already waits its whole delay again from then on, not until the clock is where it was.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sluice_protocol::body::DataVersion;
use sluice_protocol::message::{Record, properties};
use sluice_protocol::topic::{SCHEDULE_TOPIC, TRANS_HALF_TOPIC};
use sluice_store::ConsumeQueueUnit;
use tokio::sync::Notify;

use crate::config_file::ConfigFile;
use crate::copies::{self, Copy};
use crate::deferral::{Deferred, remember_place};
use crate::error::Refusal;
use crate::{Broker, BrokerError};

/// Messages of one level that are delivered before the next level has its turn.
const TURN_MAX: usize = 256;
/// Longest sleep: a clock that jumps ahead is noticed this soon.
const NAP_MS: i64 = 500;
/// The queues are looked at after so many naps, even if nothing is due.
const NAPS_MAX: usize = 10;
/// Before a delivery is tried again that the store did not take.
const AGAIN_MS: i64 = 500;

/// How far each level is delivered.
#[derive(Debug)]
pub(crate) struct DelayLevels {
    /// Held while messages are delivered and while progress is copied, so that progress and the log's
    /// end belong together.
    levels: Mutex<Levels>,
    /// When the next message is due, as far as is known; an earlier one wakes the task.
    next_due: AtomicI64,
    wake: Notify,
    file: ConfigFile,
}

#[derive(Debug, Default)]
struct Levels {
    /// Next queue offset by level.
    offsets: BTreeMap<i32, i64>,
    version: DataVersion,
    set_back: BTreeMap<i32, SetBack>,
    changed: bool,
    /// End of the log that the file speaks of: a start reads the log from there.
    saved_to: i64,
}

/// So much may a start have to read of the log, bytes.
const UNREAD_MAX: i64 = 16 << 20;

/// The clock has been set back while messages of a level waited.
#[derive(Debug, Clone, Copy)]
struct SetBack {
    /// Messages below this offset were there already.
    until: i64,
    /// When they have waited their delay from then on.
    due_ms: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    data_version: DataVersion,
    offset_table: BTreeMap<i32, i64>,
    /// End of the log when this was so; Java leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_end: Option<i64>,
}

/// What one turn of a level came to.
enum Turn {
    /// More is due.
    More,
    /// The next message is due then; `None`: there is none.
    Until(Option<i64>),
}

impl DelayLevels {
    /// Reads the file. Progress that it does not have yet is found by [`Broker::find_delivered`].
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub(crate) fn new(file: ConfigFile) -> DelayLevels {
        DelayLevels {
            levels: Mutex::default(),
            next_due: AtomicI64::new(0),
            wake: Notify::new(),
            file,
        }
    }

    /// A delayed message can be read; `due_ms` is its delivery time.
    pub(crate) fn arrived(&self, due_ms: i64) {
        if due_ms < self.next_due.load(Ordering::Acquire) {
            self.wake.notify_one();
        }
    }

    /// Next queue offset of each level that has delivered anything.
    pub(crate) fn offsets(&self) -> BTreeMap<i32, i64> {
        self.levels.lock().offsets.clone()
    }
}

/// The queue of a message's level, if it has one.
///
/// Source: `HookUtils.transformDelayLevelMessage`.
pub(crate) fn defer(
    broker: &Broker,
    topic: &str,
    queue_id: i32,
    text: &mut Vec<u8>,
) -> Option<Deferred> {
    let wanted = properties::find(text, properties::DELAY)?;
    let wanted = wanted.parse::<i32>().ok().filter(|level| *level > 0)?;
    let level = wanted.min(count(broker));
    let replaced = [
        properties::DELAY,
        properties::TIMER_DELAY_SEC,
        properties::TIMER_DELAY_MS,
        properties::TIMER_DELIVER_MS,
    ];
    *text = properties::without(text, &replaced);
    properties::put(text, properties::DELAY, &level.to_string());
    remember_place(topic, queue_id, text);
    Some(Deferred {
        topic: SCHEDULE_TOPIC.to_owned(),
        queue_id: level - 1,
    })
}

fn count(broker: &Broker) -> i32 {
    broker.store.config().delay_levels_ms.len() as i32
}

impl Broker {
    /// Reads how far each level was delivered, and from the log what was delivered since.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub(crate) fn find_delivered(&self) -> Result<(), BrokerError> {
        let file: File = self.delay_levels.file.load()?.unwrap_or_default();
        let mut offsets = file.offset_table;
        for copy in file
            .log_end
            .into_iter()
            .flat_map(|end| self.copies_since(end))
        {
            if let Some((level, offset)) = self.delayed_at(copy.source) {
                let next = offsets.entry(level).or_default();
                *next = (*next).max(offset + 1);
            }
        }
        for (level, next) in &mut offsets {
            let bounds = self.bounds(SCHEDULE_TOPIC, level - 1);
            let within = (*next).clamp(bounds.min, bounds.max);
            if within != *next {
                tracing::warn!(
                    level,
                    was = *next,
                    now = within,
                    "the offset of a delay level lies outside its queue"
                );
                *next = within;
            }
        }
        let mut levels = self.delay_levels.levels.lock();
        levels.offsets = offsets;
        levels.version = file.data_version;
        levels.changed = true;
        Ok(())
    }

    /// Level and queue offset of the delayed message at a place in the log; `None` for any other.
    fn delayed_at(&self, physical_offset: i64) -> Option<(i32, i64)> {
        let bytes = self.store.record_at(physical_offset)?;
        let record = Record::parse(&bytes).ok()?;
        (record.topic() == SCHEDULE_TOPIC).then(|| (record.queue_id() + 1, record.queue_offset()))
    }

    /// Writes how far each level is delivered, if that has changed or the log has grown; the log is synced
    /// first, so that no copy is lost whose source is past.
    ///
    /// # Errors
    /// The file can't be written, or the log can't be synced.
    pub(crate) fn save_delay_levels(&self) -> Result<(), BrokerError> {
        let file = {
            let mut levels = self.delay_levels.levels.lock();
            let log_end = self.store.log_end();
            if std::mem::take(&mut levels.changed) {
                levels.version.next(self.now_ms());
            } else if log_end - levels.saved_to < UNREAD_MAX {
                return Ok(());
            }
            levels.saved_to = log_end;
            File {
                data_version: levels.version.clone(),
                offset_table: levels.offsets.clone(),
                log_end: Some(log_end),
            }
        };
        let saved = match self.store.flush_once() {
            true => self.delay_levels.file.save(&file),
            false => Err(BrokerError::Config(
                "the log can't be synced, so progress of delay levels is not written".to_owned(),
            )),
        };
        self.delay_levels.levels.lock().changed |= saved.is_err();
        saved
    }

    /// Delivers what is due now; answers when the next message is, Unix milliseconds.
    pub(crate) fn deliver_delayed(&self) -> i64 {
        // Whatever comes meanwhile wakes the task again.
        self.delay_levels
            .next_due
            .store(i64::MAX, Ordering::Release);
        let mut next_due = i64::MAX;
        let mut waiting: Vec<i32> = (1..=count(self)).collect();
        while !waiting.is_empty() {
            // Between two rounds whoever saves progress has a turn.
            let mut levels = self.delay_levels.levels.lock();
            waiting.retain(|level| match self.take_turn(*level, &mut levels) {
                Ok(Turn::More) => true,
                Ok(Turn::Until(due)) => {
                    next_due = next_due.min(due.unwrap_or(i64::MAX));
                    false
                }
                Err(error) => {
                    tracing::error!(level, %error, "a delayed message can't be delivered yet");
                    next_due = next_due.min(self.now_ms() + AGAIN_MS);
                    false
                }
            });
        }
        self.keep_delayed();
        next_due
    }

    /// Has the store keep the log from the first message on that waits here.
    fn keep_delayed(&self) {
        let offsets = self.delay_levels.offsets();
        let first = |level: i32| {
            let bounds = self.bounds(SCHEDULE_TOPIC, level - 1);
            let next = offsets.get(&level).copied().unwrap_or(0).max(bounds.min);
            let unit = self.store.unit_at(SCHEDULE_TOPIC, level - 1, next)?;
            Some(unit.physical_offset)
        };
        let kept = (1..=count(self)).filter_map(first).min();
        self.store
            .keep_from("delay levels", kept.unwrap_or(i64::MAX));
    }

    fn take_turn(&self, level: i32, levels: &mut Levels) -> Result<Turn, Refusal> {
        let queue_id = level - 1;
        let bounds = self.bounds(SCHEDULE_TOPIC, queue_id);
        let mut next = levels
            .offsets
            .get(&level)
            .copied()
            .unwrap_or(0)
            .max(bounds.min);
        for _ in 0..TURN_MAX {
            if next >= bounds.max {
                return Ok(Turn::Until(None));
            }
            let unit = self.store.read_unit(SCHEDULE_TOPIC, queue_id, next);
            let Some(unit) = unit.map_err(|error| Refusal::System(error.to_string()))? else {
                tracing::error!(
                    level,
                    offset = next,
                    "a delayed message was removed from its queue"
                );
                next = self.passed(level, next, levels);
                continue;
            };
            let due_ms = self.due(level, next, bounds.max, &unit, levels);
            if due_ms > self.now_ms() {
                return Ok(Turn::Until(Some(due_ms)));
            }
            self.deliver_unit(&unit)?;
            next = self.passed(level, next, levels);
        }
        Ok(Turn::More)
    }

    fn passed(&self, level: i32, offset: i64, levels: &mut Levels) -> i64 {
        levels.offsets.insert(level, offset + 1);
        levels.changed = true;
        offset + 1
    }

    /// When a message is due: when its queue says, or sooner when the clock has been set back since.
    fn due(
        &self,
        level: i32,
        offset: i64,
        end: i64,
        unit: &ConsumeQueueUnit,
        levels: &mut Levels,
    ) -> i64 {
        let now = self.now_ms();
        let delay = self.store.config().delay_levels_ms[level as usize - 1];
        if unit.tags_code <= now + delay {
            levels.set_back.remove(&level);
            return unit.tags_code;
        }
        let known = levels
            .set_back
            .get(&level)
            .filter(|back| offset < back.until);
        let back = known.copied().unwrap_or(SetBack {
            until: end,
            due_ms: now + delay,
        });
        levels.set_back.insert(level, back);
        back.due_ms
    }

    /// Stores the message under its own topic. What can't be delivered at all is left where it lies.
    fn deliver_unit(&self, unit: &ConsumeQueueUnit) -> Result<(), Refusal> {
        let at = unit.physical_offset;
        let Some(bytes) = self.store.record_at(at) else {
            if at >= self.store.log_start() {
                return Err(Refusal::System(format!("the log can't be read at {at}")));
            }
            tracing::error!(at, "a delayed message is gone from the log");
            return Ok(());
        };
        let Ok(record) = Record::parse(&bytes) else {
            tracing::error!(at, "a delayed message can't be read");
            return Ok(());
        };
        let place = record.property(properties::REAL_TOPIC).zip(
            record
                .property(properties::REAL_QID)
                .and_then(|id| id.parse().ok()),
        );
        let Some((topic, queue_id)) = place.filter(|(topic, _)| *topic != TRANS_HALF_TOPIC) else {
            tracing::error!(at, "a delayed message does not say where it goes");
            return Ok(());
        };
        let copy = Copy {
            topic,
            queue_id,
            sys_flag: record.sys_flag(),
            reconsume_times: record.reconsume_times(),
            properties: record.properties(),
        };
        match self.append_copy(&record, copy) {
            Ok(_) => {
                self.stats.stored(topic, 1, record.size());
                Ok(())
            }
            Err(error) if copies::is_hopeless(&error) => {
                tracing::error!(at, topic, %error, "a delayed message can't be stored under its topic");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Delivers until the broker is gone.
pub(crate) async fn run(broker: std::sync::Weak<Broker>) {
    loop {
        let Some(strong) = broker.upgrade() else {
            return;
        };
        let before = strong.now_ms();
        let working = strong.clone();
        let delivered = tokio::task::spawn_blocking(move || working.deliver_delayed()).await;
        let next_due = delivered.unwrap_or_else(|cause| {
            tracing::error!(%cause, "delivering delayed messages panicked");
            strong.now_ms() + AGAIN_MS
        });
        drop(strong);
        sleep(&broker, next_due, before).await;
    }
}

/// Sleeps until a time by the broker's clock, or until something is due sooner, or the clock has been set back
/// behind what it was `before`.
async fn sleep(broker: &std::sync::Weak<Broker>, next_due: i64, mut before: i64) {
    for _ in 0..NAPS_MAX {
        let Some(broker) = broker.upgrade() else {
            return;
        };
        let levels = &broker.delay_levels;
        let now = broker.now_ms();
        if now >= next_due || now < before {
            return;
        }
        before = now;
        // A message that came since the queues were looked at, and is due sooner than all of them, has left a
        // permit: until here they were told of as due never.
        levels.next_due.store(next_due, Ordering::Release);
        let nap = Duration::from_millis((next_due - now).clamp(0, NAP_MS) as u64);
        if tokio::time::timeout(nap, levels.wake.notified())
            .await
            .is_ok()
        {
            return;
        }
    }
}
