//! Random transactions over simulated files, with crashes, against a small model. A seed replays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sluice_protocol::message::{Record, RecordFields, properties};
use sluice_protocol::topic::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};
use sluice_store::{Environment, SimulatedFiles, Space, Store, TestClock};

use super::ledger::Half;
use super::{Decision, QUEUE, prepare};
use crate::config::FlushDiskType;
use crate::{Broker, BrokerConfig};

const TOPIC: &str = "orders";
const START: i64 = 1_700_000_000_000;

/// What may have become of a half message: several, after a power loss that may have taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Missing,
    Undecided,
    Committed,
    RolledBack,
    GivenUp,
}

#[derive(Debug)]
struct Sent {
    /// Where it lay at first.
    physical: i64,
    fate: Fate,
    /// Its fate when the log was synced last.
    synced: Fate,
}

struct Run {
    directory: tempfile::TempDir,
    files: SimulatedFiles,
    clock: Arc<TestClock>,
    rng: SmallRng,
    sync: bool,
    broker: Arc<Broker>,
    sent: BTreeMap<String, Sent>,
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
        max_message_size: 1 << 10,
        max_hash_slot_num: 100,
        max_index_num: 400,
        transaction_op_msg_max_size: 60,
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
        }
    }

    fn work(&mut self) {
        for _ in 0..self.rng.random_range(1..60) {
            self.clock.advance(self.rng.random_range(0..300));
            match self.rng.random_range(0..40) {
                0..12 => self.send(),
                12..22 => self.decide(),
                22..26 => self.put_again(),
                26 => self.give_up(),
                27..30 => drop(self.broker.store.dispatch_once()),
                30..32 => self.broker.check_transactions(),
                32..34 => self.broker.save_transactions(),
                34 => drop(self.broker.offsets.save(self.clock_ms())),
                35 => drop(self.broker.store.flush_queues_once()),
                _ => drop(self.broker.store.flush_once()),
            }
            self.note_synced();
        }
    }

    fn clock_ms(&self) -> i64 {
        self.broker.now_ms()
    }

    fn note_synced(&mut self) {
        let status = self.broker.store.status();
        if status.flushed_offset == status.max_offset {
            for sent in self.sent.values_mut() {
                sent.synced = sent.fate;
            }
        }
    }

    fn send(&mut self) {
        let name = format!("m{}", self.sent.len());
        let mut text = Vec::new();
        for (key, value) in [
            (properties::UNIQ_KEY, &*name),
            (properties::TRAN_MSG, "true"),
            (properties::PGROUP, "shop"),
        ] {
            properties::put(&mut text, key, value);
        }
        prepare(&mut text, TOPIC, 3);
        let host = self.broker.store_host();
        let fields = RecordFields {
            topic: TRANS_HALF_TOPIC,
            queue_id: QUEUE,
            flag: 0,
            sys_flag: 0,
            born_timestamp: START,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: name.as_bytes(),
            properties: &text,
        };
        let mut bytes = Vec::new();
        fields.encode(&mut bytes).unwrap();
        let appended = self
            .broker
            .store
            .append(TRANS_HALF_TOPIC, QUEUE, &mut bytes);
        let sent = Sent {
            physical: appended.unwrap().physical_offsets[0],
            fate: Fate::Undecided,
            synced: Fate::Missing,
        };
        self.sent.insert(name, sent);
    }

    /// A producer decides by the place it was told at first, perhaps for the second time.
    fn decide(&mut self) {
        let Some(name) = self.any() else { return };
        let sent = self.sent.get_mut(&name).unwrap();
        // Its producer has no answer before it is visible.
        let Some(bytes) = self.broker.store.record_at(sent.physical) else {
            return;
        };
        let record = Record::parse(&bytes).unwrap();
        let (decision, fate) = match self.rng.random_bool(0.5) {
            true => (Decision::Commit, Fate::Committed),
            false => (Decision::Rollback, Fate::RolledBack),
        };
        let decided = self.broker.decide(&record, decision).unwrap();
        assert_eq!(
            decided.is_some(),
            sent.fate == Fate::Undecided,
            "{name} was {:?}",
            sent.fate
        );
        if decided.is_some() {
            sent.fate = fate;
        }
    }

    fn any(&mut self) -> Option<String> {
        let there = |sent: &Sent| sent.fate != Fate::Missing;
        let names: Vec<&String> = self
            .sent
            .iter()
            .filter(|(_, sent)| there(sent))
            .map(|(name, _)| name)
            .collect();
        match names.len() {
            0 => None,
            count => Some(names[self.rng.random_range(0..count)].clone()),
        }
    }

    fn any_undecided(&mut self) -> Option<(i64, Half)> {
        let ledger = self.broker.transactions.ledger.lock();
        let all: Vec<_> = ledger.iter().map(|(at, half)| (at, half.clone())).collect();
        drop(ledger);
        let count = all.len();
        (count > 0).then(|| all[self.rng.random_range(0..count)].clone())
    }

    fn put_again(&mut self) {
        if let Some((offset, half)) = self.any_undecided() {
            let due = half.due_ms + 1000;
            self.broker
                .put_again(offset, &half, half.checks + 1, due)
                .unwrap();
        }
    }

    fn give_up(&mut self) {
        let Some((offset, half)) = self.any_undecided() else {
            return;
        };
        let Some(bytes) = self.broker.store.record_at(half.physical) else {
            return;
        };
        let name = String::from_utf8(Record::parse(&bytes).unwrap().body().to_vec()).unwrap();
        self.broker.give_up(offset, &half).unwrap();
        self.sent.get_mut(&name).unwrap().fate = Fate::GivenUp;
    }

    fn crash(&mut self) {
        let power = self.rng.random_bool(0.5);
        match power {
            true => self.files.lose_power(self.rng.random()),
            false => self.files.kill_process(),
        }
        self.broker = open(self.directory.path(), &self.files, &self.clock, self.sync);
        let found = self.found();
        for (name, sent) in &mut self.sent {
            let now = found.get(name).copied().unwrap_or(Fate::Missing);
            let now = match (now, sent.fate, sent.synced) {
                // A rollback leaves nothing to find; missing is what nobody promised to keep.
                (Fate::Missing, Fate::RolledBack, Fate::RolledBack | Fate::Undecided) => {
                    Fate::RolledBack
                }
                (Fate::Missing, Fate::RolledBack, _) if !power => Fate::RolledBack,
                (now, ..) => now,
            };
            let allowed = match power {
                true => sent.synced..=sent.fate,
                false => sent.fate..=sent.fate,
            };
            assert!(
                allowed.contains(&now)
                    && (now == sent.synced || now == sent.fate || now == Fate::Undecided),
                "{name}: {:?}, synced {:?}, after {}: {now:?}",
                sent.fate,
                sent.synced,
                if power { "power loss" } else { "kill" }
            );
            sent.fate = now;
        }
        self.broker.store.flush_once();
        self.note_synced();
    }

    /// Of each half message, what log and ledger say now; it is an error if they say two things.
    fn found(&self) -> BTreeMap<String, Fate> {
        let mut found = BTreeMap::new();
        let mut note = |name: String, fate| {
            let before = found.insert(name.clone(), fate);
            assert_eq!(before, None, "{name} is {fate:?} as well");
        };
        for bytes in self.broker.store.records_from(0) {
            let record = Record::parse(&bytes).unwrap();
            let fate = match record.topic() {
                TOPIC => Fate::Committed,
                TRANS_CHECK_MAX_TIME_TOPIC => Fate::GivenUp,
                _ => continue,
            };
            if fate == Fate::Committed {
                assert_eq!(record.queue_id(), 3);
            }
            note(String::from_utf8(record.body().to_vec()).unwrap(), fate);
        }
        for undecided in self.broker.undecided(None, None, usize::MAX) {
            note(undecided.id, Fate::Undecided);
        }
        found
    }

    /// The producer's place leads to each undecided one.
    fn check_places(&self) {
        let ledger = self.broker.transactions.ledger.lock();
        let mut places = BTreeSet::new();
        for (name, sent) in self.sent.iter().filter(|(_, s)| s.fate == Fate::Undecided) {
            let bytes = self.broker.store.record_at(sent.physical);
            let Some(bytes) = bytes else { continue };
            let offset = Record::parse(&bytes).unwrap().queue_offset();
            let place = ledger.undecided(offset);
            assert!(
                place.is_some_and(|place| places.insert(place)),
                "{name} is lost from {offset}"
            );
        }
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..8 {
        run.work();
        run.crash();
        run.check_places();
    }
}

