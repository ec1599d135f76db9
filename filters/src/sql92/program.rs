//! What an expression is compiled to: a row of instructions for a machine with a stack.

use std::sync::Arc;

use memchr::memmem::Finder;

use super::functions::Function;
use crate::properties::Key;

/// Where an instruction takes a value from. A property or a literal is read in place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Source {
    /// Popped off the stack.
    Stack,
    /// One of [`Program::properties`]: its text or NULL.
    Property(u32),
    /// One of [`Program::literals`].
    Literal(u32),
}

/// A literal, in the type that decides how a text beside it is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

/// An instruction; what it comes to is pushed. Jumps go forward only, so a run has no more steps than
/// there are instructions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Op {
    Push(Source),
    /// What function [`Program::calls`] answers; pops the arguments.
    Call(u32),
    /// A value as a condition: NULL is unknown, what is no boolean is FALSE.
    Condition(Source),
    Negate,
    Not,
    /// Pop two conditions.
    And,
    Or,
    /// Jump when the top is this result and nothing else; the top stays.
    JumpIfTrue(u32),
    JumpIfFalse(u32),
    JumpIfNull(u32),
    /// Two values, left and right.
    Equal(Source, Source),
    Order(Order, Source, Source),
    IsNull(Source),
    /// Whether a value is one of [`Program::sets`].
    In {
        value: Source,
        set: u32,
        negated: bool,
    },
    /// Whether a value has one of [`Program::needles`].
    Search {
        value: Source,
        needle: u32,
        negated: bool,
    },
    /// Pushes the top again.
    Duplicate,
    /// Pushes the value below the top again.
    Over,
    /// Drops the value below the top.
    Nip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A text to be found in another one.
pub(super) enum Needle {
    Anywhere(Box<Finder<'static>>),
    AtStart(Box<str>),
    AtEnd(Box<str>),
}

impl Needle {
    pub fn is_in(&self, text: &[u8]) -> bool {
        match self {
            Needle::Anywhere(finder) => finder.find(text).is_some(),
            Needle::AtStart(start) => text.starts_with(start.as_bytes()),
            Needle::AtEnd(end) => text.ends_with(end.as_bytes()),
        }
    }
}

/// A compiled expression.
#[derive(Default)]
pub(super) struct Program {
    pub ops: Vec<Op>,
    /// Byte offset in the expression of what each instruction was made from.
    pub offsets: Vec<u32>,
    pub literals: Vec<Literal>,
    /// Sorted, for a binary search.
    pub sets: Vec<Box<[Box<str>]>>,
    /// What [`Op::Search`] looks for.
    pub needles: Vec<Needle>,
    pub properties: Vec<Key>,
    /// Inner calls before outer ones, then left before right.
    pub calls: Vec<Call>,
}

/// One call of a function.
pub(super) struct Call {
    pub function: Arc<dyn Function>,
    pub arguments: usize,
}
