//! Bodies: zlib both ways, as Java's default; what other algorithms made is named, not guessed.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use sluice_protocol::message::sys_flag;

/// Set on what we compress: `COMPRESSED` and the type zlib.
pub(crate) const ZLIB_FLAGS: i32 = sys_flag::COMPRESSED | 0x300;
/// Level of Java producers.
const LEVEL: u32 = 5;
/// Most bytes a body may unfold to; a bomb stops here.
pub(crate) const INFLATED_SIZE_MAX: u64 = 64 * 1024 * 1024;

/// Zlib, at Java's level.
pub(crate) fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(LEVEL));
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.expect("a Vec takes everything")
}

/// The body behind the compression that `flags` names.
pub(crate) fn inflate(body: &[u8], flags: i32) -> Result<Vec<u8>, String> {
    match flags & sys_flag::COMPRESSION_MASK {
        0 | 0x300 => {}
        0x100 => return Err("LZ4 is not supported".to_owned()),
        0x200 => return Err("ZSTD is not supported".to_owned()),
        other => return Err(format!("unknown compression type {other:#x}")),
    }
    let mut inflated = Vec::with_capacity(body.len() * 3);
    ZlibDecoder::new(body)
        .take(INFLATED_SIZE_MAX + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| error.to_string())?;
    if inflated.len() as u64 > INFLATED_SIZE_MAX {
        return Err(format!("it is larger than {INFLATED_SIZE_MAX} bytes"));
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        let body = b"sluice ".repeat(1000);
        let small = deflate(&body);
        assert!(small.len() < body.len() / 10);
        assert_eq!(inflate(&small, ZLIB_FLAGS).unwrap(), body);
        assert_eq!(inflate(&small, sys_flag::COMPRESSED).unwrap(), body);
    }

    #[test]
    fn damage_bombs_and_foreign_algorithms_are_named() {
        let small = deflate(&b"x".repeat(5000));
        assert!(inflate(&small[..small.len() / 2], ZLIB_FLAGS).is_err());
        assert!(inflate(b"no zlib", ZLIB_FLAGS).is_err());
        assert!(inflate(&small, 0x101).unwrap_err().contains("LZ4"));
        assert!(inflate(&small, 0x201).unwrap_err().contains("ZSTD"));
        let bomb = deflate(&vec![0; INFLATED_SIZE_MAX as usize + 1]);
        assert!(inflate(&bomb, ZLIB_FLAGS).unwrap_err().contains("larger"));
    }
}
