//! Messages that the broker puts into its log again: delayed ones when they are due, retries, dead
//! letters, committed transactions.
//!
//! A copy carries where its source lies, in the field where Java's committed transactions have the
//! offset of their half message and all else has 0 (`preparedTransactionOffset`); no client reads
//! it of other messages. So the log itself says what has been copied, and progress over sources
//! that was lost with the process is found again: [`Broker::copies_since`].
//!
//! What must hold: progress over sources is written only after the log is synced past their copies.
//! Otherwise a power loss takes the copy and leaves the word that it was made.

use std::borrow::Cow;

use bytes::Bytes;
use sluice_protocol::message::inner_batch::PACKED;
use sluice_protocol::message::{Record, RecordFields, properties, sys_flag};
use sluice_store::{AppendError, Appended};

use crate::{Broker, topics};

/// What a copy has other than its source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) sys_flag: i32,
    pub(crate) reconsume_times: i32,
    pub(crate) properties: &'a [u8],
}

/// A copy found in the log.
#[derive(Debug)]
pub(crate) struct Copied {
    /// Where its source lies in the log.
    pub(crate) source: i64,
    /// The copy.
    pub(crate) record: Bytes,
}

/// What a copy says of its source: of a committed transaction what Java says, else the complement,
/// which tells the log's first message from none.
fn mark(flags: i32, source: i64) -> i64 {
    if is_committed(flags) { source } else { !source }
}

/// Where the source of a copy lies in the log; `None` if the record is no copy.
pub(crate) fn source_of(record: &Record<'_>) -> Option<i64> {
    let mark = record.prepared_transaction_offset();
    if is_committed(record.sys_flag()) {
        return Some(mark);
    }
    (mark < 0).then_some(!mark)
}

fn is_committed(flags: i32) -> bool {
    flags & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_COMMIT
}

/// Whether a message can't be stored however often it is tried.
pub(crate) fn is_hopeless(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::TooLarge { .. } | AppendError::Malformed(_) | AppendError::Place { .. }
    )
}

impl Broker {
    /// Appends a copy of a stored message; body, flag, born time and host stay.
    ///
    /// # Errors
    /// Nothing was stored; see [`AppendError`].
    pub(crate) fn append_copy(
        &self,
        source: &Record<'_>,
        copy: Copy<'_>,
    ) -> Result<Appended, AppendError> {
        let mut text = Cow::Borrowed(copy.properties);
        if properties::find(&text, properties::INNER_BASE).is_some() {
            // It is one message, wherever it goes.
            let of_batch = [properties::INNER_NUM, properties::INNER_BASE];
            text = Cow::Owned(properties::without(copy.properties, &of_batch));
        }
        let fields = RecordFields {
            topic: copy.topic,
            queue_id: copy.queue_id,
            flag: source.flag(),
            sys_flag: copy.sys_flag & !PACKED,
            born_timestamp: source.born_timestamp(),
            born_host: source.born_host(),
            store_host: self.store_host(),
            reconsume_times: copy.reconsume_times,
            prepared_transaction_offset: mark(copy.sys_flag, source.physical_offset()),
            body: source.body(),
            properties: &text,
        };
        let mut bytes = Vec::with_capacity(source.size() + 256);
        fields.encode(&mut bytes)?;
        self.append(copy.topic, copy.queue_id, &mut bytes)
    }

    /// Appends records to a topic, whichever type its queues have.
    ///
    /// # Errors
    /// Nothing was stored; see [`AppendError`].
    pub(crate) fn append(
        &self,
        topic: &str,
        queue_id: i32,
        records: &mut Vec<u8>,
    ) -> Result<Appended, AppendError> {
        let known = self.topics.get(topic);
        match known.is_some_and(|topic| topic.is_batch()) {
            true => self.store.append_batched(topic, queue_id, records),
            false => self.store.append(topic, queue_id, records),
        }
    }

    /// The copies that lie in the log from a physical offset on, in its order. Reads all that was
    /// stored since: for starts after a crash, with an offset of shortly before it.
    pub(crate) fn copies_since(&self, physical_offset: i64) -> impl Iterator<Item = Copied> {
        self.store
            .records_from(physical_offset)
            .filter_map(|bytes| {
                let source = source_of(&Record::parse(&bytes).ok()?)?;
                Some(Copied {
                    source,
                    record: bytes,
                })
            })
    }

    /// Makes a topic of the broker's own unless it is there; it is written and registered in the
    /// background.
    pub(crate) fn ensure_topic(&self, name: &str, queues: i32, perm: i32) {
        let wanted = || topics::plain(name, queues, perm);
        if self.topics.get(name).is_none() && self.topics.create(wanted(), self.now_ms()) {
            self.changes.note_topic();
        }
    }
}
