//! The remoting command: one request or response, and its two header forms.

mod binary;
mod json;

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use crate::ext::ExtFields;
use crate::frame::{FrameError, HEADER_SIZE_MAX};
use crate::language::Language;
use crate::version;

/// Bit of `flag`: this is a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of `flag`: the receiver must not answer.
pub const FLAG_ONE_WAY: i32 = 2;

/// Which header form a command has (`SerializeType`); answers take the form of their request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Serialization {
    /// JSON text: what every client understands.
    #[default]
    Json = 0,
    /// The binary `ROCKETMQ` form.
    RocketMq = 1,
}

/// One request or response (`RemotingCommand`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotingCommand {
    /// Request or response code, see [`crate::code`].
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version ordinal of the sender, see [`crate::version`].
    pub version: i32,
    /// Correlation id; a response repeats its request's.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`], [`FLAG_ONE_WAY`].
    pub flag: i32,
    /// Free text: the explanation of a refusal.
    pub remark: Option<ByteString>,
    /// Custom header fields and free fields.
    pub ext: ExtFields,
    /// Body; empty means none.
    pub body: Bytes,
    /// Form of the header.
    pub serialization: Serialization,
}

impl RemotingCommand {
    /// A request of ours.
    pub fn request(code: i32, opaque: i32) -> Self {
        RemotingCommand {
            code,
            language: Language::Rust,
            version: version::CURRENT,
            opaque,
            flag: 0,
            remark: None,
            ext: ExtFields::new(),
            body: Bytes::new(),
            serialization: Serialization::Json,
        }
    }

    /// The answer to this request: same opaque, same header form.
    pub fn response(&self, code: i32) -> Self {
        RemotingCommand {
            flag: FLAG_RESPONSE,
            serialization: self.serialization,
            language: Language::Java,
            ..RemotingCommand::request(code, self.opaque)
        }
    }

    /// The answer with an explanation.
    pub fn refusal(&self, code: i32, remark: impl Into<ByteString>) -> Self {
        RemotingCommand {
            remark: Some(remark.into()),
            ..self.response(code)
        }
    }

    /// Adds the body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether the sender wants no answer.
    pub fn is_one_way(&self) -> bool {
        self.flag & FLAG_ONE_WAY != 0
    }

    /// The remark, or the empty text.
    pub fn remark(&self) -> &str {
        self.remark.as_deref().unwrap_or_default()
    }

    /// Appends length, header word and header for a body of `body_size` bytes, which the caller
    /// sends right behind.
    ///
    /// # Errors
    /// [`FrameError::HeaderTooLarge`]; nothing was appended.
    pub fn encode_head(&self, body_size: usize, out: &mut BytesMut) -> Result<(), FrameError> {
        let start = out.len();
        out.put_u64(0);
        match self.serialization {
            Serialization::Json => json::encode(self, out),
            Serialization::RocketMq => binary::encode(self, out),
        }
        let header_size = out.len() - start - 8;
        if header_size > HEADER_SIZE_MAX {
            out.truncate(start);
            return Err(FrameError::HeaderTooLarge { size: header_size });
        }
        let length = (4 + header_size + body_size) as u32;
        let word = (self.serialization as u32) << 24 | header_size as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&word.to_be_bytes());
        Ok(())
    }

    /// The whole frame in one piece, for tests and tools.
    ///
    /// # Panics
    /// The header is larger than [`HEADER_SIZE_MAX`].
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256 + self.body.len());
        self.encode_head(self.body.len(), &mut out)
            .expect("a header that fits");
        out.extend_from_slice(&self.body);
        out.freeze()
    }

    /// Decodes one whole frame, its length word included, as [`crate::frame::split`] cuts it.
    ///
    /// Texts and body are slices of `frame`.
    ///
    /// # Errors
    /// [`FrameError`]; the connection it came from can't be trusted any further.
    pub fn decode(frame: &Bytes) -> Result<Self, FrameError> {
        let head: [u8; 8] =
            frame
                .get(..8)
                .and_then(|head| head.try_into().ok())
                .ok_or(FrameError::Length {
                    length: frame.len() as i64,
                })?;
        let word = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let header_size = (word & 0x00FF_FFFF) as usize;
        let available = frame.len() - 8;
        if header_size > available {
            return Err(FrameError::HeaderLength {
                length: header_size,
                available,
            });
        }
        if header_size > HEADER_SIZE_MAX {
            return Err(FrameError::HeaderTooLarge { size: header_size });
        }
        let header = frame.slice(8..8 + header_size);
        let mut command = match word >> 24 {
            0 => json::decode(&header)?,
            1 => binary::decode(&header)?,
            other => return Err(FrameError::Serialization(other as u8)),
        };
        command.body = frame.slice(8 + header_size..);
        Ok(command)
    }
}

#[cfg(test)]
mod tests;
