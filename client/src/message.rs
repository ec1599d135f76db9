//! What is sent, what comes of it, and what is received.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use sluice_allocation::MessageQueue;
use sluice_protocol::message::view::MessageExt;
use sluice_protocol::message::{MessageId, Record, RecordError, properties, sys_flag};

use crate::error::ClientError;
use sluice_protocol::message::compression;

/// A message to send.
///
/// ```
/// use sluice_client::Message;
/// let order = Message::new("orders", r#"{"id": 7}"#)
///     .tag("created")
///     .key("order-7")
///     .property("amount", "12");
/// assert_eq!(order.topic, "orders");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic: up to 127 letters, digits and `% | _ -`.
    pub topic: String,
    /// Body, 1 byte to 4 MiB unless the producer allows more.
    pub body: Bytes,
    /// The user's own flag, carried as it is.
    pub flag: i32,
    /// Properties; of equal names the last counts.
    pub properties: Vec<(String, String)>,
}

impl Message {
    /// A message without tag, keys and properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Message {
            topic: topic.into(),
            body: body.into(),
            flag: 0,
            properties: Vec::new(),
        }
    }

    /// Sets the one tag by which consumers select.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.property(properties::TAGS, tag)
    }

    /// Adds a key under which the message can be queried. Keys must not contain blanks.
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        let key = key.as_ref();
        match self
            .properties
            .iter_mut()
            .find(|(name, _)| name == properties::KEYS)
        {
            Some((_, keys)) => {
                keys.push(' ');
                keys.push_str(key);
            }
            None => self
                .properties
                .push((properties::KEYS.to_owned(), key.to_owned())),
        }
        self
    }

    /// Sets a property. Names and values must not be empty; names that RocketMQ itself uses (in
    /// capitals) are the sender's own responsibility.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Sets the user's own flag.
    pub fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Whether the broker is to answer only when the message is as safe as its mode promises
    /// (`WAIT`); true unless said otherwise.
    pub fn wait_store_ok(self, wait: bool) -> Self {
        self.property(properties::WAIT, if wait { "true" } else { "false" })
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        let mut of_name = self.properties.iter().rev().filter(|(n, _)| n == name);
        of_name.next().map(|(_, value)| value.as_str())
    }

    /// Gives the message its id, and `WAIT` its default, unless it has them.
    pub(crate) fn complete(&mut self) -> String {
        if self.find(properties::WAIT).is_none() {
            self.properties
                .push((properties::WAIT.to_owned(), "true".to_owned()));
        }
        if let Some(id) = self.find(properties::UNIQ_KEY) {
            return id.to_owned();
        }
        let id = crate::unique_id::next();
        self.properties
            .push((properties::UNIQ_KEY.to_owned(), id.clone()));
        id
    }

    /// The properties string; of equal names only the last is written.
    pub(crate) fn encode_properties(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 32 * self.properties.len());
        for (at, (name, value)) in self.properties.iter().enumerate() {
            if !self.properties[at + 1..]
                .iter()
                .any(|(later, _)| later == name)
            {
                properties::put(&mut out, name, value);
            }
        }
        out
    }
}

/// What the broker did with a message it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendStatus {
    /// Stored as safely as the broker's mode promises.
    Ok,
    /// Stored, but not flushed to disk in time.
    FlushDiskTimeout,
    /// Stored, but not copied to a replica in time.
    FlushSlaveTimeout,
    /// Stored, but there is no replica to copy it to.
    SlaveNotAvailable,
}

/// Where a message went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendResult {
    /// How safely it is stored.
    pub status: SendStatus,
    /// The id made by this producer (`UNIQ_KEY`); for a batch all ids joined with `,`.
    pub message_id: String,
    /// The id made by the broker: its address and the position in its log; for a batch all ids
    /// joined with `,`.
    pub offset_message_id: String,
    /// The queue.
    pub queue: MessageQueue,
    /// Position in the queue, of the first message of a batch.
    pub queue_offset: i64,
}

/// A message as a consumer receives it. Cheap to clone.
///
/// It is a view of the response it came in: keeping one message keeps that response (256 KiB at
/// most, or one larger message) in memory.
#[derive(Clone)]
pub struct ReceivedMessage {
    record: Bytes,
    body: Bytes,
    topic: ByteString,
    broker_name: Arc<str>,
    queue_offset: i64,
    reconsume_times: i32,
    /// Bytes it takes: the record, and beside it the body if that was compressed.
    held_size: usize,
}

