//! What an operator has removed at once instead of waiting for its hour: 306, 316, 329.

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_remoting::Responder;

use crate::error::Refusal;
use crate::{Answer, Broker};

/// CLEAN_EXPIRED_CONSUMEQUEUE: queues all of whose messages have left the log.
pub fn clean_expired_consume_queue(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        broker.store.delete_expired_queues();
        Ok(Answer::default())
    });
}

/// DELETE_EXPIRED_COMMITLOG: files of the log that are past their time.
pub fn delete_expired_commit_log(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        broker.store.delete_expired_files();
        Ok(Answer::default())
    });
}

/// CLEAN_UNUSED_TOPIC: queues of topics that are not there any more; the system's own stay.
pub fn clean_unused_topic(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let mut topics: Vec<String> = broker
            .store
            .queues()
            .into_iter()
            .map(|(it, _)| it)
            .collect();
        topics.dedup();
        topics
            .retain(|topic| !broker.topics.is_system(topic) && broker.topics.get(topic).is_none());
        for topic in topics {
            tracing::info!(
                topic,
                "queues of a topic that is not there any more are removed"
            );
            broker
                .store
                .delete_topic(&topic)
                .map_err(|error| Refusal::System(error.to_string()))?;
        }
        Ok(Answer::default())
    });
}
