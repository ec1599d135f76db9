//! Queues that are being popped: one pop at a time takes from a queue for a group, and where the
//! next one begins.
//!
//! What must hold: a group's stored offset passes a message only when the check point that brings
//! it back is as safe in the log as the offset is in its file. Until then where the next pop begins
//! is known here alone, and after a crash from the check points in the log.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::offsets::Offsets;

/// A queue that nobody has popped for this long is forgotten.
const IDLE_MS: i64 = 60_000;

type Key = (String, String, i32);

/// By topic, group and queue id.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    table: Mutex<HashMap<Key, Popped>>,
}

#[derive(Debug, Default)]
struct Popped {
    locked: bool,
    /// Where the next pop begins, while the stored offset does not tell.
    next: Option<i64>,
    /// Offsets to be stored, each when the log is synced that far.
    unsettled: VecDeque<(i64, i64)>,
    used_ms: i64,
}

/// The right to pop from a queue.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    queues: &'a Queues,
    key: Key,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.with(|popped| popped.locked = false);
    }
}

impl Locked<'_> {
    fn with<T>(&self, change: impl FnOnce(&mut Popped) -> T) -> T {
        let mut table = self.queues.table.lock();
        change(table.entry(self.key.clone()).or_default())
    }

    /// The next pop begins at `next`; it may be stored once the log is synced up to `log_end`.
    pub(crate) fn advance(&self, next: i64, log_end: i64) {
        self.with(|popped| {
            popped.next = Some(next);
            popped.unsettled.push_back((next, log_end));
        });
    }

    /// The stored offset alone tells where the next pop begins.
    pub(crate) fn forget(&self) {
        self.with(|popped| {
            popped.next = None;
            popped.unsettled.clear();
        });
    }
}

impl Queues {
    /// The queue, unless a pop is taking from it.
    pub(crate) fn try_lock(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        now_ms: i64,
    ) -> Option<Locked<'_>> {
        let key = (topic.to_owned(), group.to_owned(), queue_id);
        let mut table = self.table.lock();
        let popped = table.entry(key.clone()).or_default();
        if popped.locked {
            return None;
        }
        (popped.locked, popped.used_ms) = (true, now_ms);
        Some(Locked { queues: self, key })
    }

    /// Whether a pop is taking from the queue.
    pub(crate) fn is_locked(&self, topic: &str, group: &str, queue_id: i32) -> bool {
        let key = (topic.to_owned(), group.to_owned(), queue_id);
        self.table
            .lock()
            .get(&key)
            .is_some_and(|popped| popped.locked)
    }

    /// Whether the group has popped from any queue lately.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.table.lock().keys().any(|(_, of, _)| of == group)
    }

    /// Where the next pop begins, as far as anything tells.
    pub(crate) fn next(
        &self,
        offsets: &Offsets,
        topic: &str,
        group: &str,
        queue_id: i32,
    ) -> Option<i64> {
        // What is stored is asked for last: it may be stored and forgotten here between the two.
        let key = (topic.to_owned(), group.to_owned(), queue_id);
        let next = self.table.lock().get(&key).and_then(|popped| popped.next);
        let stored = offsets.get(group, topic, queue_id);
        next.max(stored.filter(|offset| *offset >= 0))
    }

    /// A check point in the log says that messages before `next` were taken.
    pub(crate) fn recover(&self, topic: &str, group: &str, queue_id: i32, next: i64) {
        let key = (topic.to_owned(), group.to_owned(), queue_id);
        let mut table = self.table.lock();
        let popped = table.entry(key).or_default();
        if popped.next.is_none_or(|known| known < next) {
            popped.next = Some(next);
            popped.unsettled.push_back((next, 0));
        }
    }

    /// Stores the offsets that are safe with a log synced up to `flushed`.
    pub(crate) fn settle(&self, offsets: &Offsets, flushed: i64, now_ms: i64) {
        self.table
            .lock()
            .retain(|(topic, group, queue_id), popped| {
                let mut safe = None;
                while let Some((next, _)) =
                    popped.unsettled.pop_front_if(|(_, end)| *end <= flushed)
                {
                    safe = Some(next);
                }
                let stored = || offsets.get(group, topic, *queue_id);
                if let Some(next) = safe.filter(|next| stored().is_none_or(|stored| stored < *next))
                {
                    offsets.commit(group, topic, *queue_id, next);
                }
                if popped.unsettled.is_empty() {
                    popped.next = None;
                }
                popped.locked || popped.next.is_some() || now_ms - popped.used_ms < IDLE_MS
            });
    }

    /// Forgets a topic.
    pub(crate) fn remove_topic(&self, name: &str) {
        self.table.lock().retain(|(topic, _, _), popped| {
            if topic == name {
                popped.next = None;
                popped.unsettled.clear();
            }
            topic != name || popped.locked
        });
    }
}
