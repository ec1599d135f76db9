//! Random delays by level and retries over simulated files, with crashes and a clock that jumps, against
//! a small model. A seed replays.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use sluice_protocol::message::{Record, properties};
use sluice_protocol::topic::{RETRY_PREFIX, SCHEDULE_TOPIC};

use crate::clients::Seat;
use crate::crash_model::{Machine, play};
use crate::deferral;
use crate::handlers::send_back;
use crate::{Broker, BrokerConfig};

const TOPIC: &str = "orders";
const GROUP: &str = "g";
const DELAYS_MS: [i64; 3] = [1_000, 2_000, 4_000];

/// One message on its way through one level: sent with it, or sent back.
#[derive(Debug, Default, Clone)]
struct Waiting {
    /// Earliest delivery, in milliseconds that have really passed.
    due: i64,
    synced: bool,
    delivered: bool,
    delivery_synced: bool,
    /// A power loss took it, which nobody had promised to keep.
    lost: bool,
}

struct Run {
    machine: Machine,
    /// Milliseconds that have passed, whatever the clock says.
    passed: i64,
    /// By body and number of retries.
    waiting: BTreeMap<(String, i32), Waiting>,
    /// Messages that were sent.
    sent: usize,
    read_to: i64,
}

fn levels(config: &mut BrokerConfig) {
    config.message_delay_level = crate::config::DelayTable::parse("1s 2s 4s").unwrap();
}

fn take_up(broker: &Arc<Broker>) {
    broker.group_or_create(GROUP).unwrap();
    broker.watch_arrivals();
    broker.store.flush_once();
    broker.store.dispatch_once();
    broker.find_delivered().unwrap();
    broker.save_delay_levels().unwrap();
}

fn key(record: &Record<'_>) -> (String, i32) {
    let body = String::from_utf8(record.body().to_vec()).unwrap();
    (body, record.reconsume_times())
}

