//! END_TRANSACTION (37): a producer decides a transaction; mostly one-way.

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;
use sluice_protocol::header::EndTransactionRequestHeader;
use sluice_protocol::message::{Record, sys_flag};
use sluice_protocol::topic::TRANS_HALF_TOPIC;
use sluice_remoting::Responder;
use sluice_store::{AppendError, Durability};

use crate::Broker;
use crate::error::Refusal;
use crate::transactions::{self, Decision};

/// Bytes behind the log's end that are read without touching a disk.
const RECENT: i64 = 64 << 20;

/// Commits or rolls back; "unknown" leaves all as it is. What was decided before stays so, and
/// the answer is a success all the same.
pub fn end_transaction(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let header = match EndTransactionRequestHeader::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return broker.refuse(responder, error),
    };
    let decision = match header.commit_or_rollback {
        sys_flag::TRANSACTION_COMMIT => Decision::Commit,
        sys_flag::TRANSACTION_ROLLBACK => Decision::Rollback,
        // Java does not answer this one at all; its clients don't wait.
        0 => return broker.reply(responder, || Ok(Default::default())),
        _ => {
            let wrong = Refusal::System("commitOrRollback field wrong".to_owned());
            return broker.refuse(responder, wrong);
        }
    };
    let offset = header.tran_state_table_offset;
    let behind = broker.store.log_end() - header.commit_log_offset.max(0);
    if behind <= RECENT
        && broker
            .store
            .is_hot(TRANS_HALF_TOPIC, transactions::QUEUE, offset, 1)
    {
        return decide(broker, &header, decision, responder);
    }
    broker.aside(responder, move |broker, responder| {
        decide(broker, &header, decision, responder);
    });
}

fn decide(
    broker: &Arc<Broker>,
    header: &EndTransactionRequestHeader,
    decision: Decision,
    responder: Responder,
) {
    let half = broker.store.message_at(header.commit_log_offset);
    let decided =
        checked(broker, header, half.as_deref()).and_then(|half| broker.decide(&half, decision));
    match decided {
        Ok(Some(end)) => answer_when_durable(broker, end, responder),
        Ok(None) => broker.reply(responder, || Ok(Default::default())),
        Err(refusal) => broker.refuse(responder, refusal),
    }
}

/// The half message that is meant, after Java's checks.
fn checked<'a>(
    broker: &Broker,
    header: &EndTransactionRequestHeader,
    half: Option<&'a [u8]>,
) -> Result<Record<'a>, Refusal> {
    let wrong = |what: &str| Err(Refusal::System(what.to_owned()));
    let half = half.and_then(|bytes| Record::parse(bytes).ok());
    let Some(half) = half.filter(transactions::is_half) else {
        return wrong("Find prepared transaction message failed");
    };
    if !header.from_transaction_check
        && let Some(immunity) = transactions::immunity_ms(&half, &broker.config())
        && broker.now_ms().saturating_sub(half.store_timestamp()) > immunity
    {
        return Err(Refusal::TooLateToDecide);
    }
    if transactions::group(&half) != &*header.producer_group {
        return wrong("The producer group wrong");
    }
    if half.queue_offset() != header.tran_state_table_offset {
        return wrong("The transaction state table offset wrong");
    }
    Ok(half)
}

fn answer_when_durable(broker: &Arc<Broker>, end: i64, responder: Responder) {
    let success = responder.response(response::SUCCESS);
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
