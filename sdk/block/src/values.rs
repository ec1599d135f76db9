//! What a function answers: one value for each row.

use alloc::vec::Vec;

use crate::raw::{Malformed, fixed_part, i64_at, range, text, u32_at};

/// Bytes of a value: kind, length of a text, then a number or the text's offset.
const VALUE: usize = 16;

/// A value of SQL92.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// FALSE or TRUE.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// It could not be computed for this row: UNKNOWN, and counted.
    Failed,
}

/// Packs the values of a function: [`begin`](Self::begin), then one [`push`](Self::push) a row.
#[derive(Debug, Default)]
pub struct ValuesWriter {
    bytes: Vec<u8>,
    rows: usize,
    pushed: usize,
}

impl ValuesWriter {
    /// A writer without an answer yet.
    pub const fn new() -> Self {
        ValuesWriter {
            bytes: Vec::new(),
            rows: 0,
            pushed: 0,
        }
    }

    /// Begins an answer for `rows`; rows that get no value are NULL.
    pub fn begin(&mut self, rows: usize) {
        (self.rows, self.pushed) = (rows, 0);
        self.bytes.clear();
        self.bytes.resize(rows * VALUE, 0);
    }

    /// The value of the next row. Values beyond the last row are passed over.
    pub fn push(&mut self, value: Value<'_>) {
        if self.pushed == self.rows {
            return;
        }
        let (kind, length, word) = match value {
            Value::Null => (0, 0, 0),
            Value::Boolean(value) => (1 + u32::from(value), 0, 0),
            Value::Integer(number) => (3, 0, number.cast_unsigned()),
            Value::Float(number) => (4, 0, number.to_bits()),
            Value::Text(text) => {
                let offset = self.bytes.len() as u64;
                self.bytes.extend_from_slice(text.as_bytes());
                (5, text.len() as u32, offset)
            }
            Value::Failed => (6, 0, 0),
        };
        let cell = &mut self.bytes[self.pushed * VALUE..][..VALUE];
        cell[..4].copy_from_slice(&u32::to_le_bytes(kind));
        cell[4..8].copy_from_slice(&length.to_le_bytes());
        cell[8..].copy_from_slice(&word.to_le_bytes());
        self.pushed += 1;
    }

    /// The answer.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The values of a block, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    bytes: &'a [u8],
    rows: usize,
}

impl<'a> Values<'a> {
    /// Checks that there is one value for each of `rows`, each readable.
    ///
    /// # Errors
    /// [`Malformed`] says what is not.
    pub fn parse(bytes: &'a [u8], rows: usize) -> Result<Self, Malformed> {
        fixed_part(bytes, rows as u64 * VALUE as u64)?;
        for row in 0..rows {
            value_at(bytes, row)?;
        }
        Ok(Values { bytes, rows })
    }

    /// The values, row after row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value<'a>> + 'a {
        let bytes = self.bytes;
        // `parse` has read every row.
        (0..self.rows).map(move |row| value_at(bytes, row).unwrap_or(Value::Failed))
    }
}

fn value_at(bytes: &[u8], row: usize) -> Result<Value<'_>, Malformed> {
    const SHORT: Malformed = Malformed::Range("value");
    let at = row * VALUE;
    let kind = u32_at(bytes, at).ok_or(SHORT)?;
    let word = i64_at(bytes, at + 8).ok_or(SHORT)?;
    Ok(match kind {
        0 => Value::Null,
        1 | 2 => Value::Boolean(kind == 2),
        3 => Value::Integer(word),
        4 => Value::Float(f64::from_bits(word.cast_unsigned())),
        5 => {
            let length = u32_at(bytes, at + 4).ok_or(SHORT)?;
            let offset = u32::try_from(word).map_err(|_| Malformed::Range("text"))?;
            let found = range(bytes, offset, length).ok_or(Malformed::Range("text"))?;
            Value::Text(text(found, "text")?)
        }
        6 => Value::Failed,
        _ => return Err(Malformed::OutOfBounds("kind of value", kind.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::hostile;

    const ALL: [Value<'_>; 9] = [
        Value::Null,
        Value::Boolean(false),
        Value::Boolean(true),
        Value::Integer(i64::MIN),
        Value::Float(-0.5),
        Value::Text("kühl"),
        Value::Failed,
        Value::Text(""),
        Value::Text("b"),
    ];

    #[test]
    fn every_kind_comes_back() {
        let mut writer = ValuesWriter::new();
        for _ in 0..2 {
            writer.begin(ALL.len());
            for value in ALL {
                writer.push(value);
            }
            writer.push(Value::Text("one too many"));
            let values = Values::parse(writer.bytes(), ALL.len()).unwrap();
            assert!(values.iter().eq(ALL));
        }
    }

    #[test]
    fn a_row_without_a_value_is_null() {
        let mut writer = ValuesWriter::new();
        writer.begin(2);
        writer.push(Value::Integer(1));
        let values = Values::parse(writer.bytes(), 2).unwrap();
        assert!(values.iter().eq([Value::Integer(1), Value::Null]));
    }

    #[test]
    fn hostile_bytes_do_no_harm() {
        let mut writer = ValuesWriter::new();
        writer.begin(ALL.len());
        ALL.into_iter().for_each(|value| writer.push(value));
        let mut refused = 0;
        hostile::variants(writer.bytes(), |bytes| {
            match Values::parse(bytes, ALL.len()) {
                Err(_) => refused += 1,
                Ok(values) => assert_eq!(values.iter().count(), ALL.len()),
            }
        });
        assert!(
            refused > 100,
            "the cuts of the fixed part at least: {refused}"
        );
    }
}
