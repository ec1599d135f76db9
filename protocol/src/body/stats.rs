//! Offsets and counts as administrators see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MessageQueue, queue_map};

/// GET_TOPIC_STATS_INFO (202).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TopicStatsTable {
    #[serde(with = "queue_map")]
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    pub topic_put_tps: f64,
}

/// One queue's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TopicOffset {
    pub last_update_timestamp: i64,
    pub max_offset: i64,
    pub min_offset: i64,
}

/// GET_CONSUME_STATS (208).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumeStats {
    pub consume_tps: f64,
    #[serde(with = "queue_map")]
    pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
}

/// How far a group is on one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct OffsetWrapper {
    pub broker_offset: i64,
    pub consumer_offset: i64,
    pub last_timestamp: i64,
    pub pull_offset: i64,
}

/// GET_BROKER_CONSUME_STATS (317): for each group one map with that group alone, as Java has it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumeStatsList {
    pub broker_addr: String,
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    pub total_diff: i64,
    pub total_inflight_diff: i64,
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): by client id what each consumer says of itself;
/// GET_CONSUMER_STATUS_FROM_CLIENT (221): what one says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct GetConsumerStatusBody {
    pub consumer_table: BTreeMap<String, QueueOffsets>,
    pub message_queue_table: QueueOffsets,
}

/// How far a consumer is on each of its queues.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueueOffsets(#[serde(with = "queue_map")] pub BTreeMap<MessageQueue, i64>);

/// QUERY_CONSUME_TIME_SPAN (303).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct QueryConsumeTimeSpanBody {
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// When messages of one queue were stored, Unix milliseconds; -1 for what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueTimeSpan {
    /// The last one that the group has consumed; before that, the first one.
    pub consume_time_stamp: i64,
    /// How long the next one has waited for the group, milliseconds.
    pub delay_time: i64,
    /// The last one.
    pub max_time_stamp: i64,
    /// Which queue.
    pub message_queue: MessageQueue,
    /// The first one.
    pub min_time_stamp: i64,
}

/// VIEW_BROKER_STATS_DATA (315): one count over the last minute, hour and day.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct BrokerStatsData {
    pub stats_day: BrokerStatsItem,
    pub stats_hour: BrokerStatsItem,
    pub stats_minute: BrokerStatsItem,
}

/// What was counted in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// Mean of one call.
    pub avgpt: f64,
    /// All of it.
    pub sum: i64,
    /// Mean of one second.
    pub tps: f64,
}