impl ReceivedMessage {
    /// Reads the record at the start of `bytes` and tells its size.
    ///
    /// `offset_delta` is added to the queue offset. A compressed body that does not decompress is
    /// an error of its own: the message is then handed out with the body as it came.
    pub(crate) fn read(
        bytes: &Bytes,
        broker_name: &Arc<str>,
        offset_delta: i64,
    ) -> Result<(Self, usize), RecordError> {
        let record = Record::parse(bytes)?;
        let size = record.size();
        let inflated = inflated(&record).unwrap_or_else(|what| {
            let message_id = MessageExt::from(record).message_id();
            let error = ClientError::Compression { message_id, what };
            tracing::warn!(%error, "message is delivered with its body as it came");
            None
        });
        let held_size = size + inflated.as_ref().map_or(0, Bytes::len);
        let body = inflated.unwrap_or_else(|| bytes.slice_ref(record.body()));
        let topic = ByteString::try_from(bytes.slice_ref(record.topic().as_bytes()));
        let message = ReceivedMessage {
            body,
            topic: topic.map_err(|_| RecordError::TopicText)?,
            broker_name: broker_name.clone(),
            queue_offset: record.queue_offset() + offset_delta,
            reconsume_times: record.reconsume_times(),
            record: bytes.slice(..size),
            held_size,
        };
        Ok((message, size))
    }

    /// The messages in the body of a response: of a pull, a query by key or id, a view.
    ///
    /// # Errors
    /// Which byte is wrong, and what is expected there.
    pub fn read_all(body: &Bytes, broker_name: &str) -> Result<Vec<Self>, String> {
        crate::consumer::decode(body, &broker_name.into(), 0)
    }

    /// Topic; of a retried message the one it was sent to.
    pub fn topic(&self) -> &str {
        &self.topic
    }
    /// Body, decompressed; one that does not decompress, or to more than 64 MiB, is as it came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
    /// Queue it came from; of a retried message a queue of the retry topic.
    pub fn queue_id(&self) -> i32 {
        self.parsed().queue_id()
    }
    /// Position in its queue.
    pub fn queue_offset(&self) -> i64 {
        self.queue_offset
    }
    /// Broker it came from.
    pub fn broker_name(&self) -> &str {
        &self.broker_name
    }
    /// How often it was delivered before without success.
    pub fn reconsume_times(&self) -> i32 {
        self.reconsume_times
    }
    /// When it was sent, by the producer's clock, Unix milliseconds.
    pub fn born_timestamp(&self) -> i64 {
        self.parsed().born_timestamp()
    }
    /// When it was stored, by the broker's clock, Unix milliseconds.
    pub fn store_timestamp(&self) -> i64 {
        self.parsed().store_timestamp()
    }
    /// The producer's address.
    pub fn born_host(&self) -> SocketAddr {
        self.parsed().born_host()
    }
    /// The user's own flag.
    pub fn flag(&self) -> i32 {
        self.parsed().flag()
    }
    /// Position in the broker's log, bytes.
    pub fn physical_offset(&self) -> i64 {
        self.parsed().physical_offset()
    }
    /// Value of a property; of equal names the last one's.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::find(self.parsed().properties(), name)
    }
    /// All properties in order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        properties::iter(self.parsed().properties())
    }
    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(properties::TAGS)
    }
    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.property(properties::KEYS).unwrap_or_default();
        keys.split(' ').filter(|key| !key.is_empty())
    }
    /// The producer's id of the message, or the broker's if it has none.
    pub fn message_id(&self) -> String {
        self.property(properties::UNIQ_KEY)
            .map_or_else(|| self.offset_message_id().to_string(), str::to_owned)
    }
    /// The broker's id of the message.
    pub fn offset_message_id(&self) -> MessageId {
        MessageId {
            store_host: self.parsed().store_host(),
            physical_offset: self.physical_offset(),
        }
    }

    /// The queue it was pulled from.
    pub fn queue(&self) -> MessageQueue {
        MessageQueue {
            topic: self.parsed().topic().to_owned(),
            broker_name: self.broker_name.to_string(),
            queue_id: self.queue_id(),
        }
    }

    /// Size of the stored record, bytes.
    pub fn stored_size(&self) -> usize {
        self.record.len()
    }

    /// Memory it takes, bytes: more than [`ReceivedMessage::stored_size`] if it was compressed.
    pub(crate) fn held_size(&self) -> usize {
        self.held_size
    }

    #[cfg(test)]
    pub(crate) fn record_bytes(&self) -> &Bytes {
        &self.record
    }

    /// The stored sys flag.
    pub fn sys_flag(&self) -> i32 {
        self.parsed().sys_flag()
    }

    /// Body as stored, still compressed if the flag says so.
    pub(crate) fn stored_body(&self) -> Bytes {
        self.record.slice_ref(self.parsed().body())
    }

    /// A retried message shows the topic it was first sent to.
    pub(crate) fn show_original_topic(&mut self, retry_topic: &str) {
        if self.topic != *retry_topic {
            return;
        }
        if let Some(original) = self.property(properties::RETRY_TOPIC) {
            self.topic = ByteString::from(original);
        }
    }

    pub(crate) fn count_local_retry(&mut self) {
        self.reconsume_times = self.reconsume_times.saturating_add(1);
    }

    /// The record was checked when this view was made.
    fn parsed(&self) -> Record<'_> {
        Record::parse(&self.record).expect("checked by read")
    }
}

