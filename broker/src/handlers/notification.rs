//! NOTIFICATION (200054), POLLING_INFO (200055): whether a pop would find something, and how many
//! pops wait.

use std::sync::Arc;

use sluice_filters::TagFilter;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;
use sluice_protocol::header::{
    NotificationRequestHeader, NotificationResponseHeader, PollingInfoRequestHeader,
};
use sluice_remoting::Responder;

use crate::error::Refusal;
use crate::handlers::pop_message::{self, ParkedPop};
use crate::{Answer, Broker};

/// Answers when there is something to pop, or when its time is up.
pub fn notification(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    match admit(broker, &request, &responder) {
        Ok(header) => {
            let deadline_ms = pop_message::deadline(broker, header.born_time, header.poll_time);
            let wait = ParkedPop {
                topic: header.topic.to_string(),
                group: header.consumer_group.to_string(),
                queue_id: header.queue_id.max(-1),
                look_ms: deadline_ms,
                filter: Arc::new(TagFilter::all()),
                responder,
                held: false,
                order: header.order,
                attempt_id: header.attempt_id.map(|id| id.to_string()),
                deadline_ms,
                take: None,
            };
            look(broker, wait);
        }
        Err(refusal) => broker.refuse(responder, refusal),
    }
}

fn admit(
    broker: &Broker,
    request: &RemotingCommand,
    responder: &Responder,
) -> Result<NotificationRequestHeader, Refusal> {
    let header = NotificationRequestHeader::decode(&request.ext)?;
    broker.may_pop("peeking")?;
    pop_message::check_attempt(header.attempt_id.as_deref())?;
    broker.popped_topic(
        &header.topic,
        &header.consumer_group,
        header.queue_id,
        responder.connection().peer(),
    )?;
    Ok(header)
}

/// Looks, and waits on if there is nothing yet.
pub(crate) fn look(broker: &Broker, wait: ParkedPop) {
    if broker.has_for(&wait, true) {
        return answer(wait, true, false);
    }
    if wait.deadline_ms <= broker.now_ms() {
        return answer(wait, false, false);
    }
    if let Err(wait) = pop_message::park(broker, wait) {
        answer(*wait, false, true);
    }
}

fn answer(wait: ParkedPop, has_msg: bool, polling_full: bool) {
    let mut success = wait.responder.response(response::SUCCESS);
    let header = NotificationResponseHeader {
        has_msg,
        polling_full,
    };
    header.encode(&mut success.ext);
    wait.responder.answer(success);
}

/// How many pops of the group wait for the queue.
pub fn polling_info(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let peer = responder.connection().peer();
    broker.reply(responder, || {
        let header = PollingInfoRequestHeader::decode(&request.ext)?;
        broker.may_pop("peeking")?;
        let (topic, group) = (&*header.topic, &*header.consumer_group);
        broker.popped_topic(topic, group, header.queue_id, peer)?;
        let waiting = broker.long_poll.waiting_pops(topic, group, header.queue_id);
        Ok(Answer::field("pollingNum", waiting))
    });
}
