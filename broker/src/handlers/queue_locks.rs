//! LOCK_BATCH_MQ (41), UNLOCK_BATCH_MQ (42).

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{LockBatchRequestBody, LockBatchResponseBody};
use sluice_remoting::Responder;

use crate::handlers::sessions;
use crate::{Answer, Broker};

/// Takes or renews locks; the answer lists those which the client holds now.
pub fn lock_batch_mq(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let connection = responder.connection().id();
    broker.reply(responder, || {
        let body: LockBatchRequestBody = broker.body(&request)?;
        let reader = broker.reader(&body.consumer_group, connection)?;
        let queues = body.mq_set.into_iter().collect();
        let held = broker
            .locks
            .lock(&reader, &body.client_id, queues, broker.now_ms());
        broker.json(&LockBatchResponseBody {
            lock_ok_mq_set: held.into_iter().collect(),
        })
    });
}

/// Frees the client's own locks, and tells those who were refused one of them.
pub fn unlock_batch_mq(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let connection = responder.connection().id();
    broker.reply(responder, || {
        let body: LockBatchRequestBody = broker.body(&request)?;
        let reader = broker.reader(&body.consumer_group, connection)?;
        let queues: Vec<_> = body.mq_set.into_iter().collect();
        let refused = broker.locks.unlock(&reader, &body.client_id, &queues);
        sessions::tell_clients(broker, &body.consumer_group, &refused);
        Ok(Answer::default())
    });
}
