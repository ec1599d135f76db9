//! The binary header form (`RocketMQSerializable`), big-endian:
//!
//! ```text
//! CODE i16  LANGUAGE u8  VERSION i16  OPAQUE i32  FLAG i32
//! REMARKLENGTH i32, REMARK
//! EXTLENGTH i32, then until it is used up: KEYLENGTH i16, KEY, VALUELENGTH i32, VALUE
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::{RemotingCommand, Serialization};
use crate::code;
use crate::ext::ExtFields;
use crate::frame::FrameError;
use crate::language::Language;

const FIXED_SIZE: usize = 2 + 1 + 2 + 4 + 4 + 4 + 4;

pub(super) fn encode(command: &RemotingCommand, out: &mut BytesMut) {
    out.put_i16(command.code as i16);
    out.put_u8(command.language as u8);
    out.put_i16(command.version as i16);
    out.put_i32(command.opaque);
    out.put_i32(command.flag);
    let remark = command.remark();
    out.put_i32(remark.len() as i32);
    out.put_slice(remark.as_bytes());
    let length_at = out.len();
    out.put_i32(0);
    for (name, value) in command.ext.iter() {
        // A key of no length could not be told from null by Java, and its length is an i16.
        if name.is_empty() || name.len() > i16::MAX as usize {
            continue;
        }
        out.put_i16(name.len() as i16);
        out.put_slice(name.as_bytes());
        out.put_i32(value.len() as i32);
        out.put_slice(value.as_bytes());
    }
    let length = (out.len() - length_at - 4) as i32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn decode(header: &Bytes) -> Result<RemotingCommand, FrameError> {
    let mut rest = &header[..];
    if rest.len() < FIXED_SIZE {
        return Err(FrameError::Header(format!(
            "binary header of {} bytes, at least {FIXED_SIZE} are needed",
            rest.len()
        )));
    }
    let code = code::unwrap_i16(rest.get_i16());
    let language = Language::from_ordinal(rest.get_u8());
    let version = i32::from(rest.get_i16());
    let opaque = rest.get_i32();
    let flag = rest.get_i32();
    let remark = sized_text(&mut rest, "remark", 4)?.map(ByteString::from);
    let ext_size = length(&mut rest, "ext", 4)?;
    let mut ext_bytes = &rest[..ext_size];
    let mut ext = ExtFields::with_room(ext_size.min(512) / 32, ext_size);
    while !ext_bytes.is_empty() {
        let name = sized_text(&mut ext_bytes, "ext key", 2)?;
        let value = sized_text(&mut ext_bytes, "ext value", 4)?;
        if let (Some(name), Some(value)) = (name, value) {
            ext.put(name, value);
        }
    }
    Ok(RemotingCommand {
        code,
        language,
        version,
        opaque,
        flag,
        remark,
        ext,
        body: Bytes::new(),
        serialization: Serialization::RocketMq,
    })
}

/// A text behind its length; no length is null, as in Java.
fn sized_text<'a>(
    rest: &mut &'a [u8],
    what: &str,
    length_width: usize,
) -> Result<Option<&'a str>, FrameError> {
    let size = length(rest, what, length_width)?;
    if size == 0 {
        return Ok(None);
    }
    let (text, behind) = rest.split_at(size);
    *rest = behind;
    let text = std::str::from_utf8(text);
    text.map(Some)
        .map_err(|_| FrameError::Header(format!("{what} is not UTF-8")))
}

/// A length of `width` bytes, checked against what is left behind it.
fn length(rest: &mut &[u8], what: &str, width: usize) -> Result<usize, FrameError> {
    if rest.len() < width {
        return Err(FrameError::Header(format!(
            "cut short at the length of {what}"
        )));
    }
    let length = if width == 2 {
        i32::from(rest.get_i16())
    } else {
        rest.get_i32()
    };
    match usize::try_from(length) {
        Ok(size) if size <= rest.len() => Ok(size),
        _ => Err(FrameError::Header(format!(
            "{what} length {length}, but {} bytes are left",
            rest.len()
        ))),
    }
}
