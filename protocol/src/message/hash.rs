//! Java's hash of a text, which tags codes and index entries are made of.

/// `String.hashCode` of Java: `h = 31 * h + c` over UTF-16 code units, wrapping in 32 bits.
///
/// The tags code of a message is this hash of its whole `TAGS` value, sign-extended to 64 bits.
///
/// ```
/// assert_eq!(sluice_protocol::message::java_hash("TagA"), 2598919);
/// assert_eq!(sluice_protocol::message::java_hash(""), 0);
/// ```
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text)
}

/// [`java_hash`] of a text and, behind it, `text`: from the first one's hash.
///
/// ```
/// use sluice_protocol::message::{java_hash, java_hash_on};
/// assert_eq!(java_hash_on(java_hash("Tag"), "A"), java_hash("TagA"));
/// ```
pub fn java_hash_on(before: i32, text: &str) -> i32 {
    match text.is_ascii() {
        true => ascii_hash(before, text.as_bytes()),
        false => text.encode_utf16().fold(before, hash_on),
    }
}

fn hash_on(hash: i32, unit: impl Into<i32>) -> i32 {
    hash.wrapping_mul(31).wrapping_add(unit.into())
}

/// Eight bytes at a time, whose products do not wait for each other: a hash is taken of each unique key.
fn ascii_hash(before: i32, bytes: &[u8]) -> i32 {
    const POWERS: [i32; 9] = {
        let mut powers = [1; 9];
        let mut at = 8;
        while at > 0 {
            powers[at - 1] = 31i32.wrapping_mul(powers[at]);
            at -= 1;
        }
        powers
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    let hash = eights.iter().fold(before, |hash, eight| {
        let products = eight.iter().zip(&POWERS[1..]);
        let products = products.map(|(byte, power)| i32::from(*byte).wrapping_mul(*power));
        products.fold(hash.wrapping_mul(POWERS[0]), i32::wrapping_add)
    });
    rest.iter().copied().fold(hash, hash_on)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_at_a_time_is_one_at_a_time(before: i32, text in "[ -~]{0,40}", any in ".{0,20}") {
            for text in [text, any] {
                let wanted = text.encode_utf16().fold(before, hash_on);
                prop_assert_eq!(java_hash_on(before, &text), wanted);
            }
        }
    }
}
