//! What a message says, as administration shows it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use sluice_protocol::message::{Record, compression, properties, sys_flag};

/// Bytes of a body that are shown.
const BODY_SHOWN: usize = 1024;

/// Properties, and the beginning of the body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content {
    properties: BTreeMap<String, String>,
    /// Text, or hexadecimal digits.
    body: String,
    body_is_hex: bool,
}

impl Content {
    /// A compressed body is shown as its producer had it; one that can't be unpacked, as it lies.
    pub(crate) fn of(record: &Record<'_>) -> Content {
        let unpacked = (record.sys_flag() & sys_flag::COMPRESSED != 0)
            .then(|| compression::inflate(record.body(), record.sys_flag()).ok());
        let unpacked = unpacked.flatten();
        let body = unpacked.as_deref().unwrap_or(record.body());
        let text = text(body);
        Content {
            properties: properties::iter(record.properties())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body_is_hex: text.is_none(),
            body: text.map_or_else(|| hex(body), str::to_owned),
        }
    }
}

/// The beginning of a body that is UTF-8 as a whole.
fn text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    text.get(..text.floor_char_boundary(BODY_SHOWN))
}

fn hex(body: &[u8]) -> String {
    let shown = &body[..body.len().min(BODY_SHOWN)];
    shown.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_text_when_all_of_it_is() {
        let long = "é".repeat(BODY_SHOWN);
        assert_eq!(text(long.as_bytes()).map(str::len), Some(BODY_SHOWN));
        assert_eq!(text(b"abc"), Some("abc"));
        assert_eq!(text(&[long.as_bytes(), b"\xff"].concat()), None);
        assert_eq!(hex(b"a\xff"), "61ff");
        assert_eq!(hex(&[0; 2000]).len(), 2 * BODY_SHOWN);
    }
}
