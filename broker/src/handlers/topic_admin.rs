//! Topics, as administrators see and change them: 17, 18, 21, 202, 215, 300, 305, 351.

use std::collections::BTreeSet;
use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    CreateTopicListRequestBody, GroupList, MessageQueue, TopicConfig, TopicConfigSerializeWrapper,
    TopicList, TopicOffset, TopicStatsTable,
};
use sluice_protocol::header::{CreateTopicRequestHeader, TopicRequestHeader};
use sluice_protocol::topic;
use sluice_remoting::Responder;
use sluice_store::QueueType;

use crate::error::Refusal;
use crate::topic_attributes::{self, is_compacted};
use crate::topics::{MULTI_TAG, QUEUES_MAX, SINGLE_TAG};
use crate::{Answer, Broker};

/// Creates or changes a topic; it is written and registered when the answer leaves.
pub fn update_and_create_topic(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    // One that is kept by its last key gets directories.
    broker.aside(responder, move |broker, responder| {
        broker.reply_settled(responder, || {
            let header = CreateTopicRequestHeader::decode(&request.ext)?;
            put(broker, wanted(broker, header)?)?;
            Ok(Answer::default())
        });
    });
}

/// Only a new topic can get the attribute. It is never without a place to keep its messages.
fn keep_by_key(broker: &Broker, topic: &str) -> Result<(), Refusal> {
    if broker.topics.get(topic).is_some() {
        return Ok(());
    }
    let begun = broker.store.begin_to_keep_by_key(topic);
    begun.map_err(|error| Refusal::System(error.to_string()))
}

/// Creates or changes many topics, all of them or none. Unlike Java's broker it does not stop at the first
/// that is already as it is wanted.
pub fn update_and_create_topic_list(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.aside(responder, move |broker, responder| {
        broker.reply_settled(responder, || {
            let topics: CreateTopicListRequestBody = broker.body(&request)?;
            let topics = topics.topic_config_list.into_iter();
            let wanted: Vec<_> = topics
                .map(|topic| wanted(broker, in_header(topic)))
                .collect::<Result<_, _>>()?;
            for topic in wanted {
                put(broker, topic)?;
            }
            Ok(Answer::default())
        });
    });
}

/// A topic of a list as it would be asked for alone.
fn in_header(topic: TopicConfig) -> CreateTopicRequestHeader {
    let change = |(key, value): (String, String)| match key.starts_with('-') {
        true => key,
        false => format!("{key}={value}"),
    };
    let attributes: Vec<String> = topic.attributes.into_iter().map(change).collect();
    CreateTopicRequestHeader {
        topic: topic.topic_name.into(),
        default_topic: None,
        read_queue_nums: topic.read_queue_nums,
        write_queue_nums: topic.write_queue_nums,
        perm: topic.perm,
        topic_filter_type: Some(topic.topic_filter_type.into()),
        topic_sys_flag: topic.topic_sys_flag,
        order: topic.order,
        attributes: Some(attributes.join(",").into()),
    }
}

/// A topic that comes back with queues of another type must not find those that its deletion has left, as when
/// the broker died in the middle of it: the next start would refuse them.
pub(super) fn finish_deletion(broker: &Broker, wanted: &TopicConfig) -> Result<(), Refusal> {
    let name = &wanted.topic_name;
    let left = broker.store.queue_type(name);
    if broker.topics.get(name).is_some() || left.is_none_or(|left| left == QueueType::of(wanted)) {
        return Ok(());
    }
    let removed = broker.store.delete_topic(name);
    removed.map_err(|error| Refusal::System(error.to_string()))
}

fn put(broker: &Broker, wanted: TopicConfig) -> Result<(), Refusal> {
    finish_deletion(broker, &wanted)?;
    tracing::info!(
        topic = wanted.topic_name,
        read_queues = wanted.read_queue_nums,
        write_queues = wanted.write_queue_nums,
        "topic created or changed"
    );
    if is_compacted(&wanted.attributes) {
        keep_by_key(broker, &wanted.topic_name)?;
    }
    broker.topics.put(wanted, broker.now_ms());
    broker.changes.note_topic();
    Ok(())
}

fn wanted(broker: &Broker, header: CreateTopicRequestHeader) -> Result<TopicConfig, Refusal> {
    topic::validate(&header.topic).map_err(|error| Refusal::InvalidParameter(error.to_string()))?;
    if broker.topics.is_system(&header.topic) {
        return Err(Refusal::InvalidParameter(format!(
            "The topic[{}] is conflict with system topic.",
            header.topic
        )));
    }
    for (name, queues) in [
        ("readQueueNums", header.read_queue_nums),
        ("writeQueueNums", header.write_queue_nums),
    ] {
        if !(0..=QUEUES_MAX).contains(&queues) {
            return Err(Refusal::InvalidParameter(format!(
                "{name} is {queues}, 0 to {QUEUES_MAX} is expected"
            )));
        }
    }
    if !(0..8).contains(&header.perm) {
        return Err(Refusal::InvalidParameter(format!(
            "perm is {}, 0 to 7 is expected",
            header.perm
        )));
    }
    let filter_type = header.topic_filter_type.as_deref().unwrap_or(SINGLE_TAG);
    if filter_type != SINGLE_TAG && filter_type != MULTI_TAG {
        return Err(Refusal::InvalidParameter(format!(
            "topicFilterType is {filter_type:?}, {SINGLE_TAG} or {MULTI_TAG} is expected"
        )));
    }
    let known = broker.topics.get(&header.topic);
    let attributes = topic_attributes::changed(
        known.as_ref().map(|topic| &topic.attributes),
        header.attributes.as_deref().unwrap_or_default(),
        broker.config().enable_mixed_message_type,
    )?;
    if known.is_none() && is_compacted(&attributes) && !broker.store.compacts() {
        return Err(Refusal::System(
            "cleanup.policy COMPACTION is not served by a broker with enableCompaction=false"
                .to_owned(),
        ));
    }
    Ok(TopicConfig {
        attributes,
        order: header.order,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type: filter_type.to_owned(),
        topic_name: header.topic.to_string(),
        topic_sys_flag: header.topic_sys_flag,
        write_queue_nums: header.write_queue_nums,
    })
}

