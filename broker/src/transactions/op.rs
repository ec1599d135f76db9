//! Op records: which half messages need no decision any more, in the queue of
//! `RMQ_SYS_TRANS_OP_HALF_TOPIC` with the half queue's number.
//!
//! The tag is `d`, the body holds half offsets in decimal. 4.9 writes one, without a separator; 5.x
//! writes several, each with a comma behind it. Both read both (`TransactionalMessageUtil`).

use sluice_protocol::message::{Record, RecordFields, properties};
use sluice_protocol::topic::TRANS_OP_HALF_TOPIC;
use sluice_store::{AppendError, Appended};

use crate::Broker;

const TAG: &str = "d";

/// The half offsets an op record says.
pub(super) fn decided(record: &Record<'_>) -> impl Iterator<Item = i64> {
    let ours = record.property(properties::TAGS) == Some(TAG);
    let text = std::str::from_utf8(record.body()).unwrap_or_default();
    text.split(',')
        .filter_map(move |offset| offset.trim().parse().ok().filter(|_| ours))
}

/// The body that says these half offsets.
pub(super) fn body(offsets: impl IntoIterator<Item = i64>) -> String {
    use std::fmt::Write;
    let mut body = String::new();
    for offset in offsets {
        let _ = write!(body, "{offset},");
    }
    body
}

impl Broker {
    pub(super) fn append_op(&self, body: &str) -> Result<Appended, AppendError> {
        let mut text = Vec::new();
        properties::put(&mut text, properties::TAGS, TAG);
        properties::put(&mut text, properties::UNIQ_KEY, &self.unique_ids.next());
        let fields = RecordFields {
            topic: TRANS_OP_HALF_TOPIC,
            queue_id: super::QUEUE,
            flag: 0,
            sys_flag: 0,
            born_timestamp: self.now_ms(),
            born_host: self.store_host(),
            store_host: self.store_host(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: body.as_bytes(),
            properties: &text,
        };
        let mut bytes = Vec::with_capacity(body.len() + 256);
        fields.encode(&mut bytes)?;
        self.store
            .append(TRANS_OP_HALF_TOPIC, super::QUEUE, &mut bytes)
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::message::RecordError;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let host = "127.0.0.1:1".parse().unwrap();
        let read = |body: &str, tag: &str| -> Result<Vec<i64>, RecordError> {
            let text = format!("TAGS\u{1}{tag}\u{2}");
            let fields = RecordFields {
                topic: TRANS_OP_HALF_TOPIC,
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: host,
                store_host: host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: body.as_bytes(),
                properties: text.as_bytes(),
            };
            let mut bytes = Vec::new();
            fields.encode(&mut bytes)?;
            Ok(decided(&Record::parse(&bytes)?).collect())
        };
        assert_eq!(read("17", "d").unwrap(), [17]);
        assert_eq!(read("17,4,9,", "d").unwrap(), [17, 4, 9]);
        assert_eq!(read(&body([3, 8]), "d").unwrap(), [3, 8]);
        assert!(read("17", "x").unwrap().is_empty());
        assert!(read("what,-", "d").unwrap().is_empty());
    }
}
