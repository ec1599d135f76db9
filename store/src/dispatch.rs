//! Dispatch: what has been appended becomes visible, record by record, in its queue, in the index, and to those
//! who wait for it.

use std::sync::atomic::Ordering;

use sluice_protocol::message::{Record, batch, inner_batch, properties, sys_flag, tags_code};

use crate::batch_consume_queue::BatchUnit;
use crate::commit_log::Item;
use crate::config::StoreConfig;
use crate::consume_queue::ConsumeQueueUnit;
use crate::error::StoreError;
use crate::index::key_hash;
use crate::queue::Queue;
use crate::store::{Arrival, ArrivalListener, Store, is_queued};

/// Dispatch can't go on now; why is said where it was found.
struct Waits;

impl Store {
    /// Makes visible all that had been appended (with sync flush: flushed) before the call; false if
    /// dispatch is blocked before that.
    pub fn catch_up(&self) -> bool {
        let end = self.visible_end();
        self.dispatch_once();
        self.dispatched.load(Ordering::Acquire) >= end
    }

    /// Makes what has been appended (with sync flush: flushed) visible. Answers whether there was
    /// anything.
    pub fn dispatch_once(&self) -> bool {
        let _one = self.dispatching.lock();
        self.dispatch_visible()
    }

    /// Dispatches on this thread what it has just appended, unless another thread dispatches already. Waking the
    /// dispatch thread costs more than the work, and whoever is then told of an append can read it at once. No
    /// lock may be held that the listener takes.
    pub(crate) fn dispatch_here_or_wake(&self) {
        let mine = self.dispatching.try_lock();
        if mine.is_some() {
            self.dispatch_visible();
        }
        drop(mine);
        if self.dispatched.load(Ordering::Acquire) < self.visible_end() {
            self.wake_dispatch.wake();
        }
    }

    /// Goes up to what is visible now, not to what comes meanwhile; answers whether there was anything.
    fn dispatch_visible(&self) -> bool {
        let (start, end) = (self.dispatched.load(Ordering::Acquire), self.visible_end());
        let mut at = start;
        let listener = self.listener.read().clone();
        while at < end {
            let next = self.dispatch_run(at, end, listener.as_deref());
            let next = match next {
                // Nothing that lies there as it should: looked at more closely.
                Ok(next) if next == at => self.dispatch_item(at, listener.as_deref()),
                next => next,
            };
            let Ok(next) = next else { return false };
            at = next;
        }
        if at > start && self.dispatch_blocked.lock().take().is_some() {
            tracing::info!("dispatch goes on");
        }
        at > start
    }

    /// Dispatches records from `at` on as long as they lie one behind the other; where the next item begins.
    fn dispatch_run(
        &self,
        mut at: i64,
        end: i64,
        listener: Option<&dyn ArrivalListener>,
    ) -> Result<i64, Waits> {
        let run = self.log.run(at, end);
        let mut rest = &run[..];
        while let Ok(record) = Record::parse(rest)
            && record.physical_offset() == at
        {
            self.dispatch_at(at, &record, listener)?;
            at += record.size() as i64;
            rest = &rest[record.size()..];
        }
        Ok(at)
    }

    /// Dispatches the one item at `at`; where the next begins.
    fn dispatch_item(&self, at: i64, listener: Option<&dyn ArrivalListener>) -> Result<i64, Waits> {
        match self.log.item(at) {
            Ok(Item::Blank(next)) => {
                self.dispatched.store(next, Ordering::Release);
                Ok(next)
            }
            Ok(Item::Record(bytes)) => {
                if let Ok(record) = Record::parse(&bytes) {
                    self.dispatch_at(at, &record, listener)?;
                }
                Ok(at + bytes.len() as i64)
            }
            Err(error) => {
                self.log
                    .stop(format!("record at {at} became unreadable: {error}"));
                Err(Waits)
            }
        }
    }

    fn dispatch_at(
        &self,
        at: i64,
        record: &Record<'_>,
        listener: Option<&dyn ArrivalListener>,
    ) -> Result<(), Waits> {
        if let Err(error) = self.dispatch(record, listener) {
            self.block_dispatch(at, &error);
            return Err(Waits);
        }
        self.dispatched
            .store(at + record.size() as i64, Ordering::Release);
        Ok(())
    }

