//! Runs a program on the properties of one message: values, conversions and raises as in Java
//! (`ComparisonExpression`, `LogicExpression`, `UnaryExpression` of rocketmq-filter 5.3.3).

use std::borrow::Cow;
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::functions::Value;
use super::number::{compare_f64, parse_f64, parse_i32, parse_i64};
use super::outcomes::Outcomes;
use super::program::{Op, Order, Place, Program};
use super::{Raised, Reason};

/// Values of the properties, by slot.
pub(super) type Slots<'a> = SmallVec<[Option<&'a str>; 8]>;

/// What lies on the stack.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    /// A boolean, or NULL ([`Outcomes::UNKNOWN`]), or with several members a value that waits for
    /// a function.
    Truth(Outcomes),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

const NULL: Cell<'static> = Cell::Truth(Outcomes::UNKNOWN);
/// The answer of a function that has not been called.
const PENDING: Cell<'static> = Cell::Truth(Outcomes::ANSWER);

impl<'a> Cell<'a> {
    /// What an instruction pushes that needs no message; `None` for the others.
    pub fn of_literal(program: &'a Program, op: Op) -> Option<Self> {
        Some(match op {
            Op::Truth(ends) => Cell::Truth(ends),
            Op::Int(value) => Cell::Int(value),
            Op::Long(value) => Cell::Long(value),
            Op::Double(value) => Cell::Double(value),
            Op::Text(text) => Cell::Text(&program.texts[text as usize]),
            _ => return None,
        })
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
            Cell::Text(text) => Some(Cow::Borrowed(text)),
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
            Value::Text(text) => Cell::Text(text),
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
    stack: SmallVec<[Cell<'a>; 8]>,
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
            stack: SmallVec::new(),
            waits: false,
            raised: None,
        }
    }

    /// What the message can come to; an evaluation that fails for certain is an error.
    pub fn run(
        &mut self,
        slots: &[Option<&'a str>],
        answers: &mut Answers<'a>,
    ) -> Result<Outcomes, Raised> {
        let program = self.program;
        self.stack.clear();
        self.waits = false;
        self.raised = None;
        let mut at = 0;
        while let Some(&op) = program.ops.get(at) {
            at += 1;
            let cell = match op {
                Op::Truth(ends) => Cell::Truth(ends),
                Op::Int(value) => Cell::Int(value),
                Op::Long(value) => Cell::Long(value),
                Op::Double(value) => Cell::Double(value),
                Op::Text(text) => Cell::Text(&program.texts[text as usize]),
                Op::Property(slot) => slots[slot as usize].map_or(NULL, Cell::Text),
                Op::Call(call) => self.call(call as usize, answers),
                Op::Condition => Cell::Truth(self.pop().condition()),
                Op::Negate => negate(self.pop()),
                Op::Not => Cell::Truth(self.pop().condition().negated()),
                Op::And => {
                    let right = self.pop().condition();
                    Cell::Truth(self.pop().condition().conjoined(right))
                }
                Op::Or => {
                    let right = self.pop().condition();
                    Cell::Truth(self.pop().condition().disjoined(right))
                }
                Op::JumpIfTrue(target) => {
                    at = self.jump(Outcomes::TRUE, target, at);
                    continue;
                }
                Op::JumpIfFalse(target) => {
                    at = self.jump(Outcomes::FALSE, target, at);
                    continue;
                }
                Op::JumpIfNull(target) => {
                    at = self.jump(Outcomes::UNKNOWN, target, at);
                    continue;
                }
                Op::Equal => {
                    let right = self.pop();
                    let left = self.pop();
                    self.or_raise(equal(left, right), at - 1)?
                }
                Op::Order(order) => {
                    let right = self.pop();
                    let left = self.pop();
                    self.or_raise(in_order(left, right, order), at - 1)?
                }
                Op::IsNull => Cell::Truth(is_null(self.pop())),
                Op::In { set, negated } => {
                    Cell::Truth(is_in(self.pop(), &program.sets[set as usize], negated))
                }
                Op::Search {
                    place,
                    needle,
                    negated,
                } => {
                    let needle = &program.texts[needle as usize];
                    Cell::Truth(has(self.pop(), place, needle, negated))
                }
                Op::Duplicate => self.below(0),
                Op::Over => self.below(1),
                Op::Nip => {
                    let top = self.pop();
                    self.pop();
                    top
                }
            };
            self.stack.push(cell);
        }
        let ends = self.pop().condition();
        match self.raised {
            Some(raised) if ends == Outcomes::RAISED => Err(raised),
            _ => Ok(ends),
        }
    }

    fn pop(&mut self) -> Cell<'a> {
        debug_assert!(!self.stack.is_empty(), "programs are balanced");
        self.stack.pop().unwrap_or(NULL)
    }

