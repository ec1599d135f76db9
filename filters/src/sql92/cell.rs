//! Values, and what operators make of them: conversions and failures as in Java
//! (`ComparisonExpression`, `UnaryExpression` of rocketmq-filter 5.3.3).

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Reason;
use super::functions::Value;
use super::number::{compare_f64, parse_f64, parse_i32, parse_i64};
use super::outcomes::Outcomes;
use super::program::{Literal, Needle, Order};

/// A value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    /// A boolean, or NULL ([`Outcomes::UNKNOWN`]), or with several members a value that waits for
    /// a function.
    Truth(Outcomes),
    Int(i32),
    Long(i64),
    Double(f64),
    /// UTF-8.
    Text(&'a [u8]),
}

/// NULL, and what is absent.
pub(super) const NULL: Cell<'static> = Cell::Truth(Outcomes::UNKNOWN);
/// The answer of a function that has not been called.
pub(super) const PENDING: Cell<'static> = Cell::Truth(Outcomes::ANSWER);

impl<'a> Cell<'a> {
    fn is_truth(&self) -> bool {
        matches!(self, Cell::Truth(_))
    }

    pub fn is_null(&self) -> bool {
        self.is(Outcomes::UNKNOWN)
    }

    pub fn is(&self, result: Outcomes) -> bool {
        matches!(self, Cell::Truth(ends) if *ends == result)
    }

    /// Of a value that is no value yet, or never: what an operator that answers `ends` for all other
    /// values can come to.
    pub fn suspended(&self, ends: Outcomes) -> Option<Outcomes> {
        match self {
            Cell::Truth(Outcomes::RAISED) => Some(Outcomes::RAISED),
            Cell::Truth(own) if !own.is_single() => Some(ends.or(own.among(Outcomes::RAISED))),
            _ => None,
        }
    }

    pub fn condition(&self) -> Outcomes {
        match self {
            Cell::Truth(ends) => *ends,
            _ => Outcomes::FALSE,
        }
    }

    /// As a function's argument.
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Cell::Truth(Outcomes::TRUE) => Some(Cow::Borrowed("TRUE")),
            Cell::Truth(Outcomes::FALSE) => Some(Cow::Borrowed("FALSE")),
            Cell::Truth(_) => None,
            Cell::Int(value) => Some(Cow::Owned(value.to_string())),
            Cell::Long(value) => Some(Cow::Owned(value.to_string())),
            Cell::Double(value) => Some(Cow::Owned(format!("{value:?}"))),
            Cell::Text(text) => Some(String::from_utf8_lossy(text)),
        }
    }
}

impl<'a> From<&'a Literal> for Cell<'a> {
    fn from(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => NULL,
            Literal::Boolean(value) => Cell::Truth(Outcomes::of(*value)),
            Literal::Int(value) => Cell::Int(*value),
            Literal::Long(value) => Cell::Long(*value),
            Literal::Double(value) => Cell::Double(*value),
            Literal::Text(text) => Cell::Text(text.as_bytes()),
        }
    }
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Failed | Value::Null => NULL,
            Value::Boolean(value) => Cell::Truth(Outcomes::of(*value)),
            Value::Integer(value) => Cell::Long(*value),
            Value::Float(value) => Cell::Double(*value),
            Value::Text(text) => Cell::Text(text.as_bytes()),
        }
    }
}

