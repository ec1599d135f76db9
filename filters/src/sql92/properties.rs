//! Properties of a stored message, read in place.

use super::cell::Cell;
use crate::properties::{Key, find_last};

/// Puts the values of the properties `keys` into `cells`, which are NULL. Whether all the values are
/// UTF-8: if not, only [`mended`] properties can be read.
pub(super) fn collect<'a>(properties: &'a [u8], keys: &[Key], cells: &mut [Cell<'a>]) -> bool {
    let mut readable = true;
    find_last(properties, keys, |at, value| {
        let first = cells[at].is_null();
        if first {
            readable &= is_utf8(value);
            cells[at] = Cell::Text(value);
        }
        first
    });
    readable
}

/// Most values are ASCII, which is found out quicker.
pub(super) fn is_utf8(value: &[u8]) -> bool {
    value.is_ascii() || std::str::from_utf8(value).is_ok()
}

/// Properties as Java decodes them: what is no UTF-8 becomes U+FFFD, one for each longest piece that
/// begins like a character; an encoded surrogate is one such piece.
pub(super) fn mended(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    while let Some(chunk) = bytes.utf8_chunks().next() {
        text.push_str(chunk.valid());
        bytes = &bytes[chunk.valid().len()..];
        let wrong = match bytes {
            [] => break,
            [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => 3,
            [0xED, 0xA0..=0xBF, ..] => 2,
            _ => chunk.invalid().len(),
        };
        text.push(char::REPLACEMENT_CHARACTER);
        bytes = &bytes[wrong..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::cell::NULL;
    use super::*;

    #[test]
    fn slots_are_filled_as_java_decodes_properties() {
        let keys = ["a", "bc", "d", "long_name", "long_nam"].map(Key::new);
        let read = |text: &'static str| {
            let mut cells = [NULL; 5];
            assert!(collect(text.as_bytes(), &keys, &mut cells));
            cells.map(Cell::into_text)
        };
        let texts = |texts: [&'static str; 5]| texts.map(|text| (text != "-").then(|| text.into()));
        assert_eq!(read(""), texts(["-"; 5]));
        assert_eq!(
            read("a\u{1}1\u{2}bc\u{1}2\u{2}x\u{1}y\u{2}a\u{1}3"),
            texts(["3", "2", "-", "-", "-"])
        );
        assert_eq!(
            read("a\u{1}1\u{2}a\u{1}\u{2}a\u{2}\u{2}d\u{1}\u{1}\u{2}bcd\u{1}5\u{2}"),
            texts(["1", "-", "\u{1}", "-", "-"]),
            "an empty value hides nothing, the first separator counts"
        );
        assert_eq!(
            read("long_nam\u{1}7 characters\u{2}long_name\u{1}€\u{2}long_names\u{1}no\u{2}bc\u{1}"),
            texts(["-", "-", "-", "€", "7 characters"])
        );
    }

    #[test]
    fn broken_text_is_mended_as_java_does() {
        for (bytes, text) in [
            (&b"\xED\xA0\x80"[..], "\u{FFFD}"),
            (b"\xED\xA0a", "\u{FFFD}a"),
            (b"\xE0\x80a", "\u{FFFD}\u{FFFD}a"),
            (b"\xF0\x90\x80a", "\u{FFFD}a"),
            (b"a\xE2\x82", "a\u{FFFD}"),
            (b"\xC0\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xF4\x90\x80\x80b", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}b"),
        ] {
            assert_eq!(mended(bytes), text, "{bytes:x?}");
        }
        let wanted = b"x\x01\xFF\x02a\x01\xFF";
        assert!(collect(wanted, &[Key::new("b")], &mut [NULL]));
        assert!(!collect(wanted, &[Key::new("a")], &mut [NULL]));
    }
}
