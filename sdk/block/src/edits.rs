//! What a hook answers: what is to be done to which row.

use alloc::vec::Vec;

use crate::raw::{Malformed, fixed_part, range, text, u32_at};

/// Bytes before the entries: their number.
const HEAD: usize = 4;
/// Bytes of an entry.
const ENTRY: usize = 24;

/// One thing to be done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Sets a property; one of that name is replaced.
    SetProperty {
        /// Its name.
        key: &'a str,
        /// Its value, UTF-8 by convention.
        value: &'a [u8],
    },
    /// Removes a property, if it is there.
    DeleteProperty {
        /// Its name.
        key: &'a str,
    },
    /// Send hooks: the message is not stored.
    Reject {
        /// Response code of the answer; none: 13, MESSAGE_ILLEGAL, which producers do not retry.
        code: Option<i32>,
        /// What the producer is told.
        reason: &'a str,
    },
    /// Replaces the body (decompressed).
    SetBody(&'a [u8]),
    /// Send hooks: stores the message under another topic.
    SetTopic(&'a str),
    /// Send hooks: stores the message in this queue.
    SetQueue(u32),
    /// Send hooks: delivers the message so many milliseconds from now.
    SetDelay(u64),
    /// Consume hooks: the message is not given to this group.
    Drop,
}

/// Packs the edits of a block; one buffer for as many answers as wanted.
#[derive(Debug, Default)]
pub struct EditsWriter {
    entries: Vec<[u32; 6]>,
    /// Keys and values; the offsets of `entries` are into this until the answer is laid out.
    data: Vec<u8>,
    answer: Vec<u8>,
}

impl EditsWriter {
    /// A writer without edits.
    pub const fn new() -> Self {
        EditsWriter {
            entries: Vec::new(),
            data: Vec::new(),
            answer: Vec::new(),
        }
    }

    /// Forgets all edits.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.data.clear();
    }

    /// Adds an edit of `row`. Edits of a row are applied in the order in which they were added.
    pub fn push(&mut self, row: usize, edit: Edit<'_>) {
        let mut digits = [0; 20];
        let (op, key, value): (u32, &[u8], &[u8]) = match edit {
            Edit::SetProperty { key, value } => (1, key.as_bytes(), value),
            Edit::DeleteProperty { key } => (2, key.as_bytes(), b""),
            Edit::Reject { code, reason } => {
                let code = code.map_or(&b""[..], |code| decimal(code.into(), &mut digits));
                (3, code, reason.as_bytes())
            }
            Edit::SetBody(body) => (4, b"", body),
            Edit::SetTopic(topic) => (5, b"", topic.as_bytes()),
            Edit::SetQueue(queue) => (6, b"", decimal(queue.into(), &mut digits)),
            Edit::SetDelay(delay) => (7, b"", decimal(delay.into(), &mut digits)),
            Edit::Drop => (8, b"", b""),
        };
        let key_at = self.data.len();
        self.data.extend_from_slice(key);
        let value_at = self.data.len();
        self.data.extend_from_slice(value);
        let words = [row, op as usize, key_at, key.len(), value_at, value.len()];
        self.entries.push(words.map(|word| word as u32));
    }

    /// The answer: empty when there are no edits.
    pub fn bytes(&mut self) -> &[u8] {
        self.answer.clear();
        if self.entries.is_empty() {
            return &self.answer;
        }
        let data_at = (HEAD + self.entries.len() * ENTRY) as u32;
        self.answer
            .extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for &[row, op, key_at, key_len, value_at, value_len] in &self.entries {
            let key_at = key_at.wrapping_add(data_at);
            let value_at = value_at.wrapping_add(data_at);
            for word in [row, op, key_at, key_len, value_at, value_len] {
                self.answer.extend_from_slice(&word.to_le_bytes());
            }
        }
        self.answer.extend_from_slice(&self.data);
        &self.answer
    }
}

/// The edits of a block, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Edits<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Edits<'a> {
    /// Checks every edit, so that they can be applied all or not at all. Which operations a hook may
    /// use, and what names may contain, is for the caller to say.
    ///
    /// # Errors
    /// [`Malformed`] says what can't be read, or that a row is not among `rows`.
    pub fn parse(bytes: &'a [u8], rows: usize) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Ok(Edits { bytes, count: 0 });
        }
        let count = u32_at(bytes, 0).ok_or(Malformed::Short {
            needs: 4,
            has: bytes.len(),
        })?;
        fixed_part(bytes, HEAD as u64 + u64::from(count) * ENTRY as u64)?;
        let edits = Edits {
            bytes,
            count: count as usize,
        };
        for at in 0..edits.count {
            let (row, _) = edit_at(bytes, at)?;
            if row >= rows {
                return Err(Malformed::OutOfBounds("row", row as u64));
            }
        }
        Ok(edits)
    }

    /// Whether all is well as it is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Row and edit, in the order in which they are to be applied.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Edit<'a>)> + 'a {
        let bytes = self.bytes;
        // `parse` has read every entry.
        (0..self.count).filter_map(move |at| edit_at(bytes, at).ok())
    }
}

