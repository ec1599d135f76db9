//! SQL92 expressions over message properties, as RocketMQ 5.3.3 reads and evaluates them, its oddities
//! included, with calls of functions besides (decision 5).
//!
//! An expression is compiled once to a row of instructions and evaluated on the
//! properties as they are stored. Only messages for which it comes to exactly TRUE pass.

mod cell;
mod columns;
mod compile;
mod evaluate;
mod functions;
mod number;
mod outcomes;
mod parse;
mod program;
mod properties;
mod rules;
mod scan;

use std::cell::OnceCell;
use std::fmt;

use sluice_protocol::message::Record;

pub use functions::{Argument, Function, Functions, NoFunctions, Row, Value};
pub use number::NUMBER_SIZE_MAX;
pub use scan::{CALLS_MAX, EXPRESSION_SIZE_MAX, NESTING_MAX, PROPERTIES_MAX};

use crate::{ExpressionError, MessageFilter, Verdict};
use cell::{Cell, NULL};
use evaluate::{Answers, Machine};
use outcomes::Outcomes;
use program::Program;

/// What an expression comes to for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The message passes.
    True,
    /// The expression is false.
    False,
    /// A property that it hangs on is absent, or a function failed.
    Unknown,
    /// It can't be evaluated: Java throws here, and passes the message over too.
    Raised(Raised),
}

/// Where and why an evaluation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised {
    /// Byte offset of the operator in the expression.
    pub offset: u32,
    /// What the operator can't do.
    pub reason: Reason,
}

/// Why an evaluation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A 32-bit literal says how the text beside it is read.
    #[error("the text compared with a 32-bit integer is none")]
    NoInt,
    /// The same with a literal beyond 32 bits.
    #[error("the text compared with a 64-bit integer is none")]
    NoLong,
    /// The same with a float.
    #[error("the text compared with a float is no number")]
    NoDouble,
    /// Two properties are put in order as numbers.
    #[error("two texts are put in order, and not both are numbers")]
    NotTwoNumbers,
    /// `TRUE = flag`, which RocketMQ can't do; `flag = TRUE` it can.
    #[error("a boolean on the left is compared with text")]
    BooleanBeforeText,
    /// A function's boolean.
    #[error("a boolean is put in order")]
    BooleanWithoutOrder,
}

/// A compiled expression.
pub struct Sql92 {
    program: Program,
}

impl fmt::Debug for Sql92 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sql92").field(&self.program.ops).finish()
    }
}

impl Sql92 {
    /// Compiles `expression`; the functions it calls are those of `functions`.
    ///
    /// ```
    /// use sluice_filters::sql92::{NoFunctions, Outcome, Sql92};
    /// let filter = Sql92::compile("region = 'eu' AND amount > 100", &NoFunctions).unwrap();
    /// let properties = b"region\x01eu\x02amount\x01250\x02";
    /// assert_eq!(filter.evaluate(properties), Outcome::True);
    ///
    /// let error = Sql92::compile("amount > '100'", &NoFunctions).unwrap_err();
    /// assert_eq!(error.to_string(), "column 10: `'100'` is text; `>` compares numbers");
    /// ```
    ///
    /// # Errors
    /// Says where, what was found, and what may stand there or which rule is broken.
    pub fn compile(expression: &str, functions: &dyn Functions) -> Result<Self, ExpressionError> {
        let program = compile::compile(expression, functions)?;
        Ok(Sql92 { program })
    }

    /// Whether it calls functions.
    pub fn calls_functions(&self) -> bool {
        !self.program.calls.is_empty()
    }

    /// What it comes to with these stored properties. Functions are not called: they fail.
    pub fn evaluate(&self, properties: &[u8]) -> Outcome {
        let mended = OnceCell::new();
        let failed = self.failed();
        let mut machine = Machine::new(&self.program);
        self.collect(properties, &mended, &mut machine.properties);
        outcome(machine.run(&mut Answers::new(&failed, 0)))
    }

    /// As [`Sql92::evaluate`], with `property` to look properties up. Unlike a stored property one may
    /// be empty here.
    pub fn evaluate_with<'p>(&'p self, property: impl Fn(&str) -> Option<&'p str>) -> Outcome {
        let named = |_, at: usize| {
            let name = &self.program.properties[at].name;
            property(name).map(str::as_bytes)
        };
        let mut found = Outcome::Unknown;
        self.evaluate_columns(1, named, |_, outcome| found = outcome);
        found
    }

    /// Answers for when no function can be called.
    fn failed(&self) -> Vec<Vec<Value>> {
        vec![vec![Value::Failed]; self.program.calls.len()]
    }

    /// Fills the cells; `mended` keeps properties that had to be mended first.
    fn collect<'a>(
        &self,
        properties: &'a [u8],
        mended: &'a OnceCell<String>,
        cells: &mut [Cell<'a>],
    ) {
        cells.fill(NULL);
        if !properties::collect(properties, &self.program.properties, cells) {
            let text = mended.get_or_init(|| properties::mended(properties));
            cells.fill(NULL);
            properties::collect(text.as_bytes(), &self.program.properties, cells);
        }
    }

    /// What it comes to for each of at most [`crate::BLOCK_ROWS_MAX`] messages, whether they pass or
    /// not: functions are called for every row whose outcome hangs on them.
    pub fn outcomes(&self, records: &[Record<'_>]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Unknown; records.len()];
        let put = |row: usize, ends| outcomes[row] = outcome(ends);
        self.resolve(records, Outcomes::is_single, put);
        outcomes
    }
}

