//! Offsets: where a group would go, and moving it there.

use std::collections::BTreeMap;
use std::fmt::Display;

use sluice_protocol::body::MessageQueue;
use sluice_protocol::code::{request as code, response};

use super::{Cluster, Server, request};
use crate::error::AdminError;

/// One queue of a plan to move a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) queue: MessageQueue,
    /// Where it is; 0 where it has never been.
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Cluster {
    /// The first message of each queue that was stored at a time or later; where there is none, the
    /// end.
    pub(crate) async fn offsets_at(
        &self,
        servers: &[Server],
        queues: &[MessageQueue],
        time_ms: i64,
    ) -> BTreeMap<MessageQueue, i64> {
        let asked = queues.iter().filter_map(|queue| {
            let fields: [(&'static str, &dyn Display); 3] = [
                ("topic", &queue.topic),
                ("queueId", &queue.queue_id),
                ("timestamp", &time_ms),
            ];
            let server = of_queue(servers, queue)?;
            let request = request(code::SEARCH_OFFSET_BY_TIMESTAMP, &fields);
            Some((queue.clone(), (server, request)))
        });
        let (queues, asked): (Vec<_>, Vec<_>) = asked.unzip();
        let mut found = BTreeMap::new();
        for (queue, answer) in queues.into_iter().zip(self.ask_all(asked).await) {
            let Some(answer) = answer else { continue };
            let server = answer.server.clone();
            match answer.succeeded().and_then(|answer| answer.field("offset")) {
                Ok(offset) => drop(found.insert(queue, offset)),
                Err(error) => self.note(&server, error),
            }
        }
        found
    }

    /// Moves a group, queue by queue; tells which queues were moved. Members that consume go on from
    /// there at their next pull. A broker of before 5.x only tells its online members, all queues at
    /// once by time; there, offsets are stored when nobody is online.
    pub(crate) async fn move_group(
        &self,
        servers: &[Server],
        group: &str,
        moves: &[Move],
    ) -> Vec<Move> {
        let mut moved = Vec::new();
        for one in moves {
            let Some(server) = of_queue(servers, &one.queue) else {
                continue;
            };
            match self.move_queue(&server, group, one).await {
                Ok(()) => moved.push(one.clone()),
                Err(error) => self.note(&server, error),
            }
        }
        moved
    }

    async fn move_queue(&self, server: &Server, group: &str, to: &Move) -> Result<(), AdminError> {
        let fields: [(&'static str, &dyn Display); 6] = [
            ("topic", &to.queue.topic),
            ("group", &group),
            ("timestamp", &0),
            ("isForce", &true),
            ("queueId", &to.queue.queue_id),
            ("offset", &to.to),
        ];
        let asked = request(code::INVOKE_BROKER_TO_RESET_OFFSET, &fields);
        let answer = self.ask(server, asked).await?;
        if answer.is(response::CONSUMER_NOT_ONLINE) {
            return self.commit(server, group, &to.queue, to.to).await;
        }
        answer.succeeded().map(drop)
    }

    /// Stores an offset of a group, which should not be consuming the queue.
    pub(crate) async fn commit(
        &self,
        server: &Server,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), AdminError> {
        let fields: [(&'static str, &dyn Display); 5] = [
            ("consumerGroup", &group),
            ("topic", &queue.topic),
            ("queueId", &queue.queue_id),
            ("commitOffset", &offset),
            ("bname", &queue.broker_name),
        ];
        let asked = request(code::UPDATE_CONSUMER_OFFSET, &fields);
        self.ask(server, asked).await?.succeeded().map(drop)
    }
}

/// The server of a queue's broker.
pub(crate) fn of_queue(servers: &[Server], queue: &MessageQueue) -> Option<Server> {
    let of = |server: &&Server| server.name == queue.broker_name;
    servers.iter().find(of).cloned()
}

/// `broker-a:0` as a queue of a topic.
pub(crate) fn queue(topic: &str, text: &str) -> Result<MessageQueue, AdminError> {
    let wrong = || AdminError::Command(format!("{text:?} is no queue: broker-a:0 is expected"));
    let (broker_name, id) = text.rsplit_once(':').ok_or_else(wrong)?;
    Ok(MessageQueue {
        topic: topic.to_owned(),
        broker_name: broker_name.to_owned(),
        queue_id: id.parse().map_err(|_| wrong())?,
    })
}

/// Of all queues those that are named; all when none is.
pub(crate) fn narrowed(
    topic: &str,
    all: Vec<MessageQueue>,
    named: &[String],
) -> Result<Vec<MessageQueue>, AdminError> {
    if named.is_empty() {
        return Ok(all);
    }
    let wanted = named.iter().map(|text| {
        let queue = queue(topic, text)?;
        match all.contains(&queue) {
            true => Ok(queue),
            false => Err(AdminError::Command(format!(
                "topic {topic} has no queue {text}: `sluice topic show {topic}` shows all"
            ))),
        }
    });
    wanted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_named_by_broker_and_number() {
        let of = queue("T", "broker-a:3").unwrap();
        assert_eq!((&*of.broker_name, of.queue_id), ("broker-a", 3));
        assert!(queue("T", "3").is_err() && queue("T", "a:x").is_err());
        let all = vec![of.clone()];
        assert_eq!(narrowed("T", all.clone(), &[]).unwrap(), all);
        assert!(narrowed("T", all, &["b:0".to_owned()]).is_err());
    }
}
