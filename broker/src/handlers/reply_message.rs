//! SEND_REPLY_MESSAGE (324), SEND_REPLY_MESSAGE_V2 (325): a consumer answers a request; the answer goes
//! to the requester's connection (PUSH_REPLY_MESSAGE_TO_CLIENT, 326) and into the cluster's reply topic.
//!
//! Source: `ReplyMessageProcessor`.

use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::message::{MessageId, properties};
use sluice_remoting::Responder;

use super::send_message;
use crate::Broker;
use crate::error::Refusal;
use crate::send_hooks::{self, Incoming};

/// How long a requester may take to answer.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// The client that waits for the reply.
const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// When the reply left for it, Unix milliseconds.
const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";

/// Hands a reply to its requester; answers whether it took it.
pub fn send_reply_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let header = match SendMessageRequestHeader::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return broker.refuse(responder, error),
    };
    if let Err(refusal) = send_message::check(broker, &header) {
        return broker.refuse(responder, refusal);
    }
    let incoming = Incoming {
        header,
        body: request.body,
    };
    let hooks = send_hooks::chain(broker, &incoming.header.topic);
    if hooks.is_empty() {
        return deliver(broker, incoming, responder);
    }
    // Hooks may be slow, so the requests behind this one do not wait for them.
    broker.aside_for_plugins(
        responder,
        move |broker, responder| match send_hooks::before(broker, &hooks, incoming) {
            Ok(incoming) => deliver(broker, incoming, responder),
            Err(refusal) => broker.refuse(responder, refusal),
        },
    );
}

fn deliver(broker: &Arc<Broker>, incoming: Incoming, responder: Responder) {
    let broker = broker.clone();
    tokio::spawn(async move {
        let pushed = push(&broker, &incoming, &responder).await;
        let mut answer = responder.response(response::SUCCESS);
        answer.ext.put("msgId", "0");
        answer.ext.put_number("queueId", incoming.header.queue_id);
        answer.ext.put("queueOffset", "0");
        if broker.config().store_reply_message_enable {
            // Whoever waits has the reply by now; a log that does not take it changes nothing for them.
            match send_message::store_reply(&broker, incoming, responder.connection().peer()) {
                Ok((queue_id, appended)) => {
                    let id = MessageId {
                        store_host: broker.store_host(),
                        physical_offset: appended.physical_offsets[0],
                    };
                    answer.ext.put_shown("msgId", id);
                    answer.ext.put_number("queueId", queue_id);
                    answer.ext.put_number("queueOffset", appended.queue_offset);
                }
                Err(refusal) => tracing::warn!(%refusal, "a reply is not stored"),
            }
        }
        match pushed {
            Ok(()) => responder.answer(answer),
            Err(refusal) => broker.refuse(responder, refusal),
        }
    });
}

async fn push(broker: &Broker, incoming: &Incoming, responder: &Responder) -> Result<(), Refusal> {
    let text = incoming.header.properties.as_bytes();
    let client_id = properties::find(text, REPLY_TO_CLIENT).ok_or_else(|| {
        Refusal::System(format!(
            "reply message properties[{REPLY_TO_CLIENT}] is null"
        ))
    })?;
    let member = broker.producers.member(client_id).ok_or_else(|| {
        Refusal::System(format!(
            "push reply message fail, channel of <{client_id}> not found."
        ))
    })?;
    let command = pushed(broker, incoming, responder);
    match member.connection.call(command, PUSH_TIMEOUT).await {
        Ok(answer) if answer.code == response::SUCCESS => Ok(()),
        Ok(answer) => Err(Refusal::System(format!(
            "push reply message to {client_id}fail. {}",
            answer.remark()
        ))),
        Err(error) => Err(Refusal::System(format!(
            "push reply message to {client_id}fail. {error}"
        ))),
    }
}

fn pushed(broker: &Broker, incoming: &Incoming, responder: &Responder) -> RemotingCommand {
    let header = &incoming.header;
    let now = broker.now_ms().to_string();
    let mut text = properties::without(header.properties.as_bytes(), &[PUSH_REPLY_TIME]);
    properties::put(&mut text, PUSH_REPLY_TIME, &now);
    let mut command = RemotingCommand::request(request::PUSH_REPLY_MESSAGE_TO_CLIENT, 0);
    let fields = [
        ("producerGroup", header.producer_group.to_string()),
        ("topic", header.topic.to_string()),
        ("defaultTopic", header.default_topic.to_string()),
        (
            "defaultTopicQueueNums",
            header.default_topic_queue_nums.to_string(),
        ),
        ("queueId", header.queue_id.to_string()),
        ("sysFlag", header.sys_flag.to_string()),
        ("bornTimestamp", header.born_timestamp.to_string()),
        ("flag", header.flag.to_string()),
        ("properties", String::from_utf8_lossy(&text).into_owned()),
        ("reconsumeTimes", header.reconsume_times.to_string()),
        ("unitMode", header.unit_mode.to_string()),
        ("bornHost", responder.connection().peer().to_string()),
        ("storeHost", broker.store_host().to_string()),
        ("storeTimestamp", now),
    ];
    for (name, value) in fields {
        command.ext.put(name, value);
    }
    command.body = incoming.body.clone();
    command
}
