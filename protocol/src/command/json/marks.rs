//! What ends a JSON text, or can't stand in one as it is.

/// How many bytes come before the first that is a quote, a backslash or a control character: eight at a time,
/// as most of a header is neither.
#[inline]
pub(super) fn up_to_mark(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk() {
        let marks = marks(u64::from_le_bytes(*eight));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_mark = |byte: &u8| matches!(byte, b'"' | b'\\' | ..=0x1F);
    let rest = bytes[at..].iter().position(is_mark);
    rest.map_or(bytes.len(), |rest| at + rest)
}

/// The highest bit of each byte that is a mark. A borrow may set some behind the first, so only that one counts.
fn marks(eight: u64) -> u64 {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = 0x80 * EACH;
    let below = |bytes: u64, bound: u64| bytes.wrapping_sub(bound * EACH) & !bytes & HIGHEST;
    let equal = |byte: u8| below(eight ^ (u64::from(byte) * EACH), 1);
    below(eight, 0x20) | equal(b'"') | equal(b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mark_is_found_wherever_it_is() {
        for size in 0..40 {
            for (at, mark) in (0..size).flat_map(|at| [b'"', b'\\', 0, 0x1F].map(|mark| (at, mark)))
            {
                for other in [
                    b' ', b'!', b'#', b'[', b']', 0x7F, 0x80, 0x9F, 0xA2, 0xDC, 0xFF,
                ] {
                    let mut bytes = vec![other; size];
                    assert_eq!(up_to_mark(&bytes), size);
                    bytes[at] = mark;
                    // What lies behind it does not matter.
                    bytes[at + 1..].fill(b'"');
                    assert_eq!(up_to_mark(&bytes), at, "{bytes:?}");
                }
            }
        }
    }
}
