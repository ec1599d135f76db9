//! Runs a program on the properties of one message: values, conversions and raises as in Java
//! (`ComparisonExpression`, `LogicExpression`, `UnaryExpression` of rocketmq-filter 5.3.3).

use std::borrow::Cow;
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::functions::Value;
use super::number::{compare_f64, parse_f64, parse_i32, parse_i64};
use super::outcomes::Outcomes;
use super::program::{Literal, Needle, Op, Order, Program, Source};
use super::{Raised, Reason};

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
const PENDING: Cell<'static> = Cell::Truth(Outcomes::ANSWER);

impl<'a> Cell<'a> {
    fn is_truth(self) -> bool {
        matches!(self, Cell::Truth(_))
    }

    pub fn is_null(self) -> bool {
        self.is(Outcomes::UNKNOWN)
    }

    fn is(self, result: Outcomes) -> bool {
        matches!(self, Cell::Truth(ends) if ends == result)
    }

    /// Of a value that is no value yet, or never: what an operator that answers `ends` for all other
    /// values can come to.
    fn suspended(self, ends: Outcomes) -> Option<Outcomes> {
        match self {
            Cell::Truth(Outcomes::RAISED) => Some(Outcomes::RAISED),
            Cell::Truth(own) if !own.is_single() => Some(ends.or(own.among(Outcomes::RAISED))),
            _ => None,
        }
    }

