//! REGISTER_BROKER's body in its compressed form (`compressedRegister=true`).
//!
//! A zlib stream of: length and JSON of the DataVersion; count of topics; per topic length and a
//! line `name readQueueNums writeQueueNums perm topicFilterType [attributes]`; length and JSON of
//! the filter servers; by senders of version 413 (`V5_0_0`) or newer, static topics. Lengths and counts are big-endian i32.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use serde::de::DeserializeOwned;

use super::{RegisterBrokerBody, TopicConfig};
use crate::fastjson::{self, JsonError};

/// Most bytes that a registration may unpack to: some 500,000 topics.
const UNPACKED_SIZE_MAX: u64 = 64 << 20;
/// Bytes that any registration may unpack to, and how many times its size a larger one. zlib could
/// do a thousand times; 100,000 topics whose names differ in the last characters of 120 take 70.
const UNPACKED_SIZE_MIN: u64 = 1 << 20;
const UNPACKED_RATIO_MAX: u64 = 128;

/// A compressed registration that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// No zlib stream, damaged, cut short, or larger than it may be.
    #[error("the compressed registration can't be unpacked: {0}")]
    Unpack(#[from] io::Error),
    /// A length or count that can't be.
    #[error("the compressed registration says that its {what} is {value}")]
    Size {
        /// Of what.
        what: &'static str,
        /// What it says.
        value: i32,
    },
    /// A JSON part is malformed.
    #[error("the {what} of the compressed registration can't be read: {source}")]
    Json {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        source: JsonError,
    },
    /// A topic's line is malformed.
    #[error(
        "the compressed registration has a topic {line:?}, name, read queues, write queues, perm and filter type are expected"
    )]
    Topic {
        /// The line, its first 200 characters.
        line: String,
    },
}

impl RegisterBrokerBody {
    /// Reads the compressed form. Static topics are passed over; a topic's sysFlag and order are
    /// not in this form.
    ///
    /// Memory grows with what is really unpacked, never by a length that the body merely claims:
    /// up to 1 MiB or 128 times the body, whichever is more, and 64 MiB at most.
    ///
    /// # Errors
    /// [`RegistrationError`].
    pub fn decode_compressed(body: &[u8]) -> Result<Self, RegistrationError> {
        let mut parts = Parts::of(body);
        let mut registration = RegisterBrokerBody::default();
        let wrapper = &mut registration.topic_config_serialize_wrapper;
        wrapper.data_version = parts.json("version")?;
        for _ in 0..parts.size("number of topics")? {
            let topic = parse_topic(&parts.text("topic")?)?;
            wrapper
                .topic_config_table
                .insert(topic.topic_name.clone(), topic);
        }
        registration.filter_server_list = parts.json("filter servers")?;
        parts.finish()?;
        Ok(registration)
    }
}

fn parse_topic(line: &str) -> Result<TopicConfig, RegistrationError> {
    let wrong = || RegistrationError::Topic {
        line: line.chars().take(200).collect(),
    };
    let mut words = line.splitn(6, ' ');
    let mut word = || words.next().ok_or_else(wrong);
    let number = |text: &str| text.parse().map_err(|_| wrong());
    Ok(TopicConfig {
        topic_name: word()?.to_owned(),
        read_queue_nums: number(word()?)?,
        write_queue_nums: number(word()?)?,
        perm: number(word()?)?,
        topic_filter_type: word()?.to_owned(),
        attributes: words.next().map_or(Ok(BTreeMap::new()), |json| {
            parse_json("topic attributes", json.as_bytes())
        })?,
        ..TopicConfig::default()
    })
}

fn parse_json<T: DeserializeOwned>(
    what: &'static str,
    json: &[u8],
) -> Result<T, RegistrationError> {
    fastjson::from_slice(json).map_err(|source| RegistrationError::Json { what, source })
}

/// The unpacked stream.
struct Parts<'a> {
    rest: io::Take<ZlibDecoder<&'a [u8]>>,
    size_max: u64,
}

impl<'a> Parts<'a> {
    fn of(body: &'a [u8]) -> Self {
        let size_max =
            (UNPACKED_RATIO_MAX * body.len() as u64).clamp(UNPACKED_SIZE_MIN, UNPACKED_SIZE_MAX);
        Parts {
            rest: ZlibDecoder::new(body).take(size_max),
            size_max,
        }
    }

    fn size(&mut self, what: &'static str) -> Result<u32, RegistrationError> {
        let mut bytes = [0; 4];
        self.rest.read_exact(&mut bytes)?;
        let value = i32::from_be_bytes(bytes);
        u32::try_from(value).map_err(|_| RegistrationError::Size { what, value })
    }

