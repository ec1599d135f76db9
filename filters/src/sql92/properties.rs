//! Properties of a stored message, read in place.

use std::borrow::Cow;

use sluice_protocol::message::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

/// The properties string as Java decodes it: what is no UTF-8 becomes U+FFFD, one for each longest
/// piece that begins like a character; an encoded surrogate is one such piece.
pub(super) fn decode(properties: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(properties) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(mended(properties)),
    }
}

fn mended(mut bytes: &[u8]) -> String {
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

/// Puts the values of the properties `names` into `slots`, in one pass; the last of equal names
/// wins, and one without a value is none (`MessageDecoder.string2messageProperties`).
pub(super) fn collect<'a>(text: &'a str, names: &[Box<str>], slots: &mut [Option<&'a str>]) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes[at..]
            .iter()
            .position(|&byte| byte == PROPERTY_SEPARATOR)
            .map_or(bytes.len(), |size| at + size);
        for (name, slot) in names.iter().zip(slots.iter_mut()) {
            let value_at = at + name.len() + 1;
            let is_it = value_at < end
                && bytes[value_at - 1] == NAME_VALUE_SEPARATOR
                && bytes[at..].starts_with(name.as_bytes());
            if is_it {
                *slot = Some(&text[value_at..end]);
                break;
            }
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_as_java_decodes_properties() {
        let names = ["a", "bc", "d"].map(Box::from);
        let read = |text| {
            let mut slots = [None; 3];
            collect(text, &names, &mut slots);
            slots
        };
        assert_eq!(read(""), [None; 3]);
        assert_eq!(
            read("a\u{1}1\u{2}bc\u{1}2\u{2}x\u{1}y\u{2}a\u{1}3"),
            [Some("3"), Some("2"), None]
        );
        assert_eq!(
            read("a\u{1}1\u{2}a\u{1}\u{2}a\u{2}\u{2}d\u{1}\u{1}\u{2}bcd\u{1}5\u{2}"),
            [Some("1"), None, Some("\u{1}")],
            "an empty value hides nothing, the first separator counts"
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
            assert_eq!(decode(bytes), text, "{bytes:x?}");
        }
    }
}
