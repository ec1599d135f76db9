//! Random delays and recalls over simulated files, with crashes and a clock that jumps, against a
//! small model. A seed replays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sluice_protocol::message::{Record, RecordFields, properties};
use sluice_protocol::topic::TIMER_TOPIC;
use sluice_store::{Environment, Fault, SimulatedFiles, Space, Store, TestClock};

use super::Handle;
use crate::config::FlushDiskType;
use crate::deferral;
use crate::{Broker, BrokerConfig};

const TOPIC: &str = "orders";
const START: i64 = 1_700_000_000_000;

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
    directory: tempfile::TempDir,
    files: SimulatedFiles,
    clock: Arc<TestClock>,
    rng: SmallRng,
    sync: bool,
    broker: Arc<Broker>,
    sent: BTreeMap<String, Sent>,
    /// How far the log has been read for deliveries.
    read_to: i64,
}

fn open(
    directory: &Path,
    files: &SimulatedFiles,
    clock: &Arc<TestClock>,
    sync: bool,
) -> Arc<Broker> {
    let config = BrokerConfig {
        broker_name: "b".to_owned(),
        broker_ip1: "127.0.0.1".to_owned(),
        store_path_root_dir: directory.to_owned(),
        mapped_file_size_commit_log: 1 << 14,
        mapped_file_size_consume_queue: 400,
        mapped_file_size_timer_log: 52 * 20 + 30,
        max_message_size: 1 << 10,
        max_hash_slot_num: 100,
        max_index_num: 400,
        timer_precision_ms: 100,
        timer_roll_window_slot: 20,
        flush_disk_type: match sync {
            true => FlushDiskType::SyncFlush,
            false => FlushDiskType::AsyncFlush,
        },
        ..BrokerConfig::default()
    };
    let environment = Environment {
        files: Arc::new(files.clone()),
        clock: clock.clone(),
    };
    let store = Store::open(config.store(), environment).unwrap();
    let no_compiler = Box::new(|_: &[u8]| Err("there is no compiler here".to_owned()));
    let (broker, _) = Broker::assemble(config, None, store, 10911, no_compiler).unwrap();
    broker.watch_arrivals();
    broker.store.flush_once();
    broker.store.dispatch_once();
    broker.recover_timer().unwrap();
    broker
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let sync = rng.random_bool(0.5);
        let directory = tempfile::tempdir().unwrap();
        let (files, clock) = (SimulatedFiles::new(), Arc::new(TestClock::new(START)));
        let broker = open(directory.path(), &files, &clock, sync);
        Run {
            directory,
            files,
            clock,
            rng,
            sync,
            broker,
            sent: BTreeMap::new(),
            read_to: 0,
        }
    }

    fn work(&mut self) {
        for _ in 0..self.rng.random_range(1..80) {
            match self.rng.random_range(0..50) {
                0..12 => self.send(),
                12..17 => self.recall(),
                17..23 => self.clock.advance(self.rng.random_range(0..300)),
                23..26 => self.clock.advance(self.rng.random_range(0..3_000)),
                26 => self.clock.advance(-self.rng.random_range(0..3_000)),
                27 if self.rng.random_bool(0.1) => self.clock.advance(40_000),
                28..40 => drop(self.broker.timer_round()),
                40..44 => drop(self.broker.store.dispatch_once()),
                44 => drop(self.broker.store.flush_queues_once()),
                _ => drop(self.broker.store.flush_once()),
            }
            self.note_delivered();
            self.note_synced();
        }
    }

    fn note_synced(&mut self) {
        let status = self.broker.store.status();
        if status.flushed_offset == status.max_offset {
            for sent in self.sent.values_mut() {
                sent.synced = true;
                sent.recall_synced = sent.recalled;
                sent.delivery_synced = sent.delivered;
            }
        }
    }

    fn note_delivered(&mut self) {
        for bytes in self.broker.store.records_from(self.read_to) {
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

    fn append(&mut self, topic: &str, queue_id: i32, body: &[u8], text: &[u8]) {
        let host = self.broker.store_host();
        let fields = RecordFields {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: START,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: text,
        };
        let mut bytes = Vec::new();
        fields.encode(&mut bytes).unwrap();
        self.broker
            .store
            .append(topic, queue_id, &mut bytes)
            .unwrap();
    }

    fn send(&mut self) {
        let delay = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(1..30),
            1..8 => self.rng.random_range(1..1_500),
            _ => self.rng.random_range(1..12_000),
        };
        self.send_for(delay);
    }

    fn send_for(&mut self, delay: i64) {
        let name = format!("m{}", self.sent.len());
        let deliver_ms = self.broker.now_ms() + delay;
        let mut text = Vec::new();
        properties::put(&mut text, properties::UNIQ_KEY, &name);
        properties::put(
            &mut text,
            properties::TIMER_DELIVER_MS,
            &deliver_ms.to_string(),
        );
        let place = deferral::defer(&self.broker, TOPIC, 3, &mut text)
            .unwrap()
            .unwrap();
        let handle = Handle::of(&self.broker, TOPIC, &text).unwrap();
        self.append(&place.topic, place.queue_id, name.as_bytes(), &text);
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
        let name = &names[self.rng.random_range(0..names.len())];
        // Whether it was delivered before a clock was set back is seen when it is flushed.
        self.broker.store.flush_once();
        self.note_delivered();
        let handle = self.sent[name].handle.clone().unwrap();
        let host = self.broker.store_host();
        let recalled = self.broker.recall(&handle, "g", host).is_ok();
        let (now, sent) = (self.broker.now_ms(), self.sent.get_mut(name).unwrap());
        assert_eq!(recalled, handle.deliver_ms > now, "{name}");
        // With a clock that has been set back, a recall may come too late and not know it.
        sent.recalled |= recalled && !sent.delivered;
    }

    /// The files stop in the middle of what a round, a clock that is set back or a stop does.
    fn stop_midway(&mut self) {
        let calls = self.rng.random_range(1..24);
        self.files.fail_at(calls, Fault::PowerOff);
        match self.rng.random_range(0..3) {
            0 => drop(self.broker.close_timer()),
            1 => {
                self.clock.advance(-self.rng.random_range(0..3_000));
                self.broker.timer_round();
            }
            _ => drop(self.broker.timer_round()),
        }
    }

    fn crash(&mut self) {
        let midway = self.rng.random_bool(0.3);
        if midway {
            self.stop_midway();
        }
        let power = midway || self.rng.random_bool(0.5);
        match power {
            true => self.files.lose_power(self.rng.random()),
            false => self.files.kill_process(),
        }
        if self.rng.random_bool(0.3) {
            self.clock.advance(self.rng.random_range(-2_000..30_000));
        }
        self.broker = open(self.directory.path(), &self.files, &self.clock, self.sync);
        self.look_again(power);
        self.broker.store.flush_once();
        self.note_synced();
    }

    /// What the log still says of each message.
    fn look_again(&mut self, power: bool) {
        let mut there: BTreeMap<String, (bool, bool, bool)> = BTreeMap::new();
        self.broker.store.flush_once();
        for bytes in self.broker.store.records_from(0) {
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
        self.read_to = self.broker.store.log_end();
    }

    /// In the end all are delivered that were not recalled.
    fn finish(&mut self) {
        for _ in 0..200 {
            self.clock.advance(150);
            self.broker.store.flush_once();
            self.broker.store.dispatch_once();
            self.broker.timer_round();
            self.note_delivered();
        }
        self.broker.store.flush_once();
        self.note_delivered();
        for (name, sent) in &self.sent {
            assert!(
                sent.delivered || sent.recalled || sent.lost,
                "{name} never came: {sent:?}, it is {}",
                self.broker.now_ms()
            );
        }
        let (pending, _) = self.broker.timer_backlog();
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
    let behind = last.map_or(0, |last| last - run.broker.now_ms());
    run.clock.advance(behind.max(0));
    run.finish();
}

#[test]
fn each_message_comes_once_and_never_early_whatever_crashes() {
    if let Ok(seed) = std::env::var("SLUICE_SEED") {
        return run(seed.parse().unwrap());
    }
    for seed in 0..300 {
        let done = std::panic::catch_unwind(|| run(seed));
        assert!(done.is_ok(), "SLUICE_SEED={seed} replays it");
    }
}

#[test]
fn a_full_disk_takes_no_message_that_waits() {
    let mut run = Run::new(1);
    run.send_for(1_500);
    run.broker.store.flush_once();
    run.broker.store.dispatch_once();
    run.broker.timer_round();
    run.clock.advance(1_100);
    run.broker.timer_round();
    let goal = run.broker.store.log_end() + (3 << 14);
    while run.broker.store.log_end() < goal {
        run.append("others", 0, &[b'x'; 1000], &[]);
    }
    run.broker.store.flush_once();
    run.broker.store.dispatch_once();
    run.broker.store.flush_queues_once().unwrap();
    run.files.set_space(Space {
        total: 100,
        free: 13,
    });
    run.broker.store.clean_once();
    assert_eq!(run.broker.store.log_start(), 0, "it waits there");
    for _ in 0..3 {
        run.clock.advance(1_100);
        run.broker.timer_round();
    }
    run.broker.store.flush_once();
    run.note_delivered();
    assert!(run.sent["m0"].delivered);
    run.broker.store.clean_once();
    assert!(run.broker.store.log_start() > 0);
}
