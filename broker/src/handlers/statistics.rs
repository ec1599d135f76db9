//! What is counted, as administrators see it: 303, 315, 317.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    ConsumeStats, ConsumeStatsList, QueryConsumeTimeSpanBody, QueueTimeSpan,
};
use sluice_protocol::header::{
    GetConsumeStatsInBrokerHeader, QueryConsumeTimeSpanRequestHeader,
    ViewBrokerStatsDataRequestHeader,
};
use sluice_remoting::Responder;

use super::group_admin::{is_subscribed, progress};
use crate::Broker;
use crate::error::Refusal;

/// Queues of one answer, over all groups and topics.
const QUEUES_MAX: usize = 50_000;

/// One count over the last minute, hour and day.
pub fn view_broker_stats_data(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply(responder, || {
        let header = ViewBrokerStatsDataRequestHeader::decode(&request.ext)?;
        let (name, key) = (&*header.stats_name, &*header.stats_key);
        let cluster = &broker.config().broker_cluster_name;
        let read = broker.stats.read(name, key, cluster);
        let read =
            read.ok_or_else(|| Refusal::System(format!("The stats <{name}> <{key}> not exist")))?;
        broker.json(&read)
    });
}

/// When each queue's messages were stored, and how long the group's next one has waited.
pub fn query_consume_time_span(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = QueryConsumeTimeSpanRequestHeader::decode(&request.ext)?;
        let topic = broker.topics.get(&header.topic);
        let topic = topic.ok_or_else(|| Refusal::NoSuchTopic(header.topic.to_string()))?;
        let queues = 0..topic.write_queue_nums;
        broker.json(&QueryConsumeTimeSpanBody {
            consume_time_span_set: queues
                .map(|id| time_span(broker, &header.group, &header.topic, id))
                .collect(),
        })
    });
}

/// Source: `AdminBrokerProcessor.queryConsumeTimeSpan`.
fn time_span(broker: &Broker, group: &str, topic: &str, queue_id: i32) -> QueueTimeSpan {
    let stored = |offset| broker.store.store_timestamp(topic, queue_id, offset);
    let bounds = broker.bounds(topic, queue_id);
    let next = progress(broker, group, topic, queue_id).consumer_offset;
    let min_time_stamp = stored(bounds.min).unwrap_or(-1);
    QueueTimeSpan {
        consume_time_stamp: match next > 0 {
            true => stored(next - 1).unwrap_or(-1),
            false => min_time_stamp,
        },
        delay_time: stored(next).map_or(0, |stored| (broker.now_ms() - stored).max(0)),
        max_time_stamp: stored(bounds.max - 1).unwrap_or(-1),
        message_queue: broker.queue(topic, queue_id),
        min_time_stamp,
    }
}

/// How far every group is, on all topics or on ordered ones.
pub fn get_broker_consume_stats(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = GetConsumeStatsInBrokerHeader::decode(&request.ext)?;
        let mut list = ConsumeStatsList {
            broker_addr: broker.registration.broker_address().to_owned(),
            ..ConsumeStatsList::default()
        };
        let mut left = QUEUES_MAX;
        for group in broker.groups.all().into_keys() {
            let of_group = of_group(broker, &group, header.is_order, &mut left)?;
            let behind = of_group.iter().map(behind);
            list.total_diff = behind.fold(list.total_diff, i64::saturating_add);
            list.consume_stats_list
                .push(BTreeMap::from([(group, of_group)]));
        }
        broker.json(&list)
    });
}

/// One entry for each topic that the group has offsets for; `left` are queues that may still be listed.
fn of_group(
    broker: &Broker,
    group: &str,
    ordered_only: bool,
    left: &mut usize,
) -> Result<Vec<ConsumeStats>, Refusal> {
    let topics = broker.offsets.topics_of(group);
    let wanted = topics.iter().filter_map(|name| {
        let topic = broker.topics.get(name)?;
        let wanted = is_subscribed(broker, group, name) && (topic.order || !ordered_only);
        wanted.then_some((name, topic))
    });
    let mut stats = Vec::new();
    for (name, topic) in wanted {
        let queues = usize::try_from(topic.write_queue_nums).unwrap_or(0);
        *left = left.checked_sub(queues).ok_or_else(too_many)?;
        stats.push(ConsumeStats {
            consume_tps: broker.stats.group_get_tps(name, group),
            offset_table: (0..topic.write_queue_nums)
                .map(|id| (broker.queue(name, id), progress(broker, group, name, id)))
                .collect(),
        });
    }
    Ok(stats)
}

fn too_many() -> Refusal {
    Refusal::System(format!(
        "groups and topics have more than {QUEUES_MAX} queues together, too many for one answer; ask group by group"
    ))
}

fn behind(stats: &ConsumeStats) -> i64 {
    let queues = stats.offset_table.values();
    queues
        // Clients may commit any offset.
        .map(|queue| queue.broker_offset.saturating_sub(queue.consumer_offset))
        .fold(0, i64::saturating_add)
}
