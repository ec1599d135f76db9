//! Which broker to avoid, and for how long: slow and failing ones rest in proportion.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_allocation::MessageQueue;
use tokio::time::Instant;

/// From this latency on a broker is avoided for this long (Java 5.1.4 and later).
const REST_BY_LATENCY_MS: [(u64, u64); 7] = [
    (15_000, 30_000),
    (5_000, 10_000),
    (3_000, 6_000),
    (1_800, 5_000),
    (550, 2_000),
    (100, 0),
    (50, 0),
];
/// Latency assumed of a broker that failed.
const FAILED: Duration = Duration::from_secs(10);

/// Brokers that are being avoided, by name.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    enabled: bool,
    until: Mutex<HashMap<String, Instant>>,
}

impl Faults {
    /// Whether slow brokers are avoided between calls too.
    pub fn new(enabled: bool) -> Self {
        Faults {
            enabled,
            until: Mutex::default(),
        }
    }

    /// Notes how an attempt went; `failed` brokers rest as if they had been very slow.
    pub fn note(&self, broker_name: &str, latency: Duration, failed: bool, now: Instant) {
        if !self.enabled {
            return;
        }
        let rest = rest(if failed { FAILED } else { latency });
        let mut until = self.until.lock();
        if rest > Duration::ZERO {
            until.insert(broker_name.to_owned(), now + rest);
        } else {
            until.remove(broker_name);
        }
    }

    /// Whether the broker need not be avoided.
    pub fn is_available(&self, broker_name: &str, now: Instant) -> bool {
        !self.enabled
            || self
                .until
                .lock()
                .get(broker_name)
                .is_none_or(|until| now >= *until)
    }

    /// Chooses among `queues` in turn, beginning behind `index`: first an available broker other
    /// than the one that failed just now, then any other, then simply the next.
    pub fn choose<'a>(
        &self,
        queues: &'a [MessageQueue],
        index: usize,
        failed_broker: Option<&str>,
        now: Instant,
    ) -> Option<&'a MessageQueue> {
        let in_turn = || (0..queues.len()).map(|step| &queues[(index + step) % queues.len()]);
        let other = |queue: &&MessageQueue| Some(queue.broker_name.as_str()) != failed_broker;
        in_turn()
            .find(|queue| other(queue) && self.is_available(&queue.broker_name, now))
            .or_else(|| in_turn().find(other))
            .or_else(|| in_turn().next())
    }
}

fn rest(latency: Duration) -> Duration {
    let latency = latency.as_millis() as u64;
    let step = REST_BY_LATENCY_MS.iter().find(|(from, _)| latency >= *from);
    Duration::from_millis(step.map_or(0, |(_, rest)| *rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues() -> Vec<MessageQueue> {
        let of = |broker: &str, queue_id| MessageQueue {
            topic: "T".to_owned(),
            broker_name: broker.to_owned(),
            queue_id,
        };
        vec![of("a", 0), of("a", 1), of("b", 0), of("c", 0)]
    }

    fn chosen(faults: &Faults, index: usize, failed: Option<&str>, now: Instant) -> String {
        let queues = queues();
        let queue = faults.choose(&queues, index, failed, now).unwrap();
        format!("{}{}", queue.broker_name, queue.queue_id)
    }

    #[test]
    fn rests_grow_with_latency() {
        let ms = Duration::from_millis;
        for (latency, expected) in [
            (0, 0),
            (549, 0),
            (550, 2_000),
            (1_800, 5_000),
            (3_000, 6_000),
            (10_000, 10_000),
            (60_000, 30_000),
        ] {
            assert_eq!(rest(ms(latency)), ms(expected), "{latency}");
        }
    }

    #[test]
    fn queues_take_turns_and_the_failed_broker_is_skipped() {
        let (faults, now) = (Faults::default(), Instant::now());
        assert_eq!(chosen(&faults, 0, None, now), "a0");
        assert_eq!(chosen(&faults, 5, None, now), "a1");
        assert_eq!(chosen(&faults, 0, Some("a"), now), "b0");
        assert!(faults.choose(&[], 3, None, now).is_none());
        let only_a = &queues()[..2];
        assert_eq!(faults.choose(only_a, 1, Some("a"), now), Some(&only_a[1]));
    }

    #[test]
    fn a_slow_broker_rests_and_comes_back() {
        let faults = Faults::new(true);
        let now = Instant::now();
        faults.note("b", Duration::from_millis(600), false, now);
        faults.note("a", Duration::from_millis(1), true, now);
        assert_eq!(chosen(&faults, 0, None, now), "c0");
        assert_eq!(
            chosen(&faults, 0, Some("c"), now),
            "a0",
            "all rest: any other than the failed one"
        );
        assert_eq!(chosen(&faults, 1, None, now + Duration::from_secs(2)), "b0");
        faults.note("a", Duration::from_millis(1), false, now);
        assert_eq!(chosen(&faults, 0, None, now), "a0");
    }

    #[test]
    fn switched_off_it_forgets() {
        let (faults, now) = (Faults::default(), Instant::now());
        faults.note("a", Duration::from_secs(60), true, now);
        assert!(faults.is_available("a", now));
    }
}
