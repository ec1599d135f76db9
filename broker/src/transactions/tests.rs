//! Random transactions over simulated files, with crashes, against a small model. A seed replays.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use sluice_protocol::message::{Record, properties};
use sluice_protocol::topic::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};
use sluice_store::Space;

use super::ledger::Half;
use super::{Decision, QUEUE, prepare};
use crate::crash_model::{LOG_FILE, Machine, play};
use crate::{Broker, BrokerConfig};

const TOPIC: &str = "orders";

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
    machine: Machine,
    sent: BTreeMap<String, Sent>,
}

fn small_ops(config: &mut BrokerConfig) {
    config.transaction_op_msg_max_size = 60;
}

impl Run {
    fn new(seed: u64) -> Self {
        Run {
            machine: Machine::new(seed, small_ops, Broker::watch_arrivals),
            sent: BTreeMap::new(),
        }
    }

    fn work(&mut self) {
        for _ in 0..self.machine.rng.random_range(1..60) {
            self.machine
                .clock
                .advance(self.machine.rng.random_range(0..300));
            match self.machine.rng.random_range(0..40) {
                0..12 => self.send(),
                12..22 => self.decide(),
                22..26 => self.put_again(),
                26 => self.give_up(),
                27..30 => drop(self.machine.broker.store.dispatch_once()),
                30..32 => self.machine.broker.check_transactions(),
                32..34 => self.machine.broker.save_transactions(),
                34 => drop(self.machine.broker.offsets.save(self.clock_ms())),
                35 => drop(self.machine.broker.store.flush_queues_once()),
                _ => drop(self.machine.broker.store.flush_once()),
            }
            self.note_synced();
        }
    }

    fn clock_ms(&self) -> i64 {
        self.machine.broker.now_ms()
    }

    fn note_synced(&mut self) {
        if self.machine.is_synced() {
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
        let physical = self
            .machine
            .append(TRANS_HALF_TOPIC, QUEUE, name.as_bytes(), &text);
        let sent = Sent {
            physical,
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
        let Some(bytes) = self.machine.broker.store.record_at(sent.physical) else {
            return;
        };
        let record = Record::parse(&bytes).unwrap();
        let (decision, fate) = match self.machine.rng.random_bool(0.5) {
            true => (Decision::Commit, Fate::Committed),
            false => (Decision::Rollback, Fate::RolledBack),
        };
        let decided = self.machine.broker.decide(&record, decision).unwrap();
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
            count => Some(names[self.machine.rng.random_range(0..count)].clone()),
        }
    }

    fn any_undecided(&mut self) -> Option<(i64, Half)> {
        let ledger = self.machine.broker.transactions.ledger.lock();
        let all: Vec<_> = ledger.iter().map(|(at, half)| (at, half.clone())).collect();
        drop(ledger);
        let count = all.len();
        (count > 0).then(|| all[self.machine.rng.random_range(0..count)].clone())
    }

    fn put_again(&mut self) {
        if let Some((offset, half)) = self.any_undecided() {
            let due = half.due_ms + 1000;
            self.machine
                .broker
                .put_again(offset, &half, half.checks + 1, due)
                .unwrap();
        }
    }

    fn give_up(&mut self) {
        let Some((offset, half)) = self.any_undecided() else {
            return;
        };
        let Some(bytes) = self.machine.broker.store.record_at(half.physical) else {
            return;
        };
        let name = String::from_utf8(Record::parse(&bytes).unwrap().body().to_vec()).unwrap();
        self.machine.broker.give_up(offset, &half).unwrap();
        self.sent.get_mut(&name).unwrap().fate = Fate::GivenUp;
    }

    fn crash(&mut self) {
        let power = self.machine.crash();
        self.machine.restart();
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
        self.machine.broker.store.flush_once();
        self.note_synced();
    }

    /// Of each half message, what log and ledger say now; it is an error if they say two things.
    fn found(&self) -> BTreeMap<String, Fate> {
        let mut found = BTreeMap::new();
        let mut note = |name: String, fate| {
            let before = found.insert(name.clone(), fate);
            assert_eq!(before, None, "{name} is {fate:?} as well");
        };
        for bytes in self.machine.broker.store.records_from(0) {
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
        for undecided in self.machine.broker.undecided(None, None, usize::MAX) {
            note(undecided.id, Fate::Undecided);
        }
        found
    }

    /// The producer's place leads to each undecided one.
    fn check_places(&self) {
        let ledger = self.machine.broker.transactions.ledger.lock();
        let mut places = BTreeSet::new();
        for (name, sent) in self.sent.iter().filter(|(_, s)| s.fate == Fate::Undecided) {
            let bytes = self.machine.broker.store.record_at(sent.physical);
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
    play(300, run);
}

/// Messages of another topic fill so many log files.
fn fill(run: &Run, files: i64) {
    let store = &run.machine.broker.store;
    let goal = store.log_bounds().1 + files * LOG_FILE;
    while store.log_bounds().1 < goal {
        run.machine.append("others", 0, &[b'x'; 1000], &[]);
    }
    store.flush_once();
    store.dispatch_once();
    store.flush_queues_once().unwrap();
}

#[test]
fn a_full_disk_takes_no_undecided_transaction() {
    let mut run = Run::new(1);
    run.send();
    run.machine.broker.store.flush_once();
    run.machine.broker.store.dispatch_once();
    fill(&run, 3);
    // Above diskSpaceCleanForciblyRatio, below the level that refuses messages.
    run.machine.files.set_space(Space {
        total: 100,
        free: 13,
    });
    run.machine.broker.check_transactions();
    run.machine.broker.store.clean_once();
    assert_eq!(
        run.machine.broker.store.log_bounds().0,
        0,
        "an undecided one lies there"
    );

    run.machine
        .clock
        .advance(run.machine.broker.config().transaction_time_out);
    run.machine.broker.check_transactions();
    run.machine.broker.store.clean_once();
    assert!(run.machine.broker.store.log_bounds().0 > 0);
    let undecided = run.machine.broker.undecided(None, None, 9);
    assert_eq!(undecided.len(), 1);
    assert_eq!((&*undecided[0].id, undecided[0].checks), ("m0", 0));
    let (_, bytes) = run.machine.broker.undecided_by_id("m0").unwrap();
    let half = Record::parse(&bytes).unwrap();
    assert!(
        run.machine
            .broker
            .decide(&half, Decision::Commit)
            .unwrap()
            .is_some()
    );
    assert_eq!(run.found()["m0"], Fate::Committed);
}
