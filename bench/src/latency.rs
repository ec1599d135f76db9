//! Latencies of one run, and how they are printed.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency told apart, microseconds: one minute.
const MICROS_MAX: u64 = 60_000_000;

/// Latencies in microseconds, three significant digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Latencies(Histogram::new_with_max(MICROS_MAX, 3).expect("bounds of a histogram"))
    }
}

impl Latencies {
    /// Notes one latency; what is longer than a minute counts as a minute.
    pub fn note(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.clamp(1, MICROS_MAX));
    }

    /// Adds those of another thread.
    pub fn join(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("histograms of equal bounds");
    }

    /// How many were noted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that the share `quantile` (0 to 1) does not exceed, microseconds.
    pub fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// What a closed loop would have seen had it not waited: for each latency above the usual pause
    /// between two sends of one slot, the sends that the wait kept from being made are added.
    pub fn corrected(&self) -> Latencies {
        let usual = self.0.value_at_quantile(0.5).max(1);
        Latencies(self.0.clone_correct(usual))
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50={} p90={} p99={} p999={} max={} (us)",
            self.at(0.5),
            self.at(0.9),
            self.at(0.99),
            self.at(0.999),
            self.0.max()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_that_kept_a_closed_loop_waiting_is_filled_in() {
        let mut raw = Latencies::default();
        (0..1_000).for_each(|_| raw.note(Duration::from_millis(1)));
        raw.note(Duration::from_secs(1));
        assert!(raw.at(0.99) < 1_100);
        let corrected = raw.corrected();
        assert!(corrected.count() > 1_900, "{}", corrected.count());
        assert!(corrected.at(0.9) > 500_000, "{corrected}");
    }
}
