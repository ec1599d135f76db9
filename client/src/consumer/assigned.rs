//! One queue that this consumer works on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use sluice_allocation::MessageQueue;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::process_queue::ProcessQueue;
use crate::unique_id::now_ms;

/// An order lock counts this long after its last renewal; the broker keeps it twice as long.
const LOCK_LIFE_MS: u64 = 30_000;
/// A queue that was not pulled this long is given up and taken anew.
const PULL_IDLE_MS: u64 = 120_000;

/// What keeps a second ordered listener off a queue: the same at every assignment of the queue, so
/// that a listener which outlives one holds up the next.
pub(crate) type Consuming = Arc<tokio::sync::Mutex<()>>;

/// One queue that this consumer works on, from its assignment until it is dropped; never used again
/// after that.
#[derive(Debug)]
pub(crate) struct Assigned {
    pub queue: MessageQueue,
    pub broker_name: Arc<str>,
    pub process: ProcessQueue,
    /// Where the next pull begins.
    pub next_offset: AtomicI64,
    /// Broker id the last response suggested to pull from.
    pub broker_id: AtomicI64,
    /// Lite pull: position behind what the application got; −1 before the first poll.
    pub consumed: AtomicI64,
    /// Room was made, a pause was lifted, a lock was got: the pull may go on.
    pub pull_may_go_on: Notify,
    /// Messages have arrived, or a lock: the ordered listener may go on.
    pub listener_may_go_on: Notify,
    /// Held while an ordered listener runs, and by who gives the lock back.
    pub consuming: Consuming,
    pub last_consume_ms: AtomicU64,
    dropped: AtomicBool,
    paused: AtomicBool,
    /// When the order lock was renewed; 0 when it is not held.
    locked_ms: AtomicU64,
    last_pull_ms: AtomicU64,
    pull: Mutex<Option<AbortHandle>>,
    /// Held while a result turns into an offset, and while the queue is dropped or reset, so that
    /// neither falls into the middle of the other.
    settling: Mutex<()>,
}

impl Assigned {
    pub fn new(queue: MessageQueue, next_offset: i64, consuming: Consuming) -> Arc<Self> {
        Arc::new(Assigned {
            broker_name: queue.broker_name.as_str().into(),
            queue,
            process: ProcessQueue::default(),
            next_offset: AtomicI64::new(next_offset),
            broker_id: AtomicI64::new(0),
            consumed: AtomicI64::new(-1),
            pull_may_go_on: Notify::new(),
            listener_may_go_on: Notify::new(),
            consuming,
            last_consume_ms: AtomicU64::new(0),
            dropped: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            locked_ms: AtomicU64::new(0),
            last_pull_ms: AtomicU64::new(now_ms()),
            pull: Mutex::new(None),
            settling: Mutex::new(()),
        })
    }

    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Ends pulling, and makes results that are still to come count for nothing.
    pub fn drop_now(&self) {
        self.settle(|| self.dropped.store(true, Ordering::Release));
        if let Some(pull) = self.pull.lock().take() {
            pull.abort();
        }
        self.pull_may_go_on.notify_one();
        self.listener_may_go_on.notify_one();
    }

    /// Drops the queue and forgets what a listener still works on.
    pub fn drop_and_clear(&self) {
        self.drop_now();
        self.settle(|| self.process.clear());
    }

    /// Runs `act` when nobody else settles results or drops the queue.
    pub fn settle<T>(&self, act: impl FnOnce() -> T) -> T {
        let _settling = self.settling.lock();
        act()
    }

    /// The task that pulls; it is aborted when the queue is dropped.
    pub fn pulled_by(&self, pull: AbortHandle) {
        let mut slot = self.pull.lock();
        if self.is_dropped() {
            pull.abort();
        } else {
            *slot = Some(pull);
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub fn pause(&self, pause: bool) {
        self.paused.store(pause, Ordering::Release);
        self.pull_may_go_on.notify_one();
    }

    pub fn is_locked(&self) -> bool {
        self.locked_ms().saturating_add(LOCK_LIFE_MS) > now_ms()
    }

    pub fn locked_ms(&self) -> u64 {
        self.locked_ms.load(Ordering::Acquire)
    }

    pub fn set_locked(&self, locked: bool) {
        self.locked_ms
            .store(if locked { now_ms() } else { 0 }, Ordering::Release);
        if locked {
            self.pull_may_go_on.notify_one();
            self.listener_may_go_on.notify_one();
        }
    }

    pub fn note_pull(&self) {
        self.last_pull_ms.store(now_ms(), Ordering::Relaxed);
    }

    pub fn last_pull_ms(&self) -> u64 {
        self.last_pull_ms.load(Ordering::Relaxed)
    }

    pub fn is_pull_stuck(&self) -> bool {
        self.last_pull_ms() + PULL_IDLE_MS < now_ms()
    }
}
