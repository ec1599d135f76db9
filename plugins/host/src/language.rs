//! Expression languages of plugins: a filter that is set up with the expression.

use std::sync::Arc;

use sluice_filters::{MessageFilter, Verdict};
use sluice_protocol::message::Record;

use crate::binding::Bound;
use crate::filter::{BLOCK_ROWS_MAX, Judgement, Thread};
use crate::row::Row;

/// An expression that a plugin has compiled.
pub(crate) struct Spoken(pub(crate) Arc<Bound>);

impl MessageFilter for Spoken {
    fn may_match_tags_code(&self, _: i64) -> bool {
        true
    }

    fn needs_record(&self) -> bool {
        true
    }

    fn judge(&self, records: &[Record<'_>], verdicts: &mut [Verdict]) {
        let rows: Vec<Row<'_>> = records.iter().map(Row::from).collect();
        let mut judgements = [Judgement::Drop; BLOCK_ROWS_MAX];
        let judgements = &mut judgements[..rows.len()];
        // A subscription has its verdict at once: there is no asking again elsewhere.
        self.0.judge(&rows, Thread::Aside, judgements);
        for (verdict, judgement) in verdicts.iter_mut().zip(judgements) {
            *verdict = match judgement {
                Judgement::Pass => Verdict::Pass,
                Judgement::Hold => Verdict::Hold,
                Judgement::Drop | Judgement::Defer | Judgement::DeadLetter => Verdict::Drop,
            };
        }
    }

    fn is_slow(&self) -> bool {
        self.0.is_slow()
    }
}
