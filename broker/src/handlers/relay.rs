//! GET_CONSUMER_RUNNING_INFO (307), CONSUME_MESSAGE_DIRECTLY (309): passed on to the consumer they are
//! about, and what it answers passed back as it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_protocol::header::{ConsumeMessageDirectlyRequestHeader, RelayRequestHeader};
use sluice_protocol::message::MessageId;
use sluice_protocol::{ExtFields, RemotingCommand, version};
use sluice_remoting::{RemotingError, Responder};

use crate::Broker;
use crate::clients::Member;
use crate::error::Refusal;

/// Most time a consumer gets to answer what an administrator asks of it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks a consumer how it is.
pub fn get_consumer_running_info(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    relay(broker, request, responder);
}

/// Has a consumer consume one message, and tells what came of it.
pub fn consume_message_directly(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.aside(responder, move |broker, responder| {
        match with_message(broker, request) {
            Ok(request) => relay(broker, request, responder),
            Err(refusal) => broker.refuse(responder, refusal),
        }
    });
}

/// The request as consumers get it: with the message, and what they need to know of topic and group.
/// Source: `AdminBrokerProcessor.consumeMessageDirectly`.
fn with_message(broker: &Broker, mut request: RemotingCommand) -> Result<RemotingCommand, Refusal> {
    let whom = RelayRequestHeader::decode(&request.ext)?;
    let what = ConsumeMessageDirectlyRequestHeader::decode(&request.ext)?;
    request.body = message(broker, &what.msg_id)?;
    let ext: &mut ExtFields = &mut request.ext;
    ext.put("brokerName", &broker.config().broker_name);
    let topic = what.topic.and_then(|topic| broker.topics.get(&topic));
    if let Some(topic) = topic {
        ext.put_number("topicSysFlag", topic.topic_sys_flag);
    }
    if let Some(group) = broker.groups.get(&whom.consumer_group) {
        ext.put_number("groupSysFlag", group.group_sys_flag);
    }
    Ok(request)
}

fn message(broker: &Broker, id: &str) -> Result<Bytes, Refusal> {
    let id: MessageId = id
        .parse()
        .map_err(|_| Refusal::System(format!("{id:?} is no offset message id")))?;
    let offset = id.physical_offset;
    let message = broker.store.message_at(offset);
    message.ok_or_else(|| Refusal::System(format!("can not find message by the offset, {offset}")))
}

fn relay(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let (whom, member) = match addressee(broker, &request) {
        Ok(found) => found,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let broker = broker.clone();
    tokio::spawn(async move {
        let relayed = RemotingCommand {
            ext: request.ext,
            body: request.body,
            ..RemotingCommand::request(request.code, 0)
        };
        match member.connection.call(relayed, TIMEOUT).await {
            Ok(answer) => responder.answer(answer),
            Err(error) => broker.refuse(responder, unanswered(&whom, &error)),
        }
    });
}

fn addressee(
    broker: &Broker,
    request: &RemotingCommand,
) -> Result<(RelayRequestHeader, Member), Refusal> {
    let header = RelayRequestHeader::decode(&request.ext)?;
    let member = broker
        .consumers
        .member(&header.consumer_group, &header.client_id);
    let member = member.ok_or_else(|| {
        Refusal::System(format!(
            "The Consumer <{}> <{}> not online",
            header.consumer_group, header.client_id
        ))
    })?;
    if member.version < version::V3_1_8_SNAPSHOT {
        return Err(Refusal::System(format!(
            "The Consumer <{}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
            header.client_id,
            version::name(member.version)
        )));
    }
    Ok((header, member))
}

fn unanswered(whom: &RelayRequestHeader, error: &RemotingError) -> Refusal {
    let (group, client) = (&whom.consumer_group, &whom.client_id);
    match error {
        RemotingError::Timeout { .. } => {
            Refusal::ConsumerTimeout(format!("consumer <{group}> <{client}> Timeout: {error}"))
        }
        _ => Refusal::System(format!(
            "invoke consumer <{group}> <{client}> Exception: {error}"
        )),
    }
}
