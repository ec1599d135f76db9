//! Transactions: a message that its producer sends first and decides on later.
//!
//! It is stored as a half message in a topic that no consumer reads. END_TRANSACTION commits it,
//! which copies it to its own topic, or rolls it back; a producer that says neither is asked. The
//! files are Java's: the half queue, the op queue that says which half messages need no decision,
//! and the offsets of `CID_RMQ_SYS_TRANS` on both.
//!
//! What must hold, for a half message:
//! - It is decided once: whoever decides holds the ledger from looking it up to having written.
//! - It leaves the ledger by a copy in the log whose source it is (commit, check, giving up) or by
//!   an op record (rollback), so a start after a crash finds it gone: see [`restore`].
//! - Offsets are saved only after the log is synced past what they rest on.

mod check;
mod half;
mod ledger;
mod look;
mod op;
mod restore;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use sluice_protocol::message::Record;
use sluice_protocol::message::record::assign;
use sluice_protocol::topic::{TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};
use sluice_store::{AppendError, Arrival};

pub(crate) use self::check::ROUND_MS;
use self::half::remembered;
pub(crate) use self::half::{group, immunity_ms, is_half, prepare};
use self::ledger::Ledger;
pub(crate) use self::look::Undecided;
use crate::Broker;
use crate::error::Refusal;

/// The queue of half and of op messages: Java uses this one only.
pub(crate) const QUEUE: i32 = 0;
/// The group whose consumer offsets say how far half and op queue are done with.
const GROUP: &str = "CID_RMQ_SYS_TRANS";
/// Most undecided half messages; each takes some 200 bytes of memory.
const UNDECIDED_MAX: usize = 1_000_000;

/// What became of a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Commit,
    Rollback,
}

/// Undecided half messages, and counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    ledger: Mutex<Ledger>,
    saved: Mutex<check::Saved>,
    pub(crate) counts: Counts,
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) committed: AtomicU64,
    pub(crate) rolled_back: AtomicU64,
    pub(crate) checks: AtomicU64,
    pub(crate) given_up: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Transactions {
    /// How many half messages await a decision.
    pub(crate) fn undecided(&self) -> usize {
        self.ledger.lock().len()
    }
}

impl Broker {
    /// Whether one more half message is taken.
    pub(crate) fn check_half(&self) -> Result<(), Refusal> {
        let config = self.config();
        if config.reject_transaction_message {
            return Err(Refusal::NoPermission(format!(
                "the broker[{}] sending transaction message is forbidden",
                config.broker_ip1
            )));
        }
        if self.transactions.undecided() >= UNDECIDED_MAX {
            return Err(Refusal::Busy(format!(
                "{UNDECIDED_MAX} transactions await a decision already"
            )));
        }
        Ok(())
    }

    /// A message has become visible, on the thread that dispatches it.
    pub(crate) fn note_half(&self, arrival: &Arrival<'_>) {
        if arrival.topic != TRANS_HALF_TOPIC || arrival.queue_id != QUEUE {
            return;
        }
        let unit = self
            .store
            .unit_at(TRANS_HALF_TOPIC, QUEUE, arrival.queue_offset);
        let bytes = unit.and_then(|unit| self.store.record_at(unit.physical_offset));
        let Some(Ok(record)) = bytes.as_deref().map(Record::parse) else {
            return tracing::error!(
                offset = arrival.queue_offset,
                "a half message can't be read back, it is checked after the next start"
            );
        };
        let half = remembered(&record, &self.config());
        let mut ledger = self.transactions.ledger.lock();
        ledger.arrived(arrival.queue_offset, half);
    }

    /// Decides a half message, and answers the end of what says so in the log; `None` if that was
    /// decided before, whichever way. `half` may be one that lay there before it was put again.
    ///
    /// # Errors
    /// Nothing could be stored, and it is as undecided as before.
    pub(crate) fn decide(
        &self,
        half: &Record<'_>,
        decision: Decision,
    ) -> Result<Option<i64>, Refusal> {
        let mut ledger = self.transactions.ledger.lock();
        let Some(offset) = ledger.undecided(half.queue_offset()) else {
            return Ok(None);
        };
        let end = match decision {
            Decision::Commit => self.commit(&mut ledger, half, offset),
            Decision::Rollback => self.roll_back(&mut ledger, offset),
        }?;
        let (topic, _) = half::destination(half);
        self.stats.decided(topic, decision == Decision::Commit);
        Ok(Some(end))
    }

    fn commit(
        &self,
        ledger: &mut MutexGuard<'_, Ledger>,
        half: &Record<'_>,
        offset: i64,
    ) -> Result<i64, Refusal> {
        let known = ledger.get(offset);
        let appended = match known.filter(|known| known.physical != half.physical_offset()) {
            // Put again meanwhile: the copy must name the place where a start would find it
            // undecided.
            Some(known) => {
                let mut again = half.as_bytes().to_vec();
                assign(&mut again, offset, known.physical, half.store_timestamp());
                let again = Record::parse(&again).map_err(AppendError::from)?;
                self.append_committed(&again)?
            }
            None => self.append_committed(half)?,
        };
        ledger.settle(offset);
        count(&self.transactions.counts.committed);
        if ledger.owed_bytes() >= self.config().transaction_op_msg_max_size {
            self.write_op(ledger);
        }
        Ok(appended.end_offset)
    }

    fn roll_back(&self, ledger: &mut MutexGuard<'_, Ledger>, offset: i64) -> Result<i64, Refusal> {
        let owed = ledger.owed().iter().copied().chain([offset]);
        let appended = self.append_op(&op::body(owed))?;
        ledger.settle(offset);
        ledger.op_written(appended.queue_offset);
        count(&self.transactions.counts.rolled_back);
        Ok(appended.end_offset)
    }

    /// Writes the op record that is owed, if one is. All that is owed goes into one record:
    /// [`restore`] rests on it.
    fn write_op(&self, ledger: &mut MutexGuard<'_, Ledger>) {
        if ledger.owed().is_empty() {
            return;
        }
        match self.append_op(&op::body(ledger.owed().iter().copied())) {
            Ok(appended) => ledger.op_written(appended.queue_offset),
            Err(error) => tracing::warn!(%error, "an op record can't be written, trying again"),
        }
    }

    /// Retention is told to leave the log from the first undecided half message on.
    fn keep_files_of_halves(&self) {
        let ledger = self.transactions.ledger.lock();
        let first = ledger.first().map(|(_, half)| half.physical);
        self.store
            .keep_from("transactions", first.unwrap_or(i64::MAX));
    }
}

/// Offsets of both queues that are done with.
fn progress(ledger: &mut Ledger) -> [(&'static str, i64); 2] {
    [
        (TRANS_HALF_TOPIC, ledger.decided_to()),
        (TRANS_OP_HALF_TOPIC, ledger.ops_needed_from()),
    ]
}
