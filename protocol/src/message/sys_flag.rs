//! Bits of a message's `sysFlag` and of a pull request's `sysFlag`.

/// The body is compressed by the producer; the broker never touches it.
pub const COMPRESSED: i32 = 0x1;
/// The topic's filter type is `MULTI_TAG`.
pub const MULTI_TAGS: i32 = 0x2;
/// Mask of the two transaction bits.
pub const TRANSACTION_MASK: i32 = 0xC;
/// Half message, not yet decided.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Message delivered by a commit.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host has 16 address bytes.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host has 16 address bytes.
pub const STORE_HOST_V6: i32 = 0x20;
/// A client must unwrap the record's inner batch.
pub const NEED_UNWRAP: i32 = 0x40;
/// The record holds an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// Mask of the compression type: 0 legacy zlib, 0x100 LZ4, 0x200 ZSTD, 0x300 zlib.
pub const COMPRESSION_MASK: i32 = 0x700;

/// Pull: `commitOffset` is valid and is to be stored.
pub const PULL_COMMIT_OFFSET: i32 = 0x1;
/// Pull: the broker may hold the request.
pub const PULL_SUSPEND: i32 = 0x2;
/// Pull: the request carries its subscription.
pub const PULL_SUBSCRIPTION: i32 = 0x4;
/// Pull: class filter of the old FilterServer.
pub const PULL_CLASS_FILTER: i32 = 0x8;
/// Pull: the request comes from a lite pull consumer.
pub const PULL_LITE: i32 = 0x10;