fn is_delivered(topic: &str) -> bool {
    topic == TOPIC || topic.starts_with(RETRY_PREFIX)
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            machine: Machine::new(seed, levels, take_up),
            passed: 0,
            waiting: BTreeMap::new(),
            sent: 0,
            read_to: 0,
        }
    }

    fn pass(&mut self, ms: i64) {
        self.passed += ms;
        self.machine.clock.advance(ms);
    }

    fn work(&mut self) {
        for _ in 0..self.machine.rng.random_range(1..60) {
            match self.machine.rng.random_range(0..44) {
                0..12 => self.send(),
                12..16 => self.send_back(),
                16..22 => {
                    let ms = self.machine.rng.random_range(0..1_500);
                    self.pass(ms);
                }
                22 => {
                    let ms = self.machine.rng.random_range(0..6_000);
                    self.machine.clock.advance(-ms);
                }
                23..33 => drop(self.machine.broker.deliver_delayed()),
                33..36 => drop(self.machine.broker.store.dispatch_once()),
                36..38 => drop(self.machine.broker.save_delay_levels()),
                38 => drop(self.machine.broker.store.flush_queues_once()),
                _ => drop(self.machine.broker.store.flush_once()),
            }
            self.note_delivered();
            self.note_synced();
        }
    }

    fn send(&mut self) {
        let level = self.machine.rng.random_range(1..=DELAYS_MS.len());
        let name = format!("m{}", self.sent);
        self.sent += 1;
        let mut text = Vec::new();
        properties::put(&mut text, properties::DELAY, &level.to_string());
        let place = deferral::defer(&self.machine.broker, TOPIC, 3, &mut text);
        let place = place.unwrap().unwrap();
        assert_eq!(place.topic, SCHEDULE_TOPIC);
        self.machine
            .append(&place.topic, place.queue_id, name.as_bytes(), &text);
        self.wait((name, 0), level);
    }

    fn wait(&mut self, key: (String, i32), level: usize) {
        let waiting = Waiting {
            due: self.passed + DELAYS_MS[level - 1],
            ..Waiting::default()
        };
        self.waiting.insert(key, waiting);
    }

    /// A consumer sends back what it has got, once.
    fn send_back(&mut self) {
        let fresh =
            |(body, times): &(String, i32)| !self.waiting.contains_key(&(body.clone(), times + 1));
        let mut candidates = Vec::new();
        self.machine.each_record(0, |record| {
            if is_delivered(record.topic()) && fresh(&key(record)) {
                candidates.push((record.physical_offset(), key(record)));
            }
        });
        if candidates.is_empty() {
            return;
        }
        let chosen = self.machine.rng.random_range(0..candidates.len());
        let (physical, (body, times)) = candidates.swap_remove(chosen);
        let level = self.machine.rng.random_range(1..=DELAYS_MS.len());
        let broker = &self.machine.broker;
        let Some(bytes) = broker.store.record_at(physical) else {
            return;
        };
        let record = Record::parse(&bytes).unwrap();
        let group = broker.groups.get(GROUP).unwrap();
        let retries = send_back::writable_retry_topic(broker, &group, false).unwrap();
        send_back::put_back(broker, &record, &retries, level as i32, &Seat::Group).unwrap();
        self.wait((body, times + 1), level);
    }

    fn note_synced(&mut self) {
        if self.machine.is_synced() {
            for waiting in self.waiting.values_mut() {
                waiting.synced = true;
                waiting.delivery_synced = waiting.delivered;
            }
        }
    }

    fn note_delivered(&mut self) {
        let (waiting, passed) = (&mut self.waiting, self.passed);
        self.read_to = self.machine.each_record(self.read_to, |record| {
            if !is_delivered(record.topic()) {
                return;
            }
            let key = key(record);
            let waiting = waiting.get_mut(&key).unwrap();
            assert!(!waiting.delivered, "{key:?} is delivered twice");
            assert!(passed >= waiting.due, "{key:?} is delivered early");
            waiting.delivered = true;
        });
    }

    fn crash(&mut self) {
        let power = self.machine.crash();
        if self.machine.rng.random_bool(0.3) {
            let jump = self.machine.rng.random_range(-4_000..6_000);
            self.passed += jump.max(0);
            self.machine.clock.advance(jump);
        }
        self.machine.restart();
        self.look_again(power);
        self.machine.broker.store.flush_once();
        self.note_synced();
    }

    /// What the log still says of each message.
    fn look_again(&mut self, power: bool) {
        let mut there: BTreeMap<(String, i32), (bool, bool)> = BTreeMap::new();
        self.machine.broker.store.flush_once();
        self.read_to = self.machine.each_record(0, |record| {
            let (sent, delivered) = there.entry(key(record)).or_default();
            match record.topic() {
                SCHEDULE_TOPIC => *sent = true,
                topic => {
                    assert!(is_delivered(topic), "{topic}");
                    assert!(!*delivered, "{:?} is delivered twice", key(record));
                    *delivered = true;
                }
            }
        });
        for (key, waiting) in &mut self.waiting {
            let (sent, delivered) = there.get(key).copied().unwrap_or_default();
            assert!(
                sent || power && !waiting.synced || waiting.lost,
                "{key:?} is gone"
            );
            assert!(
                delivered || power && !waiting.delivery_synced || !waiting.delivered,
                "{key:?}: its delivery is gone"
            );
            waiting.lost |= !sent;
            waiting.delivered = delivered;
        }
    }

    /// In the end all are delivered.
    fn finish(&mut self) {
        for _ in 0..60 {
            self.pass(500);
            self.machine.broker.store.flush_once();
            self.machine.broker.store.dispatch_once();
            self.machine.broker.deliver_delayed();
            self.note_delivered();
        }
        self.machine.broker.store.flush_once();
        self.note_delivered();
        for (key, waiting) in &self.waiting {
            assert!(
                waiting.delivered || waiting.lost,
                "{key:?} never came: {waiting:?}"
            );
        }
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..6 {
        run.work();
        run.crash();
    }
    run.work();
    run.finish();
}

#[test]
fn each_message_comes_once_and_never_early_whatever_crashes() {
    play(200, run);
}
