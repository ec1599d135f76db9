//! Random delays and recalls over simulated files, with crashes and a clock that jumps, against a
//! small model. A seed replays.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use sluice_protocol::message::{Record, properties};
use sluice_protocol::topic::TIMER_TOPIC;
use sluice_store::{Fault, Space};

use super::Handle;
use crate::crash_model::{LOG_FILE, Machine, play};
use crate::deferral;
use crate::{Broker, BrokerConfig};

const TOPIC: &str = "orders";

#[derive(Debug, Default, Clone)]
struct Sent {
    deliver_ms: i64,
    handle: Option<Handle>,
    /// Its recall was accepted, and it had not been delivered.
    recalled: bool,
    delivered: bool,
    synced: bool,
    recall_synced: bool,
    delivery_synced: bool,
    /// A power loss took it, which nobody had promised to keep.
    lost: bool,
}

struct Run {
    machine: Machine,
    sent: BTreeMap<String, Sent>,
    /// How far the log has been read for deliveries.
    read_to: i64,
}

fn small_wheel(config: &mut BrokerConfig) {
    config.mapped_file_size_timer_log = 52 * 20 + 30;
    config.timer_precision_ms = 100;
    config.timer_roll_window_slot = 20;
}

fn take_up(broker: &Arc<Broker>) {
    broker.watch_arrivals();
    broker.store.flush_once();
    broker.store.dispatch_once();
    broker.recover_timer().unwrap();
}

impl Run {
    fn new(seed: u64) -> Self {
        Run {
            machine: Machine::new(seed, small_wheel, take_up),
            sent: BTreeMap::new(),
            read_to: 0,
        }
    }

    fn work(&mut self) {
        for _ in 0..self.machine.rng.random_range(1..80) {
            match self.machine.rng.random_range(0..50) {
                0..12 => self.send(),
                12..17 => self.recall(),
                17..23 => self
                    .machine
                    .clock
                    .advance(self.machine.rng.random_range(0..300)),
                23..26 => self
                    .machine
                    .clock
                    .advance(self.machine.rng.random_range(0..3_000)),
                26 => self
                    .machine
                    .clock
                    .advance(-self.machine.rng.random_range(0..3_000)),
                27 if self.machine.rng.random_bool(0.1) => self.machine.clock.advance(40_000),
                28..40 => drop(self.machine.broker.timer_round()),
                40..44 => drop(self.machine.broker.store.dispatch_once()),
                44 => drop(self.machine.broker.store.flush_queues_once()),
                _ => drop(self.machine.broker.store.flush_once()),
            }
            self.note_delivered();
            self.note_synced();
        }
    }

    fn note_synced(&mut self) {
        if self.machine.is_synced() {
            for sent in self.sent.values_mut() {
                sent.synced = true;
                sent.recall_synced = sent.recalled;
                sent.delivery_synced = sent.delivered;
            }
        }
    }

    fn note_delivered(&mut self) {
        for bytes in self.machine.broker.store.records_from(self.read_to) {
            let record = Record::parse(&bytes).unwrap();
            self.read_to = record.physical_offset() + bytes.len() as i64;
            if record.topic() != TOPIC {
                continue;
            }
            let name = std::str::from_utf8(record.body()).unwrap();
            let at: i64 = record
                .property(properties::TIMER_DEQUEUE_MS)
                .unwrap()
                .parse()
                .unwrap();
            let sent = self.sent.get_mut(name).unwrap();
            assert!(!sent.delivered, "{name} is delivered twice");
            assert!(!sent.recalled, "{name} is delivered and recalled");
            assert!(at >= sent.deliver_ms, "{name} is delivered early");
            assert_eq!(record.queue_id(), 3);
            sent.delivered = true;
        }
    }

    fn send(&mut self) {
        let delay = match self.machine.rng.random_range(0..10) {
            0 => self.machine.rng.random_range(1..30),
            1..8 => self.machine.rng.random_range(1..1_500),
            _ => self.machine.rng.random_range(1..12_000),
        };
        self.send_for(delay);
    }

    fn send_for(&mut self, delay: i64) {
        let name = format!("m{}", self.sent.len());
        let deliver_ms = self.machine.broker.now_ms() + delay;
        let mut text = Vec::new();
        properties::put(&mut text, properties::UNIQ_KEY, &name);
        properties::put(
            &mut text,
            properties::TIMER_DELIVER_MS,
            &deliver_ms.to_string(),
        );
        let place = deferral::defer(&self.machine.broker, TOPIC, 3, &mut text)
            .unwrap()
            .unwrap();
        let handle = Handle::of(&self.machine.broker, TOPIC, &text).unwrap();
        self.machine
            .append(&place.topic, place.queue_id, name.as_bytes(), &text);
        let sent = Sent {
            deliver_ms,
            handle: Some(handle),
            ..Sent::default()
        };
        self.sent.insert(name, sent);
    }

    fn recall(&mut self) {
        let names: Vec<String> = self.sent.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = &names[self.machine.rng.random_range(0..names.len())];
        // Whether it was delivered before a clock was set back is seen when it is flushed.
        self.machine.broker.store.flush_once();
        self.note_delivered();
        let handle = self.sent[name].handle.clone().unwrap();
        let host = self.machine.broker.store_host();
        let recalled = self.machine.broker.recall(&handle, "g", host).is_ok();
        let (now, sent) = (
            self.machine.broker.now_ms(),
            self.sent.get_mut(name).unwrap(),
        );
        assert_eq!(recalled, handle.deliver_ms > now, "{name}");
        // With a clock that has been set back, a recall may come too late and not know it.
        sent.recalled |= recalled && !sent.delivered;
    }

