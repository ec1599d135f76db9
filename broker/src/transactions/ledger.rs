//! Which half messages await a decision: what is remembered of them, and nothing of files.
//!
//! A half message is known by its offset in the half queue. One that is not here and lies before
//! [`Ledger::end`] has been decided, or lies elsewhere by now: a check puts it again at the queue's
//! end, as Java does, and who knew the old place must still find it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// An undecided half message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Half {
    /// Where it lies in the log.
    pub(crate) physical: i64,
    /// When it is to be checked next, Unix milliseconds.
    pub(crate) due_ms: i64,
    /// Since when it is known here, Unix milliseconds: being put again does not make it younger.
    pub(crate) since_ms: i64,
    /// How often its producer has been asked.
    pub(crate) checks: u32,
    /// Whom to ask.
    pub(crate) group: Arc<str>,
}

/// The undecided half messages of one half queue.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    halves: BTreeMap<i64, Half>,
    /// Of each group: when, and which.
    due: HashMap<Arc<str>, BTreeSet<(i64, i64)>>,
    /// Where a half message lies that lay there before.
    moved: HashMap<i64, i64>,
    /// The same the other way: all places where it lay before.
    former: HashMap<i64, Vec<i64>>,
    /// Awaited no longer before the queue has shown them.
    early: HashSet<i64>,
    end: i64,
    /// No longer awaited, and no op record says so yet.
    settled: Vec<i64>,
    /// Op records that speak of half messages from the first undecided one on: their offsets, and
    /// the greatest half offset in each.
    ops: VecDeque<(i64, i64)>,
    ops_end: i64,
}

impl Ledger {
    /// One whose queues have come by up to there.
    pub(crate) fn restored(half_end: i64, op_end: i64) -> Self {
        Ledger {
            end: half_end,
            ops_end: op_end,
            ..Ledger::default()
        }
    }

    /// A half message has come by in its queue. Each offset comes once, in order.
    pub(crate) fn arrived(&mut self, offset: i64, half: Half) {
        if offset < self.end {
            return;
        }
        self.end = offset + 1;
        if !self.early.remove(&offset) && !self.halves.contains_key(&offset) {
            self.insert(offset, half);
        }
    }

    /// One is awaited.
    pub(super) fn insert(&mut self, offset: i64, half: Half) {
        self.due
            .entry(half.group.clone())
            .or_default()
            .insert((half.due_ms, offset));
        self.halves.insert(offset, half);
    }

    fn remove(&mut self, offset: i64) -> Option<Half> {
        let half = self.halves.remove(&offset)?;
        if let Some(due) = self.due.get_mut(&half.group) {
            due.remove(&(half.due_ms, offset));
            if due.is_empty() {
                self.due.remove(&half.group);
            }
        }
        Some(half)
    }

    /// Where the half message that lay or lies there lies now, if it is undecided.
    pub(crate) fn undecided(&self, offset: i64) -> Option<i64> {
        let now = self.moved.get(&offset).copied().unwrap_or(offset);
        let known = self.halves.contains_key(&now);
        let not_yet_shown = now >= self.end && !self.early.contains(&now);
        (known || not_yet_shown).then_some(now)
    }

    /// The half message at this very offset.
    pub(crate) fn get(&self, offset: i64) -> Option<&Half> {
        self.halves.get(&offset)
    }

