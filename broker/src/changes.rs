//! Changes of topics, groups and request modes reach disk and name servers in bursts.
//!
//! Whoever changes a table notes the change and may wait until it is written and registered. The
//! one task behind it takes all that has gathered: a thousand new topics cost one file and one
//! registration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// Longest wait for a change to be written and registered: less than the 3 s that clients give a
/// send or a heartbeat.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A change is in force, but not written and registered within the longest wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the change is in force, but not yet written to disk or registered; the broker goes on trying"
)]
pub struct Unsettled;

/// Counts changes, and how many of them are done.
#[derive(Debug)]
pub struct Changes {
    made: watch::Sender<u64>,
    done: watch::Sender<u64>,
    wake: Notify,
    topics: AtomicBool,
    groups: AtomicBool,
    request_modes: AtomicBool,
}

/// What a burst has touched.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// Topics are to be written and registered.
    pub topics: bool,
    /// Groups are to be written.
    pub groups: bool,
    /// Request modes are to be written.
    pub request_modes: bool,
    upto: u64,
}

impl Changes {
    /// None yet.
    pub fn new() -> Arc<Changes> {
        Arc::new(Changes {
            made: watch::channel(0).0,
            done: watch::channel(0).0,
            wake: Notify::new(),
            topics: AtomicBool::new(false),
            groups: AtomicBool::new(false),
            request_modes: AtomicBool::new(false),
        })
    }

    /// A topic has changed.
    pub fn note_topic(&self) {
        self.topics.store(true, Ordering::Release);
        self.note();
    }

    /// A group has changed.
    pub fn note_group(&self) {
        self.groups.store(true, Ordering::Release);
        self.note();
    }

    /// How a group fetches has changed.
    pub fn note_request_mode(&self) {
        self.request_modes.store(true, Ordering::Release);
        self.note();
    }

    fn note(&self) {
        self.made.send_modify(|made| *made += 1);
        self.wake.notify_one();
    }

    /// Waits until all changes noted before are written and registered.
    ///
    /// # Errors
    /// [`Unsettled`] after a bounded time.
    pub async fn settled(&self) -> Result<(), Unsettled> {
        let made = *self.made.borrow();
        let mut done = self.done.subscribe();
        let waited = tokio::time::timeout(WAIT_MAX, done.wait_for(|done| *done >= made)).await;
        waited.map(drop).map_err(|_| Unsettled)
    }

    /// The next burst, when there is one.
    pub async fn next(&self) -> Burst {
        while *self.made.borrow() == *self.done.borrow() {
            self.wake.notified().await;
        }
        self.take()
    }

    /// What has gathered until now.
    pub fn take(&self) -> Burst {
        let upto = *self.made.borrow();
        Burst {
            topics: self.topics.swap(false, Ordering::AcqRel),
            groups: self.groups.swap(false, Ordering::AcqRel),
            request_modes: self.request_modes.swap(false, Ordering::AcqRel),
            upto,
        }
    }

    /// The burst could not be written: it is part of the next one.
    pub fn take_back(&self, burst: Burst) {
        self.topics.fetch_or(burst.topics, Ordering::AcqRel);
        self.groups.fetch_or(burst.groups, Ordering::AcqRel);
        self.request_modes
            .fetch_or(burst.request_modes, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// The burst is done: who waited goes on.
    pub fn finish(&self, burst: Burst) {
        self.done.send_modify(|done| *done = burst.upto.max(*done));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_carries_everything_noted_before_and_releases_who_waited() {
        let changes = Changes::new();
        for _ in 0..100 {
            changes.note_topic();
        }
        changes.note_group();
        let waiting = tokio::spawn({
            let changes = changes.clone();
            async move { changes.settled().await }
        });
        tokio::task::yield_now().await;
        changes.take_back(changes.next().await);
        let burst = changes.next().await;
        assert!(burst.topics && burst.groups);
        changes.note_topic();
        changes.finish(burst);
        waiting.await.unwrap().unwrap();
        let second = changes.next().await;
        assert!(second.topics && !second.groups);
    }
}
