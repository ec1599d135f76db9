//! What a filter answers: one byte for each row.

use crate::raw::Malformed;

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Not for this group.
    Drop = 0,
    /// For this group.
    Pass = 1,
    /// The queue is held before it, and it is judged again later.
    Hold = 2,
    /// It could not be judged: the binding's failure policy decides.
    Failed = 3,
}

impl Verdict {
    /// The verdict of a byte of the answer.
    pub const fn from_byte(byte: u8) -> Option<Verdict> {
        match byte {
            0 => Some(Verdict::Drop),
            1 => Some(Verdict::Pass),
            2 => Some(Verdict::Hold),
            3 => Some(Verdict::Failed),
            _ => None,
        }
    }
}

impl From<bool> for Verdict {
    fn from(pass: bool) -> Verdict {
        if pass { Verdict::Pass } else { Verdict::Drop }
    }
}

/// The verdicts of a block, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Verdicts<'a>(&'a [u8]);

impl<'a> Verdicts<'a> {
    /// Checks that there is one verdict for each of `rows`.
    ///
    /// # Errors
    /// [`Malformed`] when there are more or fewer, or a byte is none.
    pub fn parse(bytes: &'a [u8], rows: usize) -> Result<Self, Malformed> {
        if bytes.len() != rows {
            return Err(Malformed::OutOfBounds(
                "number of verdicts",
                bytes.len() as u64,
            ));
        }
        match bytes
            .iter()
            .find(|byte| Verdict::from_byte(**byte).is_none())
        {
            Some(byte) => Err(Malformed::OutOfBounds("verdict", u64::from(*byte))),
            None => Ok(Verdicts(bytes)),
        }
    }

    /// The verdicts, row after row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Verdict> + 'a {
        // `parse` has seen every byte.
        self.0
            .iter()
            .map(|byte| Verdict::from_byte(*byte).unwrap_or(Verdict::Failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_rows_and_nothing_else() {
        let verdicts = Verdicts::parse(&[1, 0, 3, 2], 4).unwrap();
        let expected = [Verdict::Pass, Verdict::Drop, Verdict::Failed, Verdict::Hold];
        assert!(verdicts.iter().eq(expected));
        assert_eq!(
            Verdicts::parse(&[1], 2).unwrap_err(),
            Malformed::OutOfBounds("number of verdicts", 1)
        );
        assert_eq!(
            Verdicts::parse(&[1, 4], 2).unwrap_err(),
            Malformed::OutOfBounds("verdict", 4)
        );
    }
}
