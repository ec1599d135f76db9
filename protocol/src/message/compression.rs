//! Bodies: zlib both ways, as Java's default; LZ4 and ZSTD, which 5.x producers can be told to use,
//! are read (`CompressionType` and the `Compressor`s of RocketMQ 5.3.3).

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use lz4_flex::frame::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::sys_flag;

/// Types within `COMPRESSION_MASK`; 4.x producers set none and mean zlib.
const LZ4: i32 = 0x100;
const ZSTD: i32 = 0x200;
const ZLIB: i32 = 0x300;
/// Set on what we compress.
pub const ZLIB_FLAGS: i32 = sys_flag::COMPRESSED | ZLIB;
/// Level of Java producers.
const LEVEL: u32 = 5;
/// Most bytes a body may unfold to; a bomb stops here.
pub const INFLATED_SIZE_MAX: u64 = 64 * 1024 * 1024;

/// Zlib, at Java's level.
pub fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(LEVEL));
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.expect("a Vec takes everything")
}

/// The body behind the compression that `flags` (a message's sysFlag) names.
///
/// # Errors
/// A text: unknown type, damaged, or larger than [`INFLATED_SIZE_MAX`].
pub fn inflate(body: &[u8], flags: i32) -> Result<Vec<u8>, String> {
    inflate_up_to(body, flags, INFLATED_SIZE_MAX)
}

/// As [`inflate`], with a limit of the caller's own, bytes.
///
/// # Errors
/// As [`inflate`].
pub fn inflate_up_to(body: &[u8], flags: i32, max: u64) -> Result<Vec<u8>, String> {
    match flags & sys_flag::COMPRESSION_MASK {
        0 | ZLIB => read_bounded(ZlibDecoder::new(body), body.len(), max),
        // A frame, and not a bare block.
        LZ4 => read_bounded(FrameDecoder::new(Whole(body)), body.len(), max),
        ZSTD => {
            let decoder = StreamingDecoder::new_with_max_window_size(body, INFLATED_SIZE_MAX);
            let decoder = decoder.map_err(|error| error.to_string())?;
            read_bounded(decoder, body.len(), max)
        }
        other => Err(format!("unknown compression type {other:#x}")),
    }
}

/// Bytes whose end is an error: the LZ4 decoder, which stops before it when the frame is whole,
/// would take an end between two blocks for that of the frame.
struct Whole<'a>(&'a [u8]);

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::Error::other("it is cut short"));
        }
        self.0.read(buffer)
    }
}

fn read_bounded(decoder: impl Read, compressed_size: usize, max: u64) -> Result<Vec<u8>, String> {
    let mut inflated = Vec::with_capacity(compressed_size * 3);
    decoder
        .take(max.saturating_add(1))
        .read_to_end(&mut inflated)
        .map_err(|error| error.to_string())?;
    if inflated.len() as u64 > max {
        return Err(format!("it is larger than {max} bytes"));
    }
    // It may be held for long, and its size is what counts.
    inflated.shrink_to_fit();
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

    /// What Java's classes made of `sluice 0 sluice 1 …`, 300 words that count to 6 again and again.
    const BY_JAVA: [(i32, &str); 3] = [
        (
            LZ4,
            "04224d186070733800000093736c7569636520302009001431090014320900143309001434090014\
         350900143609000f3f00ffffffffffffffffffff3850636520352000000000",
        ),
        (
            ZSTD,
            "28b52ffd00586c0500d613250ed0650cf12bf2e03a3333a903220421001f001f00ca5d4eb9cb2977\
         39e52ea7dce594bb9c729753ee72ca5d4eb9cb69640480500c44e594bb9c729753ee72ca5d4eb9cb\
         297739e52ea7dce594bb9c729753ee7201b9cb297739e52ea7dce594bb9c729753ee72ca5d4eb9cb\
         297739e52ea7dc01c323008462204639e52ea7dce594bb9c729753ee72ca5d4eb9cb297739e52ea7\
         812aa811e0ef19e1af01118cf0074926192112085455010000",
        ),
        (
            ZLIB,
            "785e2bce29cd4c4e5530502886300c610c2318c318c63081314c610c33186354fba8f651eda3da47\
         b58f6a1fd53eaa7d54fba876d2b50300723b7acb",
        ),
    ];

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
        (0..hexadecimal.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn what_java_compresses_is_read() {
        let expected: String = (0..300).map(|n| format!("sluice {} ", n % 7)).collect();
        for (flag, hexadecimal) in BY_JAVA {
            let compressed = bytes(hexadecimal);
            let inflated = inflate(&compressed, flag | sys_flag::COMPRESSED).unwrap();
            assert_eq!(inflated, expected.as_bytes(), "{flag:#x}");
        }
    }

    #[test]
    fn damage_is_named() {
        for (flag, hexadecimal) in BY_JAVA {
            let whole = bytes(hexadecimal);
            for size in 1..whole.len() {
                let cut = inflate(&whole[..size], flag);
                assert!(cut.is_err(), "{flag:#x} cut to {size}");
            }
            assert!(inflate(b"something else", flag).is_err(), "{flag:#x}");
        }
        let unknown = inflate(b"x", 0x401).unwrap_err();
        assert!(unknown.contains("0x400"), "{unknown}");
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let zeroes = vec![0; INFLATED_SIZE_MAX as usize + 1];
        let error = inflate(&deflate(&zeroes), ZLIB_FLAGS).unwrap_err();
        assert!(error.contains("larger"), "{error}");
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&zeroes).unwrap();
        let error = inflate(&lz4.finish().unwrap(), LZ4).unwrap_err();
        assert!(error.contains("larger"), "{error}");
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(&zeroes[..], level);
        let error = inflate(&zstd, ZSTD).unwrap_err();
        assert!(error.contains("larger"), "{error}");
    }
}
