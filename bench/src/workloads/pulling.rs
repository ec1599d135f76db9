//! Pulls of one topic over one connection, one in flight for each queue.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sluice_protocol::code::{request, response};
use sluice_protocol::message::sys_flag;
use sluice_tests::wire::command;

use crate::patched::{OPAQUE_BASE, Patched, Place};
use crate::socket::{Answer, Socket};

/// Digits of an offset.
const OFFSET: &str = "0000000000000000000";
/// Of a queue id.
const QUEUE: &str = "00000";
/// Where a record has its queue offset.
const QUEUE_OFFSET_AT: usize = 20;

/// What is pulled.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Expression and its type.
    pub expression: (&'static str, &'static str),
    /// How long a pull may wait for messages, milliseconds; 0: not at all.
    pub suspend_ms: u64,
    /// Whether messages may be left out.
    pub filtered: bool,
}

impl Subscription {
    /// All messages of a topic, by pulls that wait for none.
    pub fn all(group: &str, topic: &str) -> Subscription {
        Subscription {
            group: group.to_owned(),
            topic: topic.to_owned(),
            expression: ("TAG", "*"),
            suspend_ms: 0,
            filtered: false,
        }
    }
}

/// One connection that pulls.
pub struct Puller {
    socket: Socket,
    frame: Patched,
    queue: Place,
    offset: Place,
    filtered: bool,
    /// Where each queue is pulled from next.
    pub offsets: Vec<i64>,
    /// When the last pull of each queue left.
    asked_at: Vec<Instant>,
}

/// What one answer brought.
pub struct Pulled<'a> {
    /// Records, one behind the other.
    pub body: &'a [u8],
    /// How many they are.
    pub messages: u64,
    /// When the pull left.
    pub asked_at: Instant,
}

impl Puller {
    /// Connects, to pull the queues of a topic from their starts.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: &str, wanted: &Subscription, queues: usize) -> Result<Puller> {
        let suspend = match wanted.suspend_ms {
            0 => 0,
            _ => sys_flag::PULL_SUSPEND,
        };
        let (language, expression) = wanted.expression;
        let fields = [
            ("consumerGroup", &*wanted.group),
            ("topic", &*wanted.topic),
            ("queueId", QUEUE),
            ("queueOffset", OFFSET),
            ("maxMsgNums", "32"),
            (
                "sysFlag",
                &*(sys_flag::PULL_SUBSCRIPTION | suspend).to_string(),
            ),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &*wanted.suspend_ms.to_string()),
            ("subscription", expression),
            ("expressionType", language),
            ("subVersion", "0"),
        ];
        let frame = Patched::new(command(request::PULL_MESSAGE, &fields, b""));
        Ok(Puller {
            socket: Socket::connect(address)
                .with_context(|| format!("no connection to {address}"))?,
            queue: frame.digits_behind("\"queueId\":\""),
            offset: frame.digits_behind("\"queueOffset\":\""),
            frame,
            filtered: wanted.filtered,
            offsets: vec![0; queues],
            asked_at: vec![Instant::now(); queues],
        })
    }

    /// Its connection, to wait for it.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Puts a pull of a queue with what [`Puller::flush`] sends.
    pub fn put(&mut self, queue: usize) {
        self.frame.put_opaque(OPAQUE_BASE + queue as i32);
        self.frame.put(self.queue, queue as u64);
        self.frame.put(self.offset, self.offsets[queue] as u64);
        self.socket.out.extend_from_slice(self.frame.bytes());
        self.asked_at[queue] = Instant::now();
    }

    /// Sends.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.socket.flush()?)
    }

    /// Waits for bytes, and hands over the answers that they complete; their queues.
    ///
    /// # Errors
    /// None comes, a pull is refused, or messages are not those that were asked for.
    pub fn receive(&mut self, mut took: impl FnMut(Pulled<'_>)) -> Result<Vec<usize>> {
        self.socket.read().context("no answer to a pull")?;
        let mut answered = Vec::new();
        while let Some(answer) = self.socket.next()? {
            let queue = usize::try_from(answer.opaque - i64::from(OPAQUE_BASE))?;
            let from = *self.offsets.get(queue).context("an answer to no pull")?;
            let (messages, next) = read(&answer, from, self.filtered)?;
            self.offsets[queue] = next;
            answered.push(queue);
            took(Pulled {
                body: answer.body,
                messages,
                asked_at: self.asked_at[queue],
            });
        }
        Ok(answered)
    }
}

/// How many messages an answer has, and the offset behind them.
fn read(answer: &Answer<'_>, from: i64, filtered: bool) -> Result<(u64, i64)> {
    let (code, next) = (answer.code, answer.field("nextBeginOffset"));
    let none = [response::PULL_NOT_FOUND, response::PULL_RETRY_IMMEDIATELY];
    if none.iter().any(|none| i64::from(*none) == code) {
        return Ok((0, next.unwrap_or(from)));
    }
    ensure!(
        code == i64::from(response::SUCCESS),
        "a pull is refused: {}",
        String::from_utf8_lossy(answer.header)
    );
    let next = next.context("where to go on")?;
    let (mut messages, mut at) = (0, from);
    for record in records(answer.body) {
        let offset = queue_offset(record).context("a record cut short")?;
        ensure!(
            offset == at || filtered && (at..next).contains(&offset),
            "a message at {offset}, where {at} was due"
        );
        at = offset + 1;
        messages += 1;
    }
    ensure!(
        messages > 0 && (at == next || filtered && at < next),
        "{messages} messages up to {at}, but {next} is next"
    );
    Ok((messages, next))
}

/// The records of a body, by their sizes alone.
pub fn records(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(*body.first_chunk()?);
        let (record, rest) = body.split_at_checked(size.max(4) as usize)?;
        body = rest;
        Some(record)
    })
}

fn queue_offset(record: &[u8]) -> Option<i64> {
    let offset = record.get(QUEUE_OFFSET_AT..)?.first_chunk()?;
    Some(i64::from_be_bytes(*offset))
}
