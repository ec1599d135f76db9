//! An operator's work on dead letters over simulated files, with faults and crashes. A seed replays.

use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand::seq::IndexedRandom;
use sluice_protocol::message::{Record, RecordFields, properties};
use sluice_protocol::topic::{DLQ_PREFIX, RETRY_PREFIX};
use sluice_store::Fault;

use super::{Reason, Resending, Selection};
use crate::Broker;
use crate::copies::source_of;
use crate::crash_model::{LOG_FILE, Machine, START, play};

const TOPIC: &str = "orders";
const GROUP: &str = "g";

/// A letter that is there for certain, or was when there was no crash.
#[derive(Debug, Clone)]
struct Known {
    physical: i64,
    stored_ms: i64,
    /// Resends that were answered.
    resent: usize,
    /// `None` after a drop or its undoing that was not answered.
    dropped: Option<bool>,
}

struct Run {
    machine: Machine,
    letters: Vec<Known>,
}

fn make_group(broker: &Arc<Broker>) {
    broker.group_or_create(GROUP).unwrap();
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            machine: Machine::new(seed, |_| {}, make_group),
            letters: Vec::new(),
        }
    }

    fn work(&mut self) {
        for _ in 0..self.machine.rng.random_range(1..25) {
            self.machine
                .clock
                .advance(self.machine.rng.random_range(0..300));
            if self.machine.rng.random_bool(0.1) {
                let fault = *[
                    Fault::Io,
                    Fault::NoSpace,
                    Fault::ShortWrite,
                    Fault::PowerOff,
                ]
                .choose(&mut self.machine.rng)
                .unwrap();
                self.machine
                    .files
                    .fail_at(self.machine.rng.random_range(1..12), fault);
            }
            match self.machine.rng.random_range(0..12) {
                0..4 => self.die(),
                4..8 => self.resend(),
                8..10 => self.drop_or_undo(),
                10 => drop(self.machine.broker.store.dispatch_once()),
                _ => drop(self.machine.broker.store.flush_once()),
            }
        }
    }

    fn die(&mut self) {
        let host = self.machine.broker.store_host();
        let mut text = Vec::new();
        properties::put(&mut text, "colour", "blue");
        let fields = RecordFields {
            topic: TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: START,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"order",
            properties: &text,
        };
        let mut bytes = Vec::new();
        fields.encode(&mut bytes).unwrap();
        let Ok(appended) = self.machine.broker.store.append(TOPIC, 0, &mut bytes) else {
            return;
        };
        let physical = appended.end_offset;
        let record = Record::parse(&bytes).unwrap();
        let reason = Reason::SentByConsumer;
        if self
            .machine
            .broker
            .bury_retried(GROUP, &record, reason)
            .is_ok()
        {
            self.machine.broker.store.flush_once();
            // A log file may have ended between the two.
            let bytes = self.record(physical).or_else(|| {
                let next = (physical / LOG_FILE + 1) * LOG_FILE;
                self.record(next)
            });
            let Some(bytes) = bytes else { return };
            let letter = Record::parse(&bytes).unwrap();
            self.letters.push(Known {
                physical: letter.physical_offset(),
                stored_ms: letter.store_timestamp(),
                resent: 0,
                dropped: Some(false),
            });
        }
    }

    /// A letter in the log.
    fn record(&self, physical: i64) -> Option<Bytes> {
        let bytes = self.machine.broker.store.record_at(physical)?;
        let is_letter = Record::parse(&bytes).is_ok_and(|r| r.topic().starts_with(DLQ_PREFIX));
        is_letter.then_some(bytes)
    }

    fn some(&mut self) -> Option<(usize, Bytes)> {
        let at = (0..self.letters.len()).collect::<Vec<_>>();
        let at = *at.choose(&mut self.machine.rng)?;
        Some((at, self.record(self.letters[at].physical)?))
    }

    /// Copies of a letter that the group may get.
    fn copies(&self, physical: i64) -> usize {
        let is_copy = |bytes: &Bytes| {
            let record = Record::parse(bytes).unwrap();
            record.topic().starts_with(RETRY_PREFIX) && source_of(&record) == Some(physical)
        };
        self.machine
            .broker
            .store
            .records_from(0)
            .filter(is_copy)
            .count()
    }

    fn resend(&mut self) {
        let Some((at, bytes)) = self.some() else {
            return;
        };
        let again = self.machine.rng.random_bool(0.2);
        let before = self.copies(self.letters[at].physical);
        let wanted = Resending {
            again,
            set: [("by".to_owned(), "hand".to_owned())].into(),
            ..Resending::default()
        };
        let Ok(outcome) = self.machine.broker.resend(&[bytes], &wanted) else {
            return;
        };
        let sent = outcome.resent.len();
        assert!(
            again || sent == 0 || before == 0,
            "sent twice, not asked to"
        );
        let known = &mut self.letters[at];
        assert!(sent == 0 || known.dropped != Some(true), "it is dropped");
        known.resent += sent;
    }

    fn drop_or_undo(&mut self) {
        let Some((at, bytes)) = self.some() else {
            return;
        };
        let undo = self.machine.rng.random_bool(0.4);
        let done = self.machine.broker.drop_letters(&[bytes], undo);
        self.letters[at].dropped = done.is_ok().then_some(!undo);
    }

    fn crash(&mut self) {
        let power = self.machine.crash();
        self.machine.clock.advance(1);
        self.machine.restart();
        self.machine.broker.store.flush_once();
        self.machine.broker.store.dispatch_once();
        let kept = |run: &Run, known: &Known| {
            let bytes = run.record(known.physical)?;
            let stored = Record::parse(&bytes).unwrap().store_timestamp();
            (stored == known.stored_ms).then_some(bytes)
        };
        let known = std::mem::take(&mut self.letters);
        for mut known in known {
            let Some(bytes) = kept(self, &known) else {
                assert!(power && known.resent == 0, "{known:?} is lost");
                continue;
            };
            let copies = self.copies(known.physical);
            assert!(copies >= known.resent, "{copies} of {known:?}");
            let letter = self
                .machine
                .broker
                .letter(&Record::parse(&bytes).unwrap())
                .unwrap();
            let dropped = letter.dropped_ms.is_some();
            assert!(known.dropped.is_none_or(|known| known == dropped));
            known.dropped = Some(dropped);
            self.letters.push(known);
        }
        self.check_list();
    }

    /// What is listed is what is there and not dropped.
    fn check_list(&self) {
        let wanted = Selection {
            group: GROUP.to_owned(),
            from_ms: 0,
            to_ms: i64::MAX,
            key: None,
            start: 0,
            end: i64::MAX,
            count: usize::MAX,
            all: false,
        };
        let page = self.machine.broker.letters(&wanted).unwrap();
        for known in &self.letters {
            let listed = page.letters.iter().any(|bytes| {
                let record = Record::parse(bytes).unwrap();
                record.physical_offset() == known.physical
            });
            assert_eq!(listed, known.dropped == Some(false), "{known:?}");
        }
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..6 {
        run.work();
        run.crash();
    }
}

#[test]
fn a_letter_is_sent_once_and_stays_dropped_whatever_crashes() {
    play(200, run);
}
