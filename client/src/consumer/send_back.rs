//! Messages that could not be consumed go back to the broker.

use std::time::Duration;

use bytestring::ByteString;
use sluice_protocol::message::{properties, sys_flag};

use super::group::{Group, INNER_PRODUCER};
use crate::calls::SendBack;
use crate::error::ClientError;
use crate::message::ReceivedMessage;
use crate::outgoing::{Outgoing, send_request};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the broker to deliver the message later, by reference; if that fails the message itself is
/// sent to the group's retry topic.
///
/// `delay_level` 0 lets the broker choose by the number of deliveries.
pub(crate) async fn send_back(
    group: &Group,
    message: &ReceivedMessage,
    delay_level: i32,
) -> Result<(), ClientError> {
    let topic = message.queue().topic;
    let back = SendBack {
        broker_name: message.broker_name(),
        group: &group.name,
        topic: &topic,
        physical_offset: message.physical_offset(),
        delay_level,
        message_id: &message.message_id(),
        max_reconsume_times: group.max_reconsume_times(),
    };
    match group.instance.send_back(&back).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::debug!(group = group.name, message_id = back.message_id, %error, "message is sent to the retry topic instead");
            send_as_retry(group, message).await
        }
    }
}

/// Sends a copy to the group's retry topic; the broker moves it to the dead letters when it was
/// delivered often enough.
pub(crate) async fn send_as_retry(
    group: &Group,
    message: &ReceivedMessage,
) -> Result<(), ClientError> {
    let retry_topic = group.retry_topic();
    let count = message.reconsume_times().saturating_add(1);
    let max = group.max_reconsume_times();
    let outgoing = Outgoing {
        properties: retry_properties(message, count, max),
        body: message.stored_body(),
        sys_flag: message.sys_flag() & (sys_flag::COMPRESSED | sys_flag::COMPRESSION_MASK),
        flag: message.flag(),
        message_id: message.message_id(),
        topic: retry_topic,
        is_batch: false,
    };
    let route = group.instance.publish_route(&outgoing.topic).await?;
    let queue = route
        .publish
        .first()
        .ok_or_else(|| ClientError::NotWritable {
            topic: outgoing.topic.clone(),
        })?;
    let address = group.instance.master(&queue.broker_name)?;
    let mut request = send_request(INNER_PRODUCER, &outgoing, queue);
    request.ext.put_number("j", count);
    request.ext.put_number("l", max);
    group
        .instance
        .call(&address, request, TIMEOUT)
        .await
        .map(drop)
}

fn retry_properties(message: &ReceivedMessage, count: i32, max: i32) -> ByteString {
    let origin = message.property(properties::ORIGIN_MESSAGE_ID);
    let origin = origin.map_or_else(|| message.message_id(), str::to_owned);
    let own = [
        (properties::ORIGIN_MESSAGE_ID, origin),
        (properties::RETRY_TOPIC, message.topic().to_owned()),
        (properties::RECONSUME_TIME, count.to_string()),
        (properties::MAX_RECONSUME_TIMES, max.to_string()),
        (properties::DELAY, (3 + count - 1).to_string()),
    ];
    let is_own =
        |name: &str| name == properties::TRAN_MSG || own.iter().any(|(own, _)| *own == name);
    let mut out = Vec::new();
    for (name, value) in message.properties().filter(|(name, _)| !is_own(name)) {
        properties::put(&mut out, name, value);
    }
    for (name, value) in &own {
        properties::put(&mut out, name, value);
    }
    String::from_utf8(out).expect("made of strings").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::message::tests::received;

    #[test]
    fn a_retry_says_where_it_comes_from_and_how_often_it_failed() {
        let message = Message::new("orders", "x")
            .tag("A")
            .property("TRAN_MSG", "true");
        let text = retry_properties(&received("orders", 0, &message), 2, 16);
        let find = |name| properties::find(text.as_bytes(), name);
        assert_eq!(find("TAGS"), Some("A"));
        assert_eq!(find("TRAN_MSG"), None);
        assert_eq!(find("RETRY_TOPIC"), Some("orders"));
        assert_eq!(find("RECONSUME_TIME"), Some("2"));
        assert_eq!(find("MAX_RECONSUME_TIMES"), Some("16"));
        assert_eq!(find("DELAY"), Some("4"));
        assert_eq!(
            find("ORIGIN_MESSAGE_ID"),
            Some("7F00000100002A9F0000000000001000")
        );
    }
}
