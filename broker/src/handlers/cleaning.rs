//! What an operator has removed at once instead of waiting for its hour: 306, 316, 329.

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::topic::LMQ_PREFIX;
use sluice_remoting::Responder;

use crate::error::Refusal;
use crate::{Answer, Broker};

/// CLEAN_EXPIRED_CONSUMEQUEUE: queues all of whose messages have left the log.
pub fn clean_expired_consume_queue(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    clean(broker, responder, |broker| {
        broker.store.delete_expired_queues();
        Ok(())
    });
}

/// DELETE_EXPIRED_COMMITLOG: files of the log that are past their time.
pub fn delete_expired_commit_log(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    clean(broker, responder, |broker| {
        broker.store.delete_expired_files();
        Ok(())
    });
}

/// CLEAN_UNUSED_TOPIC: queues of topics that are not there any more. The system's own stay, and the light
/// queues of a Java broker, which are in no table.
pub fn clean_unused_topic(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    clean(broker, responder, |broker| {
        let mut topics: Vec<String> = broker
            .store
            .queues()
            .into_iter()
            .map(|(it, _)| it)
            .collect();
        topics.dedup();
        let is_unused = |topic: &str| {
            !broker.topics.is_system(topic)
                && !topic.starts_with(LMQ_PREFIX)
                && broker.topics.get(topic).is_none()
        };
        for topic in topics.iter().filter(|topic| is_unused(topic)) {
            let removed = broker.store.delete_topic_if(topic, || is_unused(topic));
            if removed.map_err(|error| Refusal::System(error.to_string()))? {
                tracing::info!(
                    topic,
                    "queues of a topic that is not there any more are removed"
                );
            }
        }
        Ok(())
    });
}

/// One at a time, for it holds up what makes messages visible.
fn clean(
    broker: &Arc<Broker>,
    responder: Responder,
    work: impl FnOnce(&Broker) -> Result<(), Refusal> + Send + 'static,
) {
    broker.reply_aside(responder, move |broker| {
        let Some(_one) = broker.cleaning.try_lock() else {
            return Err(Refusal::Busy(
                "another cleaning is under way, try again when it has ended".to_owned(),
            ));
        };
        work(broker).map(|()| Answer::default())
    });
}