    /// All of them, by offset.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Half)> {
        self.halves.iter().map(|(offset, half)| (*offset, half))
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.halves.len()
    }

    fn leave(&mut self, offset: i64) {
        self.remove(offset);
        if offset >= self.end {
            self.early.insert(offset);
        }
        self.settled.push(offset);
    }

    /// One is awaited no longer; an op record is owed.
    pub(crate) fn settle(&mut self, offset: i64) {
        self.leave(offset);
        for old in self.former.remove(&offset).unwrap_or_default() {
            self.moved.remove(&old);
        }
    }

    /// One was put again and lies elsewhere now; an op record is owed for where it lay.
    pub(crate) fn moved(&mut self, from: i64, to: i64, half: Half) {
        self.leave(from);
        self.insert(to, half);
        let mut former = self.former.remove(&from).unwrap_or_default();
        former.push(from);
        self.note_former(to, former);
    }

    /// Places where the one that lies at `offset` lay before.
    pub(crate) fn note_former(&mut self, offset: i64, former: Vec<i64>) {
        for old in &former {
            self.moved.insert(*old, offset);
        }
        if !former.is_empty() {
            self.former.insert(offset, former);
        }
    }

    /// Groups that have something due.
    pub(crate) fn due_groups(&self, now_ms: i64) -> Vec<Arc<str>> {
        let is_due = |due: &BTreeSet<(i64, i64)>| due.first().is_some_and(|(at, _)| *at <= now_ms);
        let due = self.due.iter().filter(|(_, due)| is_due(due));
        due.map(|(group, _)| group.clone()).collect()
    }

    /// What of a group is due, the longest overdue first.
    pub(crate) fn due(&self, group: &str, now_ms: i64, max: usize) -> Vec<(i64, Half)> {
        let due = self.due.get(group).into_iter().flatten();
        due.take_while(|(at, _)| *at <= now_ms)
            .take(max)
            .filter_map(|(_, offset)| Some((*offset, self.halves.get(offset)?.clone())))
            .collect()
    }

    /// The first undecided one.
    pub(crate) fn first(&self) -> Option<(i64, &Half)> {
        self.iter().next()
    }

    /// Before which half offset all is decided. One that was put again may lie behind others that
    /// have not come by yet.
    pub(crate) fn decided_to(&self) -> i64 {
        let first = self.first().map(|(offset, _)| offset);
        first.map_or(self.end, |first| first.min(self.end))
    }

    /// How far the half queue has come by.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// What the next op record has to say, all of it: a record in the log then says that of every
    /// copy before it the half message is known to be decided.
    pub(crate) fn owed(&self) -> &[i64] {
        &self.settled
    }

    /// How long the body of that record will be, about: an offset has ten digits at most for long.
    pub(crate) fn owed_bytes(&self) -> usize {
        self.settled.len() * 11
    }

    /// An op record says so now.
    pub(crate) fn op_written(&mut self, op_offset: i64) {
        let greatest = self.settled.drain(..).max();
        if let Some(greatest) = greatest {
            self.note_op(op_offset, greatest);
        }
    }

    /// An op record is there.
    pub(crate) fn note_op(&mut self, op_offset: i64, greatest: i64) {
        self.ops.push_back((op_offset, greatest));
        self.ops_end = self.ops_end.max(op_offset + 1);
    }

    /// The first op record that is still needed.
    pub(crate) fn ops_needed_from(&mut self) -> i64 {
        let decided_to = self.decided_to();
        while self
            .ops
            .front()
            .is_some_and(|(_, greatest)| *greatest < decided_to)
        {
            self.ops.pop_front();
        }
        self.ops.front().map_or(self.ops_end, |(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(due_ms: i64) -> Half {
        Half {
            physical: 0,
            due_ms,
            since_ms: 0,
            checks: 0,
            group: "g".into(),
        }
    }

    #[test]
    fn one_decided_before_its_queue_shows_it_is_never_awaited() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.undecided(0), Some(0));
        ledger.settle(0);
        assert_eq!(ledger.undecided(0), None);
        ledger.arrived(0, half(0));
        assert_eq!(ledger.undecided(0), None);
        assert_eq!(ledger.len(), 0);
        assert_eq!(ledger.decided_to(), 1);
    }

    #[test]
    fn who_knew_an_old_place_finds_it_until_it_is_decided() {
        let mut ledger = Ledger::default();
        ledger.arrived(0, half(5));
        ledger.moved(0, 1, half(9));
        ledger.arrived(1, half(0));
        ledger.moved(1, 2, half(12));
        assert_eq!([0, 1, 2].map(|old| ledger.undecided(old)), [Some(2); 3]);
        assert!(ledger.due("g", 11, 9).is_empty());
        assert_eq!(ledger.due("g", 12, 9).len(), 1);
        ledger.settle(2);
        ledger.arrived(2, half(0));
        assert_eq!([0, 1, 2].map(|old| ledger.undecided(old)), [None; 3]);
        assert_eq!(ledger.owed(), [0, 1, 2]);
        assert!(ledger.due_groups(i64::MAX).is_empty());
    }

    #[test]
    fn op_records_are_needed_while_one_before_what_they_say_is_undecided() {
        let mut ledger = Ledger::default();
        (0..4).for_each(|offset| ledger.arrived(offset, half(0)));
        ledger.settle(3);
        ledger.op_written(0);
        ledger.settle(0);
        ledger.op_written(1);
        assert_eq!((ledger.decided_to(), ledger.ops_needed_from()), (1, 0));
        ledger.settle(1);
        ledger.settle(2);
        ledger.op_written(2);
        assert_eq!((ledger.decided_to(), ledger.ops_needed_from()), (4, 3));
    }
}