fn outcome(ends: Result<Outcomes, Raised>) -> Outcome {
    match ends {
        Ok(Outcomes::TRUE) => Outcome::True,
        Ok(Outcomes::FALSE) => Outcome::False,
        Ok(_) => Outcome::Unknown,
        Err(raised) => Outcome::Raised(raised),
    }
}

/// Instructions times bytes of properties beyond which a woken pull finds out for itself.
const WAKE_WORK_MAX: usize = 64 * 1024;
/// Steps of a program that is quick: a read may have it judge thousands of messages that all fail.
const QUICK_OPS: usize = 256;

/// Whether it is certain that a message passes, or that it does not.
fn settles_verdict(ends: Outcomes) -> bool {
    ends == Outcomes::TRUE || !ends.may(Outcomes::TRUE)
}

impl Sql92 {
    /// Evaluates the expression for `records` until `is_settled` holds of each, and hands the ends to
    /// `put` with their row.
    ///
    /// A function is called when it is its turn, for the rows that are not settled yet and come to
    /// it. An answer only ever takes away ends and roads, so no row needs an earlier function later.
    fn resolve(
        &self,
        records: &[Record<'_>],
        is_settled: fn(Outcomes) -> bool,
        mut put: impl FnMut(usize, Result<Outcomes, Raised>),
    ) {
        if !self.calls_functions() {
            return self.evaluate_each(records, put);
        }
        let mended = vec![OnceCell::new(); records.len()];
        let mut open: Vec<usize> = (0..records.len()).collect();
        let mut given = Vec::with_capacity(self.program.calls.len());
        loop {
            let rows = self.advance(records, &mended, &given, &mut open, is_settled, &mut put);
            let Some(call) = self.program.calls.get(given.len()) else {
                break;
            };
            let mut results = vec![Value::Failed; rows.len()];
            if !rows.is_empty() {
                call.function.call(records, &rows, &mut results);
            }
            let mut by_row = vec![Value::Failed; records.len()];
            for (row, result) in rows.iter().zip(results) {
                by_row[row.record] = result;
            }
            drop(rows);
            given.push(by_row);
        }
    }

    /// The same of an expression without functions, which settles every row at once.
    fn evaluate_each(
        &self,
        records: &[Record<'_>],
        mut put: impl FnMut(usize, Result<Outcomes, Raised>),
    ) {
        let mended = vec![OnceCell::new(); records.len()];
        let mut machine = Machine::new(&self.program);
        let mut answers = Answers::new(&[], 0);
        for (row, record) in records.iter().enumerate() {
            self.collect(record.properties(), &mended[row], &mut machine.properties);
            put(row, machine.run(&mut answers));
        }
    }

    /// Runs the open rows with the answers there are, and closes those that are settled. Returns what
    /// the next function is to be asked.
    fn advance<'a>(
        &'a self,
        records: &'a [Record<'_>],
        mended: &'a [OnceCell<String>],
        given: &'a [Vec<Value>],
        open: &mut Vec<usize>,
        is_settled: fn(Outcomes) -> bool,
        put: &mut impl FnMut(usize, Result<Outcomes, Raised>),
    ) -> Vec<Row<'a>> {
        let mut machine = Machine::new(&self.program);
        let mut rows = Vec::new();
        open.retain(|&row| {
            let properties = records[row].properties();
            self.collect(properties, &mended[row], &mut machine.properties);
            let mut answers = Answers::new(given, row);
            let ends = machine.run(&mut answers);
            if !ends.is_ok_and(|ends| !is_settled(ends)) {
                put(row, ends);
                return false;
            }
            rows.extend(answers.arguments.map(|arguments| Row {
                record: row,
                arguments,
            }));
            true
        });
        rows
    }
}

impl MessageFilter for Sql92 {
    fn may_match_tags_code(&self, _: i64) -> bool {
        true
    }

    fn needs_record(&self) -> bool {
        true
    }

    fn judge(&self, records: &[Record<'_>], verdicts: &mut [Verdict]) {
        self.resolve(records, settles_verdict, |row, ends| {
            verdicts[row] = match ends {
                Ok(Outcomes::TRUE) => Verdict::Pass,
                _ => Verdict::Drop,
            };
        });
    }

    fn is_slow(&self) -> bool {
        let mut calls = self.program.calls.iter();
        self.program.ops.len() > QUICK_OPS || calls.any(|call| call.function.is_slow())
    }

    fn may_wake(&self, _: i64, properties: &[u8]) -> bool {
        self.calls_functions()
            || self.program.ops.len() * properties.len() > WAKE_WORK_MAX
            || self.evaluate(properties) == Outcome::True
    }
}

#[cfg(test)]
mod tests;
