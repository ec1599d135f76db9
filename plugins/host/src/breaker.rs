//! Takes a binding out of the path of messages when it fails again and again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Failures within [`WINDOW`] that open it.
const FAILURES: usize = 5;
const WINDOW: Duration = Duration::from_secs(10);
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// What is known of a binding's health.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: VecDeque<Instant>,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    until: Instant,
    back_off: Duration,
    probing: bool,
}

/// A breaker as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// No calls; the policy answers.
    Open,
    /// One call finds out whether all is well again.
    HalfOpen,
}

impl Breaker {
    /// Whether a block may be tried now. When the back-off is over, one asker is told yes: its
    /// block is the probe, and everybody else waits for how it ends.
    pub fn admit(&mut self, now: Instant) -> bool {
        match &mut self.open {
            None => true,
            Some(open) if !open.probing && now >= open.until => {
                open.probing = true;
                true
            }
            Some(_) => false,
        }
    }

    /// A block went well; true when that closed an open breaker. Failures before it still count.
    pub fn succeeded(&mut self) -> bool {
        self.open.take().is_some()
    }

    /// A block failed; true when that opened the breaker, or opened it again.
    pub fn failed(&mut self, now: Instant) -> bool {
        if let Some(open) = &mut self.open {
            open.back_off = (open.back_off * 2).min(BACK_OFF_MAX);
            open.until = now + open.back_off;
            open.probing = false;
            return true;
        }
        self.failures.push_back(now);
        while self
            .failures
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) > WINDOW)
        {
            self.failures.pop_front();
        }
        if self.failures.len() < FAILURES {
            return false;
        }
        self.failures.clear();
        self.open = Some(Open {
            until: now + BACK_OFF_MIN,
            back_off: BACK_OFF_MIN,
            probing: false,
        });
        true
    }

    /// As an operator sees it.
    pub fn state(&self) -> BreakerState {
        match self.open {
            None => BreakerState::Closed,
            Some(Open { probing: true, .. }) => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn five_failures_in_ten_seconds_open_it_and_one_probe_decides() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for second in 0..4 {
            assert!(!breaker.failed(start + s(second)));
        }
        assert!(breaker.failed(start + s(4)));
        assert!(!breaker.admit(start + s(4)));
        assert!(breaker.admit(start + s(5)));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.admit(start + s(5)), "only one probe");
        assert!(breaker.failed(start + s(5)));
        assert!(!breaker.admit(start + s(6)), "the back-off has doubled");
        assert!(breaker.admit(start + s(7)));
        assert!(breaker.succeeded());
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn failures_far_apart_do_not_open_it() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for round in 0..50 {
            assert!(!breaker.failed(start + s(round * 3)));
        }
    }

    #[test]
    fn the_back_off_ends_at_a_minute() {
        let (start, mut breaker) = (Instant::now(), Breaker::default());
        let mut now = start;
        for _ in 0..20 {
            breaker.failed(now);
            now += s(100);
            breaker.admit(now);
        }
        breaker.failed(now);
        assert!(breaker.admit(now + s(60)));
    }
}
