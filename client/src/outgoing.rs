//! What goes over the wire for a message, and what comes back.

use bytes::Bytes;
use bytestring::ByteString;
use sluice_allocation::MessageQueue;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::message::batch::{self, BatchItem};
use sluice_protocol::message::properties;

use crate::calls::field;
use crate::error::ClientError;
use crate::message::{Message, SendResult, SendStatus};
use crate::route::DEFAULT_TOPIC;
use crate::{unique_id, validate};
use sluice_protocol::message::compression;

/// A message or batch, encoded once: every attempt sends the same bytes, so that duplicates can be
/// told by their id.
pub(crate) struct Outgoing {
    pub topic: String,
    pub body: Bytes,
    pub sys_flag: i32,
    pub flag: i32,
    pub properties: ByteString,
    pub message_id: String,
    pub is_batch: bool,
}

impl Outgoing {
    /// Encodes a message, compressing bodies of `compress_from` bytes or more.
    pub fn encode(mut message: Message, compress_from: usize) -> Result<Self, ClientError> {
        let message_id = message.complete();
        let compress = message.body.len() >= compress_from;
        Ok(Outgoing {
            properties: encoded_properties(&message)?,
            body: if compress {
                compression::deflate(&message.body).into()
            } else {
                message.body
            },
            sys_flag: if compress { compression::ZLIB_FLAGS } else { 0 },
            flag: message.flag,
            topic: message.topic,
            message_id,
            is_batch: false,
        })
    }
}

fn encoded_properties(message: &Message) -> Result<ByteString, ClientError> {
    let encoded = message.encode_properties();
    let max = sluice_protocol::message::record::PROPERTIES_SIZE_MAX;
    if encoded.len() > max {
        return Err(ClientError::invalid(
            format!("properties of {} bytes", encoded.len()),
            format!("are larger than the limit of {max} bytes"),
        ));
    }
    Ok(String::from_utf8(encoded).expect("made of strings").into())
}