    /// Dispatch waits at a record and is tried again; that is said once.
    fn block_dispatch(&self, at: i64, error: &StoreError) {
        let mut blocked = self.dispatch_blocked.lock();
        if blocked.is_none() {
            tracing::error!(at, %error, "dispatch waits, messages behind are not visible yet");
        }
        *blocked = Some(error.to_string());
    }

    /// Puts a record into index and queue.
    ///
    /// # Errors
    /// What kept a file from being read or made; nothing has been put then.
    pub(crate) fn dispatch(
        &self,
        record: &Record<'_>,
        listener: Option<&dyn ArrivalListener>,
    ) -> Result<(), StoreError> {
        self.last_dispatched_time
            .store(record.store_timestamp(), Ordering::Relaxed);
        if self.config.index_enabled {
            self.index_record(record)?;
        }
        let (topic, queue_id) = (record.topic(), record.queue_id());
        let dead = self
            .removed
            .is_dead(topic, queue_id, record.physical_offset());
        if dead || !is_queued(record.sys_flag()) {
            return Ok(());
        }
        let mut queue = self.queue_for(record);
        if record.queue_offset() == 0 && queue.ends_before(record.physical_offset())? {
            // Java, other than this store, counts from 0 when a deleted topic comes back.
            self.forget_queue(topic, queue_id)?;
            queue = self.queue_for(record);
        }
        let tags_code = unit_tags_code(record, &self.config);
        if push(&queue, record, tags_code)
            && let Some(listener) = listener
        {
            tell(listener, record, tags_code);
        }
        Ok(())
    }

    fn index_record(&self, record: &Record<'_>) -> Result<(), StoreError> {
        let mut index = self.index.lock();
        if record.physical_offset() <= index.last_update().1 && index.position().1 > 1 {
            return Ok(());
        }
        let hashes = index_hashes(record);
        index.put(hashes, record.physical_offset(), record.store_timestamp())
    }
}

fn push(queue: &Queue, record: &Record<'_>, tags_code: i64) -> bool {
    match queue {
        Queue::Simple(queue) => {
            let unit = ConsumeQueueUnit {
                physical_offset: record.physical_offset(),
                size: record.size() as i32,
                tags_code,
            };
            queue.push(record.queue_offset(), unit)
        }
        Queue::Batch(queue) => queue.push(BatchUnit::of(record, tags_code)),
    }
}

/// Tells of each message of a record: those of an inner batch have tags of their own.
fn tell(listener: &dyn ArrivalListener, record: &Record<'_>, tags_code: i64) {
    let arrival = Arrival {
        topic: record.topic(),
        queue_id: record.queue_id(),
        queue_offset: record.queue_offset(),
        tags_code,
        store_timestamp: record.store_timestamp(),
        properties: record.properties(),
    };
    if !inner_batch::is_packed(record) {
        return listener.arrived(&arrival);
    }
    for (at, message) in batch::iter(record.body()).flatten().enumerate() {
        listener.arrived(&Arrival {
            queue_offset: arrival.queue_offset + at as i64,
            tags_code: message.tags_code(),
            properties: message.properties,
            ..arrival
        });
    }
}

/// Tags code of a record's queue unit: hash of its tags, or delivery time of a delayed message.
pub(crate) fn unit_tags_code(record: &Record<'_>, config: &StoreConfig) -> i64 {
    let level = || {
        record
            .property(properties::DELAY)?
            .parse::<usize>()
            .ok()
            .filter(|level| *level > 0)
    };
    if record.topic() == "SCHEDULE_TOPIC_XXXX"
        && let Some(level) = level()
    {
        let levels = &config.delay_levels_ms;
        let delay = levels
            .get(level.min(levels.len()).wrapping_sub(1))
            .copied()
            .unwrap_or(1000);
        return record.store_timestamp() + delay;
    }
    tags_code(record.property(properties::TAGS))
}

/// Hashes of what a record is found by in the index, in the order in which they are put there.
pub(crate) fn index_hashes<'a>(record: &Record<'a>) -> impl Iterator<Item = i32> + use<'a> {
    let (topic, all) = (record.topic(), record.properties());
    let rolled_back =
        record.sys_flag() & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK;
    let [unique, keys] = match rolled_back {
        true => [None; 2],
        false => properties::find_each(all, [properties::UNIQ_KEY, properties::KEYS]),
    };
    let keys = keys.unwrap_or("").split(' ');
    let keys = keys.filter(|key| !key.is_empty());
    let keys = unique.into_iter().chain(keys);
    keys.map(move |key| key_hash(topic, key))
}
