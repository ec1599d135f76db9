//! Headers as clients write them: texts, whole numbers and one object of such, read in one walk. Whatever is
//! not like that is left to a whole JSON reader, which also says what is wrong.

use bytestring::ByteString;

use super::marks::up_to_mark;
use super::{FIELDS, blank};
use crate::RemotingCommand;
use crate::ext::{ExtFields, Place};
use crate::language::Language;

/// The command of a header, or `None` if the header is not plain.
pub(super) fn decode(header: &ByteString) -> Option<RemotingCommand> {
    let mut command = blank();
    let mut walk = Walk {
        text: header,
        at: 0,
    };
    walk.object(|walk, name| {
        let name = walk.raw(name).as_bytes();
        if name == b"extFields" {
            command.ext = walk.fields(header)?;
            return Some(());
        }
        let value = walk.value()?;
        match name {
            b"code" => command.code = walk.number(value)?,
            b"version" => command.version = walk.number(value)?,
            b"opaque" => command.opaque = walk.number(value)?,
            b"flag" => command.flag = walk.number(value)?,
            b"language" => command.language = Language::from_name(walk.unescaped(value)?),
            b"remark" => command.remark = Some(walk.unfolded(value).into()),
            _ => {}
        }
        Some(())
    })?;
    walk.skip_blanks();
    (walk.at == header.len()).then_some(command)
}

/// A place in a header.
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

/// Where a text lies between its quotes, or a number or truth value.
#[derive(Clone, Copy)]
struct Value {
    start: usize,
    end: usize,
    /// It holds escapes, all of one byte.
    escaped: bool,
}

impl Value {
    fn place(self) -> Place {
        Place::new(self.start, self.end - self.start)
    }
}

impl<'a> Walk<'a> {
    fn object(&mut self, mut member: impl FnMut(&mut Walk<'a>, Value) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.take(b'"')?;
            let name = self.name()?;
            self.take(b':')?;
            member(self, name)?;
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn fields(&mut self, header: &ByteString) -> Option<ExtFields> {
        let mut ext = ExtFields::lying_in(header.clone(), FIELDS);
        self.object(|walk, name| {
            let value = walk.value()?;
            match value.escaped {
                true => ext.put_named(name.place(), |text| walk.unfold(value, text)),
                false => ext.put_placed(name.place(), value.place()),
            }
            Some(())
        })?;
        Some(ext)
    }

    fn value(&mut self) -> Option<Value> {
        match self.take(b'"') {
            Some(()) => self.quoted(),
            None => self.word(),
        }
    }

    /// As [`Walk::quoted`], without escapes. Most names of a send have one letter.
    fn name(&mut self) -> Option<Value> {
        let rest = self.text.as_bytes().get(self.at..)?;
        if let [b'a'..=b'z', b'"', ..] = rest {
            let start = self.at;
            self.at += 2;
            return Some(Value {
                start,
                end: start + 1,
                escaped: false,
            });
        }
        self.quoted().filter(|name| !name.escaped)
    }

    /// Up to the quote that ends a text; behind it from then on.
    fn quoted(&mut self) -> Option<Value> {
        let bytes = self.text.as_bytes();
        let (start, mut at, mut escaped) = (self.at, self.at, false);
        loop {
            at += up_to_mark(bytes.get(at..)?);
            match bytes.get(at)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    at += escape(&bytes[at..])?.1;
                }
                _ => return None,
            }
        }
        self.at = at + 1;
        Some(Value {
            start,
            end: at,
            escaped,
        })
    }

    /// A whole number as it is written when nobody writes it otherwise, or a truth value.
    fn word(&mut self) -> Option<Value> {
        let start = self.at;
        while self.byte()?.is_ascii_alphanumeric() || self.byte()? == b'-' {
            self.at += 1;
        }
        let value = Value {
            start,
            end: self.at,
            escaped: false,
        };
        let raw = self.raw(value);
        let digits = raw.strip_prefix('-').unwrap_or(raw);
        let number = (1..=18).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (raw == "0" || !digits.starts_with('0'));
        (number || raw == "true" || raw == "false").then_some(value)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes past blanks and this byte.
    fn take(&mut self, wanted: u8) -> Option<()> {
        if self.byte()? != wanted {
            self.skip_blanks();
        }
        let found = self.byte()? == wanted;
        self.at += usize::from(found);
        found.then_some(())
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// As it is written.
    fn raw(&self, value: Value) -> &'a str {
        &self.text[value.start..value.end]
    }

    fn unescaped(&self, value: Value) -> Option<&'a str> {
        (!value.escaped).then(|| self.raw(value))
    }