/// SEND_MESSAGE_V2 or SEND_BATCH_MESSAGE.
pub(crate) fn send_request(
    group: &str,
    outgoing: &Outgoing,
    queue: &MessageQueue,
) -> RemotingCommand {
    let code = if outgoing.is_batch {
        request::SEND_BATCH_MESSAGE
    } else {
        request::SEND_MESSAGE_V2
    };
    let mut request = RemotingCommand::request(code, 0);
    let fields: [(&'static str, ByteString); 13] = [
        ("a", group.into()),
        ("b", outgoing.topic.as_str().into()),
        ("c", ByteString::from_static(DEFAULT_TOPIC)),
        ("d", ByteString::from_static("4")),
        ("e", queue.queue_id.to_string().into()),
        ("f", outgoing.sys_flag.to_string().into()),
        ("g", unique_id::now_ms().to_string().into()),
        ("h", outgoing.flag.to_string().into()),
        ("i", outgoing.properties.clone()),
        ("j", ByteString::from_static("0")),
        ("k", ByteString::from_static("false")),
        (
            "m",
            ByteString::from_static(if outgoing.is_batch { "true" } else { "false" }),
        ),
        ("n", queue.broker_name.as_str().into()),
    ];
    for (name, value) in fields {
        request.ext.put(name, value);
    }
    request.with_body(outgoing.body.clone())
}

/// Encodes several messages as one request.
pub(crate) fn encode_batch(
    mut messages: Vec<Message>,
    size_max: usize,
) -> Result<Outgoing, ClientError> {
    let first = messages
        .first()
        .ok_or_else(|| ClientError::invalid("batch", "must not be empty"))?;
    let topic = first.topic.clone();
    let wait = first.find(properties::WAIT).map(str::to_owned);
    let mut body = Vec::new();
    let mut ids = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter_mut().enumerate() {
        validate::message(message, size_max)?;
        check_batch_item(message, &topic, wait.as_deref())
            .map_err(|why| ClientError::invalid(format!("message {index} of the batch"), why))?;
        ids.push(message.complete());
        let encoded = encoded_properties(message)?;
        let item = BatchItem {
            flag: message.flag,
            body: &message.body,
            properties: encoded.as_bytes(),
        };
        batch::put(&mut body, item);
        if body.len() > size_max {
            return Err(ClientError::invalid(
                "batch",
                format!("is larger than the limit of {size_max} bytes"),
            ));
        }
    }
    let message_id = ids.join(",");
    let mut outer = Message::new(topic, body);
    // Brokers append the outer properties to those of each part: an id here would hide the parts'.
    outer.properties.push((
        properties::WAIT.to_owned(),
        wait.unwrap_or_else(|| "true".to_owned()),
    ));
    Ok(Outgoing {
        properties: encoded_properties(&outer)?,
        topic: outer.topic,
        body: outer.body,
        sys_flag: 0,
        flag: 0,
        message_id,
        is_batch: true,
    })
}

fn check_batch_item(message: &Message, topic: &str, wait: Option<&str>) -> Result<(), String> {
    if message.topic != topic {
        return Err(format!(
            "has topic {:?}, the first one has {topic:?}",
            message.topic
        ));
    }
    if topic.starts_with("%RETRY%") {
        return Err("is of a retry topic, which batches do not support".to_owned());
    }
    if message.find(properties::DELAY).is_some() {
        return Err("has a delay level, which batches do not support".to_owned());
    }
    if message.find(properties::WAIT) != wait {
        return Err("differs from the first one in WAIT".to_owned());
    }
    Ok(())
}

pub(crate) fn send_result(
    address: &str,
    code: i32,
    outgoing: &Outgoing,
    queue: &MessageQueue,
    response: &RemotingCommand,
) -> Result<SendResult, ClientError> {
    let status = match response.code {
        response::SUCCESS => SendStatus::Ok,
        response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        code => {
            return Err(ClientError::Refused {
                address: address.to_owned(),
                code,
                remark: response.remark().to_owned(),
            });
        }
    };
    Ok(SendResult {
        status,
        message_id: outgoing.message_id.clone(),
        offset_message_id: field(address, code, response, "msgId")?,
        queue: MessageQueue {
            queue_id: field(address, code, response, "queueId")?,
            ..queue.clone()
        },
        queue_offset: field(address, code, response, "queueOffset")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> MessageQueue {
        MessageQueue {
            topic: "T".to_owned(),
            broker_name: "b".to_owned(),
            queue_id: 2,
        }
    }

    #[test]
    fn large_bodies_are_compressed_and_say_so() {
        let body = "x".repeat(4096);
        let outgoing = Outgoing::encode(Message::new("T", body.clone()), 4096).unwrap();
        assert_eq!(outgoing.sys_flag, 0x301);
        assert_eq!(
            compression::inflate(&outgoing.body, outgoing.sys_flag).unwrap(),
            body.as_bytes()
        );
        let small = Outgoing::encode(Message::new("T", body[1..].to_owned()), 4096).unwrap();
        assert_eq!((small.sys_flag, small.body.len()), (0, 4095));
    }

    #[test]
    fn every_attempt_carries_the_same_id() {
        let outgoing = Outgoing::encode(Message::new("T", "x").tag("A"), 4096).unwrap();
        let first = send_request("g", &outgoing, &queue());
        let second = send_request("g", &outgoing, &queue());
        assert_eq!(first.ext.get("i"), second.ext.get("i"));
        assert!(first.ext.get("i").unwrap().contains(&outgoing.message_id));
        assert_eq!(
            (first.ext.get("e"), first.ext.get("n")),
            (Some("2"), Some("b"))
        );
        assert_eq!(first.code, request::SEND_MESSAGE_V2);
    }

    #[test]
    fn a_batch_is_of_one_kind() {
        let of = |messages| encode_batch(messages, 1000);
        let batch = of(vec![Message::new("T", "a"), Message::new("T", "b")]).unwrap();
        let bodies: Vec<_> = batch::iter(&batch.body)
            .map(|item| item.unwrap().body.to_vec())
            .collect();
        assert_eq!(bodies, [b"a", b"b"]);
        assert_eq!(batch.message_id.len(), 65);
        assert_eq!(&*batch.properties, "WAIT\u{1}true\u{2}");
        let refused = |messages| of(messages).err().unwrap().to_string();
        assert!(refused(vec![]).contains("empty"));
        assert!(
            refused(vec![Message::new("T", "a"), Message::new("U", "b")]).contains("message 1")
        );
        assert!(refused(vec![Message::new("%RETRY%g", "a")]).contains("retry"));
        assert!(refused(vec![Message::new("T", "a").property("DELAY", "1")]).contains("delay"));
        assert!(
            refused(vec![
                Message::new("T", "a"),
                Message::new("T", "b").wait_store_ok(false)
            ])
            .contains("WAIT")
        );
        assert!(
            refused(vec![
                Message::new("T", vec![0; 600]),
                Message::new("T", vec![0; 600])
            ])
            .contains("limit")
        );
    }
}
