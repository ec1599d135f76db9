//! The JSON header form.
//!
//! Written as Java does: fields in alphabetical order, nothing between them. Read with everything
//! that clients were seen to send: ext values that are numbers, booleans or null, numbers as text,
//! languages unknown or as ordinals, a newline behind the object.

mod marks;
mod plain;

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor,
};

use super::RemotingCommand;
use crate::ext::ExtFields;
use crate::frame::FrameError;
use crate::language::Language;

/// What a header takes beside its fields and its remark, and each field beside its texts, if nothing in them has to
/// be escaped.
const BARE_SIZE: usize = 160;
const FIELD_SIZE: usize = 6;

pub(super) fn encode(command: &RemotingCommand, out: &mut BytesMut) {
    let fields = command.ext.texts_size() + command.ext.len() * FIELD_SIZE;
    out.reserve(BARE_SIZE + fields + command.remark().len());
    put_number(out, b"{\"code\":", command.code);
    if !command.ext.is_empty() {
        out.put_slice(b",\"extFields\":");
        put_fields(&command.ext, out);
    }
    put_number(out, b",\"flag\":", command.flag);
    out.put_slice(b",\"language\":\"");
    out.put_slice(command.language.name().as_bytes());
    out.put_u8(b'"');
    put_number(out, b",\"opaque\":", command.opaque);
    if let Some(remark) = &command.remark {
        out.put_slice(b",\"remark\":");
        put_text(remark, out);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\"");
    put_number(out, b",\"version\":", command.version);
    out.put_u8(b'}');
}

fn put_number(out: &mut BytesMut, name: &[u8], value: i32) {
    out.put_slice(name);
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn put_fields(ext: &ExtFields, out: &mut BytesMut) {
    let mut separator = b'{';
    for (name, value) in ext.iter() {
        out.put_u8(separator);
        put_text(name, out);
        out.put_u8(b':');
        put_text(value, out);
        separator = b',';
    }
    out.put_u8(b'}');
}

fn put_text(text: &str, out: &mut BytesMut) {
    if marks::up_to_mark(text.as_bytes()) == text.len() {
        out.put_u8(b'"');
        out.put_slice(text.as_bytes());
        return out.put_u8(b'"');
    }
    serde_json::to_writer(out.writer(), text).expect("memory takes every write");
}

pub(super) fn decode(header: &Bytes) -> Result<RemotingCommand, FrameError> {
    let header = ByteString::try_from(header.clone())
        .map_err(|error| FrameError::Header(error.to_string()))?;
    plain::decode(&header).map_or_else(|| whole(&header), Ok)
}

fn whole(header: &ByteString) -> Result<RemotingCommand, FrameError> {
    let mut deserializer = serde_json::Deserializer::from_str(header);
    let command = deserializer
        .deserialize_map(CommandVisitor(header))
        .and_then(|command| deserializer.end().map(|()| command));
    command.map_err(|error| FrameError::Header(error.to_string()))
}

/// What a header says that says nothing.
fn blank() -> RemotingCommand {
    RemotingCommand {
        language: Language::default(),
        version: 0,
        ..RemotingCommand::request(0, 0)
    }
}

struct CommandVisitor<'h>(&'h ByteString);

impl<'de> Visitor<'de> for CommandVisitor<'_> {
    type Value = RemotingCommand;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command header object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RemotingCommand, A::Error> {
        let mut command = blank();
        while let Some(Scalar(name)) = map.next_key()? {
            match name.as_deref().unwrap_or_default() {
                "code" => command.code = number(&mut map, "code")?,
                "version" => command.version = number(&mut map, "version")?,
                "opaque" => command.opaque = number(&mut map, "opaque")?,
                "flag" => command.flag = number(&mut map, "flag")?,
                "language" => {
                    let name = map.next_value::<Scalar<'de>>()?.0;
                    command.language = Language::from_name(&name.unwrap_or_default());
                }
                "remark" => {
                    let remark = map.next_value::<Scalar<'de>>()?.0;
                    command.remark = remark.map(|remark| remark.as_ref().into());
                }
                "extFields" => command.ext = map.next_value_seed(Ext(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(command)
    }
}

fn number<'de, A: MapAccess<'de>>(map: &mut A, name: &str) -> Result<i32, A::Error> {
    let text = map
        .next_value::<Scalar<'de>>()?
        .0
        .unwrap_or(Cow::Borrowed("0"));
    text.parse().map_err(|_| {
        A::Error::custom(format_args!(
            "field {name} is {text:?}, a 32-bit integer is expected"
        ))
    })
}

/// Reads the fields, which lie in this header but for those that are escaped or are no texts.
struct Ext<'h>(&'h ByteString);

/// Room for the fields of a send.
const FIELDS: usize = 16;

impl<'de> DeserializeSeed<'de> for Ext<'_> {
    type Value = ExtFields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ExtFields, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ext<'_> {
    type Value = ExtFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_unit<E: Error>(self) -> Result<ExtFields, E> {
        Ok(ExtFields::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExtFields, A::Error> {
        let mut fields = ExtFields::lying_in(self.0.clone(), FIELDS);
        while let Some((Scalar(name), Scalar(value))) = map.next_entry()? {
            if let (Some(name), Some(value)) = (name, value) {
                fields.put(name, value);
            }
        }
        Ok(fields)
    }
}

/// Without an exponent where JavaScript writes none: a few bytes must not become 300 digits.
fn decimal(value: f64) -> String {
    if value == 0.0 || (1e-7..1e21).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// A text, or a number or boolean as its text; null is `None`.
struct Scalar<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number, boolean or null")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Borrowed(text))))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(text.to_owned()))))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Borrowed(if value {
            "true"
        } else {
            "false"
        }))))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(value.to_string()))))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(value.to_string()))))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(decimal(value)))))
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar(None))
    }
}
