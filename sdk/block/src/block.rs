//! The plugin's side of a block.

use crate::raw::{Malformed, fixed_part, i64_at, range, u16_at, u32_at};
use crate::{ABSENT, Field, Fields, HEADER_LEN, ROWS_MAX, VERSION};

/// A block of messages, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    bytes: &'a [u8],
    rows: usize,
    cols: usize,
    fields: Fields,
    fields_at: usize,
    cells_at: usize,
    bodies_at: Option<usize>,
}

impl<'a> Block<'a> {
    /// Reads the header and checks that fields, cells and body cells are all there. What they point
    /// to is checked when it is read.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong with the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        fixed_part(bytes, HEADER_LEN as u64)?;
        let word = |at| u32_at(bytes, at).unwrap_or(0);
        let version = u16_at(bytes, 0).unwrap_or(0);
        let header_len = u16_at(bytes, 2).unwrap_or(0);
        let (rows, cols, bits, has_body) = (word(4), word(8), word(12), word(16));
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        if usize::from(header_len) < HEADER_LEN || !header_len.is_multiple_of(8) {
            return Err(Malformed::OutOfBounds("header_len", header_len.into()));
        }
        if rows == 0 || rows as usize > ROWS_MAX {
            return Err(Malformed::OutOfBounds("rows", rows.into()));
        }
        let fields =
            Fields::from_bits(bits).ok_or(Malformed::OutOfBounds("field_bits", bits.into()))?;
        if has_body > 1 {
            return Err(Malformed::OutOfBounds("has_body", has_body.into()));
        }
        // In 64 bits none of this wraps: 64 rows x 2^32 columns x 8 bytes.
        let fields_at = u64::from(header_len);
        let cells_at = fields_at + fields.count() as u64 * u64::from(rows) * 8;
        let bodies_at = cells_at + u64::from(rows) * u64::from(cols) * 8;
        fixed_part(bytes, bodies_at + u64::from(has_body) * u64::from(rows) * 8)?;
        // Now all of them are positions in `bytes`, so they fit.
        Ok(Block {
            bytes,
            rows: rows as usize,
            cols: cols as usize,
            fields,
            fields_at: fields_at as usize,
            cells_at: cells_at as usize,
            bodies_at: (has_body == 1).then_some(bodies_at as usize),
        })
    }

    /// Number of messages, 1 to [`ROWS_MAX`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The system fields it has.
    pub fn fields(&self) -> Fields {
        self.fields
    }

    /// Whether it has bodies.
    pub fn has_body(&self) -> bool {
        self.bodies_at.is_some()
    }

    /// A cell's bytes; `None` when the message has no such property, and for a row, a column or
    /// bytes outside the block.
    #[inline]
    pub fn cell(&self, row: usize, col: usize) -> Option<&'a [u8]> {
        if row >= self.rows || col >= self.cols {
            return None;
        }
        self.pointed(self.cells_at + (row * self.cols + col) * 8)
    }

    /// A system field; `None` when the block does not have it, and for a row outside it.
    #[inline]
    pub fn field(&self, row: usize, field: Field) -> Option<i64> {
        if row >= self.rows {
            return None;
        }
        let place = self.fields.place(field)?;
        i64_at(self.bytes, self.fields_at + (place * self.rows + row) * 8)
    }

    /// A body; `None` when the block has none, and for a row or bytes outside it.
    #[inline]
    pub fn body(&self, row: usize) -> Option<&'a [u8]> {
        if row >= self.rows {
            return None;
        }
        self.pointed(self.bodies_at? + row * 8)
    }

    #[inline]
    fn pointed(&self, at: usize) -> Option<&'a [u8]> {
        let (offset, length) = (u32_at(self.bytes, at)?, u32_at(self.bytes, at + 4)?);
        if length == ABSENT {
            return None;
        }
        range(self.bytes, offset, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlockWriter;
    use crate::raw::hostile;

    fn sample() -> BlockWriter {
        let mut writer = BlockWriter::new();
        writer.begin(
            3,
            2,
            Fields::NONE.with(Field::StoreTime).with(Field::TagsCode),
            true,
        );
        writer.cell(0, 0, b"a");
        writer.cell(2, 1, b"");
        writer.field(2, Field::StoreTime, 5);
        writer.field(2, Field::TagsCode, i64::MIN);
        writer.body(1, b"body");
        writer
    }

    #[test]
    fn everything_written_is_read() {
        let writer = sample();
        let block = Block::parse(writer.bytes().unwrap()).unwrap();
        assert_eq!((block.rows(), block.cols(), block.has_body()), (3, 2, true));
        assert_eq!(block.cell(0, 0), Some(&b"a"[..]));
        assert_eq!(block.cell(2, 1), Some(&b""[..]));
        assert_eq!(block.cell(1, 1), None);
        assert_eq!(block.field(2, Field::StoreTime), Some(5));
        assert_eq!(block.field(2, Field::TagsCode), Some(i64::MIN));
        assert_eq!(block.field(2, Field::QueueOffset), None);
        assert_eq!(block.body(1), Some(&b"body"[..]));
        assert_eq!(block.body(0), Some(&b""[..]));
    }

    #[test]
    fn a_longer_header_is_passed_over() {
        let writer = sample();
        let mut bytes = writer.bytes().unwrap().to_vec();
        bytes.splice(24..24, [9; 8]);
        bytes[2] = 32;
        let block = Block::parse(&bytes).unwrap();
        assert_eq!(block.field(2, Field::StoreTime), Some(5));
    }

    #[test]
    fn what_is_outside_is_absent() {
        let writer = sample();
        let block = Block::parse(writer.bytes().unwrap()).unwrap();
        assert_eq!(block.cell(0, 2), None);
        assert_eq!(block.cell(3, 0), None);
        assert_eq!(block.cell(usize::MAX, usize::MAX), None);
        assert_eq!(block.field(3, Field::StoreTime), None);
        assert_eq!(block.body(3), None);
    }

    #[test]
    fn hostile_bytes_do_no_harm() {
        let mut refused = 0;
        hostile::variants(sample().bytes().unwrap(), |bytes| {
            match Block::parse(bytes) {
                Err(_) => refused += 1,
                Ok(block) => {
                    for row in 0..block.rows() {
                        for col in 0..block.cols() {
                            assert!(
                                block
                                    .cell(row, col)
                                    .is_none_or(|cell| cell.len() <= bytes.len())
                            );
                        }
                        for field in [Field::StoreTime, Field::TagsCode, Field::ReconsumeTimes] {
                            block.field(row, field);
                        }
                        assert!(block.body(row).is_none_or(|body| body.len() <= bytes.len()));
                    }
                }
            }
        });
        assert!(
            refused > 100,
            "the cuts of the fixed part at least: {refused}"
        );
    }
}
