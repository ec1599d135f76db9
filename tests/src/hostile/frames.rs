//! What is sent: valid requests with a few things wrong, and nonsense of any code, any fields, any
//! body; in the shapes of old clients.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sluice_protocol::code::request;
use sluice_protocol::command::FLAG_ONE_WAY;
use sluice_protocol::message::sys_flag;
use sluice_protocol::{ExtFields, RemotingCommand, Serialization};

use super::templates::{COMPRESSED, Target};

/// Highest code looked at when the known ones are gathered.
const KNOWN_CODE_MAX: i32 = 210_000;

/// Codes nobody gave a meaning, or that do not fit where a client puts them.
const FOREIGN_CODES: [i32; 8] = [0, -1, 16, 999, 65_546, 123_456_789, i32::MIN, i32::MAX];

/// Names of custom header fields, long and one-letter, of all requests.
const FIELDS: [&str; 90] = [
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "n",
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "batch",
    "maxReconsumeTimes",
    "consumerGroup",
    "queueOffset",
    "maxMsgNums",
    "commitOffset",
    "suspendTimeoutMillis",
    "subscription",
    "subVersion",
    "expressionType",
    "maxMsgBytes",
    "offset",
    "timestamp",
    "group",
    "delayLevel",
    "originMsgId",
    "originTopic",
    "tranStateTableOffset",
    "commitLogOffset",
    "commitOrRollback",
    "fromTransactionCheck",
    "msgId",
    "transactionId",
    "clientID",
    "brokerName",
    "brokerAddr",
    "clusterName",
    "haServerAddr",
    "brokerId",
    "readQueueNums",
    "writeQueueNums",
    "perm",
    "topicFilterType",
    "order",
    "groupName",
    "isForce",
    "key",
    "beginTimestamp",
    "endTimestamp",
    "maxNum",
    "namespace",
    "clientId",
    "value",
    "cluster",
    "attributes",
    "boundaryType",
    "setZeroIfNotFound",
    "cleanOffset",
    "removeOffset",
    "compressed",
    "bodyCrc32",
    "enableActingMaster",
    "heartbeatTimeoutMillis",
    "heartbeatTimeoutMills",
    "topicSysFlag",
    "statsName",
    "statsKey",
    "acceptStandardJsonOnly",
    "jstackEnable",
    "bname",
    "ns",
    "nsd",
    "lo",
    "dataVersion",
    "_UNIQUE_KEY_QUERY",
];

/// Values that a careless parser takes for numbers, names or lengths.
const VALUES: [&str; 26] = [
    "",
    "0",
    "1",
    "-1",
    "4",
    "2147483647",
    "2147483648",
    "-2147483649",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "1e9",
    "0x10",
    "abc",
    "true",
    "null",
    "\u{0}",
    "orders",
    "订单",
    "%RETRY%group",
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "../../config/topics",
    "TagA || *",
    "SQL92",
    "a\u{1}b\u{2}a\u{1}",
];

/// Bodies: heartbeats of several clients, lists, things cut short, things of other requests.
const BODIES: [&str; 15] = [
    "",
    "{}",
    "[]",
    "null",
    "{\"clientID\":",
    "{\"clientID\":null,\"consumerDataSet\":null,\"producerDataSet\":[null]}",
    "{\"ClientID\":\"dotnet@1\",\"ProducerDataSet\":[{\"GroupName\":\"p\"}],\"ConsumerDataSet\":[]}",
    "{\"clientID\":\"cpp@1\",\"consumerDataSet\":[{\"consumeFromWhere\":0,\"consumeType\":1,\"messageModel\":1,\"groupName\":\"g\",\"subscriptionDataSet\":[{\"topic\":\"orders\",\"subString\":\"*\"}]}]}",
    "{\"clientID\":\"a\",\"consumerDataSet\":[{\"groupName\":-5,\"subscriptionDataSet\":{\"$ref\":\"$\"}}]}",
    "{\"consumerGroup\":\"g\",\"clientId\":\"c\",\"mqSet\":[{\"topic\":\"orders\",\"brokerName\":\"x\",\"queueId\":-1}]}",
    "{0:1,1:{2:[3,,4]}}",
    "{\"topicConfigTable\":{\"orders\":{\"readQueueNums\":-1,\"perm\":99}},\"dataVersion\":{\"counter\":1}}",
    "{\"offsetTable\":{\"orders@g\":{0:-7}}}",
    "noSuchKey=1\nnoSuchOther\n=\n",
    "\u{0}\u{0}\u{0}\u{4}\u{0}\u{0}\u{0}\u{0}",
];

