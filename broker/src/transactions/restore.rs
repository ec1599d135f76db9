//! What awaits a decision after a start.
//!
//! The half queue from its saved offset on, without what the op queue says, without what the log
//! shows to have been copied on: a commit, a check and giving up are copies, and one may have been
//! made just before the op record that would have told of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use sluice_protocol::message::Record;
use sluice_protocol::topic::{TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};

use super::half::remembered;
use super::ledger::{Half, Ledger};
use super::{GROUP, QUEUE, op};
use crate::Broker;

/// Half messages by their offset.
type Halves = BTreeMap<i64, Half>;

/// What the op queue says.
struct Ops {
    /// Half offsets that need no decision.
    decided: HashSet<i64>,
    /// Each record's offset, and the greatest half offset in it.
    records: Vec<(i64, i64)>,
    /// Where the last record lies in the log.
    last: i64,
}

impl Broker {
    /// Finds what awaits a decision. Call once, before the store is started.
    pub(crate) fn restore_transactions(&self) {
        // What recovery has not put into the queues would come by later, and op records don't.
        while self.store.dispatch_once() {}
        let (half_from, half_end) = self.still_needed(TRANS_HALF_TOPIC);
        let (op_from, op_end) = self.still_needed(TRANS_OP_HALF_TOPIC);
        let mut halves = self.halves(half_from, half_end);
        let ops = self.ops(op_from, op_end);
        halves.retain(|offset, _| !ops.decided.contains(offset));
        let copied = self.copied_on(&halves, ops.last);
        let mut ledger = Ledger::restored(half_end, op_end);
        halves
            .into_iter()
            .for_each(|(offset, half)| ledger.insert(offset, half));
        for (offset, greatest) in ops.records {
            ledger.note_op(offset, greatest);
        }
        copied.into_iter().for_each(|offset| ledger.settle(offset));
        self.find_former_places(&mut ledger);
        if ledger.len() > 0 {
            tracing::info!(halves = ledger.len(), "transactions await a decision");
        }
        *self.transactions.ledger.lock() = ledger;
        self.keep_files_of_halves();
    }

    /// The offsets of a queue that it is not done with.
    fn still_needed(&self, topic: &str) -> (i64, i64) {
        let bounds = self.bounds(topic, QUEUE);
        let saved = self.offsets.get(GROUP, topic, QUEUE).unwrap_or(bounds.min);
        (saved.clamp(bounds.min, bounds.max), bounds.max)
    }

    fn stored(&self, topic: &str, from: i64, end: i64) -> impl Iterator<Item = (i64, Bytes)> {
        (from..end).filter_map(move |offset| {
            let unit = self.store.unit_at(topic, QUEUE, offset)?;
            Some((offset, self.store.record_at(unit.physical_offset)?))
        })
    }

    fn halves(&self, from: i64, end: i64) -> Halves {
        let config = self.config();
        self.stored(TRANS_HALF_TOPIC, from, end)
            .filter_map(|(offset, bytes)| {
                let record = Record::parse(&bytes).ok()?;
                Some((offset, remembered(&record, &config)))
            })
            .collect()
    }

    fn ops(&self, from: i64, end: i64) -> Ops {
        let mut ops = Ops {
            decided: HashSet::new(),
            records: Vec::new(),
            last: 0,
        };
        for (offset, bytes) in self.stored(TRANS_OP_HALF_TOPIC, from, end) {
            let Ok(record) = Record::parse(&bytes) else {
                continue;
            };
            ops.decided.extend(op::decided(&record));
            let greatest = op::decided(&record).max().unwrap_or(-1);
            ops.records.push((offset, greatest));
            ops.last = record.physical_offset();
        }
        ops
    }

    /// Which of these were copied on after the last op record.
    fn copied_on(&self, halves: &Halves, last_op: i64) -> HashSet<i64> {
        let Some(first) = halves.values().next() else {
            return HashSet::new();
        };
        let places: HashMap<i64, i64> = halves
            .iter()
            .map(|(offset, half)| (half.physical, *offset))
            .collect();
        self.copies_since(first.physical.max(last_op))
            .filter_map(|copy| places.get(&copy.source).copied())
            .collect()
    }

    fn find_former_places(&self, ledger: &mut Ledger) {
        let former = |half: &Half| {
            let bytes = self.store.record_at(half.physical)?;
            Some(self.former_places(&Record::parse(&bytes).ok()?))
        };
        let found: Vec<_> = ledger
            .iter()
            .filter_map(|(offset, half)| Some((offset, former(half)?)))
            .collect();
        for (offset, places) in found {
            ledger.note_former(offset, places);
        }
    }
}
