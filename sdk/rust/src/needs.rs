//! What a plugin wants to see of each message.

use std::marker::PhantomData;

use sluice_plugin_block::{Field, Fields};

/// The columns, fields and bodies that a plugin wants, said once when it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Columns before the properties: a function's arguments.
    arguments: usize,
    properties: Vec<String>,
    body: bool,
    fields: Fields,
    pure: bool,
}

impl Needs {
    /// Nothing yet; `arguments` columns stand before the first property.
    pub(crate) fn new(arguments: usize) -> Self {
        Needs {
            arguments,
            ..Needs::default()
        }
    }

    /// Wants a property, which [`Message::get`](crate::Message::get) then reads as `T`:
    /// `str`, `[u8]`, `i64`, `f64` or `bool`.
    pub fn property<T: ?Sized + ColumnType>(&mut self, name: &str) -> Column<T> {
        let known = self.properties.iter().position(|property| property == name);
        let at = known.unwrap_or_else(|| {
            self.properties.push(name.to_owned());
            self.properties.len() - 1
        });
        Column::at(self.arguments + at)
    }

    /// An argument of a function, counted from 0; one that the expression does not have is absent.
    pub fn argument<T: ?Sized + ColumnType>(&self, at: usize) -> Column<T> {
        Column::at(if at < self.arguments { at } else { usize::MAX })
    }

    /// Wants bodies. They are copied for every row; for a rare one, [`crate::host::body`] is cheaper.
    pub fn body(&mut self) {
        self.body = true;
    }

    /// Wants a system field.
    pub fn field(&mut self, field: Field) {
        self.fields = self.fields.with(field);
    }

    /// Says that verdicts depend on the columns alone, never on earlier calls, time or what
    /// [`crate::host`] and [`crate::kv`] answer.
    pub fn pure(&mut self) {
        self.pure = true;
    }

    /// The names of the properties.
    pub fn properties(&self) -> &[String] {
        &self.properties
    }

    /// Whether bodies are wanted.
    pub fn wants_body(&self) -> bool {
        self.body
    }

    /// The system fields.
    pub fn fields(&self) -> Fields {
        self.fields
    }

    /// Whether verdicts depend on the columns alone.
    pub fn is_pure(&self) -> bool {
        self.pure
    }
}

/// A column of a block, read as `T`.
#[derive(Debug)]
pub struct Column<T: ?Sized> {
    pub(crate) at: usize,
    kind: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> Column<T> {
    fn at(at: usize) -> Self {
        Column {
            at,
            kind: PhantomData,
        }
    }
}

// Derived, these would ask the same of `T`.
impl<T: ?Sized> Clone for Column<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Column<T> {}

/// What a property's bytes can be read as.
pub trait ColumnType {
    /// What reading gives.
    type Value<'a>;

    /// Reads them; `None` when they are no such thing.
    fn read(bytes: &[u8]) -> Option<Self::Value<'_>>;
}

impl ColumnType for [u8] {
    type Value<'a> = &'a [u8];

    fn read(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }
}

impl ColumnType for str {
    type Value<'a> = &'a str;

    fn read(bytes: &[u8]) -> Option<&str> {
        std::str::from_utf8(bytes).ok()
    }
}

impl ColumnType for i64 {
    type Value<'a> = i64;

    fn read(bytes: &[u8]) -> Option<i64> {
        str::read(bytes)?.parse().ok()
    }
}

impl ColumnType for f64 {
    type Value<'a> = f64;

    fn read(bytes: &[u8]) -> Option<f64> {
        str::read(bytes)?.parse().ok()
    }
}

impl ColumnType for bool {
    type Value<'a> = bool;

    /// `true` and `false` in any case, as SQL92 writes them and Java prints them.
    fn read(bytes: &[u8]) -> Option<bool> {
        if bytes.eq_ignore_ascii_case(b"true") {
            Some(true)
        } else if bytes.eq_ignore_ascii_case(b"false") {
            Some(false)
        } else {
            None
        }
    }
}
