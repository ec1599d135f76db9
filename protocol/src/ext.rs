//! The extension map of a command: custom header fields and free fields, all text.

use bytestring::ByteString;

/// Names and values in the order they came; of equal names the last counts, as in Java.
///
/// A list, because a command has a dozen fields at most: scanning beats hashing, and the texts of a
/// received command are slices of its frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtFields(Vec<(ByteString, ByteString)>);

impl ExtFields {
    /// No fields.
    pub const fn new() -> Self {
        ExtFields(Vec::new())
    }

    /// No fields, with room for `fields` of them.
    pub fn with_capacity(fields: usize) -> Self {
        ExtFields(Vec::with_capacity(fields))
    }

    /// Value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_text(name).map(|value| &**value)
    }

    /// Value of `name`, to be kept without copying its text.
    pub fn get_text(&self, name: &str) -> Option<&ByteString> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// Adds a field; an earlier one of that name no longer counts.
    pub fn put(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        self.0.push((name.into(), value.into()));
    }

    /// All fields in order, duplicates included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are, duplicates included.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<N: Into<ByteString>, V: Into<ByteString>> FromIterator<(N, V)> for ExtFields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        ExtFields(
            fields
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}
