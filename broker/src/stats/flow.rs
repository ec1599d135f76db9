//! One count and its last minute, hour and day, as Java's `StatsItem` has them.

use std::array;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sluice_protocol::body::{BrokerStatsData, BrokerStatsItem};

/// A window: seconds between its samples, and how many of them are kept. The first and the last are
/// what it is computed from.
type Window = (u64, usize);

/// Minute, hour and day (`samplingInSeconds`, `samplingInMinutes`, `samplingInHour`).
const WINDOWS: [Window; 3] = [(10, 7), (600, 7), (3600, 25)];

/// What a flow counts.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub enum Of {
    /// Messages, or milliseconds of a latency.
    Number = 0,
    /// Bytes.
    Size = 1,
}

/// Where [`Of`] ends and the calls are counted, of which the others are means.
const CALLS: usize = 2;

/// Messages, their bytes, and in how many calls they came. Adding is three additions to atomics;
/// samples are taken in the background.
#[derive(Debug, Default)]
pub struct Flow {
    counts: [AtomicU64; 3],
    history: Mutex<[VecDeque<Sample>; 3]>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: i64,
    counts: [u64; 3],
}

impl Flow {
    /// Counts one call with so many messages and bytes.
    pub fn add(&self, number: usize, bytes: usize) {
        self.counts[Of::Number as usize].fetch_add(number as u64, Ordering::Relaxed);
        self.counts[Of::Size as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        self.counts[CALLS].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since the start.
    pub fn total(&self, of: Of) -> u64 {
        self.counts[of as usize].load(Ordering::Relaxed)
    }

    /// In how many calls.
    pub fn calls(&self) -> u64 {
        self.counts[CALLS].load(Ordering::Relaxed)
    }

    /// Takes the samples that are due at a second since the start. What nobody has counted yet has none.
    pub fn sample(&self, second: u64, now_ms: i64) {
        let counts = array::from_fn(|of| self.counts[of].load(Ordering::Relaxed));
        if counts[CALLS] == 0 {
            return;
        }
        let mut history = self.history.lock();
        for (samples, (period, kept)) in history.iter_mut().zip(WINDOWS) {
            if !second.is_multiple_of(period) {
                continue;
            }
            if samples.is_empty() {
                samples.push_back(Sample {
                    at_ms: now_ms - period as i64 * 1000,
                    counts: [0; 3],
                });
            }
            samples.push_back(Sample {
                at_ms: now_ms,
                counts,
            });
            if samples.len() > kept {
                samples.pop_front();
            }
        }
    }

    /// What was counted in the last minute, hour and day; `None` if nothing was since the start.
    pub fn read(&self, of: Of) -> Option<BrokerStatsData> {
        if self.calls() == 0 {
            return None;
        }
        let history = self.history.lock();
        let [stats_minute, stats_hour, stats_day] =
            array::from_fn(|window| over(&history[window], of));
        Some(BrokerStatsData {
            stats_day,
            stats_hour,
            stats_minute,
        })
    }

    /// Messages a second over the last minute.
    pub fn tps(&self) -> f64 {
        over(&self.history.lock()[0], Of::Number).tps
    }
}

fn over(samples: &VecDeque<Sample>, of: Of) -> BrokerStatsItem {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
        return BrokerStatsItem::default();
    };
    let between = |of: usize| last.counts[of] - first.counts[of];
    let (sum, calls) = (between(of as usize), between(CALLS));
    // The clock may have been set back meanwhile.
    let span_ms = (last.at_ms - first.at_ms).max(1);
    BrokerStatsItem {
        avgpt: match calls {
            0 => 0.0,
            calls => sum as f64 / calls as f64,
        },
        sum: sum as i64,
        tps: sum as f64 * 1000.0 / span_ms as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_what_came_between_its_first_and_last_sample() {
        let flow = Flow::default();
        flow.sample(0, 0);
        assert_eq!(flow.read(Of::Number), None, "nothing was counted");
        flow.add(6, 600);
        flow.sample(10, 10_000);
        let read = flow.read(Of::Number).unwrap();
        assert_eq!(
            (read.stats_minute.sum, read.stats_minute.tps),
            (6, 0.6),
            "the first sample stands for the ten seconds before it"
        );
        assert_eq!(read.stats_hour, BrokerStatsItem::default());
        for second in (20..=80).step_by(10) {
            flow.add(2, 30);
            flow.sample(second, second as i64 * 1000);
        }
        let minute = flow.read(Of::Size).unwrap().stats_minute;
        assert_eq!((minute.sum, minute.tps, minute.avgpt), (180, 3.0, 30.0));
        assert_eq!(flow.tps(), 0.2);
        assert_eq!(flow.total(Of::Number), 20);
    }

    #[test]
    fn hours_and_days_have_samples_of_their_own() {
        let flow = Flow::default();
        for second in 0..=2 * 86_400 {
            if second % 600 == 0 {
                flow.add(1, 0);
                flow.sample(second, second as i64 * 1000);
            }
        }
        let read = flow.read(Of::Number).unwrap();
        assert_eq!((read.stats_hour.sum, read.stats_day.sum), (6, 144));
    }

    #[test]
    fn a_clock_set_back_is_no_division_by_zero() {
        let flow = Flow::default();
        flow.add(1, 1);
        flow.sample(10, 100_000);
        flow.sample(20, 90_000);
        assert!(flow.tps().is_finite());
    }
}
