//! Messages: found, read queue by queue.

use std::collections::BTreeMap;
use std::fmt::Display;

use sluice_client::ReceivedMessage;
use sluice_protocol::body::MessageQueue;
use sluice_protocol::code::{request as code, response};
use sluice_protocol::message::MessageId;

use super::{Answer, Cluster, Server, request};
use crate::error::AdminError;

/// The group under which Java's tools read, and we do: it commits nothing.
const READER: &str = "TOOLS_CONSUMER";
/// Of a pull: the subscription is in the request; nothing is committed, nobody waits.
const WITH_SUBSCRIPTION: i32 = 4;

/// What a pull brought, and where the next one begins.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) messages: Vec<ReceivedMessage>,
    pub(crate) next: i64,
    /// Nothing is behind it.
    pub(crate) ended: bool,
}

/// Which messages of a queue.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) expression: &'a str,
    pub(crate) language: &'a str,
}

/// All of them.
pub(crate) const EVERYTHING: Wanted<'static> = Wanted {
    expression: "*",
    language: "TAG",
};

/// What is looked up in the index of a topic.
#[derive(Debug, Clone)]
pub(crate) struct Lookup<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: &'a str,
    /// The key is the id that its producer gave it.
    pub(crate) is_id: bool,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    pub(crate) count: u32,
}

impl Cluster {
    /// Messages with a key or id, of all brokers, the oldest first.
    pub(crate) async fn look_up(
        &self,
        servers: &[Server],
        wanted: &Lookup<'_>,
    ) -> Vec<ReceivedMessage> {
        let fields: [(&'static str, &dyn Display); 6] = [
            ("topic", &wanted.topic),
            ("key", &wanted.key),
            ("maxNum", &wanted.count),
            ("beginTimestamp", &wanted.from_ms),
            ("endTimestamp", &wanted.to_ms),
            ("_UNIQUE_KEY_QUERY", &wanted.is_id),
        ];
        let asked = request(code::QUERY_MESSAGE, &fields);
        let told = self.ask_each(servers, &asked, |answer| {
            match answer.is(response::QUERY_NOT_FOUND) {
                true => Ok(Vec::new()),
                false => messages(answer.succeeded()?),
            }
        });
        let found = told.await.into_iter().flat_map(|(_, found)| found);
        // The index knows hashes.
        let mut found: Vec<_> = found.filter(|message| has_key(message, wanted)).collect();
        found.sort_by_key(ReceivedMessage::store_timestamp);
        found
    }

    /// The message with a broker's id, of the broker that the id names.
    pub(crate) async fn view(
        &self,
        members: &[super::Member],
        id: &MessageId,
    ) -> Result<Option<ReceivedMessage>, AdminError> {
        let address = id.store_host.to_string();
        let known = members.iter().find(|it| it.server.address == address);
        let server = known.map_or_else(
            || Server {
                name: address.clone(),
                address: address.clone(),
            },
            |member| member.server.clone(),
        );
        let asked = request(code::VIEW_MESSAGE_BY_ID, &[("offset", &id.physical_offset)]);
        let answer = self.ask(&server, asked).await?;
        // Java answers "system error" where nothing is stored.
        if answer.is(response::QUERY_NOT_FOUND) || answer.is(response::SYSTEM_ERROR) {
            return Ok(None);
        }
        Ok(messages(answer.succeeded()?)?.pop())
    }

    /// Reads a queue from an offset on.
    pub(crate) async fn pull(
        &self,
        server: &Server,
        queue: &MessageQueue,
        offset: i64,
        count: u32,
        wanted: &Wanted<'_>,
    ) -> Result<Pulled, AdminError> {
        let fields: [(&'static str, &dyn Display); 11] = [
            ("consumerGroup", &READER),
            ("topic", &queue.topic),
            ("queueId", &queue.queue_id),
            ("queueOffset", &offset),
            ("maxMsgNums", &count),
            ("sysFlag", &WITH_SUBSCRIPTION),
            ("commitOffset", &0),
            ("suspendTimeoutMillis", &0),
            ("subscription", &wanted.expression),
            ("subVersion", &0),
            ("expressionType", &wanted.language),
        ];
        let answer = self
            .ask(server, request(code::PULL_MESSAGE, &fields))
            .await?;
        let nothing = [
            response::PULL_NOT_FOUND,
            response::PULL_RETRY_IMMEDIATELY,
            response::PULL_OFFSET_MOVED,
        ];
        let is_nothing = nothing.into_iter().any(|code| answer.is(code));
        let answer = match is_nothing {
            true => answer,
            false => answer.succeeded()?,
        };
        let next: i64 = answer.field("nextBeginOffset")?;
        let end: i64 = answer.field("maxOffset")?;
        let messages = match is_nothing {
            true => Vec::new(),
            false => messages(answer)?,
        };
        Ok(Pulled {
            ended: next >= end || (messages.is_empty() && next <= offset),
            messages,
            next,
        })
    }

    /// Bounds of a topic's queues that consumers have; there may be more to write.
    pub(crate) async fn bounds(
        &self,
        servers: &[Server],
        topic: &str,
    ) -> Result<BTreeMap<MessageQueue, (i64, i64)>, AdminError> {
        let route = self.route(topic).await?;
        let is_read = |queue: &MessageQueue| {
            let mut of = route.queue_datas.iter();
            of.any(|of| of.broker_name == queue.broker_name && queue.queue_id < of.read_queue_nums)
        };
        let stats = self.topic_stats(servers, topic).await.into_iter();
        let stats = stats.filter(|(queue, _)| is_read(queue));
        Ok(stats
            .map(|(queue, at)| (queue, (at.min_offset.max(0), at.max_offset.max(0))))
            .collect())
    }
}

fn messages(answer: Answer) -> Result<Vec<ReceivedMessage>, AdminError> {
    ReceivedMessage::read_all(answer.bytes(), &answer.server.name)
        .map_err(|what| answer.not_understood(what))
}

fn has_key(message: &ReceivedMessage, wanted: &Lookup<'_>) -> bool {
    match wanted.is_id {
        true => message.message_id() == wanted.key,
        false => message.keys().any(|key| key == wanted.key),
    }
}
