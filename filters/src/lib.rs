//! Decides which messages pass: expression languages behind one trait.
//!
//! A filter sees borrowed records, never the store or a socket.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod language;
pub mod properties;
pub mod sql92;
pub mod tag;

pub use error::{ExpressionError, Position, Rule};
pub use language::{Language, Languages};
pub use sql92::Sql92;
pub use tag::TagFilter;

use sluice_protocol::message::Record;

/// What becomes of a message that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered.
    Pass,
    /// It is passed over, and the group goes on behind it.
    Drop,
    /// The group waits before it: nothing behind it is judged or delivered until it is asked again.
    Hold,
}

/// Most records of one call of [`MessageFilter::judge`].
pub const BLOCK_ROWS_MAX: usize = 64;

/// A compiled expression: judges messages in two steps, the cheap one first.
pub trait MessageFilter: Send + Sync {
    /// Whether a message with this tags code (as in its ConsumeQueue unit) may pass. False is final.
    fn may_match_tags_code(&self, tags_code: i64) -> bool;

    /// Whether the second step is needed for messages that passed the first.
    fn needs_record(&self) -> bool {
        false
    }

    /// The second step, for a run of at most [`BLOCK_ROWS_MAX`] stored messages of one queue in
    /// offset order: sets one verdict for each. Verdicts behind a [`Verdict::Hold`] do not count.
    fn judge(&self, records: &[Record<'_>], verdicts: &mut [Verdict]) {
        let _ = records;
        verdicts.fill(Verdict::Pass);
    }

    /// Whether a message that has just arrived is worth waking a parked pull for; asked on the thread
    /// that builds the queues, so it must be quick. True when in doubt: the woken pull judges again.
    fn may_wake(&self, tags_code: i64, properties: &[u8]) -> bool {
        let _ = properties;
        self.may_match_tags_code(tags_code)
    }

    /// Whether judging takes so long that it should not be done on a thread that serves connections: a
    /// plugin that it calls was slow lately, or the expression is very long.
    fn is_slow(&self) -> bool {
        false
    }
}