/// Deletes a topic with its queues and offsets; what was stored leaves with its log files.
pub fn delete_topic(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let header = TopicRequestHeader::decode(&request.ext)?;
        let name = &*header.topic;
        if name.trim().is_empty() {
            return Err(Refusal::InvalidParameter(
                topic::TopicError::Blank.to_string(),
            ));
        }
        if broker.topics.is_system(name) {
            return Err(Refusal::InvalidParameter(format!(
                "The topic[{name}] is conflict with system topic."
            )));
        }
        if broker.topics.remove(name, broker.now_ms()) {
            broker.changes.note_topic();
        }
        broker.offsets.remove_topic(name);
        broker.pop.queues.remove_topic(name);
        broker.long_poll.wake_topic(name);
        broker
            .store
            .delete_topic(name)
            .map_err(|error| Refusal::System(error.to_string()))?;
        tracing::info!(topic = name, "topic deleted");
        broker
            .offsets
            .save(broker.now_ms())
            .map_err(|error| Refusal::System(error.to_string()))?;
        Ok(Answer::default())
    });
}

/// All topics.
pub fn get_all_topic_config(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let topics = broker
            .topics
            .all()
            .into_iter()
            .map(|(name, topic)| (name, TopicConfig::clone(&topic)))
            .collect();
        let data_version = broker.topics.version();
        let mapping_data_version = Some(Default::default());
        broker.json(&TopicConfigSerializeWrapper {
            data_version,
            mapping_data_version,
            topic_config_table: topics,
            ..Default::default()
        })
    });
}

/// One topic.
pub fn get_topic_config(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply(responder, || {
        let header = TopicRequestHeader::decode(&request.ext)?;
        let topic = broker.topics.get(&header.topic);
        let topic = topic.ok_or_else(|| {
            Refusal::NoSuchTopic(format!("No topic in this broker. topic: {}", header.topic))
        })?;
        broker.json(&**topic)
    });
}

/// Bounds of all queues, those of a new topic included.
pub fn get_topic_stats_info(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let header = TopicRequestHeader::decode(&request.ext)?;
        let topic = broker
            .topics
            .get(&header.topic)
            .ok_or_else(|| Refusal::NoSuchTopic(format!("topic[{}] not exist", header.topic)))?;
        let queues = topic.read_queue_nums.max(topic.write_queue_nums);
        let offset_table = (0..queues).map(|queue_id| {
            (
                broker.queue(&header.topic, queue_id),
                bounds(broker, &header.topic, queue_id),
            )
        });
        broker.json(&TopicStatsTable {
            offset_table: offset_table.collect(),
            topic_put_tps: broker.stats.topic_put_tps(&header.topic),
        })
    });
}

fn bounds(broker: &Broker, topic: &str, queue_id: i32) -> TopicOffset {
    let bounds = broker.bounds(topic, queue_id);
    let last = (bounds.max > bounds.min)
        .then(|| {
            broker
                .store
                .store_timestamp(topic, queue_id, bounds.max - 1)
        })
        .flatten();
    TopicOffset {
        last_update_timestamp: last.unwrap_or(0),
        max_offset: bounds.max,
        min_offset: bounds.min,
    }
}

/// Groups that consume the topic, or have.
pub fn query_topic_consume_by_who(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = TopicRequestHeader::decode(&request.ext)?;
        let mut groups: BTreeSet<String> = broker.offsets.groups_of(&header.topic);
        groups.extend(broker.consumers.subscribers_of(&header.topic));
        broker.json(&GroupList {
            group_list: groups.into_iter().collect(),
        })
    });
}

/// The system's own topics; that of traces is one of them for tools, though anybody may send to it.
pub fn get_system_topic_list(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply(responder, || {
        let mut topic_list: BTreeSet<String> = broker.topics.all().into_keys().collect();
        topic_list.retain(|name| broker.topics.is_system(name) || name == topic::TRACE_TOPIC);
        broker.json(&TopicList {
            broker_addr: None,
            topic_list,
        })
    });
}

impl Broker {
    /// One of this broker's queues.
    pub(crate) fn queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        MessageQueue {
            topic: topic.to_owned(),
            broker_name: self.config().broker_name.clone(),
            queue_id,
        }
    }
}
