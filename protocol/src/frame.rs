//! Frames: where one command ends and the next begins.
//!
//! ```text
//! LENGTH i32 (of all that follows)   HEADER WORD u32 (form in the top 8 bits, length in the rest)   HEADER   BODY
//! ```

use bytes::{Bytes, BytesMut};

/// Largest frame, its length word included (`com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_SIZE_MAX: usize = 16 * 1024 * 1024;

/// Largest header sent or taken, bytes. Its length word could say 16 MiB, but the largest field of
/// any header has 32 KiB, and a header costs a multiple of its size once it is decoded.
pub const HEADER_SIZE_MAX: usize = 1024 * 1024;

/// Bytes that are no command; the connection they came from has to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length word is negative or too small for a header word.
    #[error("frame length {length} is impossible")]
    Length {
        /// What the length word says.
        length: i64,
    },
    /// More than the limit.
    #[error("frame of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Size of the whole frame, bytes.
        size: usize,
        /// Limit, bytes.
        max: usize,
    },
    /// A header beyond [`HEADER_SIZE_MAX`].
    #[error("header of {size} bytes exceeds the limit of {HEADER_SIZE_MAX}")]
    HeaderTooLarge {
        /// Size of the header, bytes.
        size: usize,
    },
    /// The header claims more bytes than the frame has.
    #[error("header length {length} exceeds the {available} bytes of its frame")]
    HeaderLength {
        /// What the header word says.
        length: usize,
        /// Bytes behind the header word.
        available: usize,
    },
    /// Neither JSON (0) nor ROCKETMQ (1).
    #[error("unknown header form {0}: 0 (JSON) or 1 (ROCKETMQ) is expected")]
    Serialization(u8),
    /// The header can't be read.
    #[error("header does not decode: {0}")]
    Header(String),
}

/// Cuts the next whole frame off the front of `buffer`, or `None` when more bytes are needed.
///
/// # Errors
/// [`FrameError::Length`] or [`FrameError::TooLarge`] as soon as the length word is there, before
/// any room for the frame is made.
pub fn split(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(size) = size(buffer, max)? else {
        return Ok(None);
    };
    if buffer.len() < size {
        return Ok(None);
    }
    Ok(Some(buffer.split_to(size).freeze()))
}

/// Size of the frame at the front of `buffer`, its length word included; `None` below four bytes.
///
/// # Errors
/// As [`split`].
pub fn size(buffer: &[u8], max: usize) -> Result<Option<usize>, FrameError> {
    let Some(length) = buffer.get(..4) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
    if length < 4 {
        return Err(FrameError::Length {
            length: i64::from(length),
        });
    }
    let size = 4 + length as usize;
    if size > max {
        return Err(FrameError::TooLarge { size, max });
    }
    Ok(Some(size))
}