fn inflated(record: &Record<'_>) -> Result<Option<Bytes>, String> {
    if record.sys_flag() & sys_flag::COMPRESSED == 0 {
        return Ok(None);
    }
    let body = compression::inflate(record.body(), record.sys_flag())?;
    Ok(Some(body.into()))
}

impl fmt::Debug for ReceivedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedMessage")
            .field("topic", &self.topic())
            .field("broker_name", &self.broker_name())
            .field("queue_id", &self.queue_id())
            .field("queue_offset", &self.queue_offset)
            .field("message_id", &self.message_id())
            .field("reconsume_times", &self.reconsume_times)
            .field("body_size", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sluice_protocol::message::RecordFields;
    use sluice_protocol::message::record::assign;

    use super::*;

    /// A record as a broker would send it.
    pub(crate) fn received(topic: &str, queue_offset: i64, message: &Message) -> ReceivedMessage {
        let (body, sys_flag) = if message.flag == COMPRESS {
            (compression::deflate(&message.body), compression::ZLIB_FLAGS)
        } else {
            (message.body.to_vec(), 0)
        };
        let host = "127.0.0.1:10911".parse().unwrap();
        let fields = RecordFields {
            topic,
            queue_id: 3,
            flag: message.flag,
            sys_flag,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &message.encode_properties(),
        };
        let mut record = Vec::new();
        fields.encode(&mut record).unwrap();
        assign(&mut record, queue_offset, 4096, 2);
        let (message, _) = ReceivedMessage::read(&record.into(), &"b".into(), 0).unwrap();
        message
    }

    /// As a flag of a message: its body is compressed.
    pub(crate) const COMPRESS: i32 = 77;

    #[test]
    fn a_received_message_shows_its_parts() {
        let message = Message::new("T", "body")
            .tag("A")
            .key("k1")
            .key("k2")
            .property("ü", "é");
        let got = received("T", 9, &message);
        assert_eq!(
            (got.topic(), &got.body()[..], got.tag()),
            ("T", &b"body"[..], Some("A"))
        );
        assert_eq!(got.keys().collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(got.property("ü"), Some("é"));
        assert_eq!(
            (got.queue_id(), got.queue_offset(), got.broker_name()),
            (3, 9, "b")
        );
        assert_eq!(got.message_id(), "7F00000100002A9F0000000000001000");
    }

    #[test]
    fn compressed_bodies_are_unfolded() {
        let body = "sluice".repeat(2000);
        let got = received("T", 0, &Message::new("T", body.clone()).flag(COMPRESS));
        assert_eq!(got.body(), body.as_bytes());
        assert!(got.stored_body().len() < body.len());
    }

    #[test]
    fn a_retried_message_shows_its_original_topic() {
        let message = Message::new("%RETRY%g", "x").property("RETRY_TOPIC", "orders");
        let mut got = received("%RETRY%g", 0, &message);
        got.show_original_topic("%RETRY%g");
        assert_eq!(got.topic(), "orders");
        assert_eq!(got.queue().topic, "%RETRY%g");
    }

    #[test]
    fn ids_are_given_once_and_the_last_of_equal_names_is_written() {
        let mut message = Message::new("T", "x").property("a", "1").property("a", "2");
        let id = message.complete();
        assert_eq!(message.complete(), id);
        let text = message.encode_properties();
        assert_eq!(
            properties::iter(&text)
                .filter(|(name, _)| *name == "a")
                .count(),
            1
        );
        assert_eq!(properties::find(&text, "a"), Some("2"));
        assert_eq!(properties::find(&text, "UNIQ_KEY"), Some(&*id));
        assert_eq!(properties::find(&text, "WAIT"), Some("true"));
    }
}