    /// The files stop in the middle of what a round, a clock that is set back or a stop does.
    fn stop_midway(&mut self) {
        let calls = self.machine.rng.random_range(1..24);
        self.machine.files.fail_at(calls, Fault::PowerOff);
        match self.machine.rng.random_range(0..3) {
            0 => drop(self.machine.broker.close_timer()),
            1 => {
                self.machine
                    .clock
                    .advance(-self.machine.rng.random_range(0..3_000));
                self.machine.broker.timer_round();
            }
            _ => drop(self.machine.broker.timer_round()),
        }
    }

    fn crash(&mut self) {
        let midway = self.machine.rng.random_bool(0.3);
        if midway {
            self.stop_midway();
        }
        // What has failed is off.
        let power = match midway {
            true => {
                self.machine.lose_power();
                true
            }
            false => self.machine.crash(),
        };
        if self.machine.rng.random_bool(0.3) {
            self.machine
                .clock
                .advance(self.machine.rng.random_range(-2_000..30_000));
        }
        self.machine.restart();
        self.look_again(power);
        self.machine.broker.store.flush_once();
        self.note_synced();
    }

    /// What the log still says of each message.
    fn look_again(&mut self, power: bool) {
        let mut there: BTreeMap<String, (bool, bool, bool)> = BTreeMap::new();
        self.machine.broker.store.flush_once();
        for bytes in self.machine.broker.store.records_from(0) {
            let record = Record::parse(&bytes).unwrap();
            let key = record.property(properties::UNIQ_KEY);
            let Some(key) = key else { continue };
            let (sent, recalled, delivered) = there.entry(key.to_owned()).or_default();
            match record.topic() {
                TOPIC => {
                    assert!(!*delivered, "{key} is delivered twice");
                    *delivered = true;
                }
                TIMER_TOPIC if record.property(properties::TIMER_DEL_UNIQKEY).is_some() => {
                    *recalled = true;
                }
                _ => *sent = true,
            }
        }
        for (name, sent) in &mut self.sent {
            let (there, recalled, delivered) = there.get(name).copied().unwrap_or_default();
            assert!(
                there || power && !sent.synced || sent.lost,
                "{name} is gone"
            );
            assert!(
                delivered || power && !sent.delivery_synced || !sent.delivered,
                "{name}: its delivery is gone"
            );
            assert!(
                recalled || power && !sent.recall_synced || !sent.recalled,
                "{name}: its recall is gone"
            );
            sent.lost |= !there;
            sent.recalled &= recalled;
            sent.delivered = delivered;
        }
        self.read_to = self.machine.broker.store.log_end();
    }

    /// In the end all are delivered that were not recalled.
    fn finish(&mut self) {
        for _ in 0..200 {
            self.machine.clock.advance(150);
            self.machine.broker.store.flush_once();
            self.machine.broker.store.dispatch_once();
            self.machine.broker.timer_round();
            self.note_delivered();
        }
        self.machine.broker.store.flush_once();
        self.note_delivered();
        for (name, sent) in &self.sent {
            assert!(
                sent.delivered || sent.recalled || sent.lost,
                "{name} never came: {sent:?}, it is {}",
                self.machine.broker.now_ms()
            );
        }
        let backlog = self
            .machine
            .broker
            .timer_backlog()
            .expect("the timer is on");
        let pending: i64 = backlog.by_topic.values().sum();
        assert_eq!(pending, 0, "all are delivered");
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..6 {
        run.work();
        run.crash();
    }
    run.work();
    // Clocks that were set back and ahead: nothing is due later than this.
    let last = run.sent.values().map(|sent| sent.deliver_ms).max();
    let behind = last.map_or(0, |last| last - run.machine.broker.now_ms());
    run.machine.clock.advance(behind.max(0));
    run.finish();
}

#[test]
fn each_message_comes_once_and_never_early_whatever_crashes() {
    play(300, run);
}

#[test]
fn a_full_disk_takes_no_message_that_waits() {
    let mut run = Run::new(1);
    run.send_for(1_500);
    run.machine.broker.store.flush_once();
    run.machine.broker.store.dispatch_once();
    run.machine.broker.timer_round();
    run.machine.clock.advance(1_100);
    run.machine.broker.timer_round();
    let goal = run.machine.broker.store.log_end() + (3 * LOG_FILE);
    while run.machine.broker.store.log_end() < goal {
        run.machine.append("others", 0, &[b'x'; 1000], &[]);
    }
    run.machine.broker.store.flush_once();
    run.machine.broker.store.dispatch_once();
    run.machine.broker.store.flush_queues_once().unwrap();
    run.machine.files.set_space(Space {
        total: 100,
        free: 13,
    });
    run.machine.broker.store.clean_once();
    assert_eq!(run.machine.broker.store.log_start(), 0, "it waits there");
    for _ in 0..3 {
        run.machine.clock.advance(1_100);
        run.machine.broker.timer_round();
    }
    run.machine.broker.store.flush_once();
    run.note_delivered();
    assert!(run.sent["m0"].delivered);
    run.machine.broker.store.clean_once();
    assert!(run.machine.broker.store.log_start() > 0);
}
