//! Writing: serde_json with a formatter that leaves the quotes of integer and object keys away.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// First byte of the mark on raw keys; serde_json hands it over apart from the rest.
const RAW_KEY: u8 = 1;

/// What follows it. Peers choose keys (of attributes, of key-value settings) and could write a mark
/// that they know, so this one is made anew by each process and never leaves it.
static RAW_KEY_MARK: LazyLock<String> = LazyLock::new(|| {
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0), random.hash_one(1))
});

/// A map key that is written as this JSON text, unquoted: so a queue map gets its bare object keys.
pub fn raw_key(json: &str) -> String {
    format!("{}{}{json}", char::from(RAW_KEY), *RAW_KEY_MARK)
}

/// Writes compactly, as Java's network bodies are.
///
/// # Errors
/// The value can't be JSON.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    write(
        value,
        Dialect {
            indent: None,
            ..Dialect::default()
        },
    )
}

/// Writes indented by tabs, as Java's files under `config/` are.
///
/// # Errors
/// The value can't be JSON.
pub fn to_vec_pretty<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    write(
        value,
        Dialect {
            indent: Some(0),
            ..Dialect::default()
        },
    )
}

/// Writes compactly with quoted integer keys: standard JSON, unless there are object keys.
///
/// # Errors
/// The value can't be JSON.
pub fn to_vec_quoted<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    write(
        value,
        Dialect {
            quotes_integers: true,
            ..Dialect::default()
        },
    )
}

fn write<T: Serialize + ?Sized>(value: &T, dialect: Dialect) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut out, dialect))?;
    Ok(out)
}

#[derive(Default)]
struct Dialect {
    /// Depth of the current line, or none for compact text.
    indent: Option<usize>,
    quotes_integers: bool,
    key: Key,
    /// What has come of a raw key.
    raw: String,
    /// The object or array just begun has something in it.
    filled: bool,
}

/// Where in a key the writer is. The opening quote is held back until it is known whether the key
/// is a number, a raw text, or a text.
#[derive(Default, PartialEq, Clone, Copy)]
enum Key {
    #[default]
    None,
    Begun,
    Opened,
    /// The first byte of a mark has come: a raw key, or a text that happens to begin so.
    Marked,
    Text,
    Raw,
    Number,
}

impl Dialect {
    fn new_line<W: Write + ?Sized>(&self, writer: &mut W) -> io::Result<()> {
        let Some(depth) = self.indent else {
            return Ok(());
        };
        writer.write_all(b"\n")?;
        (0..depth).try_for_each(|_| writer.write_all(b"\t"))
    }

    fn begin<W: Write + ?Sized>(&mut self, writer: &mut W, open: &[u8]) -> io::Result<()> {
        self.indent = self.indent.map(|depth| depth + 1);
        self.filled = false;
        writer.write_all(open)
    }

    fn end<W: Write + ?Sized>(&mut self, writer: &mut W, close: &[u8]) -> io::Result<()> {
        self.indent = self.indent.map(|depth| depth - 1);
        if self.filled {
            self.new_line(writer)?;
        }
        self.filled = true;
        writer.write_all(close)
    }

    fn separate<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.filled = true;
        if first {
            Ok(())
        } else {
            writer.write_all(b",")
        }
    }

    fn number<W: Write + ?Sized>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        if self.key == Key::Opened {
            self.key = Key::Number;
            if self.quotes_integers {
                writer.write_all(b"\"")?;
            }
        }
        writer.write_all(text.as_bytes())
    }

    /// A raw key, indented like everything around it.
    fn write_raw<W: Write + ?Sized>(&self, writer: &mut W) -> io::Result<()> {
        if self.indent.is_none() {
            return writer.write_all(self.raw.as_bytes());
        }
        let key: Value = serde_json::from_str(&self.raw)?;
        let dialect = Dialect {
            indent: self.indent,
            ..Dialect::default()
        };
        writer.write_all(&write(&key, dialect)?)
    }

    /// What was held back of a text key. Only these get a line of their own when indented: fastjson
    /// leaves other keys, and the items of its sets, where they are.
    fn open_text<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        let held: &[u8] = match self.key {
            Key::Opened => b"\"",
            Key::Marked => b"\"\\u0001",
            _ => return Ok(()),
        };
        self.key = Key::Text;
        self.new_line(writer)?;
        writer.write_all(held)
    }
}

/// Characters that fastjson escapes though JSON need not.
fn is_escaped(c: char) -> bool {
    matches!(c, '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}')
}

/// A number as `Double.toString` has it: with a fraction always, with an exponent below 0.001 and
/// from 10,000,000 on.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

