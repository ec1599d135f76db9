//! The packed bytes that pass between broker and plugin, as `sdk/wit/plugin.wit` lays them out:
//! one writer and one reader of each, for both sides.
//!
//! | bytes | written by | read by |
//! |---|---|---|
//! | block of messages | the broker, [`BlockWriter`] | the plugin, [`Block`] |
//! | verdicts of a filter | the plugin, one [`Verdict`] a byte | the broker, [`Verdicts`] |
//! | values of a function | the plugin, [`ValuesWriter`] | the broker, [`Values`] |
//! | edits of a hook | the plugin, [`EditsWriter`] | the broker, [`Edits`] |
//!
//! Writers keep their buffers: a writer that has been used before allocates only to grow. Readers
//! borrow; whatever the bytes are, they answer or refuse with [`Malformed`], and never panic.
//!
//! ```
//! use sluice_plugin_block::{Block, BlockWriter, Field, Fields};
//!
//! let mut writer = BlockWriter::new();
//! writer.begin(2, 1, Fields::NONE.with(Field::QueueOffset), false);
//! writer.cell(0, 0, b"eu-west");
//! writer.field(1, Field::QueueOffset, 41);
//!
//! let block = Block::parse(writer.bytes()?)?;
//! assert_eq!(block.cell(0, 0), Some(&b"eu-west"[..]));
//! assert_eq!(block.cell(1, 0), None);
//! assert_eq!(block.field(1, Field::QueueOffset), Some(41));
//! # Ok::<(), sluice_plugin_block::Malformed>(())
//! ```
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod block;
mod edits;
mod fields;
mod raw;
mod values;
mod verdicts;
mod writer;

pub use block::Block;
pub use edits::{Edit, Edits, EditsWriter};
pub use fields::{Field, Fields};
pub use raw::Malformed;
pub use values::{Value, Values, ValuesWriter};
pub use verdicts::{Verdict, Verdicts};
pub use writer::BlockWriter;

/// Version of the layouts in this crate: a block's first two bytes.
pub const VERSION: u16 = 1;
/// Bytes before the fields of a block that this crate writes.
pub const HEADER_LEN: usize = 24;
/// Most rows of a block.
pub const ROWS_MAX: usize = 64;
/// Length of a cell that says: the message has no such property.
pub const ABSENT: u32 = u32::MAX;
