//! A decoded message that owns its parts: what clients hand to users.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{MessageId, Record, RecordError, properties};

/// Java's `MessageExt`, decoded from a stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageExt {
    /// Topic.
    pub topic: String,
    /// Queue id.
    pub queue_id: i32,
    /// Index in the queue, in messages.
    pub queue_offset: i64,
    /// Byte position in the broker's CommitLog.
    pub physical_offset: i64,
    /// The user's own flag.
    pub flag: i32,
    /// See [`super::sys_flag`].
    pub sys_flag: i32,
    /// Producer's time, Unix milliseconds.
    pub born_timestamp: i64,
    /// Producer's address.
    pub born_host: SocketAddr,
    /// Broker's time, Unix milliseconds.
    pub store_timestamp: i64,
    /// Broker's advertised address.
    pub store_host: SocketAddr,
    /// How often the message came back.
    pub reconsume_times: i32,
    /// Physical offset of the half message, or 0.
    pub prepared_transaction_offset: i64,
    /// Size of the stored record, bytes.
    pub store_size: usize,
    /// Body as stored; still compressed if the flag says so.
    pub body: Vec<u8>,
    /// Properties by name.
    pub properties: BTreeMap<String, String>,
}

impl MessageExt {
    /// The producer's unique id when there is one, else the offset message id, as Java's client shows it.
    pub fn message_id(&self) -> String {
        self.properties
            .get(properties::UNIQ_KEY)
            .cloned()
            .unwrap_or_else(|| self.offset_message_id().to_string())
    }

    /// Store host and physical offset.
    pub fn offset_message_id(&self) -> MessageId {
        MessageId {
            store_host: self.store_host,
            physical_offset: self.physical_offset,
        }
    }
}

impl From<Record<'_>> for MessageExt {
    fn from(record: Record<'_>) -> Self {
        MessageExt {
            topic: record.topic().to_owned(),
            queue_id: record.queue_id(),
            queue_offset: record.queue_offset(),
            physical_offset: record.physical_offset(),
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            born_timestamp: record.born_timestamp(),
            born_host: record.born_host(),
            store_timestamp: record.store_timestamp(),
            store_host: record.store_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            store_size: record.size(),
            body: record.body().to_vec(),
            properties: properties::iter(record.properties())
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        }
    }
}

/// The records of a response body, in order; stops at the first that does not parse.
pub fn records(body: &[u8]) -> impl Iterator<Item = Result<Record<'_>, RecordError>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = Record::parse(rest);
        rest = record.as_ref().map_or(&[], |record| &rest[record.size()..]);
        Some(record)
    })
}