pub(super) fn negate(value: Cell<'_>) -> Cell<'_> {
    if let Some(ends) = value.suspended(Outcomes::ANY) {
        return Cell::Truth(ends);
    }
    match value {
        Cell::Int(value) => Cell::Int(value.wrapping_neg()),
        Cell::Long(value) => Cell::Long(value.wrapping_neg()),
        Cell::Double(value) => Cell::Double(-value),
        Cell::Text(_) | Cell::Truth(_) => NULL,
    }
}

pub(super) fn is_null(value: &Cell<'_>) -> Outcomes {
    value
        .suspended(Outcomes::TRUE.or(Outcomes::FALSE))
        .unwrap_or_else(|| Outcomes::of(value.is(Outcomes::UNKNOWN)))
}

pub(super) fn is_in(value: &Cell<'_>, set: &[Box<str>], negated: bool) -> Outcomes {
    match value {
        Cell::Text(text) => {
            let found = set
                .binary_search_by(|element| element.as_bytes().cmp(text))
                .is_ok();
            Outcomes::of(found != negated)
        }
        _ => value
            .suspended(Outcomes::ANSWER)
            .unwrap_or(Outcomes::UNKNOWN),
    }
}

/// What is no text, NULL included, neither has the needle nor has it not.
pub(super) fn has(value: &Cell<'_>, needle: &Needle, negated: bool) -> Outcomes {
    match value {
        Cell::Text(text) => Outcomes::of(needle.is_in(text) != negated),
        _ => value
            .suspended(Outcomes::TRUE.or(Outcomes::FALSE))
            .unwrap_or(Outcomes::FALSE),
    }
}

/// `=`. NULL on the right of a value is FALSE, on its left unknown.
pub(super) fn equal(left: &Cell<'_>, right: &Cell<'_>) -> Result<Outcomes, Reason> {
    if !left.is_truth() && !right.is_truth() {
        return Ok(Outcomes::of(match (left, right) {
            (Cell::Text(left), Cell::Text(right)) => left == right,
            _ => compare(left, right)?.is_eq(),
        }));
    }
    let suspended = left
        .suspended(Outcomes::ANY)
        .or_else(|| right.suspended(Outcomes::ANY));
    if let Some(ends) = suspended {
        return Ok(ends);
    }
    match (left.is(Outcomes::UNKNOWN), right.is(Outcomes::UNKNOWN)) {
        (true, true) => return Ok(Outcomes::TRUE),
        (true, false) => return Ok(Outcomes::UNKNOWN),
        (false, true) => return Ok(Outcomes::FALSE),
        (false, false) => {}
    }
    Ok(Outcomes::of(match (left, right) {
        (Cell::Text(left), Cell::Truth(right)) => {
            Outcomes::of(left.eq_ignore_ascii_case(b"true")) == *right
        }
        // Java casts the text to a boolean here, and fails.
        (Cell::Truth(_), Cell::Text(_)) => return Err(Reason::BooleanBeforeText),
        (Cell::Truth(left), Cell::Truth(right)) => left == right,
        // A number.
        _ => false,
    }))
}

pub(super) fn in_order(
    left: &Cell<'_>,
    right: &Cell<'_>,
    order: Order,
) -> Result<Outcomes, Reason> {
    if (left.is_truth() || right.is_truth())
        && let Some(ends) = without_order(left, right)
    {
        return Ok(ends);
    }
    let ordering = compare(left, right)?;
    Ok(Outcomes::of(match order {
        Order::Less => ordering.is_lt(),
        Order::LessOrEqual => ordering.is_le(),
        Order::Greater => ordering.is_gt(),
        Order::GreaterOrEqual => ordering.is_ge(),
    }))
}

/// Of operands of which one is NULL or no value yet.
fn without_order(left: &Cell<'_>, right: &Cell<'_>) -> Option<Outcomes> {
    if left.is(Outcomes::UNKNOWN) {
        return Some(Outcomes::UNKNOWN);
    }
    let by_right = if right.is(Outcomes::UNKNOWN) {
        Some(Outcomes::UNKNOWN)
    } else {
        right.suspended(Outcomes::ANY)
    };
    // One that still may be NULL makes it unknown.
    let by_both = by_right.unwrap_or(Outcomes::ANY).or(Outcomes::UNKNOWN);
    left.suspended(by_both).or(by_right)
}

/// The order of two numbers. The type of a number says how a text beside it is read; two texts are
/// floats. Booleans get here only from functions: literals and conditions are refused before.
fn compare(left: &Cell<'_>, right: &Cell<'_>) -> Result<Ordering, Reason> {
    use Cell::{Double, Int, Long, Text};
    Ok(match (*left, *right) {
        (Int(left), Int(right)) => left.cmp(&right),
        (Int(left), Long(right)) => i64::from(left).cmp(&right),
        (Long(left), Int(right)) => left.cmp(&i64::from(right)),
        (Long(left), Long(right)) => left.cmp(&right),
        (Double(left), Double(right)) => compare_f64(left, right),
        (Int(left), Double(right)) => compare_f64(f64::from(left), right),
        (Double(left), Int(right)) => compare_f64(left, f64::from(right)),
        (Long(left), Double(right)) => compare_f64(left as f64, right),
        (Double(left), Long(right)) => compare_f64(left, right as f64),
        (Text(text), Int(right)) => parse_i32(text).ok_or(Reason::NoInt)?.cmp(&right),
        (Text(text), Long(right)) => parse_i64(text).ok_or(Reason::NoLong)?.cmp(&right),
        (Text(text), Double(right)) => compare_f64(parse_f64(text).ok_or(Reason::NoDouble)?, right),
        (Int(_) | Long(_) | Double(_), Text(_)) => compare(right, left)?.reverse(),
        (Text(left), Text(right)) => match (parse_f64(left), parse_f64(right)) {
            (Some(left), Some(right)) => compare_f64(left, right),
            _ => return Err(Reason::NotTwoNumbers),
        },
        (Cell::Truth(_), _) | (_, Cell::Truth(_)) => return Err(Reason::BooleanWithoutOrder),
    })
}
