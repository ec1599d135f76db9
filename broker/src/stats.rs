//! Counts: what is put and got, by topic and group, and over the last minute.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

/// Samples kept: eleven minutes of one a second.
const SAMPLES: usize = 661;

/// Counters of this broker since its start.
#[derive(Debug, Default)]
pub struct Stats {
    put: AtomicU64,
    put_bytes: AtomicU64,
    found: AtomicU64,
    missed: AtomicU64,
    transferred: AtomicU64,
    topics: RwLock<HashMap<String, Counter>>,
    groups: RwLock<HashMap<String, Counter>>,
    samples: Mutex<VecDeque<[u64; 5]>>,
}

#[derive(Debug, Default)]
struct Counter {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What a sample counts.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub enum Rate {
    /// Messages stored.
    Put = 0,
    /// Pulls that found something.
    Found = 1,
    /// Pulls that found nothing.
    Missed = 2,
    /// Messages sent to consumers.
    Transferred = 3,
    /// Pulls.
    Got = 4,
}

impl Stats {
    /// Messages were stored.
    pub fn stored(&self, topic: &str, messages: usize, bytes: usize) {
        self.put.fetch_add(messages as u64, Ordering::Relaxed);
        self.put_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        count(&self.topics, topic, messages, bytes);
    }

    /// Messages were sent to a consumer.
    pub fn delivered(&self, topic: &str, group: &str, messages: usize, bytes: usize) {
        self.found.fetch_add(1, Ordering::Relaxed);
        self.transferred
            .fetch_add(messages as u64, Ordering::Relaxed);
        count(&self.groups, &format!("{topic}@{group}"), messages, bytes);
    }

    /// A pull found nothing.
    pub fn missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages stored and their bytes.
    pub fn put_total(&self) -> (u64, u64) {
        (
            self.put.load(Ordering::Relaxed),
            self.put_bytes.load(Ordering::Relaxed),
        )
    }

    /// Messages sent to consumers.
    pub fn got_total(&self) -> u64 {
        self.transferred.load(Ordering::Relaxed)
    }

    /// Total of a named count and key: `TOPIC_PUT_NUMS` and the like.
    pub fn total(&self, name: &str, key: &str) -> Option<u64> {
        let read = |table: &RwLock<HashMap<String, Counter>>, bytes: bool| {
            let table = table.read();
            let counter = table.get(key)?;
            Some(
                if bytes {
                    &counter.bytes
                } else {
                    &counter.messages
                }
                .load(Ordering::Relaxed),
            )
        };
        match name {
            "TOPIC_PUT_NUMS" => read(&self.topics, false),
            "TOPIC_PUT_SIZE" => read(&self.topics, true),
            "GROUP_GET_NUMS" => read(&self.groups, false),
            "GROUP_GET_SIZE" => read(&self.groups, true),
            _ => None,
        }
    }

    /// Takes the sample of this second.
    pub fn sample(&self) {
        let mut samples = self.samples.lock();
        let [put, found, missed, transferred] =
            [&self.put, &self.found, &self.missed, &self.transferred]
                .map(|counter| counter.load(Ordering::Relaxed));
        samples.push_back([put, found, missed, transferred, found + missed]);
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// Rates over the last 10, 60 and 600 seconds, blank between them, as Java shows them.
    pub fn rates(&self, rate: Rate) -> String {
        let samples = self.samples.lock();
        let over = |seconds: usize| {
            let Some(last) = samples.back() else {
                return 0.0;
            };
            let span = seconds.min(samples.len().saturating_sub(1));
            if span == 0 {
                return 0.0;
            }
            (last[rate as usize] - samples[samples.len() - 1 - span][rate as usize]) as f64
                / span as f64
        };
        format!("{:?} {:?} {:?}", over(10), over(60), over(600))
    }
}

fn count(table: &RwLock<HashMap<String, Counter>>, key: &str, messages: usize, bytes: usize) {
    let add = |counter: &Counter| {
        counter
            .messages
            .fetch_add(messages as u64, Ordering::Relaxed);
        counter.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    };
    if let Some(counter) = table.read().get(key) {
        return add(counter);
    }
    add(table.write().entry(key.to_owned()).or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_over_what_was_sampled() {
        let stats = Stats::default();
        assert_eq!(stats.rates(Rate::Put), "0.0 0.0 0.0");
        for _ in 0..=20 {
            stats.sample();
            stats.stored("t", 3, 30);
        }
        assert_eq!(stats.rates(Rate::Put), "3.0 3.0 3.0");
        assert_eq!(stats.total("TOPIC_PUT_NUMS", "t"), Some(63));
        assert_eq!(stats.total("TOPIC_PUT_NUMS", "u"), None);
    }
}
