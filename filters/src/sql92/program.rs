//! What an expression is compiled to: a row of instructions for a machine with a stack.

use std::sync::Arc;

use super::functions::Function;
use super::outcomes::Outcomes;

/// An instruction. Jumps go forward only, so a run has no more steps than there are instructions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Op {
    /// Pushes NULL, TRUE or FALSE.
    Truth(Outcomes),
    Int(i32),
    Long(i64),
    Double(f64),
    /// Pushes a text of [`Program::texts`].
    Text(u32),
    /// Pushes the property of a slot: its text or NULL.
    Property(u32),
    /// Pushes what function [`Program::calls`] answers; pops the arguments.
    Call(u32),
    /// Makes a condition of a value: NULL is unknown, what is no boolean is FALSE.
    Condition,
    Negate,
    Not,
    /// Pop two conditions, push one.
    And,
    Or,
    /// Jump when the top is this result and nothing else; the top stays.
    JumpIfTrue(u32),
    JumpIfFalse(u32),
    JumpIfNull(u32),
    /// Pop two values, push a condition.
    Equal,
    Order(Order),
    /// Pops a value, pushes whether it is NULL.
    IsNull,
    /// Pops a value, pushes whether it is one of [`Program::sets`].
    In {
        set: u32,
        negated: bool,
    },
    /// Pops a value, pushes whether it has a text of [`Program::texts`] there.
    Search {
        place: Place,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

/// A compiled expression.
#[derive(Default)]
pub(super) struct Program {
    pub ops: Vec<Op>,
    /// Byte offset in the expression of what each instruction was made from.
    pub offsets: Vec<u32>,
    pub texts: Vec<Box<str>>,
    /// Sorted, for a binary search.
    pub sets: Vec<Box<[Box<str>]>>,
    /// Names of the properties, by slot.
    pub slots: Vec<Box<str>>,
    /// Inner calls before outer ones, then left before right.
    pub calls: Vec<Call>,
}

/// One call of a function.
pub(super) struct Call {
    pub function: Arc<dyn Function>,
    pub arguments: usize,
}