#[test]
fn each_transaction_is_decided_once_whatever_crashes() {
    if let Ok(seed) = std::env::var("SLUICE_SEED") {
        return run(seed.parse().unwrap());
    }
    for seed in 0..300 {
        let done = std::panic::catch_unwind(|| run(seed));
        assert!(done.is_ok(), "SLUICE_SEED={seed} replays it");
    }
}

/// Messages of another topic fill so many log files.
fn fill(run: &Run, files: i64) {
    let store = &run.broker.store;
    let goal = store.log_bounds().1 + files * (1 << 14);
    let host = run.broker.store_host();
    while store.log_bounds().1 < goal {
        let fields = RecordFields {
            topic: "others",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: START,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &[b'x'; 1000],
            properties: &[],
        };
        let mut bytes = Vec::new();
        fields.encode(&mut bytes).unwrap();
        store.append("others", 0, &mut bytes).unwrap();
    }
    store.flush_once();
    store.dispatch_once();
    store.flush_queues_once().unwrap();
}

#[test]
fn a_full_disk_takes_no_undecided_transaction() {
    let mut run = Run::new(1);
    run.send();
    run.broker.store.flush_once();
    run.broker.store.dispatch_once();
    fill(&run, 3);
    // Above diskSpaceCleanForciblyRatio, below the level that refuses messages.
    run.files.set_space(Space {
        total: 100,
        free: 13,
    });
    run.broker.check_transactions();
    run.broker.store.clean_once();
    assert_eq!(
        run.broker.store.log_bounds().0,
        0,
        "an undecided one lies there"
    );

    run.clock.advance(run.broker.config().transaction_time_out);
    run.broker.check_transactions();
    run.broker.store.clean_once();
    assert!(run.broker.store.log_bounds().0 > 0);
    let undecided = run.broker.undecided(None, None, 9);
    assert_eq!(undecided.len(), 1);
    assert_eq!((&*undecided[0].id, undecided[0].checks), ("m0", 0));
    let (_, bytes) = run.broker.undecided_by_id("m0").unwrap();
    let half = Record::parse(&bytes).unwrap();
    assert!(
        run.broker
            .decide(&half, Decision::Commit)
            .unwrap()
            .is_some()
    );
    assert_eq!(run.found()["m0"], Fate::Committed);
}
