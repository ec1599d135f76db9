//! Messages: the stored record, the batch body, identifiers, properties and system flags.
//!
//! A record is laid out once, by the broker, and the same bytes lie in the CommitLog and travel to
//! consumers: see [`record`] for the drawing.

pub mod batch;
pub mod compression;
pub mod id;
pub mod inner_batch;
pub mod properties;
pub mod record;
pub mod sys_flag;
pub mod view;

pub use id::MessageId;
pub use record::{Record, RecordError, RecordFields};

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
    let on = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    match text.is_ascii() {
        true => text.bytes().map(u16::from).fold(before, on),
        false => text.encode_utf16().fold(before, on),
    }
}

/// Tags code stored in a ConsumeQueue unit: 0 without a tag, else the sign-extended [`java_hash`].
pub fn tags_code(tags: Option<&str>) -> i64 {
    tags.map_or(0, |tags| i64::from(java_hash(tags)))
}

/// CRC-32 (IEEE) with the sign bit cleared, as Java keeps body and frame checksums.
///
/// ```
/// assert_eq!(sluice_protocol::message::crc32(b"hello"), 907060870);
/// ```
pub fn crc32(bytes: &[u8]) -> i32 {
    (crc32fast::hash(bytes) & 0x7FFF_FFFF) as i32
}