fn edit_at(bytes: &[u8], at: usize) -> Result<(usize, Edit<'_>), Malformed> {
    const SHORT: Malformed = Malformed::Range("edit");
    let at = HEAD + at * ENTRY;
    let word = |n: usize| u32_at(bytes, at + n * 4).ok_or(SHORT);
    let bytes_of = |n, what| range(bytes, word(n)?, word(n + 1)?).ok_or(Malformed::Range(what));
    let key = || text(bytes_of(2, "key")?, "key");
    let value = || bytes_of(4, "value");
    let edit = match word(1)? {
        1 => Edit::SetProperty {
            key: key()?,
            value: value()?,
        },
        2 => Edit::DeleteProperty { key: key()? },
        3 => Edit::Reject {
            code: match key()? {
                "" => None,
                code => Some(number(code, "response code")?),
            },
            reason: text(value()?, "reason")?,
        },
        4 => Edit::SetBody(value()?),
        5 => Edit::SetTopic(text(value()?, "topic")?),
        6 => Edit::SetQueue(number(text(value()?, "queue id")?, "queue id")?),
        7 => Edit::SetDelay(number(text(value()?, "delay")?, "delay")?),
        8 => Edit::Drop,
        op => return Err(Malformed::OutOfBounds("operation", op.into())),
    };
    Ok((word(0)? as usize, edit))
}

fn number<T: core::str::FromStr>(text: &str, what: &'static str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed::Text(what))
}

/// `number` in decimal, at the end of `digits`, which holds any `u64` and its like below zero.
fn decimal(number: i128, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = number.unsigned_abs() as u64;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::hostile;

    const ALL: [(usize, Edit<'_>); 9] = [
        (
            1,
            Edit::SetProperty {
                key: "region",
                value: b"\xff",
            },
        ),
        (0, Edit::DeleteProperty { key: "card" }),
        (
            2,
            Edit::Reject {
                code: None,
                reason: "no order id",
            },
        ),
        (
            2,
            Edit::Reject {
                code: Some(-2147483648),
                reason: "",
            },
        ),
        (1, Edit::SetBody(b"{}")),
        (1, Edit::SetTopic("orders-eu")),
        (1, Edit::SetQueue(u32::MAX)),
        (1, Edit::SetDelay(u64::MAX)),
        (0, Edit::Drop),
    ];

    #[test]
    fn every_operation_comes_back() {
        let mut writer = EditsWriter::new();
        for _ in 0..2 {
            writer.clear();
            for (row, edit) in ALL {
                writer.push(row, edit);
            }
            assert!(Edits::parse(writer.bytes(), 3).unwrap().iter().eq(ALL));
        }
    }

    #[test]
    fn no_edits_are_no_bytes() {
        let mut writer = EditsWriter::new();
        writer.push(0, Edit::Drop);
        writer.clear();
        assert_eq!(writer.bytes(), b"");
        assert!(Edits::parse(b"", 1).unwrap().is_empty());
        assert!(Edits::parse(&[0; 4], 1).unwrap().is_empty());
    }

    #[test]
    fn a_row_that_was_not_asked_about_is_refused() {
        let mut writer = EditsWriter::new();
        writer.push(3, Edit::Drop);
        assert_eq!(
            Edits::parse(writer.bytes(), 3).unwrap_err(),
            Malformed::OutOfBounds("row", 3)
        );
    }

    #[test]
    fn hostile_bytes_do_no_harm() {
        let mut writer = EditsWriter::new();
        ALL.into_iter()
            .for_each(|(row, edit)| writer.push(row, edit));
        let mut refused = 0;
        hostile::variants(writer.bytes(), |bytes| match Edits::parse(bytes, 3) {
            Err(_) => refused += 1,
            Ok(edits) => assert!(edits.iter().all(|(row, _)| row < 3)),
        });
        assert!(
            refused > 100,
            "the cuts of the fixed part at least: {refused}"
        );
    }
}
