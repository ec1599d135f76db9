//! Functions that expressions call: `geo_within(lat, lon, 'cn-east') AND amount > 10`.

use std::borrow::Cow;
use std::sync::Arc;

use sluice_protocol::message::Record;

/// The functions that an expression may call, asked once for each call while it is compiled.
pub trait Functions: Send + Sync {
    /// The function `name` for these arguments. A name is an identifier as written, case included;
    /// `WASM` calls a bound filter.
    ///
    /// # Errors
    /// Why there is none, for the person who wrote the expression.
    fn resolve(&self, name: &str, arguments: &[Argument<'_>]) -> Result<Arc<dyn Function>, String>;
}

/// An argument as far as it is known without a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A literal, as the function will see it: `None` is NULL.
    Literal(Option<Cow<'a, str>>),
    /// Another value in each message.
    Varies,
}

/// A function as one call of one expression uses it.
pub trait Function: Send + Sync {
    /// Answers for some rows of a block, once in a block at most: only rows whose verdict hangs on
    /// the answer are asked for. `results` has one place for each of `rows`, at first
    /// [`Value::Failed`].
    fn call(&self, records: &[Record<'_>], rows: &[Row<'_>], results: &mut [Value]);

    /// See [`MessageFilter::is_slow`](crate::MessageFilter::is_slow).
    fn is_slow(&self) -> bool {
        false
    }
}

/// One row that a function is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    /// Which of the block's records.
    pub record: usize,
    /// The arguments, numbers and TRUE or FALSE as text; `None` is NULL or an absent property.
    pub arguments: Vec<Option<Cow<'a, str>>>,
}

/// What a function answers for a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// The function failed for this row, which reads as NULL.
    #[default]
    Failed,
    /// NULL: unknown.
    Null,
    /// TRUE or FALSE; the only answer that makes a condition by itself.
    Boolean(bool),
    /// Compared as a 64-bit integer.
    Integer(i64),
    /// Compared as a float.
    Float(f64),
    /// Text, read as the other operand wants it, like a property.
    Text(String),
}

/// No function at all: RocketMQ's own SQL92.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFunctions;

impl Functions for NoFunctions {
    fn resolve(&self, _: &str, _: &[Argument<'_>]) -> Result<Arc<dyn Function>, String> {
        Err("there is no function of this name".to_owned())
    }
}
