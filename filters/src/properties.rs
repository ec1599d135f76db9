//! Named properties of a stored message, found in place and in one walk.

use sluice_protocol::message::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

/// The name of a property, made ready to be found.
#[derive(Debug)]
pub struct Key {
    pub(crate) name: Box<str>,
    /// Its first bytes, the separator behind it included, and which of eight bytes they are.
    head: u64,
    mask: u64,
}

impl Key {
    /// Of this name.
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

/// Hands the values of the properties `keys` to `found`, with the key's number, from the last
/// property to the first: of equal names the last wins, and one without a value is none
/// (`MessageDecoder.string2messageProperties`). `found` says whether it is the first value of this
/// key; when every key has one, the rest is not read.
#[inline]
pub fn find_last<'a>(
    properties: &'a [u8],
    keys: &[Key],
    mut found: impl FnMut(usize, &'a [u8]) -> bool,
) {
    let mut separators = Separators::of(properties);
    let mut missing = keys.len();
    let mut end = properties.len();
    while missing > 0 {
        let separator = separators.next();
        let start = separator.map_or(0, |at| at + 1);
        let rest = &properties[start..];
        let head = head(rest);
        for (at, key) in keys.iter().enumerate() {
            let value = start + key.size();
            if key.begins(rest, head) && value < end && found(at, &properties[value..end]) {
                missing -= 1;
            }
        }
        match separator {
            Some(at) => end = at,
            None => break,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
