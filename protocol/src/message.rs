//! Messages: the stored record, the batch body, identifiers, properties and system flags.
//!
//! A record is laid out once, by the broker, and the same bytes lie in the CommitLog and travel to
//! consumers: see [`record`] for the drawing.

pub mod batch;
pub mod compression;
mod hash;
pub mod id;
pub mod inner_batch;
pub mod properties;
pub mod record;
pub mod sys_flag;
pub mod view;

pub use hash::{java_hash, java_hash_on};
pub use id::MessageId;
pub use record::{Record, RecordError, RecordFields};

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
