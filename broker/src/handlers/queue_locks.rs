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
        let now = broker.now_ms();
        let mut queues: Vec<_> = body.mq_set.into_iter().collect();
        if reader != body.consumer_group {
            // Who was away when the group was split holds its queues in the group's own name.
            queues.retain(|queue| {
                let holder = broker.locks.holder(&body.consumer_group, queue, now);
                holder.is_none_or(|holder| holder == body.client_id)
            });
        }
        let held = broker.locks.lock(&reader, &body.client_id, queues, now);
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
