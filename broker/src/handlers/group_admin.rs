//! Groups and their clients, as administrators see and change them: 200, 201, 203, 204, 207, 208,
//! 307, 343, 352.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    ConnectionInfo, ConsumeStats, ConsumerConnection, OffsetWrapper, ProducerConnection,
    SubscriptionData, SubscriptionGroupConfig, SubscriptionGroupWrapper, TopicList,
};
use sluice_protocol::header::{
    DeleteSubscriptionGroupRequestHeader, GetConsumeStatsRequestHeader,
    GetConsumerConnectionListRequestHeader, GetProducerConnectionListRequestHeader,
    GroupRequestHeader, RelayRequestHeader,
};
use sluice_protocol::{topic, version};
use sluice_remoting::{RemotingError, Responder};

use crate::clients::{CONFLICTS_SHOWN, Client, Member, conflicts};
use crate::error::Refusal;
use crate::{Answer, Broker, topics};

/// Most time a consumer gets to answer what an administrator asks of it.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);

/// Creates or changes a group; it is written when the answer leaves.
pub fn update_and_create_subscription_group(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_settled(responder, || {
        let group: SubscriptionGroupConfig = broker.body(&request)?;
        if !topic::is_valid_group(&group.group_name) {
            return Err(Refusal::InvalidParameter(format!(
                "the group name {:?} is not valid",
                group.group_name
            )));
        }
        if !(0..=topics::QUEUES_MAX).contains(&group.retry_queue_nums) {
            return Err(Refusal::InvalidParameter(format!(
                "retryQueueNums is {}, 0 to {} is expected",
                group.retry_queue_nums,
                topics::QUEUES_MAX
            )));
        }
        broker.groups.put(group, broker.now_ms());
        broker.changes.note_group();
        Ok(Answer::default())
    });
}

/// Deletes a group, and its offsets if asked to.
pub fn delete_subscription_group(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_settled(responder, || {
        let header = DeleteSubscriptionGroupRequestHeader::decode(&request.ext)?;
        if broker.groups.remove(&header.group_name, broker.now_ms()) {
            broker.changes.note_group();
            broker.forget_counts_of_gone_groups();
        }
        if header.clean_offset || header.remove_offset {
            broker.offsets.remove_group(&header.group_name);
        }
        Ok(Answer::default())
    });
}

/// All groups.
pub fn get_all_subscription_group_config(
    broker: &Arc<Broker>,
    _: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let groups = broker
            .groups
            .all()
            .into_iter()
            .map(|(name, group)| (name, SubscriptionGroupConfig::clone(&group)))
            .collect();
        let (data_version, forbidden_table) = (broker.groups.version(), broker.groups.forbidden());
        broker.json(&SubscriptionGroupWrapper {
            data_version,
            forbidden_table,
            subscription_group_table: groups,
        })
    });
}

/// One group.
pub fn get_subscription_group_config(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply(responder, || {
        let header = GroupRequestHeader::decode(&request.ext)?;
        let group = broker
            .groups
            .get(&header.group)
            .ok_or_else(|| Refusal::NoSuchGroup("No group in this broker".to_owned()))?;
        broker.json(&*group)
    });
}

/// The group's connected consumers and what they subscribe to.
pub fn get_consumer_connection_list(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = GetConsumerConnectionListRequestHeader::decode(&request.ext)?;
        let group = broker.consumers.get(&header.consumer_group);
        let group = group.ok_or_else(|| {
            Refusal::ConsumerNotOnline(format!(
                "the consumer group[{}] not online",
                header.consumer_group
            ))
        })?;
        let members = group.members();
        let mut subscription_table = group.subscriptions.clone();
        subscription_table.extend(disagreements(&members));
        broker.json(&ConsumerConnection {
            connection_set: members.iter().map(connection).collect(),
            consume_from_where: group.consume_from_where,
            consume_type: group.consume_type,
            message_model: group.message_model,
            subscription_table,
        })
    });
}

/// Clients of one side that are named.
const CLIENTS_NAMED: usize = 10;