    fn bytes(&mut self, what: &'static str) -> Result<Vec<u8>, RegistrationError> {
        let size = self.size(what)?;
        let mut bytes = Vec::new();
        let read = self
            .rest
            .by_ref()
            .take(size.into())
            .read_to_end(&mut bytes)?;
        if read < size as usize {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    }

    fn text(&mut self, what: &'static str) -> Result<String, RegistrationError> {
        let invalid =
            |error| RegistrationError::from(io::Error::new(io::ErrorKind::InvalidData, error));
        String::from_utf8(self.bytes(what)?).map_err(invalid)
    }

    fn json<T: DeserializeOwned>(&mut self, what: &'static str) -> Result<T, RegistrationError> {
        parse_json(what, &self.bytes(what)?)
    }

    /// Reads on to the end, where zlib keeps its checksum.
    fn finish(mut self) -> Result<(), RegistrationError> {
        io::copy(&mut self.rest, &mut io::sink())?;
        if self.rest.limit() == 0 {
            let size_max = self.size_max;
            return Err(io::Error::other(format!("more than {size_max} bytes")).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    /// What `RegisterBrokerBody.encode(true)` of RocketMQ made of the topics orders and %RETRY%g1.
    const JAVA_4_9_8: &str = "78da63606050af564ace2fcd2b492d52b232d0512ac9cc4d2d2e49cc2d50b232343740805a060606262016cf2f4a492d2a563051b050305308f6f473f7718d0f7174074a49a906b9860445aaa61b2a80209aac50b492a1811e089a5b19834c548a05009dd21cef";
    const JAVA_5_3_3: &str = "78da636060b0a8564ace2fcd2b492d52b232d0512a2e492c490d4b2d2acecccf030b9464e6a60205730b94ac0ccd0d10a09681818109880df38b5280ca154c142c14cc14823dfddc7d5ce3431cdd15aa95801a8b13d353f54a2a0b5295ac94fcfc837c1d7d94401a6555835c43822255d30d154010551f488150b492a1811e089a5b1983ac538a058a320000a79f2c8e";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn pack(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
        parts.iter().for_each(|part| out.write_all(part).unwrap());
        out.finish().unwrap()
    }

    #[test]
    fn registrations_of_java_are_read() {
        for (body, attributes) in [(JAVA_4_9_8, 0), (JAVA_5_3_3, 1)] {
            let read = RegisterBrokerBody::decode_compressed(&unhex(body)).unwrap();
            assert_eq!(read.filter_server_list, ["10.0.0.7:30000"]);
            let wrapper = read.topic_config_serialize_wrapper;
            assert_eq!(wrapper.data_version.timestamp, 1_700_000_000_000);
            assert_eq!(wrapper.topic_config_table.len(), 2);
            let orders = &wrapper.topic_config_table["orders"];
            assert_eq!(
                (orders.read_queue_nums, orders.write_queue_nums, orders.perm),
                (4, 8, 6)
            );
            assert_eq!(orders.attributes.len(), attributes);
            assert_eq!(wrapper.topic_config_table["%RETRY%g1"].read_queue_nums, 1);
        }
    }

    #[test]
    fn a_registration_cut_short_or_damaged_is_refused() {
        let whole = unhex(JAVA_5_3_3);
        for size in 0..whole.len() {
            assert!(
                RegisterBrokerBody::decode_compressed(&whole[..size]).is_err(),
                "{size}"
            );
        }
        let mut damaged = whole;
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(
            RegisterBrokerBody::decode_compressed(&damaged),
            Err(RegistrationError::Unpack(_))
        ));
    }

    #[test]
    fn sizes_that_lie_are_named_and_cost_nothing() {
        let version: [&[u8]; 2] = [&2_i32.to_be_bytes(), b"{}"];
        let lies: [(&[&[u8]], &str); 4] = [
            (&[&(-1_i32).to_be_bytes()], "its version is -1"),
            (
                &[version[0], version[1], &(-2_i32).to_be_bytes()],
                "its number of topics is -2",
            ),
            (
                &[version[0], version[1], &i32::MAX.to_be_bytes()],
                "can't be unpacked",
            ),
            (
                &[
                    version[0],
                    version[1],
                    &1_i32.to_be_bytes(),
                    &i32::MAX.to_be_bytes(),
                    b"t 1",
                ],
                "can't be unpacked",
            ),
        ];
        for (parts, message) in lies {
            let error = RegisterBrokerBody::decode_compressed(&pack(parts))
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        }
        let short: [&[u8]; 5] = [
            version[0],
            version[1],
            &1_i32.to_be_bytes(),
            &5_i32.to_be_bytes(),
            b"t 1 x",
        ];
        let error = RegisterBrokerBody::decode_compressed(&pack(&short)).unwrap_err();
        assert!(error.to_string().contains("\"t 1 x\""), "{error}");
    }

    #[test]
    fn a_bomb_goes_off_nowhere() {
        let zeros = vec![0; 1 << 20];
        let mut parts: Vec<&[u8]> = vec![b"\0\0\0\x02{}", b"\0\0\0\0", b"\0\0\0\x02[]"];
        parts.extend((0..65).map(|_| zeros.as_slice()));
        let error = RegisterBrokerBody::decode_compressed(&pack(&parts)).unwrap_err();
        assert!(
            error.to_string().contains(" bytes") && error.to_string().contains("more than 8"),
            "{error}"
        );
    }

    #[test]
    fn many_topics_with_much_in_common_are_read() {
        let prefix = "%RETRY%".to_owned() + &"a-common-prefix-".repeat(7);
        let mut topics = Vec::new();
        for n in 0..100_000 {
            let line = format!(
                r#"{prefix}{n:05} 8 8 6 SINGLE_TAG {{"message.type":"NORMAL","cleanup.policy":"DELETE"}}"#
            );
            topics.extend_from_slice(&(line.len() as i32).to_be_bytes());
            topics.extend_from_slice(line.as_bytes());
        }
        let count = 100_000_i32.to_be_bytes();
        let body = pack(&[b"\0\0\0\x02{}", &count, &topics, b"\0\0\0\x02[]"]);
        let read = RegisterBrokerBody::decode_compressed(&body).unwrap();
        let table = read.topic_config_serialize_wrapper.topic_config_table;
        assert_eq!(table.len(), 100_000);
    }
}
