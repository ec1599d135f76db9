//! Little-endian numbers and ranges out of bytes that nobody vouches for.

use core::fmt;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before their fixed part does.
    Short {
        /// What the fixed part needs, in bytes.
        needs: u64,
        /// What there is.
        has: usize,
    },
    /// The version is not [`crate::VERSION`].
    Version(u16),
    /// A number in the fixed part is outside its bounds.
    OutOfBounds(&'static str, u64),
    /// A range reaches beyond the last byte.
    Range(&'static str),
    /// Text that is not UTF-8, or not the decimal number it must be.
    Text(&'static str),
    /// More bytes than 32-bit offsets reach.
    TooLarge,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Short { needs, has } => write!(f, "{has} bytes where {needs} are needed"),
            Malformed::Version(version) => write!(f, "version {version} is not known"),
            Malformed::OutOfBounds(what, value) => write!(f, "{what} is {value}"),
            Malformed::Range(what) => write!(f, "{what} reaches beyond the last byte"),
            Malformed::Text(what) => write!(f, "{what} is not readable"),
            Malformed::TooLarge => f.write_str("more than 4 GiB"),
        }
    }
}

impl core::error::Error for Malformed {}

/// The `N` bytes at `at`.
#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

#[inline]
pub(crate) fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    array(bytes, at).map(i64::from_le_bytes)
}

/// `length` bytes from `offset` on.
#[inline]
pub(crate) fn range(bytes: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    // Both fit usize, which is 32 bits wide in a guest: there the sum may not.
    let begin = offset as usize;
    bytes.get(begin..begin.checked_add(length as usize)?)
}

/// Checks that a fixed part of `needs` bytes is there; the sum was made in 64 bits.
pub(crate) fn fixed_part(bytes: &[u8], needs: u64) -> Result<(), Malformed> {
    if needs > bytes.len() as u64 {
        return Err(Malformed::Short {
            needs,
            has: bytes.len(),
        });
    }
    Ok(())
}

pub(crate) fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, Malformed> {
    core::str::from_utf8(bytes).map_err(|_| Malformed::Text(what))
}

#[cfg(test)]
pub(crate) mod hostile {
    use alloc::vec::Vec;

    /// Each cut of `good`, each byte of it set to 0, 0x7F, 0x80 and 0xFF, and each aligned u32 set
    /// to the numbers that overflow sums and products.
    pub(crate) fn variants(good: &[u8], mut try_one: impl FnMut(&[u8])) {
        for end in 0..good.len() {
            try_one(&good[..end]);
        }
        let mut bytes = Vec::from(good);
        for at in 0..good.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                bytes[at] = value;
                try_one(&bytes);
            }
            bytes[at] = good[at];
        }
        for at in (0..good.len().saturating_sub(3)).step_by(4) {
            for value in [
                0,
                1,
                64,
                65,
                0x2000_0000,
                0x7fff_ffff,
                0x8000_0000,
                u32::MAX - 1,
                u32::MAX,
            ] {
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                try_one(&bytes);
            }
            bytes[at..at + 4].copy_from_slice(&good[at..at + 4]);
        }
    }
}