impl Formatter for Dialect {
    fn write_i32<W: Write + ?Sized>(&mut self, writer: &mut W, value: i32) -> io::Result<()> {
        self.number(writer, &value.to_string())
    }
    fn write_i64<W: Write + ?Sized>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.number(writer, &value.to_string())
    }
    fn write_u64<W: Write + ?Sized>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        self.number(writer, &value.to_string())
    }
    fn write_f64<W: Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(java_double(value).as_bytes())
    }
    fn begin_string<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Begun {
            self.key = Key::Opened;
            return Ok(());
        }
        writer.write_all(b"\"")
    }
    fn end_string<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open_text(writer)?;
        match self.key {
            Key::Raw => self.write_raw(writer),
            Key::Number if !self.quotes_integers => Ok(()),
            _ => writer.write_all(b"\""),
        }
    }
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if self.key == Key::Marked
            && let Some(raw) = fragment.strip_prefix(RAW_KEY_MARK.as_str())
        {
            self.key = Key::Raw;
            self.raw.clear();
            self.raw.push_str(raw);
            return Ok(());
        }
        if self.key == Key::Raw {
            self.raw.push_str(fragment);
            return Ok(());
        }
        self.open_text(writer)?;
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_escaped(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04X}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
    fn write_char_escape<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        if self.key == Key::Opened && matches!(escape, CharEscape::AsciiControl(RAW_KEY)) {
            self.key = Key::Marked;
            return Ok(());
        }
        self.open_text(writer)?;
        match (self.key, &escape) {
            (Key::Raw, CharEscape::Quote) => {
                self.raw.push('"');
                Ok(())
            }
            (Key::Raw, CharEscape::ReverseSolidus) => {
                self.raw.push('\\');
                Ok(())
            }
            (_, CharEscape::AsciiControl(byte)) => write!(writer, "\\u{byte:04X}"),
            _ => serde_json::ser::CompactFormatter.write_char_escape(writer, escape),
        }
    }
    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.filled = true;
        writer.write_all(b"]")
    }
    fn begin_array_value<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.separate(writer, first)
    }
    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }
    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }
    fn begin_object_key<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.separate(writer, first)?;
        self.key = Key::Begun;
        Ok(())
    }
    fn end_object_key<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.key = Key::None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn keys_as_fastjson_writes_them() {
        let numbers: BTreeMap<i32, &str> = [(0, "a"), (1, "b\"")].into();
        assert_eq!(to_vec(&numbers).unwrap(), br#"{0:"a",1:"b\""}"#);
        assert_eq!(to_vec_quoted(&numbers).unwrap(), br#"{"0":"a","1":"b\""}"#);
        let raw: BTreeMap<String, i64> = [(raw_key(r#"{"n":"b\\"}"#), 5)].into();
        assert_eq!(to_vec(&raw).unwrap(), br#"{{"n":"b\\"}:5}"#);
        let texts: BTreeMap<&str, i64> = [("", 1), ("\"x", 2)].into();
        assert_eq!(to_vec(&texts).unwrap(), br#"{"":1,"\"x":2}"#);
    }

    /// As the client of 5.3.3 keeps broadcast offsets.
    #[test]
    fn raw_keys_are_indented_too() {
        let table: BTreeMap<String, i64> =
            [(raw_key(r#"{"a":"\"","b":1}"#), 5), (raw_key("{}"), 6)].into();
        assert_eq!(
            String::from_utf8(to_vec_pretty(&table).unwrap()).unwrap(),
            "{{\n\t\t\"a\":\"\\\"\",\n\t\t\"b\":1\n\t}:5,{}:6\n}"
        );
    }

    #[test]
    fn no_text_passes_for_a_raw_key() {
        for key in [
            "\u{1}",
            "\u{1}a\":{",
            "\u{1}\u{1}",
            "\u{1}{}",
            "a\u{1}",
            "\u{1}\u{2028}",
        ] {
            let table: BTreeMap<&str, BTreeMap<&str, i64>> = [(key, [(key, 1)].into())].into();
            for text in [to_vec(&table).unwrap(), to_vec_pretty(&table).unwrap()] {
                let read: BTreeMap<String, BTreeMap<String, i64>> =
                    serde_json::from_slice(&text).unwrap();
                assert_eq!(read[key][key], 1, "{key:?}");
            }
        }
    }

    #[test]
    fn doubles_and_rare_characters_as_java_writes_them() {
        let doubles = [
            0.0,
            -0.0,
            3.0,
            0.001,
            1e-5,
            -2.5e-7,
            9_999_999.5,
            1e7,
            1.25e16,
            f64::NAN,
        ];
        assert_eq!(
            String::from_utf8(to_vec(&doubles).unwrap()).unwrap(),
            "[0.0,-0.0,3.0,0.001,1.0E-5,-2.5E-7,9999999.5,1.0E7,1.25E16,null]"
        );
        assert_eq!(
            to_vec("\u{1f}\u{7f}x\u{2028}\u{a0}").unwrap(),
            "\"\\u001F\\u007Fx\\u2028\u{a0}\"".as_bytes()
        );
    }

    #[test]
    fn files_are_indented_by_tabs() {
        let table: BTreeMap<&str, BTreeMap<i32, i64>> =
            [("empty", [].into()), ("t@g", [(0, 1)].into())].into();
        assert_eq!(
            String::from_utf8(to_vec_pretty(&table).unwrap()).unwrap(),
            "{\n\t\"empty\":{},\n\t\"t@g\":{0:1\n\t}\n}"
        );
    }
}
