//! POP: acks in batches, and what lies in the revive topic.

use serde::{Deserialize, Serialize};

use super::tolerant;

/// BATCH_ACK_MESSAGE (200151).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct BatchAckMessageRequestBody {
    #[serde(deserialize_with = "tolerant::or_default")]
    pub acks: Vec<BatchAck>,
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_name: String,
}

/// Acks of one check point.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// Base64 of a bit set, little-endian: bit i stands for offset `start_offset` + i.
    #[serde(
        rename = "b",
        alias = "bitSet",
        deserialize_with = "tolerant::or_default"
    )]
    pub bit_set: String,
    /// Group.
    #[serde(
        rename = "c",
        alias = "consumerGroup",
        deserialize_with = "tolerant::or_default"
    )]
    pub consumer_group: String,
    /// Milliseconds.
    #[serde(
        rename = "it",
        alias = "invisibleTime",
        deserialize_with = "tolerant::number"
    )]
    pub invisible_time: i64,
    /// Unix milliseconds.
    #[serde(
        rename = "pt",
        alias = "popTime",
        deserialize_with = "tolerant::number"
    )]
    pub pop_time: i64,
    /// Queue id.
    #[serde(rename = "q", alias = "queueId", deserialize_with = "tolerant::number")]
    pub queue_id: i32,
    /// `0`: of the topic, `1`, `2`: of its retry topic v1 or v2.
    #[serde(
        rename = "r",
        alias = "retry",
        deserialize_with = "tolerant::or_default"
    )]
    pub retry: String,
    /// Queue of the revive topic; 999: the pop was ordered.
    #[serde(
        rename = "rq",
        alias = "reviveQueueId",
        deserialize_with = "tolerant::number"
    )]
    pub revive_queue_id: i32,
    /// Where the pop began.
    #[serde(
        rename = "so",
        alias = "startOffset",
        deserialize_with = "tolerant::number"
    )]
    pub start_offset: i64,
    /// Topic.
    #[serde(
        rename = "t",
        alias = "topic",
        deserialize_with = "tolerant::or_default"
    )]
    pub topic: String,
}

/// What one pop has taken from one queue (`PopCheckPoint`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PopCheckPoint {
    /// Bit i: the i-th message is acked.
    #[serde(rename = "bm", deserialize_with = "tolerant::number")]
    pub bit_map: i32,
    /// Broker.
    #[serde(rename = "bn", deserialize_with = "tolerant::or_default")]
    pub broker_name: String,
    /// Group.
    #[serde(rename = "c", deserialize_with = "tolerant::or_default")]
    pub group: String,
    /// Distances of the messages from `start_offset`; empty in old ones: they follow each other.
    #[serde(rename = "d", deserialize_with = "tolerant::or_default")]
    pub diffs: Vec<i32>,
    /// Milliseconds.
    #[serde(rename = "it", deserialize_with = "tolerant::number")]
    pub invisible_time: i64,
    /// Messages, 32 at most.
    #[serde(rename = "n", deserialize_with = "tolerant::number")]
    pub num: u8,
    /// Unix milliseconds.
    #[serde(rename = "pt", deserialize_with = "tolerant::number")]
    pub pop_time: i64,
    /// Queue id.
    #[serde(rename = "q", deserialize_with = "tolerant::number")]
    pub queue_id: i32,
    /// `pop_time` + `invisible_time`; written for people, never read.
    #[serde(rename = "reviveTime", skip_deserializing)]
    pub revive_time: i64,
    /// Its own offset in the revive topic; 0 as stored.
    #[serde(rename = "ro", deserialize_with = "tolerant::number")]
    pub revive_offset: i64,
    /// How often it was put again.
    #[serde(rename = "rp", skip_serializing_if = "Option::is_none")]
    pub put_again: Option<String>,
    /// Where the pop began.
    #[serde(rename = "so", deserialize_with = "tolerant::number")]
    pub start_offset: i64,
    /// Topic, of retries the retry topic.
    #[serde(rename = "t", deserialize_with = "tolerant::or_default")]
    pub topic: String,
}

/// An ack, or several, of one check point (`AckMsg`, `BatchAckMsg`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PopAck {
    /// Acked offset; -1 when there is a list.
    #[serde(
        rename = "ao",
        alias = "ackOffset",
        deserialize_with = "tolerant::number"
    )]
    pub ack_offset: i64,
    /// Acked offsets.
    #[serde(
        rename = "aol",
        alias = "ackOffsetList",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "tolerant::numbers"
    )]
    pub ack_offsets: Vec<i64>,
    /// Broker; missing in batches of some versions, which mean their own.
    #[serde(
        rename = "bn",
        alias = "brokerName",
        deserialize_with = "tolerant::or_default"
    )]
    pub broker_name: String,
    /// Group.
    #[serde(
        rename = "c",
        alias = "consumerGroup",
        deserialize_with = "tolerant::or_default"
    )]
    pub group: String,
    /// Unix milliseconds.
    #[serde(
        rename = "pt",
        alias = "popTime",
        deserialize_with = "tolerant::number"
    )]
    pub pop_time: i64,
    /// Queue id.
    #[serde(rename = "q", alias = "queueId", deserialize_with = "tolerant::number")]
    pub queue_id: i32,
    /// Where the pop began.
    #[serde(
        rename = "so",
        alias = "startOffset",
        deserialize_with = "tolerant::number"
    )]
    pub start_offset: i64,
    /// Topic, of retries the retry topic.
    #[serde(
        rename = "t",
        alias = "topic",
        deserialize_with = "tolerant::or_default"
    )]
    pub topic: String,
}
