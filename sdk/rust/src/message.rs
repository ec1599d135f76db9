//! Messages of a block.

use sluice_plugin_block::{Block, Field};

use crate::{Column, ColumnType};

/// A message of the block at hand.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    block: Block<'a>,
    row: usize,
}

impl<'a> Message<'a> {
    /// A column's value; `None` when the message has no such property, or one that can't be read as
    /// what the column is declared to be.
    #[inline]
    pub fn get<T: ?Sized + ColumnType>(&self, column: Column<T>) -> Option<T::Value<'a>> {
        T::read(self.block.cell(self.row, column.at)?)
    }

    /// Whether the message has the property at all.
    pub fn has<T: ?Sized>(&self, column: Column<T>) -> bool {
        self.block.cell(self.row, column.at).is_some()
    }

    /// The body, decompressed; empty when [`Needs::body`](crate::Needs::body) did not ask for it.
    pub fn body(&self) -> &'a [u8] {
        self.block.body(self.row).unwrap_or_default()
    }

    /// A system field; `None` when [`Needs::field`](crate::Needs::field) did not ask for it.
    pub fn field(&self, field: Field) -> Option<i64> {
        self.block.field(self.row, field)
    }

    /// Its row in the block, for [`crate::host::body`] and [`crate::host::property`].
    pub fn row(&self) -> usize {
        self.row
    }
}

/// The messages of a block, 1 to [`ROWS_MAX`](crate::ROWS_MAX).
#[derive(Debug, Clone, Copy)]
pub struct Messages<'a>(pub(crate) Block<'a>);

impl<'a> Messages<'a> {
    /// How many.
    #[allow(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> usize {
        self.0.rows()
    }

    /// One after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'a>> + 'a {
        let block = self.0;
        (0..block.rows()).map(move |row| Message { block, row })
    }

    /// The packed block.
    pub fn block(&self) -> &Block<'a> {
        &self.0
    }
}
