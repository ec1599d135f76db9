//! Runs a program on the properties of one message, with the functions' answers there are.

use std::borrow::Cow;

use super::cell::{Cell, NULL, PENDING, equal, has, in_order, is_in, is_null, negate};
use super::functions::Value;
use super::outcomes::Outcomes;
use super::program::{Op, Program, Source};
use super::{Raised, Reason};

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
    pub properties: Vec<Cell<'a>>,
    literals: Vec<Cell<'a>>,
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
            properties: vec![NULL; program.properties.len()],
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
                    top = *self.fetch(source, &NULL);
                }
                Op::Call(call) => {
                    self.stack.push(top);
                    top = self.call(call as usize, answers);
                }
                Op::Condition(value) => {
                    top = Cell::Truth(self.apply_to(value, top, |value| value.condition()));
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
                    let ends = self.apply((left, right), top, equal);
                    top = Cell::Truth(ends.or_else(|reason| self.raise(reason, at - 1))?);
                }
                Op::Order(order, left, right) => {
                    let in_order = |left: &_, right: &_| in_order(left, right, order);
                    let ends = self.apply((left, right), top, in_order);
                    top = Cell::Truth(ends.or_else(|reason| self.raise(reason, at - 1))?);
                }
                Op::IsNull(value) => top = Cell::Truth(self.apply_to(value, top, is_null)),
                Op::In {
                    value,
                    set,
                    negated,
                } => {
                    let set = &program.sets[set as usize];
                    let is_in = |value: &_| is_in(value, set, negated);
                    top = Cell::Truth(self.apply_to(value, top, is_in));
                }
                Op::Search {
                    value,
                    needle,
                    negated,
                } => {
                    let needle = &program.needles[needle as usize];
                    let has = |value: &_| has(value, needle, negated);
                    top = Cell::Truth(self.apply_to(value, top, has));
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
    fn fetch<'s>(&'s self, source: Source, top: &'s Cell<'a>) -> &'s Cell<'a> {
        match source {
            Source::Stack => top,
            Source::Property(property) => &self.properties[property as usize],
            Source::Literal(literal) => &self.literals[literal as usize],
        }
    }

    /// Applies an operator of two values; of two on the stack the right one is the top.
    #[inline(always)]
    fn apply<T>(
        &mut self,
        (left, right): (Source, Source),
        top: Cell<'a>,
        operator: impl Fn(&Cell<'a>, &Cell<'a>) -> T,
    ) -> T {
        match (left, right) {
            (Source::Stack, Source::Stack) => operator(&self.pop(), &top),
            (Source::Stack, right) => operator(&top, self.fetch(right, &top)),
            (left, Source::Stack) => operator(self.fetch(left, &top), &top),
            (left, right) => {
                let result = operator(self.fetch(left, &top), self.fetch(right, &top));
                self.stack.push(top);
                result
            }
        }
    }

    /// Applies an operator of one value.
    #[inline(always)]
    fn apply_to<T>(
        &mut self,
        value: Source,
        top: Cell<'a>,
        operator: impl Fn(&Cell<'a>) -> T,
    ) -> T {
        let result = operator(self.fetch(value, &top));
        if value != Source::Stack {
            self.stack.push(top);
        }
        result
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