fn names(clients: &[Client]) -> String {
    let named = clients.iter().take(CLIENTS_NAMED);
    let named: Vec<&str> = named.map(|client| &*client.client_id).collect();
    let more = match clients.len().saturating_sub(CLIENTS_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.join(", ") + &more
}

/// Tools print what the table holds: beside what is in force, who wants what of a topic about which members
/// disagree, under names that no topic has.
fn disagreements(members: &[Member]) -> BTreeMap<String, SubscriptionData> {
    let conflicts = conflicts(members, CONFLICTS_SHOWN);
    let sides = conflicts.into_iter().flat_map(|conflict| {
        let topic = conflict.topic;
        conflict
            .sides
            .into_iter()
            .map(move |side| (topic.clone(), side))
    });
    let shown = sides.map(|(topic, side)| {
        let clients = names(&side.clients);
        let wish = match &side.wish {
            Some(wish) => format!("{wish} of {clients}"),
            None => format!("not subscribed to by {clients}"),
        };
        let shown = SubscriptionData {
            sub_string: wish,
            topic: topic.clone(),
            ..SubscriptionData::default()
        };
        (format!("{topic} of {clients}"), shown)
    });
    shown.collect()
}

/// The group's connected producers.
pub fn get_producer_connection_list(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply(responder, || {
        let header = GetProducerConnectionListRequestHeader::decode(&request.ext)?;
        let members = broker.producers.get(&header.producer_group);
        let members = members.ok_or_else(|| {
            Refusal::System(format!(
                "the producer group[{}] not exist",
                header.producer_group
            ))
        })?;
        broker.json(&ProducerConnection {
            connection_set: members.iter().map(connection).collect(),
        })
    });
}

fn connection(member: &Member) -> ConnectionInfo {
    ConnectionInfo {
        client_addr: member.connection.peer().to_string(),
        client_id: member.client_id.clone(),
        language: member.language.name().to_owned(),
        version: member.version,
    }
}

/// How far a group is, on one topic or on all it has offsets for.
pub fn get_consume_stats(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let header = GetConsumeStatsRequestHeader::decode(&request.ext)?;
        let group = &*header.consumer_group;
        let mut stats = ConsumeStats::default();
        for topic in &asked_for(broker, &header) {
            let queues = broker
                .topics
                .get(topic)
                .map_or(0, |topic| topic.read_queue_nums);
            for queue_id in 0..queues {
                stats.offset_table.insert(
                    broker.queue(topic, queue_id),
                    progress(broker, group, topic, queue_id),
                );
            }
            stats.consume_tps += broker.stats.group_get_tps(topic, group);
        }
        broker.json(&stats)
    });
}

/// Topics that are named are not compared with the subscription, but for a single one.
fn asked_for(broker: &Broker, header: &GetConsumeStatsRequestHeader) -> BTreeSet<String> {
    let named = header.topic_list.as_deref().unwrap_or_default();
    let named = named.split(';').filter(|topic| !topic.trim().is_empty());
    let named: BTreeSet<String> = named.map(str::to_owned).collect();
    if !named.is_empty() {
        return named;
    }
    let group = &*header.consumer_group;
    let mut topics = match header.topic.as_deref() {
        Some(topic) if !topic.is_empty() => std::iter::once(topic.to_owned()).collect(),
        _ => broker.offsets.topics_of(group),
    };
    topics.retain(|topic| is_subscribed(broker, group, topic));
    topics
}

/// Whether the group has subscribed to the topic; of a group that is not connected nobody knows.
pub(super) fn is_subscribed(broker: &Broker, group: &str, topic: &str) -> bool {
    broker
        .consumers
        .with(group, |group| group.subscriptions.contains_key(topic))
        .unwrap_or(true)
}

/// How far a group is on one queue.
pub(super) fn progress(broker: &Broker, group: &str, topic: &str, queue_id: i32) -> OffsetWrapper {
    // What was popped is stored a little later.
    let consumer_offset = broker
        .pop
        .queues
        .next(&broker.offsets, topic, group, queue_id)
        .unwrap_or(0);
    let broker_offset = broker
        .store
        .queue_bounds(topic, queue_id)
        .map_or(0, |bounds| bounds.max);
    let last = (consumer_offset > 0)
        .then(|| {
            broker
                .store
                .store_timestamp(topic, queue_id, consumer_offset - 1)
        })
        .flatten();
    OffsetWrapper {
        broker_offset,
        consumer_offset,
        last_timestamp: last.unwrap_or(0),
        pull_offset: consumer_offset,
    }
}

/// Topics the group has offsets for.
pub fn query_topics_by_consumer(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = GroupRequestHeader::decode(&request.ext)?;
        let broker_addr = Some(broker.registration.broker_address().to_owned());
        broker.json(&TopicList {
            broker_addr,
            topic_list: broker.offsets.topics_of(&header.group),
        })
    });
}

/// Passes a request on to the consumer it is about, and its answer back.
pub fn relay_to_consumer(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let (header, member) = match addressee(broker, &request) {
        Ok(found) => found,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let broker = broker.clone();
    tokio::spawn(async move {
        let relayed = RemotingCommand {
            ext: request.ext.clone(),
            body: request.body.clone(),
            ..RemotingCommand::request(request.code, 0)
        };
        match member.connection.call(relayed, RELAY_TIMEOUT).await {
            Ok(answer) => responder.answer(answer),
            Err(error @ RemotingError::Timeout { .. }) => {
                broker.refuse(
                    responder,
                    Refusal::ConsumerTimeout(format!(
                        "consumer <{}> <{}> Timeout: {error}",
                        header.consumer_group, header.client_id
                    )),
                );
            }
            Err(error) => {
                broker.refuse(
                    responder,
                    Refusal::System(format!(
                        "invoke consumer <{}> <{}> Exception: {error}",
                        header.consumer_group, header.client_id
                    )),
                );
            }
        }
    });
}

fn addressee(
    broker: &Broker,
    request: &RemotingCommand,
) -> Result<(RelayRequestHeader, Member), Refusal> {
    let header = RelayRequestHeader::decode(&request.ext)?;
    let member = broker
        .consumers
        .member(&header.consumer_group, &header.client_id);
    let member = member.ok_or_else(|| {
        Refusal::System(format!(
            "The Consumer <{}> <{}> not online",
            header.consumer_group, header.client_id
        ))
    })?;
    if member.version < version::V3_1_8_SNAPSHOT {
        return Err(Refusal::System(format!(
            "The Consumer <{}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
            header.client_id,
            version::name(member.version)
        )));
    }
    Ok((header, member))
}
