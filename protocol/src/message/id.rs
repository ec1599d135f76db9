//! Message identifiers.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::record;

/// The offset message id: store host and physical offset, in upper-case hexadecimal.
///
/// 32 characters with an IPv4 store host, 56 with an IPv6 one.
///
/// ```
/// use sluice_protocol::message::MessageId;
/// let id = MessageId { store_host: "10.0.0.1:10911".parse().unwrap(), physical_offset: 4096 };
/// assert_eq!(id.to_string(), "0A00000100002A9F0000000000001000");
/// assert_eq!("0A00000100002A9F0000000000001000".parse(), Ok(id));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId {
    /// The broker's advertised address.
    pub store_host: SocketAddr,
    /// Byte position of the record in that broker's CommitLog.
    pub physical_offset: i64,
}

/// The text is not an offset message id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an offset message id: 32 or 56 hexadecimal digits are expected")]
pub struct MessageIdError(pub String);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(28);
        record::put_host(&mut bytes, &self.store_host);
        bytes.extend_from_slice(&self.physical_offset.to_be_bytes());
        let mut text = [0u8; 56];
        for (at, byte) in bytes.iter().enumerate() {
            text[2 * at] = HEX[usize::from(byte >> 4)];
            text[2 * at + 1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text[..2 * bytes.len()]).expect("hexadecimal digits"))
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let wrong = || MessageIdError(text.to_owned());
        let ip_size = match text.len() {
            32 => 4,
            56 => 16,
            _ => return Err(wrong()),
        };
        let bytes: Vec<u8> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                std::str::from_utf8(pair)
                    .ok()
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            })
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let (ip, rest) = bytes.split_at(ip_size);
        let (port, offset) = rest.split_at(4);
        let port = i32::from_be_bytes(port.try_into().expect("four bytes"));
        Ok(MessageId {
            store_host: SocketAddr::new(record::ip(ip), u16::try_from(port).map_err(|_| wrong())?),
            physical_offset: i64::from_be_bytes(offset.try_into().expect("eight bytes")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v6_ids_have_56_digits() {
        let id = MessageId {
            store_host: "[fe80::1]:10911".parse().unwrap(),
            physical_offset: 1 << 40,
        };
        assert_eq!(id.to_string().len(), 56);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    /// Found by fuzzing: such an id is read from records that have 16 bytes for the store host.
    #[test]
    fn a_host_mapped_from_v4_is_v4() {
        let long = "00000000000000000000FFFF0A00000100002A9F0000000000001000";
        let id: MessageId = long.parse().unwrap();
        assert_eq!(id.to_string(), "0A00000100002A9F0000000000001000");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "x",
            "0A00000100002A9F000000000000100",
            "0A00000100002A9F000000000000100G",
            "0A000001F0002A9F0000000000001000",
        ] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
        assert!("é".repeat(16).parse::<MessageId>().is_err());
    }
}