/// Whether an answer must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Exactly one.
    One,
    /// Exactly one, but it may be long in coming: others are answered before it.
    Later,
    /// None: the request is one-way.
    None,
}

/// One request as it goes to the server.
#[derive(Debug, Clone)]
pub struct HostileFrame {
    /// Which one it is, from 0; also its opaque.
    pub number: i32,
    /// Request code.
    pub code: i32,
    /// What may come back.
    pub due: Due,
    /// The whole frame.
    pub bytes: Bytes,
    /// Its shape, for the report.
    pub text: String,
}

/// An endless sequence of frames, the same for the same seed.
#[derive(Debug)]
pub struct Frames {
    random: StdRng,
    templates: Vec<RemotingCommand>,
    codes: Vec<i32>,
    number: i32,
}

impl Frames {
    /// The sequence of `seed` for a server of that kind.
    pub fn new(seed: u64, target: Target) -> Frames {
        let known = (0..KNOWN_CODE_MAX).filter(|code| request::name(*code).is_some());
        Frames {
            random: StdRng::seed_from_u64(seed),
            templates: target.templates(),
            codes: known.chain(FOREIGN_CODES).collect(),
            number: 0,
        }
    }

    /// Codes asked for, each at least once before anything comes at random.
    pub fn codes(&self) -> &[i32] {
        &self.codes
    }

    /// Every template as it is, then every code, then most of the time a template with something
    /// wrong.
    fn request(&mut self) -> RemotingCommand {
        let at = self.number as usize;
        if let Some(template) = self.templates.get(at) {
            return template.clone();
        }
        let code = self.codes.get(at - self.templates.len()).copied();
        if code.is_none() && self.random.random_bool(0.7) {
            return self.mutant();
        }
        let any = self.codes.choose(&mut self.random).copied();
        let code = code.or(any).expect("there are codes");
        RemotingCommand {
            ext: self.fields(),
            ..RemotingCommand::request(code, 0).with_body(self.body())
        }
    }

    /// A valid request with one to three things wrong.
    fn mutant(&mut self) -> RemotingCommand {
        let template = self.templates.choose(&mut self.random);
        let mut command = template.expect("templates").clone();
        for _ in 0..self.random.random_range(1..=3) {
            if self.random.random_bool(0.25) {
                command.body = self.spoiled(&command.body);
            } else {
                command.ext = self.mutated(&command.ext);
            }
        }
        command
    }

    /// A field less, more, or other than it was.
    fn mutated(&mut self, fields: &ExtFields) -> ExtFields {
        let mut fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let at = self.random.random_range(0..=fields.len());
        match self.random.random_range(0..6) {
            0 if at < fields.len() => drop(fields.remove(at)),
            1..=4 if at < fields.len() => fields[at].1 = self.value(),
            _ => {
                let name = FIELDS.choose(&mut self.random).expect("names");
                fields.push(((*name).to_owned(), self.value()));
            }
        }
        fields.into_iter().collect()
    }

    /// A body that is missing, cut short, damaged, foreign or compressed.
    fn spoiled(&mut self, body: &Bytes) -> Bytes {
        match self.random.random_range(0..5) {
            0 => Bytes::new(),
            1 => body.slice(..self.random.random_range(0..=body.len())),
            2 if !body.is_empty() => {
                let mut damaged = body.to_vec();
                let at = self.random.random_range(0..damaged.len());
                damaged[at] = self.random.random();
                damaged.into()
            }
            3 => Bytes::from_static(COMPRESSED),
            _ => self.body(),
        }
    }

    fn fields(&mut self) -> ExtFields {
        // None, a few, or about all: handlers stop at the first that is missing.
        let share = *[0.0, 0.1, 0.6, 1.0].choose(&mut self.random).expect("four");
        let mut fields = ExtFields::new();
        for name in FIELDS {
            if self.random.random_bool(share) {
                fields.put(name, self.value());
            }
        }
        if self.random.random_bool(0.05) {
            fields.put("x".repeat(40_000), "y".repeat(100_000));
        }
        fields
    }

    fn value(&mut self) -> String {
        match self.random.random_range(0..20) {
            0 => self.random.random::<i64>().to_string(),
            1 => "v".repeat(self.random.random_range(0..70_000)),
            // A name and a small number pass the most checks, and so reach the deepest.
            2..=5 => "orders".to_owned(),
            6..=9 => self.random.random_range(0..4).to_string(),
            _ => (*VALUES.choose(&mut self.random).expect("values")).to_owned(),
        }
    }

