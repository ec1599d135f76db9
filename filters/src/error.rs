//! Why an expression is refused.

use std::fmt;

/// Where in an expression, counted from 1; a column is a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, ended by LF.
    pub line: u32,
    /// Character within the line.
    pub column: u32,
}

impl Position {
    /// Of the byte at `offset` of `text`.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_at = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: 1 + before.matches('\n').count() as u32,
            column: 1 + before[line_at..].chars().count() as u32,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(f, "line {}, ", self.line)?;
        }
        write!(f, "column {}", self.column)
    }
}

/// Why an expression is refused, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Longer than its language allows.
    #[error("the expression has {size} bytes; {max} are the limit")]
    TooLong {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Parentheses nested deeper than its language allows.
    #[error("{position}: more than {max} parentheses are open")]
    TooDeep {
        /// Of the first parenthesis too many.
        position: Position,
        /// The limit.
        max: usize,
    },
    /// More properties than its language allows.
    #[error("{position}: more than {max} different properties")]
    TooManyProperties {
        /// Of the first property too many.
        position: Position,
        /// The limit.
        max: usize,
    },
    /// There is no thread to compile a deep one on.
    #[error("no stack for the expression's parentheses: {0}")]
    NoStack(String),
    /// Not a sentence of the language.
    #[error("{position}: found {found}, expected {expected}")]
    Syntax {
        /// Of what was found.
        position: Position,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: String,
    },
    /// A sentence that breaks one of the language's rules.
    #[error("{position}: `{operand}` {rule}")]
    Refused {
        /// Of the operand.
        position: Position,
        /// The operand as written.
        operand: String,
        /// What is wrong with it.
        rule: Rule,
    },
    /// A function that can't be called so.
    #[error("{position}: function {name}: {reason}")]
    Function {
        /// Of the call.
        position: Position,
        /// The function's name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A tag expression of nothing but separators.
    #[error("no tag between the separators")]
    NoTag,
    /// No such expression type.
    #[error("expression type `{name}` is unknown; known: {known}")]
    UnknownLanguage {
        /// The type asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// What a language of a plugin says.
    #[error("{0}")]
    Language(String),
}

/// A rule of SQL92 that an operand breaks; it reads on from the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Integers are 64 bits, and a minus sign is no part of them.
    #[error("is above 9223372036854775807")]
    IntegerRange,
    /// Neither zero nor infinity is a float literal.
    #[error("is not between 4.9E-324 and 1.7976931348623157E308")]
    FloatRange,
    /// What AND, OR, NOT and the whole expression are made of.
    #[error("is {0}, not a condition")]
    NotCondition(&'static str),
    /// Only numbers have an order.
    #[error("is {kind}; `{operator}` compares numbers")]
    NoOrder {
        /// What the operand is.
        kind: &'static str,
        /// The operator, or BETWEEN.
        operator: &'static str,
    },
    /// `=` and `<>` do not take NULL.
    #[error("is compared with `{0}`; use IS NULL or IS NOT NULL")]
    NullCompared(&'static str),
    /// TRUE or FALSE on the left of another literal.
    #[error("is {0}; TRUE and FALSE are compared with TRUE and FALSE")]
    NotBoolean(&'static str),
    /// `BETWEEN 5 AND 3`.
    #[error("is below the lower bound")]
    BoundsCrossed,
    /// IN looks a property up.
    #[error("is {0}; IN needs a property before it")]
    NotProperty(&'static str),
}
