//! QUERY_MESSAGE (12), VIEW_MESSAGE_BY_ID (33).

use std::sync::Arc;

use bytes::Bytes;
use sluice_protocol::RemotingCommand;
use sluice_protocol::header::{QueryMessageRequestHeader, ViewMessageRequestHeader};
use sluice_remoting::Responder;

use crate::error::Refusal;
use crate::{Answer, Broker};

/// Most messages one query answers (`maxMsgsNumBatch`).
const MESSAGES_MAX: usize = 64;
/// Messages a query by unique key answers whatever it asks for (`defaultQueryMaxNum`).
const UNIQUE_KEY_MESSAGES: usize = 32;
/// Most bytes one answer carries: half of the largest frame that clients take.
const ANSWER_SIZE_MAX: usize = 8 << 20;

/// Messages with a key, stored within a time span. False friends by hash are among them; the client
/// compares the key again.
pub fn query_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let header = QueryMessageRequestHeader::decode(&request.ext)?;
        let unique = request
            .ext
            .get("_UNIQUE_KEY_QUERY")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let max = if unique {
            UNIQUE_KEY_MESSAGES
        } else {
            usize::try_from(header.max_num)
                .unwrap_or(0)
                .min(MESSAGES_MAX)
        };
        let found = broker.store.query_by_key(
            &header.topic,
            &header.key,
            max,
            header.begin_timestamp,
            header.end_timestamp,
        );
        if found.records.is_empty() {
            return Err(Refusal::NotFound(
                "can not find message, maybe time range not correct".to_owned(),
            ));
        }
        let mut answer = Answer {
            slices: fitting(found.records),
            ..Answer::default()
        };
        answer.ext.put_number(
            "indexLastUpdateTimestamp",
            found.index_last_update_timestamp,
        );
        answer.ext.put_number(
            "indexLastUpdatePhyoffset",
            found.index_last_update_physical_offset,
        );
        Ok(answer)
    });
}

/// As many as one answer can carry, the first in any case.
fn fitting(mut records: Vec<Bytes>) -> Vec<Bytes> {
    let mut size = 0;
    let count = records
        .iter()
        .take_while(|record| {
            size += record.len();
            size <= ANSWER_SIZE_MAX
        })
        .count();
    records.truncate(count.max(1));
    records
}

/// The message at a physical offset.
pub fn view_message_by_id(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let header = ViewMessageRequestHeader::decode(&request.ext)?;
        let record = broker.store.record_at(header.offset);
        let record = record.ok_or_else(|| {
            Refusal::System(format!(
                "can not find message by the offset, {}",
                header.offset
            ))
        })?;
        Ok(Answer {
            slices: vec![record],
            ..Answer::default()
        })
    });
}
