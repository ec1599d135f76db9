//! What decides, at one read, which messages a group gets: its subscription, then the plugins bound
//! to topic and group, in the order of their chain.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use sluice_filters::{BLOCK_ROWS_MAX, MessageFilter, Verdict};
use sluice_plugins::filter::{Judgement, Thread};
use sluice_plugins::{Bound, Row};
use sluice_protocol::message::Record;
use sluice_store::RecordFilter;

use crate::{Broker, consume_hooks};

/// The filters of one read, and what they leave to be done after it.
pub(crate) struct Filtering<'a> {
    subscription: &'a dyn MessageFilter,
    bound: &'a [Arc<Bound>],
    thread: Thread,
    takes_batches: bool,
    left: RefCell<Left>,
}

/// What is to be done before the answer leaves.
#[derive(Default)]
pub(crate) struct Left {
    /// The read is to be done again on a thread that may wait.
    pub(crate) deferred: bool,
    /// Messages for the group's dead letters, and the plugin that had no verdict.
    pub(crate) dead: Vec<(Bytes, String)>,
}

impl<'a> Filtering<'a> {
    pub(crate) fn new(
        subscription: &'a dyn MessageFilter,
        bound: &'a [Arc<Bound>],
        thread: Thread,
    ) -> Self {
        Filtering {
            subscription,
            bound,
            thread,
            takes_batches: true,
            left: RefCell::default(),
        }
    }

    /// Whether the reader is given inner batches as they lie in the log; at first it is.
    pub(crate) fn taking_batches(self, takes_batches: bool) -> Self {
        Filtering {
            takes_batches,
            ..self
        }
    }

    pub(crate) fn into_left(self) -> Left {
        self.left.into_inner()
    }

    /// Asks one binding about the rows that have passed so far.
    fn ask(&self, bound: &Bound, records: &[Bytes], parsed: &[Record<'_>], so_far: &mut [Verdict]) {
        let passing: Vec<usize> = (0..so_far.len())
            .filter(|row| so_far[*row] == Verdict::Pass)
            .collect();
        if passing.is_empty() {
            return;
        }
        let rows: Vec<Row<'_>> = passing.iter().map(|row| (&parsed[*row]).into()).collect();
        let mut judgements = [Judgement::Drop; BLOCK_ROWS_MAX];
        let judgements = &mut judgements[..rows.len()];
        bound.judge(&rows, self.thread, judgements);
        for (row, judgement) in passing.into_iter().zip(judgements) {
            so_far[row] = match judgement {
                Judgement::Pass => Verdict::Pass,
                Judgement::Drop => Verdict::Drop,
                Judgement::Hold => Verdict::Hold,
                Judgement::Defer => {
                    self.left.borrow_mut().deferred = true;
                    Verdict::Hold
                }
                Judgement::DeadLetter => {
                    let dead = (records[row].clone(), bound.spec().plugin.clone());
                    self.left.borrow_mut().dead.push(dead);
                    Verdict::Drop
                }
            };
        }
    }
}

/// Whether to judge what a group reads of a topic takes too long for a thread that serves connections.
pub(crate) fn is_slow(
    broker: &Broker,
    subscription: &dyn MessageFilter,
    topic: &str,
    group: &str,
) -> bool {
    let slow = |bound: Vec<Arc<Bound>>| bound.iter().any(|bound| bound.is_slow());
    subscription.is_slow()
        || slow(broker.plugins.filters(topic, group))
        || consume_hooks::is_slow(broker, topic, group)
}

impl RecordFilter for Filtering<'_> {
    fn matches_tags_code(&self, tags_code: i64) -> bool {
        self.subscription.may_match_tags_code(tags_code)
    }

    fn takes_batches(&self) -> bool {
        self.takes_batches
    }

    fn needs_record(&self) -> bool {
        !self.bound.is_empty() || self.subscription.needs_record()
    }

    fn judge(&self, records: &[Bytes], given: &mut [bool]) -> usize {
        // The store hands out whole records; one that can't be read is not delivered.
        let whole = |bytes: &Bytes| Record::parse(bytes).is_ok();
        if !records.iter().all(whole) {
            let good: Vec<usize> = (0..records.len())
                .filter(|at| whole(&records[*at]))
                .collect();
            let kept: Vec<Bytes> = good.iter().map(|at| records[*at].clone()).collect();
            let mut of_kept = vec![false; kept.len()];
            let judged = self.judge(&kept, &mut of_kept);
            good.iter()
                .zip(of_kept)
                .for_each(|(at, passed)| given[*at] = passed);
            return good.get(judged).copied().unwrap_or(records.len());
        }
        let parsed: Vec<Record<'_>> = records.iter().flat_map(|r| Record::parse(r)).collect();
        let mut verdicts = [Verdict::Pass; BLOCK_ROWS_MAX];
        let verdicts = &mut verdicts[..parsed.len()];
        if self.subscription.needs_record() {
            self.subscription.judge(&parsed, verdicts);
        }
        for bound in self.bound {
            self.ask(bound, records, &parsed, verdicts);
        }
        for (row, verdict) in verdicts.iter().enumerate() {
            match verdict {
                Verdict::Pass => given[row] = true,
                Verdict::Drop => {}
                Verdict::Hold => return self.held_at(row, &parsed),
            }
        }
        records.len()
    }
}

impl Filtering<'_> {
    /// What lies behind a held message is judged again later: it is no dead letter yet.
    fn held_at(&self, row: usize, parsed: &[Record<'_>]) -> usize {
        let offset = parsed[row].queue_offset();
        let before = |(bytes, _): &(Bytes, String)| {
            Record::parse(bytes).is_ok_and(|record| record.queue_offset() < offset)
        };
        self.left.borrow_mut().dead.retain(before);
        row
    }
}
