//! RESUME_CHECK_HALF_MESSAGE (323): an operator lets a transaction that was given up be asked about
//! once more.

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::header::ResumeCheckHalfMessageRequestHeader;
use sluice_protocol::message::{MessageId, Record};
use sluice_protocol::topic::TRANS_CHECK_MAX_TIME_TOPIC;
use sluice_remoting::Responder;

use crate::error::Refusal;
use crate::{Answer, Broker};

/// Puts a message of `TRANS_CHECK_MAX_TIME_TOPIC`, named by its offset id, back among the half
/// messages. Unlike in Java's broker any other is refused, and one that awaits a decision again or
/// was committed since stays as it is.
pub fn resume_check_half_message(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = ResumeCheckHalfMessageRequestHeader::decode(&request.ext)?;
        let id: MessageId = header
            .msg_id
            .parse()
            .map_err(|_| Refusal::System(format!("{:?} is no message id", header.msg_id)))?;
        let bytes = broker.store.message_at(id.physical_offset);
        let record = bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        let Some(given_up) = record.filter(|it| it.topic() == TRANS_CHECK_MAX_TIME_TOPIC) else {
            return Err(Refusal::System(format!(
                "{} is no message of {TRANS_CHECK_MAX_TIME_TOPIC}",
                header.msg_id
            )));
        };
        broker.resume_check(&given_up)?;
        Ok(Answer::default())
    });
}
