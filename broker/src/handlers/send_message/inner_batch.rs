//! A batch to a topic with `queue.type=BatchCQ`: one record holds all of it.
//!
//! Producers before 5.0 give the batch no unique key; its messages are then stored apart, as in Java.
//!
//! Source: `SendMessageProcessor.sendBatchMessage`.

use sluice_protocol::message::{batch, inner_batch, properties};

use super::{LaidOut, STRIPPED, Seen, Send, lay_out, put_broker_s, refuse_in_batch};
use crate::Broker;
use crate::error::Refusal;

/// The batch's unique key, if the batch is to be one record.
pub(super) fn unique_key(send: &Send) -> Option<&str> {
    let text = send.header.properties.as_bytes();
    let wanted = send.header.batch && send.topic.is_batch();
    wanted
        .then(|| properties::find(text, properties::UNIQ_KEY))
        .flatten()
}

/// Lays the batch out as it came. Its messages keep their own properties inside; those of the whole are
/// the record's.
pub(super) fn lay_out_whole(
    broker: &Broker,
    send: &Send,
    of_all: &Seen,
    records: &mut Vec<u8>,
) -> Result<LaidOut, Refusal> {
    let (mut count, mut waits) = (0, !of_all.does_not_wait);
    let mut message_type = of_all.message_type();
    for item in batch::iter(&send.body) {
        let item = item.map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
        if item.body.is_empty() {
            return Err(Refusal::MessageIllegal(format!(
                "the message is illegal: the body of message {count} of the batch is empty"
            )));
        }
        let seen = Seen::in_properties(item.properties);
        refuse_in_batch(&seen)?;
        waits &= !seen.does_not_wait;
        message_type = message_type.max(seen.message_type());
        count += 1;
    }
    if count > inner_batch::MESSAGES_MAX {
        return Err(Refusal::MessageIllegal(format!(
            "the batch is illegal: it holds {count} messages, of a topic with queue.type=BatchCQ one may hold {}",
            inner_batch::MESSAGES_MAX
        )));
    }
    let mut text = send.header.properties.as_bytes().to_vec();
    if of_all.strip {
        text = properties::without(&text, &STRIPPED);
    }
    put_broker_s(&send.config, &mut text);
    properties::put(&mut text, properties::INNER_NUM, &count.to_string());
    let place = (&*send.topic.topic_name, send.queue_id);
    let message = (send.header.flag, &*send.body, &*text);
    lay_out(broker, send, place, message, records)?;
    inner_batch::set_flags(records, inner_batch::PACKED);
    Ok(LaidOut {
        waits,
        message_type,
        elsewhere: None,
        recall_handle: None,
    })
}
