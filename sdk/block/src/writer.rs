//! The broker's side of a block.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use crate::raw::Malformed;
use crate::{ABSENT, Field, Fields, HEADER_LEN, ROWS_MAX, VERSION};

/// Bytes of a cell: offset and length.
const CELL: usize = 8;

/// Packs messages into a block: [`begin`](Self::begin), then cells, fields and bodies in any order,
/// then [`bytes`](Self::bytes). One buffer for as many blocks as wanted.
///
/// Rows and columns must be those of `begin`: others panic, as an index does.
#[derive(Debug, Default)]
pub struct BlockWriter {
    bytes: Vec<u8>,
    rows: usize,
    cols: usize,
    fields: Fields,
    cells_at: usize,
    bodies_at: usize,
    has_body: bool,
}

impl BlockWriter {
    /// A writer without a block yet.
    pub const fn new() -> Self {
        BlockWriter {
            bytes: Vec::new(),
            rows: 0,
            cols: 0,
            fields: Fields::NONE,
            cells_at: HEADER_LEN,
            bodies_at: HEADER_LEN,
            has_body: false,
        }
    }

    /// Begins a block of `rows` (1 to [`ROWS_MAX`]) messages in which all cells are absent, all
    /// fields 0 and all bodies empty. What was written before is forgotten.
    ///
    /// # Panics
    /// With a number of rows that no block has.
    pub fn begin(&mut self, rows: usize, cols: usize, fields: Fields, has_body: bool) {
        assert!(
            (1..=ROWS_MAX).contains(&rows),
            "a block has 1 to {ROWS_MAX} rows"
        );
        (self.rows, self.cols) = (rows, cols);
        (self.fields, self.has_body) = (fields, has_body);
        self.cells_at = HEADER_LEN + fields.count() * rows * 8;
        self.bodies_at = self.cells_at + rows * cols * CELL;
        let bytes_at = self.bodies_at + if has_body { rows * CELL } else { 0 };

        self.bytes.clear();
        self.bytes.extend_from_slice(&VERSION.to_le_bytes());
        self.bytes
            .extend_from_slice(&(HEADER_LEN as u16).to_le_bytes());
        for word in [
            rows as u32,
            cols as u32,
            fields.bits(),
            u32::from(has_body),
            0,
        ] {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.bytes.resize(self.cells_at, 0);
        let absent = (u64::from(ABSENT) << 32).to_le_bytes();
        for _ in 0..rows * cols {
            self.bytes.extend_from_slice(&absent);
        }
        self.bytes.resize(bytes_at, 0);
    }

    /// Sets a cell; the last one set counts.
    pub fn cell(&mut self, row: usize, col: usize, value: &[u8]) {
        let at = self.cell_at(row, col);
        self.append(at, value);
    }

    /// Sets a cell to a text that is made on the spot, such as a number.
    pub fn cell_of(&mut self, row: usize, col: usize, value: impl fmt::Display) {
        let at = self.cell_at(row, col);
        let begin = self.bytes.len();
        // Only a `Display` that fails of itself can fail here; what it wrote until then stands.
        let _ = write!(Tail(&mut self.bytes), "{value}");
        self.point(at, begin);
    }

    /// Makes a cell absent again.
    pub fn absent(&mut self, row: usize, col: usize) {
        let at = self.cell_at(row, col);
        self.bytes[at + 4..at + CELL].copy_from_slice(&ABSENT.to_le_bytes());
    }

    /// Sets a system field; one that the block does not have is passed over.
    pub fn field(&mut self, row: usize, field: Field, value: i64) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        if let Some(place) = self.fields.place(field) {
            let at = HEADER_LEN + (place * self.rows + row) * 8;
            self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Sets a body, in a block that has bodies.
    pub fn body(&mut self, row: usize, body: &[u8]) {
        assert!(
            self.has_body && row < self.rows,
            "body {row} of {}",
            self.rows
        );
        self.append(self.bodies_at + row * CELL, body);
    }

    /// The block.
    ///
    /// # Errors
    /// [`Malformed::TooLarge`] when offsets of 32 bits do not reach all of it.
    pub fn bytes(&self) -> Result<&[u8], Malformed> {
        if self.bytes.len() >= ABSENT as usize {
            return Err(Malformed::TooLarge);
        }
        Ok(&self.bytes)
    }

    /// Gives back memory beyond `bytes` that large blocks have left behind; the block is forgotten.
    pub fn shrink_to(&mut self, bytes: usize) {
        *self = BlockWriter {
            bytes: core::mem::take(&mut self.bytes),
            ..BlockWriter::new()
        };
        self.bytes.clear();
        self.bytes.shrink_to(bytes);
    }

    #[inline]
    fn cell_at(&self, row: usize, col: usize) -> usize {
        assert!(
            row < self.rows && col < self.cols,
            "cell {row}, {col} of {}, {}",
            self.rows,
            self.cols
        );
        self.cells_at + (row * self.cols + col) * CELL
    }

    #[inline]
    fn append(&mut self, at: usize, value: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.point(at, begin);
    }

    /// Lets the cell at `at` mean the bytes from `begin` to the end. Beyond 4 GiB it means nothing,
    /// and `bytes` refuses the block.
    #[inline]
    fn point(&mut self, at: usize, begin: usize) {
        let length = self.bytes.len() - begin;
        self.bytes[at..at + 4].copy_from_slice(&(begin as u32).to_le_bytes());
        self.bytes[at + 4..at + CELL].copy_from_slice(&(length as u32).to_le_bytes());
    }
}

/// Text appended to bytes.
struct Tail<'a>(&'a mut Vec<u8>);

impl fmt::Write for Tail<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Block;

