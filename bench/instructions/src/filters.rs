//! Which messages pass.

use std::hint::black_box;

use sluice_filters::sql92::NoFunctions;
use sluice_filters::{BLOCK_ROWS_MAX, MessageFilter, Sql92, TagFilter, Verdict};
use sluice_protocol::message::Record;

use crate::Call;
use crate::inputs::{SIX_PROPERTIES, record};

/// The hash code of `TagA`, in Java's way.
const TAG_A: i64 = 2_598_919;

pub fn match_tags(expression: &str) -> Call {
    let filter = TagFilter::parse(expression).expect("an expression");
    Box::new(move || {
        black_box(filter.may_match_tags_code(black_box(TAG_A)));
    })
}

/// A block of stored messages: one of them costs a 64th.
pub fn judge_sql92(expression: &str) -> Call {
    let filter = Sql92::compile(expression, &NoFunctions).expect("an expression");
    let records = [Record::parse(record(SIX_PROPERTIES).leak()).expect("a record"); BLOCK_ROWS_MAX];
    let mut verdicts = [Verdict::Drop; BLOCK_ROWS_MAX];
    Box::new(move || {
        filter.judge(black_box(&records), black_box(&mut verdicts));
    })
}

/// What a subscription costs once.
pub fn compile_sql92() -> Call {
    Box::new(|| {
        let expression = black_box("region = 'eu' AND amount > 100");
        black_box(Sql92::compile(expression, &NoFunctions)).expect("an expression");
    })
}