    fn body(&mut self) -> Bytes {
        let text = *BODIES.choose(&mut self.random).expect("bodies");
        match self.random.random_range(0..10) {
            0 => Bytes::from(vec![
                self.random.random();
                self.random.random_range(0..200_000)
            ]),
            1 => (0..64).map(|_| self.random.random::<u8>()).collect(),
            2 => Bytes::from("[".repeat(self.random.random_range(1..50_000))),
            3 => {
                let end = self.random.random_range(0..=text.len());
                Bytes::copy_from_slice(&text.as_bytes()[..end])
            }
            _ => Bytes::from_static(text.as_bytes()),
        }
    }

    fn command(&mut self) -> RemotingCommand {
        let mut command = self.request();
        command.opaque = self.number;
        if (self.number as usize) < self.templates.len() {
            return command;
        }
        command.version = *[0, 35, 407, 479, -1]
            .choose(&mut self.random)
            .expect("five");
        if self.random.random_bool(0.1) {
            command.flag |= FLAG_ONE_WAY;
        }
        // A binary header has 16 bits for the code; the others would arrive as different ones.
        if i16::try_from(command.code).is_ok() && self.random.random_bool(0.4) {
            command.serialization = Serialization::RocketMq;
        }
        command
    }

    /// As old Node.js and C++ clients write it: numbers as numbers, the language by its ordinal.
    fn foreign_encoding(command: &RemotingCommand) -> Bytes {
        let fields: Vec<String> = command
            .ext
            .iter()
            .map(|(name, value)| format!("{}:{}", quoted(name), bare(value)))
            .collect();
        let header = format!(
            "{{\"code\":{},\"language\":2,\"version\":{},\"opaque\":{},\"flag\":{},\"extFields\":{{{}}},\"remark\":null}}\n",
            command.code,
            command.version,
            command.opaque,
            command.flag,
            fields.join(",")
        );
        let length = 4 + header.len() + command.body.len();
        let mut frame = (length as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(&command.body);
        frame.into()
    }
}

fn quoted(text: &str) -> String {
    use std::fmt::Write;
    text.chars().fold("\"".to_owned(), |mut out, c| {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => write!(out, "\\u{:04x}", c as u32).expect("memory takes every write"),
            c => out.push(c),
        }
        out
    }) + "\""
}

fn bare(value: &str) -> String {
    let is_plain = value.parse::<i64>().is_ok_and(|n| n.to_string() == value);
    if is_plain || matches!(value, "true" | "null") {
        value.to_owned()
    } else {
        quoted(value)
    }
}

fn due(command: &RemotingCommand) -> Due {
    match command.code {
        _ if command.is_one_way() => Due::None,
        request::PULL_MESSAGE | request::LITE_PULL_MESSAGE if may_wait(command) => Due::Later,
        request::POP_MESSAGE | request::NOTIFICATION => Due::Later,
        _ => Due::One,
    }
}

fn may_wait(pull: &RemotingCommand) -> bool {
    let flag = pull.ext.get("sysFlag").and_then(|flag| flag.parse().ok());
    flag.is_some_and(|flag: i32| flag & sys_flag::PULL_SUSPEND != 0)
}

impl Iterator for Frames {
    type Item = HostileFrame;

    fn next(&mut self) -> Option<HostileFrame> {
        let mut command = self.command();
        let due = due(&command);
        if due == Due::Later {
            // A pull or pop may wait as long as it asks to, and every answer is waited for in the end.
            for (name, value) in [
                ("suspendTimeoutMillis", "1000"),
                ("pollTime", "1000"),
                ("bornTime", "0"),
            ] {
                if command.ext.get(name).is_some() || name == "suspendTimeoutMillis" {
                    command.ext.put(name, value);
                }
            }
        }
        let foreign = command.serialization == Serialization::Json && self.random.random_bool(0.3);
        let frame = HostileFrame {
            number: self.number,
            code: command.code,
            due,
            bytes: if foreign {
                Self::foreign_encoding(&command)
            } else {
                command.encode()
            },
            text: format!(
                "frame {} code {} ({}) with {} fields and {} body bytes, {:?}{}{}",
                self.number,
                command.code,
                request::name(command.code).unwrap_or("unknown"),
                command.ext.len(),
                command.body.len(),
                command.serialization,
                if foreign { ", foreign" } else { "" },
                if command.is_one_way() {
                    ", one-way"
                } else {
                    ""
                },
            ),
        };
        self.number += 1;
        Some(frame)
    }
}
