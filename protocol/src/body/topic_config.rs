//! Topics as brokers keep and register them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::tolerant;
use crate::topic::perm;

/// Version of a table; all three fields together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct DataVersion {
    #[serde(deserialize_with = "tolerant::number")]
    pub counter: i64,
    #[serde(deserialize_with = "tolerant::number")]
    pub state_version: i64,
    #[serde(deserialize_with = "tolerant::number")]
    pub timestamp: i64,
}

impl DataVersion {
    /// The next version, made at this time.
    pub fn next(&mut self, now_ms: i64) {
        self.counter += 1;
        self.timestamp = now_ms;
    }
}

/// Settings of a topic (`topics.json`, 17, 21, 103, 351).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TopicConfig {
    #[serde(deserialize_with = "tolerant::texts")]
    pub attributes: BTreeMap<String, String>,
    #[serde(deserialize_with = "tolerant::boolean")]
    pub order: bool,
    #[serde(deserialize_with = "tolerant::number")]
    pub perm: i32,
    #[serde(deserialize_with = "tolerant::number")]
    pub read_queue_nums: i32,
    #[serde(deserialize_with = "topic_filter_type")]
    pub topic_filter_type: String,
    pub topic_name: String,
    #[serde(deserialize_with = "tolerant::number")]
    pub topic_sys_flag: i32,
    #[serde(deserialize_with = "tolerant::number")]
    pub write_queue_nums: i32,
}

/// `TopicFilterType`, by name or ordinal.
fn topic_filter_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(name) => Ok(name),
        Value::Number(ordinal) if ordinal.as_u64() == Some(0) => Ok("SINGLE_TAG".to_owned()),
        Value::Number(ordinal) if ordinal.as_u64() == Some(1) => Ok("MULTI_TAG".to_owned()),
        other => Err(D::Error::custom(format_args!(
            "topicFilterType is {other}, SINGLE_TAG (0) or MULTI_TAG (1) is expected"
        ))),
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: perm::READ | perm::WRITE,
            read_queue_nums: 16,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl fmt::Display for TopicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, topicSysFlag={}, order={}, attributes={:?}]",
            self.topic_name,
            self.read_queue_nums,
            self.write_queue_nums,
            perm::text(self.perm),
            self.topic_filter_type,
            self.topic_sys_flag,
            self.order,
            self.attributes
        )
    }
}

/// The table of topics with its version (21, and part of 103).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TopicConfigSerializeWrapper {
    pub data_version: DataVersion,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_data_version: Option<DataVersion>,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic_queue_mapping_info_map: BTreeMap<String, serde_json::Value>,
}

/// UPDATE_AND_CREATE_TOPIC_LIST (18); attributes are changes, `+key` to value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct CreateTopicListRequestBody {
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic_config_list: Vec<TopicConfig>,
}

/// REGISTER_BROKER (103).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct RegisterBrokerBody {
    #[serde(deserialize_with = "tolerant::or_default")]
    pub filter_server_list: Vec<String>,
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
}
