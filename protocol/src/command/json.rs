//! The JSON header form.
//!
//! Written as Java does: fields in alphabetical order, nothing between them. Read with everything
//! that clients were seen to send: ext values that are numbers, booleans or null, numbers as text,
//! languages unknown or as ordinals, a newline behind the object.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{RemotingCommand, Serialization};
use crate::ext::ExtFields;
use crate::frame::FrameError;
use crate::language::Language;

pub(super) fn encode(command: &RemotingCommand, out: &mut BytesMut) {
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
    use std::io::Write;
    out.put_slice(name);
    write!(out.writer(), "{value}").expect("memory takes every write");
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
    serde_json::to_writer(out.writer(), text).expect("memory takes every write");
}

pub(super) fn decode(header: &Bytes) -> Result<RemotingCommand, FrameError> {
    let mut deserializer = serde_json::Deserializer::from_slice(header);
    let fields = Fields::deserialize(&mut deserializer)
        .and_then(|fields| deserializer.end().map(|()| fields));
    let fields = fields.map_err(|error| FrameError::Header(error.to_string()))?;
    let keep = |text: Cow<'_, str>| keep(header, text);
    Ok(RemotingCommand {
        code: fields.code,
        language: fields.language,
        version: fields.version,
        opaque: fields.opaque,
        flag: fields.flag,
        remark: fields.remark.map(keep),
        ext: fields
            .ext
            .into_iter()
            .map(|(name, value)| (keep(name), keep(value)))
            .collect(),
        body: Bytes::new(),
        serialization: Serialization::Json,
    })
}

/// Keeps a text without copying it where it lies in the header unescaped.
fn keep(header: &Bytes, text: Cow<'_, str>) -> ByteString {
    match text {
        Cow::Borrowed(text) => {
            ByteString::try_from(header.slice_ref(text.as_bytes())).expect("a str is UTF-8")
        }
        Cow::Owned(text) => text.into(),
    }
}

#[derive(Default)]
struct Fields<'a> {
    code: i32,
    language: Language,
    version: i32,
    opaque: i32,
    flag: i32,
    remark: Option<Cow<'a, str>>,
    ext: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command header object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Scalar(name)) = map.next_key()? {
            match name.as_deref().unwrap_or_default() {
                "code" => fields.code = number(&mut map, "code")?,
                "version" => fields.version = number(&mut map, "version")?,
                "opaque" => fields.opaque = number(&mut map, "opaque")?,
                "flag" => fields.flag = number(&mut map, "flag")?,
                "language" => {
                    fields.language =
                        Language::from_name(&map.next_value::<Scalar<'de>>()?.0.unwrap_or_default())
                }
                "remark" => fields.remark = map.next_value::<Scalar<'de>>()?.0,
                "extFields" => {
                    fields.ext = map
                        .next_value::<Option<Ext<'de>>>()?
                        .map_or_else(Vec::new, |ext| ext.0)
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
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

struct Ext<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de> Deserialize<'de> for Ext<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ExtVisitor)
    }
}

struct ExtVisitor;

impl<'de> Visitor<'de> for ExtVisitor {
    type Value = Ext<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ext<'de>, A::Error> {
        let mut fields = Vec::with_capacity(16);
        while let Some((Scalar(name), Scalar(value))) = map.next_entry()? {
            if let (Some(name), Some(value)) = (name, value) {
                fields.push((name, value));
            }
        }
        Ok(Ext(fields))
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
        // Owned: only texts that lie in the header may be borrowed, `keep` slices it by them.
        Ok(Scalar(Some(Cow::Owned(value.to_string()))))
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
