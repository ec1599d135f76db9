//! Sends made by patching one prepared frame: queue, time, opaque and unique keys have fixed widths in it.

use sluice_protocol::RemotingCommand;
use sluice_protocol::code::request;
use sluice_protocol::command::FLAG_ONE_WAY;
use sluice_protocol::message::batch::{self, BatchItem};
use sluice_tests::wire::command;

use super::Load;
use crate::patched::{Patched, Place};
use crate::sends::random_body;

/// Of a topic's number, and of a queue id.
const SHORT: &str = "00000";
/// Unix milliseconds.
const TIME: &str = "0000000000000";
/// A unique key: series and number, each of 16 hexadecimal digits.
const KEY: &str = "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~";

/// Makes one send after another.
pub struct Frames {
    frame: Patched,
    queue: Place,
    born: Place,
    /// Of the topic's number, when there are several.
    topic: Option<Place>,
    /// Of the messages' numbers in their unique keys.
    keys: Vec<Place>,
    topics: u64,
    queues: u64,
    /// Sends made so far.
    made: u64,
}

impl Frames {
    /// As a load wants them; `series` tells their unique keys from others'.
    pub fn new(load: &Load, series: u64) -> Frames {
        let mut frame = Patched::new(prepared(load));
        let mut keys = Vec::new();
        for key in frame.all(KEY.as_bytes()) {
            let (first, second) = key.halves();
            frame.put_hex(first, series);
            keys.push(second);
        }
        let topic = format!("\"b\":\"{}-", load.topic);
        Frames {
            queue: frame.digits_behind("\"e\":\""),
            born: frame.digits_behind("\"g\":\""),
            topic: (load.topics > 1).then(|| frame.digits_behind(&topic)),
            frame,
            keys,
            topics: load.topics as u64,
            queues: load.queues as u64,
            made: 0,
        }
    }

    /// Appends the next send: topics in turn, and the queues of each in turn.
    pub fn put(&mut self, opaque: i32, born_ms: i64, out: &mut Vec<u8>) {
        let number = self.made;
        self.made += 1;
        let queue = number / self.topics % self.queues;
        self.frame.put_opaque(opaque);
        self.frame.put(self.queue, queue);
        self.frame.put(self.born, born_ms as u64);
        if let Some(topic) = self.topic {
            self.frame.put(topic, number % self.topics);
        }
        let first = number * self.keys.len() as u64;
        for (key, number) in self.keys.iter().zip(first..) {
            self.frame.put_hex(*key, number);
        }
        out.extend_from_slice(self.frame.bytes());
    }

    /// Sends made so far.
    pub fn made(&self) -> u64 {
        self.made
    }
}

fn prepared(load: &Load) -> RemotingCommand {
    let unique = format!("UNIQ_KEY\u{1}{KEY}\u{2}WAIT\u{1}true");
    let mut body = random_body(load.body);
    let single = load.batch == 1;
    let (mut code, mut properties) = (request::SEND_MESSAGE_V2, &*unique);
    if !single {
        (code, properties) = (request::SEND_BATCH_MESSAGE, "WAIT\u{1}true");
        body = items(load.batch, &unique, &body);
    }
    let fields = [
        ("a", "bench"),
        ("b", &*load.topic_name(0)),
        ("c", "TBW102"),
        ("d", &*load.queues.to_string()),
        ("e", SHORT),
        ("f", "0"),
        ("g", TIME),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", if single { "false" } else { "true" }),
    ];
    let mut command = command(code, &fields, &body);
    if load.one_way {
        command.flag |= FLAG_ONE_WAY;
    }
    command
}

fn items(count: usize, properties: &str, body: &[u8]) -> Vec<u8> {
    let mut items = Vec::new();
    for _ in 0..count {
        let item = BatchItem {
            flag: 0,
            body,
            properties: properties.as_bytes(),
        };
        batch::put(&mut items, item);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patched::OPAQUE_BASE;
    use bytes::Bytes;
    use sluice_protocol::header::SendMessageRequestHeader;

    #[test]
    fn a_patched_frame_is_the_send_that_was_meant() {
        let load = Load {
            topics: 3,
            queues: 2,
            ..Load::default()
        };
        let mut frames = Frames::new(&load, 7);
        let mut last = Vec::new();
        for number in 0..=10 {
            last.clear();
            frames.put(OPAQUE_BASE + number, 1_700_000_000_123, &mut last);
        }
        let command = RemotingCommand::decode(&Bytes::from(last)).unwrap();
        let header = SendMessageRequestHeader::decode(&command.ext).unwrap();
        assert_eq!(command.opaque, OPAQUE_BASE + 10);
        assert_eq!((&*header.topic, header.queue_id), ("bench-00001", 1));
        assert_eq!(header.born_timestamp, 1_700_000_000_123);
        let key = "0000000000000007000000000000000A";
        assert!(header.properties.contains(key), "{}", header.properties);
        assert_eq!(command.body.len(), load.body);
    }

    #[test]
    fn each_message_of_a_batch_has_a_key_of_its_own() {
        let load = Load {
            batch: 3,
            body: 5,
            ..Load::default()
        };
        let (mut frames, mut out) = (Frames::new(&load, 1), Vec::new());
        frames.put(OPAQUE_BASE, 0, &mut Vec::new());
        frames.put(OPAQUE_BASE, 0, &mut out);
        let command = RemotingCommand::decode(&Bytes::from(out)).unwrap();
        let items: Vec<_> = batch::iter(&command.body).map(Result::unwrap).collect();
        assert_eq!(items.len(), 3);
        let key = b"UNIQ_KEY\x0100000000000000010000000000000005\x02";
        assert!(items[2].properties.starts_with(key));
    }
}