    #[test]
    fn bytes_are_those_of_the_interface() {
        let mut writer = BlockWriter::new();
        writer.begin(2, 1, Fields::NONE.with(Field::QueueId), true);
        writer.cell(1, 0, b"ab");
        writer.field(0, Field::QueueId, -2);
        writer.body(0, b"c");
        #[rustfmt::skip]
        let expected: &[u8] = &[
            1, 0, 24, 0,  2, 0, 0, 0,  1, 0, 0, 0,  8, 0, 0, 0,  1, 0, 0, 0,  0, 0, 0, 0,
            0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,  72, 0, 0, 0, 2, 0, 0, 0,
            74, 0, 0, 0, 1, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
            b'a', b'b', b'c',
        ];
        assert_eq!(writer.bytes().unwrap(), expected);
    }

    #[test]
    fn a_block_holds_nothing_of_the_one_before() {
        let mut writer = BlockWriter::new();
        writer.begin(64, 3, Fields::ALL, true);
        for row in 0..64 {
            writer.cell_of(row, 2, row * 1000);
            writer.field(row, Field::ReconsumeTimes, 7);
            writer.body(row, b"body");
        }
        writer.absent(5, 2);
        let block = Block::parse(writer.bytes().unwrap()).unwrap();
        assert_eq!(block.cell(63, 2), Some(&b"63000"[..]));
        assert_eq!(block.cell(5, 2), None);

        writer.begin(1, 4, Fields::NONE, false);
        let block = Block::parse(writer.bytes().unwrap()).unwrap();
        assert!((0..4).all(|col| block.cell(0, col).is_none()));
        assert_eq!(
            (block.field(0, Field::ReconsumeTimes), block.body(0)),
            (None, None)
        );
    }

    #[test]
    fn memory_is_given_back() {
        let mut writer = BlockWriter::new();
        writer.begin(1, 0, Fields::NONE, true);
        writer.body(0, &[0; 100_000]);
        writer.shrink_to(1000);
        assert!(writer.bytes.capacity() < 100_000);
        assert!(
            Block::parse(writer.bytes().unwrap()).is_err(),
            "the block is forgotten"
        );
    }
}
