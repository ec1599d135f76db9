//! The extension map of a command: custom header fields and free fields, all text.

use std::fmt::{self, Display, Write};

use bytestring::ByteString;

/// Names and values in the order they came; of equal names the last counts, as in Java.
///
/// A list, because a command has a dozen fields at most: scanning beats hashing. Fields of a received
/// command are read where they lie in its header, those that we put in share one text of ours: a
/// command costs one or two allocations, however many fields it has.
#[derive(Clone, Default)]
pub struct ExtFields {
    /// What a received command's fields lie in, if it is a text.
    header: ByteString,
    /// Texts that do not lie there.
    own: String,
    fields: Vec<Field>,
}

#[derive(Clone, Copy)]
struct Field {
    name: Place,
    value: Place,
}

/// Where a text is. Places below the header's length are the header's, those beyond it are our own text's.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    start: u32,
    size: u32,
}

/// Room for the fields of a command of ours, and bytes for their texts: an answer's fit.
const OWN_FIELDS: usize = 8;
const OWN_SIZE: usize = 160;

impl ExtFields {
    /// No fields.
    pub const fn new() -> Self {
        ExtFields {
            header: ByteString::new(),
            own: String::new(),
            fields: Vec::new(),
        }
    }

    /// No fields yet, with room for `fields` of them; those to come lie in `header`, most of them.
    pub(crate) fn lying_in(header: ByteString, fields: usize) -> Self {
        ExtFields {
            header,
            own: String::new(),
            fields: Vec::with_capacity(fields),
        }
    }

    /// No fields yet, with room for `fields` of them whose texts have so many bytes in all.
    pub(crate) fn with_room(fields: usize, texts: usize) -> Self {
        ExtFields {
            header: ByteString::new(),
            own: String::with_capacity(texts),
            fields: Vec::with_capacity(fields),
        }
    }

    /// Value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Most names differ in size from the one that is looked for, and are not looked at.
        let is_it = |field: &&Field| {
            field.name.size as usize == name.len() && self.text(field.name) == name
        };
        let found = self.fields.iter().rev().find(is_it)?;
        Some(self.text(found.value))
    }

    /// A value of ours, to be kept without copying it where it lies in a received header.
    pub fn keep(&self, value: &str) -> ByteString {
        match self.place_in_header(value) {
            Some(_) => self.header.slice_ref(value),
            None => value.into(),
        }
    }

    /// Adds a field; an earlier one of that name no longer counts.
    pub fn put(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        let name = self.place(name.as_ref());
        let value = self.place(value.as_ref());
        self.push(name, value);
    }

    /// Adds a field that is no text yet.
    pub fn put_shown(&mut self, name: impl AsRef<str>, value: impl Display) {
        let name = self.place(name.as_ref());
        self.put_named(name, |text| {
            write!(text, "{value}").expect("memory takes every write");
        });
    }

    /// Adds a field whose value is a number.
    pub fn put_number(&mut self, name: impl AsRef<str>, value: impl itoa::Integer) {
        self.put(name, itoa::Buffer::new().format(value));
    }

    /// Adds a field both of whose texts are places in the header.
    pub(crate) fn put_placed(&mut self, name: Place, value: Place) {
        self.push(name, value);
    }

    /// Adds a field whose name has its place, and whose value is what `write` puts behind a text.
    pub(crate) fn put_named(&mut self, name: Place, write: impl FnOnce(&mut String)) {
        let start = self.own.len();
        write(&mut self.own);
        let value = self.own_place(start);
        self.push(name, value);
    }

    /// All fields in order, duplicates included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = |field: &Field| (self.text(field.name), self.text(field.value));
        self.fields.iter().map(texts)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// How many there are, duplicates included.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Bytes of all names and values.
    pub(crate) fn texts_size(&self) -> usize {
        let size = |field: &Field| (field.name.size + field.value.size) as usize;
        self.fields.iter().map(size).sum()
    }

    fn push(&mut self, name: Place, value: Place) {
        if self.fields.capacity() == 0 {
            self.fields.reserve(OWN_FIELDS);
        }
        self.fields.push(Field { name, value });
    }

    fn place(&mut self, text: &str) -> Place {
        if let Some(place) = self.place_in_header(text) {
            return place;
        }
        if self.own.capacity() == 0 {
            self.own.reserve(OWN_SIZE);
        }
        let start = self.own.len();
        self.own.push_str(text);
        self.own_place(start)
    }

    fn place_in_header(&self, text: &str) -> Option<Place> {
        let start = (text.as_ptr() as usize).checked_sub(self.header.as_ptr() as usize)?;
        let inside = start + text.len() <= self.header.len() && !text.is_empty();
        inside.then(|| Place::new(start, text.len()))
    }

    /// What has been added to our own text from `start` on.
    fn own_place(&self, start: usize) -> Place {
        Place::new(self.header.len() + start, self.own.len() - start)
    }

    fn text(&self, place: Place) -> &str {
        let (start, size) = (place.start as usize, place.size as usize);
        match start.checked_sub(self.header.len()) {
            Some(start) => &self.own[start..start + size],
            None => &self.header[start..start + size],
        }
    }
}

impl Place {
    /// So many bytes from `start` on.
    pub(crate) fn new(start: usize, size: usize) -> Place {
        let narrow = |size| u32::try_from(size).expect("texts of a command are far below 4 GiB");
        Place {
            start: narrow(start),
            size: narrow(size),
        }
    }
}

impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ExtFields {}

impl fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for ExtFields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut ext = ExtFields::new();
        for (name, value) in fields {
            ext.put(name, value);
        }
        ext
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_they_lie_and_ours_beside_them() {
        let header = ByteString::from_static("topic=orders;queueId=3");
        let text = &*header;
        let mut ext = ExtFields::lying_in(header.clone(), 2);
        ext.put(&text[..5], &text[6..12]);
        ext.put("escaped", "a\"b");
        ext.put_shown(&text[13..20], -7);
        ext.put("", "");
        let all: Vec<_> = ext.iter().collect();
        let wanted = [
            ("topic", "orders"),
            ("escaped", "a\"b"),
            ("queueId", "-7"),
            ("", ""),
        ];
        assert_eq!(all, wanted);
        assert_eq!(ext, wanted.into_iter().collect());
        let orders = ext.get("topic").unwrap();
        assert_eq!(ext.keep(orders).as_ptr(), text[6..].as_ptr());
        assert_eq!(ext.keep("a\"b"), "a\"b");
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        let mut ext: ExtFields = [("a", "1"), ("a", "2")].into_iter().collect();
        assert_eq!(
            (ext.get("a"), ext.get("b"), ext.len()),
            (Some("2"), None, 2)
        );
        ext.put("a", "3");
        assert_eq!(ext.get("a"), Some("3"));
    }
}
