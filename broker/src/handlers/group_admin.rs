//! Groups and their clients, as administrators see and change them: 200, 201, 203, 204, 207, 208, 225,
//! 328, 343, 345, 352, 353.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    ConnectionInfo, ConsumeStats, ConsumerConnection, GroupForbidden, OffsetWrapper,
    ProducerConnection, ProducerInfo, ProducerTableInfo, QuerySubscriptionResponseBody,
    SubscriptionData, SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupWrapper,
    TopicList,
};
use sluice_protocol::header::{
    DeleteSubscriptionGroupRequestHeader, GetConsumeStatsRequestHeader,
    GetConsumerConnectionListRequestHeader, GetProducerConnectionListRequestHeader,
    GroupRequestHeader, QuerySubscriptionByConsumerRequestHeader,
    UpdateGroupForbiddenRequestHeader,
};
use sluice_protocol::topic;
use sluice_remoting::Responder;

use crate::clients::{CONFLICTS_SHOWN, Client, Member, conflicts};
use crate::error::Refusal;
use crate::{Answer, Broker, topics};

/// Creates or changes a group; it is written when the answer leaves.
pub fn update_and_create_subscription_group(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_settled(responder, || {
        let group: SubscriptionGroupConfig = broker.body(&request)?;
        check(&group)?;
        broker.groups.put(group, broker.now_ms());
        broker.changes.note_group();
        Ok(Answer::default())
    });
}

/// Creates or changes many groups, all of them or none.
pub fn update_and_create_subscription_group_list(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_settled(responder, || {
        let groups: SubscriptionGroupList = broker.body(&request)?;
        let groups = groups.group_config_list;
        groups.iter().try_for_each(check)?;
        for group in groups {
            broker.groups.put(group, broker.now_ms());
        }
        broker.changes.note_group();
        Ok(Answer::default())
    });
}

fn check(group: &SubscriptionGroupConfig) -> Result<(), Refusal> {
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
    // Groups have none yet (`SubscriptionGroupAttributes`).
    if let Some(signed) = group.attributes.keys().next() {
        let key = signed.trim_start_matches(['+', '-']);
        return Err(Refusal::System(format!("unsupported key: {key}")));
    }
    Ok(())
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

/// Lets a group read a topic, or not any longer, and tells whether it may.
pub fn update_and_get_group_forbidden(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_settled(responder, || {
        let header = UpdateGroupForbiddenRequestHeader::decode(&request.ext)?;
        let (group, topic) = (&*header.group, &*header.topic);
        // What is kept must have bounds.
        if !topic::is_valid_group(group) || topic::validate(topic).is_err() {
            return Err(Refusal::InvalidParameter(
                "group or topic is no name of one".to_owned(),
            ));
        }
        if let Some(readable) = header.readable {
            broker
                .groups
                .set_readable(group, topic, readable, broker.now_ms());
            broker.changes.note_group();
        }
        broker.json(&GroupForbidden {
            group: group.to_owned(),
            readable: !broker.groups.is_read_forbidden(group, topic),
            topic: topic.to_owned(),
        })
    });
}

/// What a connected group subscribes to on one topic.
pub fn query_subscription_by_consumer(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply(responder, || {
        let header = QuerySubscriptionByConsumerRequestHeader::decode(&request.ext)?;
        broker.json(&QuerySubscriptionResponseBody {
            group: header.group.to_string(),
            subscription_data: subscription(broker, &header.group, &header.topic),
            topic: header.topic.to_string(),
        })
    });
}

/// What the group's members are served by on a topic, if they are connected and want it.
pub(super) fn subscription(broker: &Broker, group: &str, topic: &str) -> Option<SubscriptionData> {
    broker
        .consumers
        .with(group, |group| group.subscriptions.get(topic).cloned())
        .flatten()
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

/// All connected producers.
pub fn get_all_producer_info(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let groups = broker.producers.all().into_iter();
        let data = groups.map(|(group, members)| (group, members.iter().map(producer).collect()));
        broker.json(&ProducerTableInfo {
            data: data.collect(),
        })
    });
}

fn producer(member: &Member) -> ProducerInfo {
    ProducerInfo {
        client_id: member.client_id.clone(),
        language: member.language.name().to_owned(),
        last_update_timestamp: member.last_update_ms,
        remote_ip: format!("/{}", member.connection.peer()),
        version: member.version,
    }
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
    let handed_out = broker.pullers.next(group, topic, queue_id);
    OffsetWrapper {
        broker_offset,
        consumer_offset,
        last_timestamp: last.unwrap_or(0),
        pull_offset: handed_out.map_or(consumer_offset, |next| next.max(consumer_offset)),
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
