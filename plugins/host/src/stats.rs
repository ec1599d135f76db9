//! What a binding's version did, in numbers that cost next to nothing to keep.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

/// Upper bounds of the time histogram: 1 µs, 2 µs, 4 µs ... and everything beyond.
pub const BUCKETS: usize = 20;
/// Names of a plugin's own counters.
const COUNTERS_MAX: usize = 64;

/// Counts since the version was loaded.
#[derive(Debug, Default)]
pub struct Stats {
    calls: AtomicU64,
    rows: AtomicU64,
    passed: AtomicU64,
    dropped: AtomicU64,
    changed: AtomicU64,
    failed_rows: AtomicU64,
    by_policy: AtomicU64,
    traps: AtomicU64,
    timeouts: AtomicU64,
    differing: AtomicU64,
    instances: AtomicU64,
    busy_ns: AtomicU64,
    memory_high_water: AtomicU64,
    histogram: [AtomicU64; BUCKETS],
    counters: Mutex<BTreeMap<String, u64>>,
}

/// A reading of [`Stats`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// Calls for blocks.
    pub calls: u64,
    /// Messages in them.
    pub rows: u64,
    /// Messages that passed.
    pub passed: u64,
    /// Messages that were dropped or refused.
    pub dropped: u64,
    /// Messages that a hook changed.
    pub changed: u64,
    /// Messages for which there was no verdict.
    pub failed_rows: u64,
    /// Messages that were not asked about because the breaker was open.
    pub by_policy: u64,
    /// Calls that trapped.
    pub traps: u64,
    /// Calls that were stopped at their deadline.
    pub timeouts: u64,
    /// Messages that a shadow judged otherwise than the current version.
    pub differing: u64,
    /// Instances made.
    pub instances: u64,
    /// Nanoseconds spent in calls.
    pub busy_ns: u64,
    /// Most linear memory an instance had, bytes.
    pub memory_high_water: u64,
    /// Calls by time: bucket i holds those of at most 2^i µs, the last one all the rest.
    pub histogram: Vec<u64>,
    /// The plugin's own counters.
    pub counters: BTreeMap<String, u64>,
}

fn add(counter: &AtomicU64, delta: u64) {
    counter.fetch_add(delta, Ordering::Relaxed);
}

impl Stats {
    pub(crate) fn called(&self, rows: usize, took: Duration) {
        add(&self.calls, 1);
        add(&self.rows, rows as u64);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.busy_ns, nanos);
        let micros = nanos.div_ceil(1000).max(1);
        let bucket = (64 - (micros - 1).leading_zeros()) as usize;
        add(&self.histogram[bucket.min(BUCKETS - 1)], 1);
    }

    pub(crate) fn judged(&self, passed: u64, dropped: u64, failed: u64) {
        add(&self.passed, passed);
        add(&self.dropped, dropped);
        if failed > 0 {
            add(&self.failed_rows, failed);
        }
    }

    pub(crate) fn changed(&self, rows: u64) {
        add(&self.changed, rows);
    }

    pub(crate) fn by_policy(&self, rows: u64) {
        add(&self.by_policy, rows);
    }

    pub(crate) fn trapped(&self) {
        add(&self.traps, 1);
    }

    pub(crate) fn timed_out(&self) {
        add(&self.timeouts, 1);
    }

    pub(crate) fn differed(&self, rows: u64) {
        add(&self.differing, rows);
    }

    pub(crate) fn instantiated(&self) {
        add(&self.instances, 1);
    }

    pub(crate) fn memory(&self, bytes: usize) {
        self.memory_high_water
            .fetch_max(bytes as u64, Ordering::Relaxed);
    }

    /// Adds to one of the plugin's own counters; beyond 64 names nothing is counted.
    pub(crate) fn count(&self, name: &str, delta: u64) {
        let mut counters = self.counters.lock();
        if let Some(counter) = counters.get_mut(name) {
            *counter = counter.saturating_add(delta);
        } else if counters.len() < COUNTERS_MAX && name.len() <= 64 {
            counters.insert(name.to_owned(), delta);
        }
    }

    /// All numbers now; not a snapshot of one moment.
    pub fn read(&self) -> Reading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            calls: get(&self.calls),
            rows: get(&self.rows),
            passed: get(&self.passed),
            dropped: get(&self.dropped),
            changed: get(&self.changed),
            failed_rows: get(&self.failed_rows),
            by_policy: get(&self.by_policy),
            traps: get(&self.traps),
            timeouts: get(&self.timeouts),
            differing: get(&self.differing),
            instances: get(&self.instances),
            busy_ns: get(&self.busy_ns),
            memory_high_water: get(&self.memory_high_water),
            histogram: self.histogram.iter().map(get).collect(),
            counters: self.counters.lock().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let stats = Stats::default();
        for micros in [1, 2, 3, 4, 5] {
            stats.called(1, Duration::from_micros(micros));
        }
        stats.called(1, Duration::from_secs(60));
        let histogram = stats.read().histogram;
        assert_eq!(histogram[..4], [1, 1, 2, 1]);
        assert_eq!(histogram[BUCKETS - 1], 1);
    }
}
