//! Offsets: where a group would go, and moving it there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use sluice_protocol::RemotingCommand;
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

    /// Of these queues those that a group has an offset on: how far it is says 0 of the others, too.
    /// 4.9 says so of all that still have their first message.
    pub(crate) async fn with_offset(
        &self,
        servers: &[Server],
        group: &str,
        queues: &[MessageQueue],
    ) -> BTreeSet<MessageQueue> {
        let asked = queues.iter().filter_map(|queue| {
            let server = of_queue(servers, queue)?;
            Some((queue.clone(), (server, committed(group, queue))))
        });
        let (queues, asked): (Vec<_>, Vec<_>) = asked.unzip();
        let mut found = BTreeSet::new();
        for (queue, answer) in queues.into_iter().zip(self.ask_all(asked).await) {
            let Some(answer) = answer.filter(|it| !it.is(response::QUERY_NOT_FOUND)) else {
                continue;
            };
            let server = answer.server.clone();
            match answer.succeeded() {
                Ok(_) => drop(found.insert(queue)),
                Err(error) => self.note(&server, error),
            }
        }
        found
    }

    /// Moves a group; tells which queues were moved. Members that consume go on from there at their next
    /// pull.
    ///
    /// Brokers with `useServerSideResetOffset`, 5.x by default, move queue by queue. Others tell their
    /// online members a time for all queues of the topic, and take offsets only while nobody is online:
    /// `time_ms` is the time that stands for the moves, -1 for the end, none if no time does.
    pub(crate) async fn move_group(
        &self,
        servers: &[Server],
        group: &str,
        moves: &[Move],
        time_ms: Option<i64>,
    ) -> Vec<Move> {
        let configs = self.broker_configs(servers).await;
        let moves_queues = |server: &Server| {
            let values = configs.iter().find(|(of, _)| of == server);
            let value = values.and_then(|(_, values)| values.get("useServerSideResetOffset"));
            value.is_some_and(|value| value.trim() == "true")
        };
        let (mut asked, mut meant): (Vec<(Server, RemotingCommand)>, Vec<Vec<Move>>) =
            Default::default();
        for server in servers {
            let here = moves
                .iter()
                .filter(|one| one.queue.broker_name == server.name);
            let here: Vec<Move> = here.cloned().collect();
            let Some(first) = here.first() else { continue };
            if moves_queues(server) {
                asked.extend(
                    here.iter()
                        .map(|one| (server.clone(), to_queue(group, one))),
                );
                meant.extend(here.into_iter().map(|one| vec![one]));
            } else if self
                .consumers(std::slice::from_ref(server), group)
                .await
                .connections
                .is_empty()
            {
                asked.extend(
                    here.iter()
                        .map(|one| (server.clone(), commit(group, &one.queue, one.to))),
                );
                meant.extend(here.into_iter().map(|one| vec![one]));
            } else if let Some(time) = time_ms {
                asked.push((server.clone(), to_time(group, &first.queue.topic, time)));
                meant.push(here);
            } else {
                self.note(
                    server,
                    "it moves members that are online by time, and all queues at once: stop them first",
                );
            }
        }
        self.moved(asked, meant).await
    }

    /// Stores offsets of a group of which nobody is online; tells which queues were moved.
    pub(crate) async fn commit_all(
        &self,
        servers: &[Server],
        group: &str,
        moves: &[Move],
    ) -> Vec<Move> {
        let asked = moves.iter().filter_map(|one| {
            let request = commit(group, &one.queue, one.to);
            Some(((of_queue(servers, &one.queue)?, request), vec![one.clone()]))
        });
        let (asked, meant) = asked.unzip();
        self.moved(asked, meant).await
    }

    /// What was moved by requests that meant these moves.
    async fn moved(
        &self,
        asked: Vec<(Server, RemotingCommand)>,
        meant: Vec<Vec<Move>>,
    ) -> Vec<Move> {
        let mut moved = Vec::new();
        for (answer, meant) in self.ask_all(asked).await.into_iter().zip(meant) {
            let Some(answer) = answer else { continue };
            let server = answer.server.clone();
            match answer.succeeded() {
                Ok(_) => moved.extend(meant),
                Err(error) => self.note(&server, error),
            }
        }
        moved
    }
}

/// Moves one queue to an offset.
fn to_queue(group: &str, to: &Move) -> RemotingCommand {
    let fields: [(&'static str, &dyn Display); 6] = [
        ("topic", &to.queue.topic),
        ("group", &group),
        ("timestamp", &0),
        ("isForce", &true),
        ("queueId", &to.queue.queue_id),
        ("offset", &to.to),
    ];
    request(code::INVOKE_BROKER_TO_RESET_OFFSET, &fields)
}

/// Moves all queues of a topic to a time.
fn to_time(group: &str, topic: &str, time_ms: i64) -> RemotingCommand {
    let fields: [(&'static str, &dyn Display); 4] = [
        ("topic", &topic),
        ("group", &group),
        ("timestamp", &time_ms),
        ("isForce", &true),
    ];
    request(code::INVOKE_BROKER_TO_RESET_OFFSET, &fields)
}

/// Asks for an offset, and for no other where there is none.
fn committed(group: &str, queue: &MessageQueue) -> RemotingCommand {
    let fields: [(&'static str, &dyn Display); 5] = [
        ("consumerGroup", &group),
        ("topic", &queue.topic),
        ("queueId", &queue.queue_id),
        ("setZeroIfNotFound", &false),
        ("bname", &queue.broker_name),
    ];
    request(code::QUERY_CONSUMER_OFFSET, &fields)
}

/// Stores an offset.
fn commit(group: &str, queue: &MessageQueue, offset: i64) -> RemotingCommand {
    let fields: [(&'static str, &dyn Display); 5] = [
        ("consumerGroup", &group),
        ("topic", &queue.topic),
        ("queueId", &queue.queue_id),
        ("commitOffset", &offset),
        ("bname", &queue.broker_name),
    ];
    request(code::UPDATE_CONSUMER_OFFSET, &fields)
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
