//! The background threads and how they sleep.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::config::FlushMode;
use crate::store::Store;

/// Wakes one thread; costs two atomic operations while that thread is busy.
#[derive(Default)]
pub(crate) struct Wake {
    pending: AtomicBool,
    sleeping: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Wake {
    pub(crate) fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst) && self.sleeping.load(Ordering::SeqCst) {
            let _held = self.lock.lock();
            self.changed.notify_one();
        }
    }
    /// Sleeps until woken or for `ms` milliseconds; answers at once if woken before.
    pub(crate) fn wait(&self, ms: u64) {
        if self.pending.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut held = self.lock.lock();
        self.sleeping.store(true, Ordering::SeqCst);
        if !self.pending.load(Ordering::SeqCst) {
            self.changed.wait_for(&mut held, Duration::from_millis(ms));
        }
        self.sleeping.store(false, Ordering::SeqCst);
        self.pending.store(false, Ordering::SeqCst);
    }
}

/// A thread that panics stops the log: nothing is accepted that nobody would dispatch or flush.
fn spawn(store: &Arc<Store>, name: &str, body: impl Fn(&Store) + Send + 'static) {
    let mine = Arc::clone(store);
    let run = move || {
        let live = || {
            while !mine.closing() {
                body(&mine);
            }
        };
        if let Err(cause) = catch_unwind(AssertUnwindSafe(live)) {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            mine.log
                .stop(format!("thread {name} panicked: {}", panic_text(&*cause)));
            mine.answer_waiters();
        }
    };
    match std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        Ok(handle) => store.threads.lock().push(handle),
        Err(error) => store
            .log
            .stop(format!("cannot start thread {name}: {error}")),
    }
}

fn panic_text(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

pub(crate) fn start(store: &Arc<Store>) {
    store.live.store(true, Ordering::Relaxed);
    spawn(store, "store-dispatch", |store| {
        if !store.dispatch_once() {
            store.expire_waiters();
            store.wake_dispatch.wait(1000);
        }
    });
    spawn(store, "store-flush", |store| {
        let config = store.config();
        if config.flush_mode == FlushMode::Sync {
            store.flush_once();
            store.wake_flush.wait(config.flush_interval_ms);
        } else {
            store.wake_flush.wait(config.flush_interval_ms);
            store.flush_if_due();
        }
    });
    spawn(store, "store-queues", |store| {
        store
            .wake_queues
            .wait(store.config().flush_consume_queue_interval_ms);
        if let Err(error) = store.flush_queues_once() {
            tracing::warn!(%error, "queues and index were not flushed");
        }
    });
    spawn(store, "store-retention", |store| {
        store.wake_retention.wait(store.config().clean_interval_ms);
        store.clean_once();
    });
    if store.compacts() {
        spawn(store, "store-compaction", |store| {
            let interval = store.config().compaction_interval_ms;
            store.wake_compaction.wait(interval.clamp(1, 60_000));
            store.compact_if_due();
        });
    }
}
