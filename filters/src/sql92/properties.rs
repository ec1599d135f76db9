//! Properties of a stored message, read in place.

use sluice_protocol::message::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

use super::cell::Cell;

/// The name of a property, made ready to be found.
pub(super) struct Key {
    pub name: Box<str>,
    /// Its first bytes, the separator behind it included, and which of eight bytes they are.
    head: u64,
    mask: u64,
}

impl Key {
    pub fn new(name: &str) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(NAME_VALUE_SEPARATOR);
        let size = bytes.len().min(8);
        Key {
            name: name.into(),
            head: head(&bytes[..size]),
            mask: u64::MAX >> (64 - 8 * size),
        }
    }

    /// Size of the name and the separator.
    fn size(&self) -> usize {
        self.name.len() + 1
    }

    /// Whether `properties` begin with this name; `head` is theirs.
    fn begins(&self, properties: &[u8], head: u64) -> bool {
        head & self.mask == self.head
            && (self.size() <= 8
                || properties.starts_with(self.name.as_bytes())
                    && properties.get(self.name.len()) == Some(&NAME_VALUE_SEPARATOR))
    }
}

/// The first eight bytes, with zeros for those that are not there.
fn head(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Puts the values of the properties `keys` into `cells`, which are NULL. Of equal names the last
/// wins, and one without a value is none (`MessageDecoder.string2messageProperties`): so it reads from
/// the back, and no further than to the last one found. Whether all the values are UTF-8: if not,
/// only [`mended`] properties can be read.
pub(super) fn collect<'a>(properties: &'a [u8], keys: &[Key], cells: &mut [Cell<'a>]) -> bool {
    let mut separators = Separators::of(properties);
    let mut readable = true;
    let mut missing = keys.len();
    let mut end = properties.len();
    while missing > 0 {
        let separator = separators.next();
        let start = separator.map_or(0, |at| at + 1);
        let rest = &properties[start..];
        let head = head(rest);
        for (key, cell) in keys.iter().zip(cells.iter_mut()) {
            if key.begins(rest, head) {
                if cell.is_null() && start + key.size() < end {
                    let value = &properties[start + key.size()..end];
                    readable &= is_utf8(value);
                    *cell = Cell::Text(value);
                    missing -= 1;
                }
                break;
            }
        }
        match separator {
            Some(at) => end = at,
            None => break,
        }
    }
    readable
}

/// Where properties are separated, from the back.
struct Separators<'a> {
    /// What has not been looked at: some bytes, then words.
    bytes: &'a [u8],
    words: &'a [[u8; 8]],
    /// The top bits of those bytes of the last word that are still to be named.
    marks: u64,
}

impl<'a> Separators<'a> {
    fn of(properties: &'a [u8]) -> Self {
        let (bytes, words) = properties.as_rchunks();
        Separators {
            bytes,
            words,
            marks: 0,
        }
    }
}

impl Iterator for Separators<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.marks == 0 {
            let Some((word, before)) = self.words.split_last() else {
                let at = self
                    .bytes
                    .iter()
                    .rposition(|&byte| byte == PROPERTY_SEPARATOR)?;
                self.bytes = &self.bytes[..at];
                return Some(at);
            };
            self.words = before;
            self.marks = marks(u64::from_le_bytes(*word));
        }
        let mark = 63 - self.marks.leading_zeros();
        self.marks ^= 1 << mark;
        Some(self.bytes.len() + self.words.len() * 8 + mark as usize / 8)
    }
}

/// The top bit of every byte of a word that separates properties.
fn marks(word: u64) -> u64 {
    const LOW: u64 = u64::MAX / 255 * 0x7F;
    let zero = word ^ (u64::MAX / 255 * PROPERTY_SEPARATOR as u64);
    !(((zero & LOW) + LOW) | zero | LOW)
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
    fn separators_are_found_from_the_back() {
        let text = b"\x02\0\x01\x02\x02\x00\x01\x02\x03\x82\xFF\x02\x02";
        for start in 0..text.len() {
            let found: Vec<usize> = Separators::of(&text[start..])
                .map(|at| at + start)
                .collect();
            let wanted: Vec<usize> = (start..text.len())
                .filter(|&at| text[at] == 2)
                .rev()
                .collect();
            assert_eq!(found, wanted, "from {start}");
        }
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