    fn number(&self, value: Value) -> Option<i32> {
        self.unescaped(value)?.parse().ok()
    }

    fn unfolded(&self, value: Value) -> String {
        let mut text = String::new();
        self.unfold(value, &mut text);
        text
    }

    /// Puts a value behind a text, and what its escapes stand for.
    fn unfold(&self, value: Value, text: &mut String) {
        let mut rest = self.raw(value);
        text.reserve(rest.len());
        loop {
            let at = up_to_mark(rest.as_bytes());
            text.push_str(&rest[..at]);
            if at == rest.len() {
                return;
            }
            let (byte, size) =
                escape(&rest.as_bytes()[at..]).expect("read when the quote was found");
            text.push(char::from(byte));
            rest = &rest[at + size..];
        }
    }
}

/// The ASCII character that an escape stands for, and how long the escape is. Clients escape the separators
/// of properties; characters beyond ASCII they write as they are.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    let byte = match text.get(1)? {
        b'u' => {
            let &[b'0', b'0', high, low] = text.get(2..6)? else {
                return None;
            };
            let byte = u8::try_from(hex(high)? << 4 | hex(low)?).ok()?;
            return byte.is_ascii().then_some((byte, 6));
        }
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        byte @ (b'"' | b'\\' | b'/') => *byte,
        _ => return None,
    };
    Some((byte, 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::whole;
    use super::*;

    #[test]
    fn what_clients_write_is_plain() {
        let java = r#"{"code":310,"extFields":{"a":"g","e":"1","i":"TAGS\u0001TagA\u0002WAIT\u0001true","m":"false"},"flag":0,"language":"JAVA","opaque":9,"serializeTypeCurrentRPC":"JSON","version":479}"#;
        let python = "{ \"code\": 105,\t\"language\": \"PYTHON\", \"extFields\": {\"topic\": \"中\", \"n\": -4, \"t\": true} }\n";
        for text in [java, python, "{}", r#"{"extFields":{},"remark":"a\nb"}"#] {
            let header = ByteString::from(text);
            let plain = decode(&header).expect("plain");
            assert_eq!(plain, whole(&header).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
        for text in [
            "",
            "{",
            "[]",
            "{}x",
            r#"{"code":1.0}"#,
            r#"{"code":01}"#,
            r#"{"code":-0}"#,
            r#"{"code":12345678901}"#,
            r#"{"remark":"\u4e2d"}"#,
            r#"{"remark":"\u+001"}"#,
            r#"{"remark":"\x"}"#,
            "{\"remark\":\"a\nb\"}",
            r#"{"remark":null}"#,
            r#"{"extFields":null}"#,
            r#"{"x":[1]}"#,
            r#"{"x":{"y":1}}"#,
            r#"{"code":1,}"#,
            r#"{"code" 1}"#,
            r#"{"code":1"#,
            r#"{"co\u0064e":1}"#,
        ] {
            assert!(decode(&ByteString::from(text)).is_none(), "{text}");
        }
    }

    fn anything() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-z0-9 ]{0,6}",
            "[{}\":,\\\\]{1,2}",
            Just("\\u0001".to_owned()),
            Just("\\u00e9".to_owned()),
            Just("\"code\":".to_owned()),
            Just("\"extFields\":{\"a\":".to_owned()),
            "-?[0-9]{1,12}",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// What is read plainly is what the whole reader reads.
        #[test]
        fn both_read_the_same(inner in anything(), value in ".{0,12}") {
            let quoted = serde_json::to_string(&value).unwrap();
            let texts = [
                inner.clone(),
                format!("{{{inner}}}"),
                format!("{{\"extFields\":{{\"a\":{quoted},{inner}}}}}"),
                format!("{{\"remark\":{quoted},\"opaque\":7,{inner}\"flag\":1}}"),
                format!("{{\"remark\":{quoted},\"extFields\":{{\"i\":{quoted}}}}}"),
            ];
            for text in texts {
                let header = ByteString::from(text);
                if let Some(plain) = decode(&header) {
                    prop_assert_eq!(Some(plain), whole(&header).ok());
                }
            }
        }
    }
}