    fn condition(self) -> Outcomes {
        match self {
            Cell::Truth(ends) => ends,
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

/// What the functions have answered for one row: all calls up to some call. The arguments of that
/// one are gathered when the run comes to it.
pub(super) struct Answers<'a> {
    /// By call, then by row.
    pub given: &'a [Vec<Value>],
    pub row: usize,
    pub arguments: Option<Vec<Option<Cow<'a, str>>>>,
}

impl<'a> Answers<'a> {
    pub fn new(given: &'a [Vec<Value>], row: usize) -> Self {
        Answers {
            given,
            row,
            arguments: None,
        }
    }
}

/// A machine, good for one program and many messages.
pub(super) struct Machine<'a> {
    program: &'a Program,
    /// The properties of the message at hand; NULL where there is none.
    pub properties: SmallVec<[Cell<'a>; 8]>,
    literals: SmallVec<[Cell<'a>; 8]>,
    /// What lies below the top, which a run keeps at hand.
    stack: Vec<Cell<'a>>,
    /// Whether this run met an answer that has not been given: then nothing that it meets later,
    /// a failure included, is certain to happen.
    waits: bool,
    /// The last failure met while it waits.
    raised: Option<Raised>,
}

impl<'a> Machine<'a> {
    pub fn new(program: &'a Program) -> Self {
        Machine {
            program,
            properties: SmallVec::from_elem(NULL, program.properties.len()),
            literals: program.literals.iter().map(Cell::from).collect(),
            stack: Vec::with_capacity(8),
            waits: false,
            raised: None,
        }
    }

    /// What the message can come to; an evaluation that fails for certain is an error.
    pub fn run(&mut self, answers: &mut Answers<'a>) -> Result<Outcomes, Raised> {
        let program = self.program;
        self.stack.clear();
        self.waits = false;
        self.raised = None;
        let mut top = NULL;
        let mut at = 0;
        while let Some(op) = program.ops.get(at) {
            at += 1;
            match *op {
                Op::Push(source) => {
                    self.stack.push(top);
                    top = self.fetch(source, NULL);
                }
                Op::Call(call) => {
                    self.stack.push(top);
                    top = self.call(call as usize, answers);
                }
                Op::Condition(value) => {
                    self.make_room(value, top);
                    top = Cell::Truth(self.fetch(value, top).condition());
                }
                Op::Negate => top = negate(top),
                Op::Not => top = Cell::Truth(top.condition().negated()),
                Op::And => {
                    let left = self.pop().condition();
                    top = Cell::Truth(left.conjoined(top.condition()));
                }
                Op::Or => {
                    let left = self.pop().condition();
                    top = Cell::Truth(left.disjoined(top.condition()));
                }
                Op::JumpIfTrue(target) => at = jump(top, Outcomes::TRUE, target, at),
                Op::JumpIfFalse(target) => at = jump(top, Outcomes::FALSE, target, at),
                Op::JumpIfNull(target) => at = jump(top, Outcomes::UNKNOWN, target, at),
                Op::Equal(left, right) => {
                    let (left, right) = self.pair(left, right, top);
                    let ends = equal(left, right);
                    top = Cell::Truth(ends.or_else(|reason| self.raise(reason, at - 1))?);
                }
                Op::Order(order, left, right) => {
                    let (left, right) = self.pair(left, right, top);
                    let ends = in_order(left, right, order);
                    top = Cell::Truth(ends.or_else(|reason| self.raise(reason, at - 1))?);
                }
                Op::IsNull(value) => {
                    self.make_room(value, top);
                    top = Cell::Truth(is_null(self.fetch(value, top)));
                }
                Op::In {
                    value,
                    set,
                    negated,
                } => {
                    self.make_room(value, top);
                    let set = &program.sets[set as usize];
                    top = Cell::Truth(is_in(self.fetch(value, top), set, negated));
                }
                Op::Search {
                    value,
                    needle,
                    negated,
                } => {
                    self.make_room(value, top);
                    let needle = &program.needles[needle as usize];
                    top = Cell::Truth(has(self.fetch(value, top), needle, negated));
                }
                Op::Duplicate => self.stack.push(top),
                Op::Over => {
                    let below = self.stack.last().copied().unwrap_or(NULL);
                    self.stack.push(top);
                    top = below;
                }
                Op::Nip => {
                    self.pop();
                }
            }
        }
        let ends = top.condition();
        match self.raised {
            Some(raised) if ends == Outcomes::RAISED => Err(raised),
            _ => Ok(ends),
        }
    }

    /// What a value of an instruction is, when `top` is on top of the stack.
    #[inline(always)]
    fn fetch(&self, source: Source, top: Cell<'a>) -> Cell<'a> {
        match source {
            Source::Stack => top,
            Source::Property(property) => self.properties[property as usize],
            Source::Literal(literal) => self.literals[literal as usize],
        }
    }

    /// Saves the top when an instruction does not take its value from it.
    #[inline(always)]
    fn make_room(&mut self, value: Source, top: Cell<'a>) {
        if value != Source::Stack {
            self.stack.push(top);
        }
    }

    /// Both values of an instruction.
    #[inline(always)]
    fn pair(&mut self, left: Source, right: Source, top: Cell<'a>) -> (Cell<'a>, Cell<'a>) {
        match (left, right) {
            (Source::Stack, Source::Stack) => (self.pop(), top),
            (Source::Stack, right) => (top, self.fetch(right, NULL)),
            (left, Source::Stack) => (self.fetch(left, NULL), top),
            (left, right) => {
                self.stack.push(top);
                (self.fetch(left, NULL), self.fetch(right, NULL))
            }
        }
    }

    fn pop(&mut self) -> Cell<'a> {
        debug_assert!(!self.stack.is_empty(), "programs are balanced");
        self.stack.pop().unwrap_or(NULL)
    }

    /// A failure ends the run when it is certain, and else is one of the ends.
    #[cold]
    fn raise(&mut self, reason: Reason, at: usize) -> Result<Outcomes, Raised> {
        let raised = Raised {
            offset: self.program.offsets[at],
            reason,
        };
        if !self.waits {
            return Err(raised);
        }
        self.raised = Some(raised);
        Ok(Outcomes::RAISED)
    }

    /// The arguments are what lies on top of the stack.
    fn call(&mut self, call: usize, answers: &mut Answers<'a>) -> Cell<'a> {
        let first = self.stack.len() - self.program.calls[call].arguments;
        let suspended = self.stack[first..]
            .iter()
            .find_map(|argument| argument.suspended(Outcomes::ANSWER));
        let arguments = self.stack.drain(first..);
        if let Some(ends) = suspended {
            return Cell::Truth(ends);
        }
        if let Some(given) = answers.given.get(call) {
            return Cell::from(&given[answers.row]);
        }
        if call == answers.given.len() {
            answers.arguments = Some(arguments.map(Cell::into_text).collect());
        }
        self.waits = true;
        PENDING
    }
}

#[inline(always)]
fn jump(top: Cell<'_>, on: Outcomes, target: u32, next: usize) -> usize {
    if top.is(on) { target as usize } else { next }
}

fn negate(value: Cell<'_>) -> Cell<'_> {
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

fn is_null(value: Cell<'_>) -> Outcomes {
    value
        .suspended(Outcomes::TRUE.or(Outcomes::FALSE))
        .unwrap_or_else(|| Outcomes::of(value.is(Outcomes::UNKNOWN)))
}

fn is_in(value: Cell<'_>, set: &[Box<str>], negated: bool) -> Outcomes {
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
fn has(value: Cell<'_>, needle: &Needle, negated: bool) -> Outcomes {
    match value {
        Cell::Text(text) => Outcomes::of(needle.is_in(text) != negated),
        _ => value
            .suspended(Outcomes::TRUE.or(Outcomes::FALSE))
            .unwrap_or(Outcomes::FALSE),
    }
}

/// `=`. NULL on the right of a value is FALSE, on its left unknown.
#[inline(always)]
fn equal(left: Cell<'_>, right: Cell<'_>) -> Result<Outcomes, Reason> {
    if !left.is_truth() && !right.is_truth() {
        return Ok(Outcomes::of(match (left, right) {
            (Cell::Text(left), Cell::Text(right)) => left == right,
            (left, right) => compare(left, right)?.is_eq(),
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
            Outcomes::of(left.eq_ignore_ascii_case(b"true")) == right
        }
        // Java casts the text to a boolean here, and fails.
        (Cell::Truth(_), Cell::Text(_)) => return Err(Reason::BooleanBeforeText),
        (Cell::Truth(left), Cell::Truth(right)) => left == right,
        // A number.
        _ => false,
    }))
}

#[inline(always)]
fn in_order(left: Cell<'_>, right: Cell<'_>, order: Order) -> Result<Outcomes, Reason> {
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
fn without_order(left: Cell<'_>, right: Cell<'_>) -> Option<Outcomes> {
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
#[inline(always)]
fn compare(left: Cell<'_>, right: Cell<'_>) -> Result<Ordering, Reason> {
    use Cell::{Double, Int, Long, Text};
    Ok(match (left, right) {
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
