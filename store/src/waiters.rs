//! Who waits for an append to become durable: one ordered queue, emptied by each sync.

use std::collections::VecDeque;

use crate::config::FlushMode;
use crate::gathering;
use crate::store::Store;

/// What became of the promise to keep a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Durability {
    /// As durable as the flush mode promises.
    Durable,
    /// Not within `syncFlushTimeout`; it may still become durable.
    TimedOut,
    /// The sync failed; the log has stopped.
    Failed(String),
}

pub(crate) struct Waiter {
    end: i64,
    deadline: i64,
    done: Box<dyn FnOnce(Durability) + Send>,
}

impl Store {
    /// Calls `done` once everything below `end_offset` is as durable as the flush mode promises.
    pub fn when_durable(&self, end_offset: i64, done: Box<dyn FnOnce(Durability) + Send>) {
        if self.config.flush_mode == FlushMode::Async || self.log.flushed() >= end_offset {
            return done(Durability::Durable);
        }
        let deadline = self.env.clock.now_ms() + self.config.sync_flush_timeout_ms as i64;
        self.waiters.lock().push_back(Waiter {
            end: end_offset,
            deadline,
            done,
        });
        match self.log.stopped() {
            Some(_) => self.answer_waiters(),
            // What this thread gathers is flushed at its end.
            None if gathering::owes_wake(self) => {}
            None => self.wake_flush.wake(),
        }
    }

    pub(crate) fn answer_waiters(&self) {
        let flushed = self.log.flushed();
        let failed = self.log.stopped().map(str::to_owned);
        for waiter in self.take_waiters(|waiter| failed.is_some() || waiter.end <= flushed) {
            (waiter.done)(match &failed {
                Some(reason) if waiter.end > flushed => Durability::Failed(reason.clone()),
                _ => Durability::Durable,
            });
        }
    }

    /// Answers those who have waited too long. Call where no sync can hold it up.
    pub fn expire_waiters(&self) {
        let now = self.env.clock.now_ms();
        let flushed = self.log.flushed();
        for waiter in self.take_waiters(|waiter| waiter.deadline <= now) {
            let durable = waiter.end <= flushed;
            (waiter.done)(if durable {
                Durability::Durable
            } else {
                Durability::TimedOut
            });
        }
    }

    fn take_waiters(&self, ready: impl Fn(&Waiter) -> bool) -> VecDeque<Waiter> {
        let mut waiters = self.waiters.lock();
        let (ready, waiting) = waiters.drain(..).partition(ready);
        *waiters = waiting;
        ready
    }
}
