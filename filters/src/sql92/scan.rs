//! What is done to a text before the grammar sees it: sizes are checked, comments become blanks.

use crate::{ExpressionError, Position};

/// Longest expression in bytes.
pub const EXPRESSION_SIZE_MAX: usize = 16 * 1024;
/// Most parentheses open at a time. Java's own parser runs out of stack between 1,000 and 2,000.
pub const NESTING_MAX: usize = 500;

/// Most properties that an expression names.
pub const PROPERTIES_MAX: usize = 256;

/// Most calls of functions in an expression: each may cost a call of a plugin for every block.
pub const CALLS_MAX: usize = 64;

/// A text within the limits.
pub(super) struct Scanned {
    /// The text with its comments blanked out byte for byte, so that offsets hold.
    pub text: String,
    /// Most parentheses open at a time.
    pub nesting: usize,
}

/// Checks the size and the nesting of `text`, and blanks its comments out. One pass; text that will
/// be discarded is counted like the rest.
pub(super) fn scan(text: &str) -> Result<Scanned, ExpressionError> {
    if text.len() > EXPRESSION_SIZE_MAX {
        return Err(ExpressionError::TooLong {
            size: text.len(),
            max: EXPRESSION_SIZE_MAX,
        });
    }
    let bytes = text.as_bytes();
    let last_line_end = bytes.iter().rposition(|&byte| is_line_end(byte));
    let mut blanked = Vec::with_capacity(bytes.len());
    let (mut open, mut nesting) = (0_usize, 0);
    while let Some(rest) = bytes.get(blanked.len()..).filter(|rest| !rest.is_empty()) {
        let at = blanked.len();
        let size = match rest {
            [b'-', b'-', ..] if last_line_end > Some(at) => {
                until(rest, |left| is_line_end(left[0]))
            }
            [b'/', b'*', inside @ ..] => 2 + until(inside, |left| left.starts_with(b"*/")) + 1,
            [b'\'', inside @ ..] => {
                let size = 1 + until(inside, |left| left[0] == b'\'');
                blanked.extend_from_slice(&rest[..size.min(rest.len())]);
                continue;
            }
            [byte, ..] => {
                open = match byte {
                    b'(' => open + 1,
                    b')' => open.saturating_sub(1),
                    _ => open,
                };
                nesting = nesting.max(open);
                if open > NESTING_MAX {
                    return Err(ExpressionError::TooDeep {
                        position: Position::of(text, at),
                        max: NESTING_MAX,
                    });
                }
                blanked.push(*byte);
                continue;
            }
            [] => break,
        };
        if size > rest.len() {
            // A comment without an end: the grammar will find no token there.
            blanked.extend_from_slice(rest);
        } else {
            blanked.resize(at + size, b' ');
        }
    }
    Ok(Scanned {
        text: String::from_utf8(blanked).unwrap_or_else(|_| text.to_owned()),
        nesting,
    })
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Size of the piece up to and including the first byte at which `ends` holds; one more than there
/// is when it never does.
fn until(bytes: &[u8], ends: impl Fn(&[u8]) -> bool) -> usize {
    (0..bytes.len())
        .find(|&at| ends(&bytes[at..]))
        .unwrap_or(bytes.len())
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(text: &str) -> String {
        scan(text).expect("within the limits").text
    }

    #[test]
    fn comments_become_blanks_and_strings_stay() {
        assert_eq!(blanked("a --ü\n= 1"), "a      = 1");
        assert_eq!(blanked("a /* ' */= 1"), "a        = 1");
        assert_eq!(blanked("/**/a /***/"), "    a      ");
        assert_eq!(blanked("'--\n/**/' '--"), "'--\n/**/' '--");
        assert_eq!(blanked("a > --3"), "a > --3", "no line end, no comment");
        assert_eq!(blanked("a \n--3"), "a \n--3");
        assert_eq!(blanked("a /*/ b"), "a /*/ b", "no end, no comment");
    }

    #[test]
    fn size_and_nesting_are_bounded() {
        let long = " ".repeat(EXPRESSION_SIZE_MAX + 1);
        assert!(matches!(scan(&long), Err(ExpressionError::TooLong { .. })));
        let deep = |open: usize| scan(&"(".repeat(open)).map(|scanned| scanned.nesting);
        assert_eq!(deep(NESTING_MAX), Ok(NESTING_MAX));
        let position = Position {
            line: 1,
            column: NESTING_MAX as u32 + 1,
        };
        let max = NESTING_MAX;
        assert_eq!(
            deep(NESTING_MAX + 1),
            Err(ExpressionError::TooDeep { position, max })
        );
    }
}