    fn below(&self, depth: usize) -> Cell<'a> {
        self.stack.iter().nth_back(depth).copied().unwrap_or(NULL)
    }

    fn jump(&self, on: Outcomes, target: u32, next: usize) -> usize {
        if self.below(0).is(on) {
            target as usize
        } else {
            next
        }
    }

    /// A failure ends the run when it is certain, and else is one of the ends.
    fn or_raise(&mut self, ends: Result<Outcomes, Reason>, at: usize) -> Result<Cell<'a>, Raised> {
        let reason = match ends {
            Ok(ends) => return Ok(Cell::Truth(ends)),
            Err(reason) => reason,
        };
        let raised = Raised {
            offset: self.program.offsets[at],
            reason,
        };
        if !self.waits {
            return Err(raised);
        }
        self.raised = Some(raised);
        Ok(Cell::Truth(Outcomes::RAISED))
    }

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
                .binary_search_by(|element| (**element).cmp(text))
                .is_ok();
            Outcomes::of(found != negated)
        }
        _ => value
            .suspended(Outcomes::ANSWER)
            .unwrap_or(Outcomes::UNKNOWN),
    }
}

/// What is no text, NULL included, neither has the needle nor has it not.
fn has(value: Cell<'_>, place: Place, needle: &str, negated: bool) -> Outcomes {
    let Cell::Text(text) = value else {
        return value
            .suspended(Outcomes::TRUE.or(Outcomes::FALSE))
            .unwrap_or(Outcomes::FALSE);
    };
    let found = match place {
        Place::Anywhere => text.contains(needle),
        Place::Start => text.starts_with(needle),
        Place::End => text.ends_with(needle),
    };
    Outcomes::of(found != negated)
}

/// `=`. NULL on the right of a value is FALSE, on its left unknown.
fn equal(left: Cell<'_>, right: Cell<'_>) -> Result<Outcomes, Reason> {
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
    let equal = match (left, right) {
        (Cell::Text(left), Cell::Text(right)) => left == right,
        (Cell::Truth(left), Cell::Truth(right)) => left == right,
        (Cell::Text(left), Cell::Truth(right)) => {
            Outcomes::of(left.eq_ignore_ascii_case("true")) == right
        }
        // Java casts the text to a boolean here, and fails.
        (Cell::Truth(_), Cell::Text(_)) => return Err(Reason::BooleanBeforeText),
        (Cell::Truth(_), _) | (_, Cell::Truth(_)) => false,
        (left, right) => compare(left, right)?.is_eq(),
    };
    Ok(Outcomes::of(equal))
}

fn in_order(left: Cell<'_>, right: Cell<'_>, order: Order) -> Result<Outcomes, Reason> {
    if left.is(Outcomes::UNKNOWN) {
        return Ok(Outcomes::UNKNOWN);
    }
    let after_right = match right {
        right if right.is(Outcomes::UNKNOWN) => Outcomes::UNKNOWN,
        right => right.suspended(Outcomes::ANY).unwrap_or(Outcomes::ANY),
    };
    if let Some(ends) = left.suspended(after_right.or(Outcomes::UNKNOWN)) {
        return Ok(ends);
    }
    if right.is(Outcomes::UNKNOWN) {
        return Ok(Outcomes::UNKNOWN);
    }
    if let Some(ends) = right.suspended(Outcomes::ANY) {
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

/// The order of two numbers. The type of a number says how a text beside it is read; two texts are
/// floats. Booleans get here only from functions: literals and conditions are refused before.
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
