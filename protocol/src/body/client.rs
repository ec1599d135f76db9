//! Who is connected, and locks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ConsumeFromWhere, ConsumeType, DataVersion, MessageModel, MessageQueue, SubscriptionData,
    queue_map, tolerant,
};

/// GET_CONSUMER_LIST_BY_GROUP (38).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct GetConsumerListByGroupResponseBody {
    pub consumer_id_list: Vec<String>,
}

/// LOCK_BATCH_MQ (41), UNLOCK_BATCH_MQ (42).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct LockBatchRequestBody {
    #[serde(alias = "ClientId")]
    pub client_id: String,
    #[serde(alias = "ConsumerGroup")]
    pub consumer_group: String,
    #[serde(alias = "MqSet", deserialize_with = "tolerant::or_default")]
    pub mq_set: Vec<MessageQueue>,
    #[serde(deserialize_with = "tolerant::boolean")]
    pub only_this_broker: bool,
}

/// The answer to 41.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct LockBatchResponseBody {
    #[serde(rename = "lockOKMQSet", deserialize_with = "tolerant::or_default")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

/// One connected client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConnectionInfo {
    pub client_addr: String,
    pub client_id: String,
    pub language: String,
    pub version: i32,
}

/// GET_CONSUMER_CONNECTION_LIST (203).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumerConnection {
    pub connection_set: Vec<ConnectionInfo>,
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// GET_PRODUCER_CONNECTION_LIST (204).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ProducerConnection {
    pub connection_set: Vec<ConnectionInfo>,
}

/// GET_ALL_CONSUMER_OFFSET (43).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumerOffsetSerializeWrapper {
    pub data_version: DataVersion,
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// Group names (300).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct GroupList {
    pub group_list: Vec<String>,
}

/// Offsets by queue: the answer to 222, and the body of 220 for Java.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ResetOffsetBody {
    #[serde(with = "queue_map")]
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// The body of 220 for the C++ client: a list (`ResetOffsetBodyForC`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ResetOffsetBodyForC {
    pub offset_table: Vec<MessageQueueForC>,
}

/// One queue of [`ResetOffsetBodyForC`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct MessageQueueForC {
    pub broker_name: String,
    pub offset: i64,
    pub queue_id: i32,
    pub topic: String,
}

impl From<ResetOffsetBody> for ResetOffsetBodyForC {
    fn from(body: ResetOffsetBody) -> Self {
        let queue = |(queue, offset): (MessageQueue, i64)| MessageQueueForC {
            broker_name: queue.broker_name,
            offset,
            queue_id: queue.queue_id,
            topic: queue.topic,
        };
        ResetOffsetBodyForC {
            offset_table: body.offset_table.into_iter().map(queue).collect(),
        }
    }
}
