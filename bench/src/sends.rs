//! Sends that differ only in queue, opaque, time and unique key.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::request;
use sluice_protocol::header::SendMessageRequestHeader;

/// Makes one send after another.
pub struct Sends {
    template: RemotingCommand,
    header: SendMessageRequestHeader,
    series: u64,
    properties: String,
    next: i32,
}

impl Sends {
    /// To the first `queues` queues of a topic in turn, bodies of so many bytes; `series` tells these
    /// sends' unique keys from others'.
    pub fn new(topic: &str, queues: i32, body: usize, series: u64) -> Sends {
        let header = SendMessageRequestHeader {
            producer_group: "bench".into(),
            topic: topic.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: queues,
            queue_id: 0,
            sys_flag: 0,
            born_timestamp: 0,
            flag: 0,
            properties: Default::default(),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
        };
        Sends {
            template: RemotingCommand::request(request::SEND_MESSAGE_V2, 0)
                .with_body(Bytes::from(random_body(body))),
            header,
            series,
            properties: String::new(),
            next: 0,
        }
    }

    /// With this `sysFlag`, and these properties beside the unique key.
    pub fn with(mut self, sys_flag: i32, properties: &[(&str, &str)]) -> Sends {
        self.header.sys_flag = sys_flag;
        for (name, value) in properties {
            self.properties += &format!("\u{2}{name}\u{1}{value}");
        }
        self
    }

    /// How many have been made.
    pub fn made(&self) -> i32 {
        self.next
    }

    /// The next one; its opaque is its number, from 0 on.
    pub fn next(&mut self) -> RemotingCommand {
        let number = self.next;
        self.next += 1;
        self.header.queue_id = number % self.header.default_topic_queue_nums;
        self.header.born_timestamp = now_ms();
        self.header.properties = format!(
            "UNIQ_KEY\u{1}{}\u{2}WAIT\u{1}true{}",
            self.unique_key(number),
            self.properties
        )
        .into();
        let mut command = self.template.clone();
        command.opaque = number;
        self.header.encode_v2(&mut command.ext);
        command
    }

    /// The unique key of a send.
    pub fn unique_key(&self, number: i32) -> String {
        format!("{:016X}{number:016X}", self.series)
    }
}

/// Series and number that a unique key was made of.
pub fn series_and_number(unique_key: &str) -> Option<(u64, i32)> {
    let (series, number) = unique_key.split_at_checked(16)?;
    let series = u64::from_str_radix(series, 16).ok()?;
    Some((series, i32::from_str_radix(number, 16).ok()?))
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Bytes that don't compress, as a compressed body of a Java producer does not; always the same.
pub fn random_body(size: usize) -> Vec<u8> {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    })
    .take(size)
    .collect()
}
