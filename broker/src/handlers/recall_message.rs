//! RECALL_MESSAGE (370): a producer takes back a message that waits for its time.

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;
use sluice_protocol::header::RecallMessageRequestHeader;
use sluice_protocol::topic::perm;
use sluice_remoting::Responder;
use sluice_store::{AppendError, Durability};

use crate::Broker;
use crate::error::Refusal;
use crate::timer::Handle;

/// Recalls it; answers its unique key when the recall is as durable as promised. A recall that comes
/// in time counts, whether or not there is such a message.
///
/// Source: `RecallMessageProcessor`.
pub fn recall_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let header = match RecallMessageRequestHeader::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return broker.refuse(responder, error),
    };
    let handle = match check(broker, &header) {
        Ok(handle) => handle,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let group = header.producer_group.unwrap_or_default();
    let recalled = broker.recall(&handle, &group, responder.connection().peer());
    match recalled {
        Ok(appended) => answer_when_durable(broker, handle, appended.end_offset, responder),
        Err(refusal @ Refusal::IllegalOperation(_)) => broker.refuse(responder, refusal),
        Err(refusal) => {
            tracing::warn!(%refusal, topic = handle.topic, "a recall can't be stored");
            let failed = Refusal::System("recall failed, execute error".to_owned());
            broker.refuse(responder, failed);
        }
    }
}

fn check(broker: &Broker, header: &RecallMessageRequestHeader) -> Result<Handle, Refusal> {
    let config = broker.config();
    if !config.recall_message_enable {
        return Err(Refusal::NoPermission(
            "recall failed, operation is forbidden".to_owned(),
        ));
    }
    let illegal = |what: &str| Err(Refusal::IllegalOperation(what.to_owned()));
    let starting = broker.now_ms() < config.start_accept_send_request_time_stamp;
    if starting || config.broker_permission & perm::WRITE == 0 {
        return Err(Refusal::Unavailable(
            "recall failed, broker service not available".to_owned(),
        ));
    }
    if broker.topics.get(&header.topic).is_none() {
        return Err(Refusal::NoSuchTopic(format!(
            "recall failed, the topic[{}] not exist",
            header.topic
        )));
    }
    let Some(handle) = Handle::decode(&header.recall_handle) else {
        return illegal("recall handle is invalid");
    };
    if *handle.topic != *header.topic {
        return illegal("recall failed, topic not match");
    }
    if handle.broker != config.broker_name {
        return illegal("recall failed, broker service not available");
    }
    Ok(handle)
}

fn answer_when_durable(broker: &Arc<Broker>, handle: Handle, end: i64, responder: Responder) {
    let mut success = responder.response(response::SUCCESS);
    success.ext.put("msgId", handle.unique_key);
    success
        .ext
        .put("MSG_REGION", broker.config().region_id.clone());
    if !broker.flushes_in_sync() {
        return responder.answer(success);
    }
    let refuser = broker.clone();
    let done = move |durability: Durability| match durability {
        // Java as well takes a sync that is late for a success.
        Durability::Durable | Durability::TimedOut => responder.answer(success),
        Durability::Failed(reason) => refuser.refuse(responder, AppendError::LogStopped { reason }),
    };
    broker.store.when_durable(end, Box::new(done));
}
