//! Subscriptions and heartbeats.

use serde::{Deserialize, Serialize};

use super::DataVersion;
use super::tolerant::{self, java_enum};

java_enum! {
    /// How a group consumes.
    ConsumeType { #[default] Actively = "CONSUME_ACTIVELY", Passively = "CONSUME_PASSIVELY", Pop = "CONSUME_POP" }
}
java_enum! {
    /// Who of a group gets a message.
    MessageModel { Broadcasting = "BROADCASTING", #[default] Clustering = "CLUSTERING" }
}
java_enum! {
    /// Where a group starts on a queue for which it has no offset.
    ConsumeFromWhere {
        #[default] LastOffset = "CONSUME_FROM_LAST_OFFSET",
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// What a group wants of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct SubscriptionData {
    #[serde(alias = "ClassFilterMode", deserialize_with = "tolerant::boolean")]
    pub class_filter_mode: bool,
    #[serde(alias = "CodeSet", deserialize_with = "tolerant::numbers")]
    pub code_set: Vec<i64>,
    #[serde(alias = "ExpressionType", deserialize_with = "tag_by_default")]
    pub expression_type: String,
    #[serde(alias = "SubString", deserialize_with = "tolerant::or_default")]
    pub sub_string: String,
    #[serde(alias = "SubVersion", deserialize_with = "tolerant::number")]
    pub sub_version: i64,
    #[serde(alias = "TagsSet", deserialize_with = "tolerant::or_default")]
    pub tags_set: Vec<String>,
    #[serde(alias = "Topic", deserialize_with = "tolerant::or_default")]
    pub topic: String,
}

fn tag_by_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_else(|| "TAG".to_owned()))
}

impl Default for SubscriptionData {
    fn default() -> Self {
        SubscriptionData {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: "TAG".to_owned(),
            sub_string: "*".to_owned(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

impl SubscriptionData {
    /// A tag subscription: `*`, or tags between `||`. `None` when there are only separators.
    pub fn tags(topic: &str, expression: &str, sub_version: i64) -> Option<Self> {
        let all = expression.is_empty() || expression == "*";
        let split = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned);
        let tags_set: Vec<String> = if all { Vec::new() } else { split.collect() };
        if !all && tags_set.is_empty() {
            return None;
        }
        let code_set = tags_set
            .iter()
            .map(|tag| i64::from(crate::message::java_hash(tag)))
            .collect();
        let sub_string = if all { "*" } else { expression }.to_owned();
        Some(SubscriptionData {
            code_set,
            tags_set,
            sub_string,
            sub_version,
            topic: topic.to_owned(),
            ..SubscriptionData::default()
        })
    }
}

/// HEART_BEAT (34).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct HeartbeatData {
    #[serde(
        rename = "clientID",
        alias = "ClientID",
        deserialize_with = "tolerant::or_default"
    )]
    pub client_id: String,
    #[serde(alias = "ConsumerDataSet", deserialize_with = "tolerant::or_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    #[serde(deserialize_with = "tolerant::number")]
    pub heartbeat_fingerprint: i32,
    #[serde(alias = "ProducerDataSet", deserialize_with = "tolerant::or_default")]
    pub producer_data_set: Vec<ProducerData>,
    #[serde(deserialize_with = "tolerant::boolean")]
    pub without_sub: bool,
}

/// One consumer group of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumerData {
    #[serde(alias = "ConsumeFromWhere")]
    pub consume_from_where: ConsumeFromWhere,
    #[serde(alias = "ConsumeType")]
    pub consume_type: ConsumeType,
    #[serde(alias = "GroupName", deserialize_with = "tolerant::or_default")]
    pub group_name: String,
    #[serde(alias = "MessageModel")]
    pub message_model: MessageModel,
    #[serde(
        alias = "SubscriptionDataSet",
        deserialize_with = "tolerant::or_default"
    )]
    pub subscription_data_set: Vec<SubscriptionData>,
    #[serde(alias = "UnitMode", deserialize_with = "tolerant::boolean")]
    pub unit_mode: bool,
}

/// One producer group of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ProducerData {
    #[serde(alias = "GroupName", deserialize_with = "tolerant::or_default")]
    pub group_name: String,
}

/// CHECK_CLIENT_CONFIG (46).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct CheckClientRequestBody {
    pub client_id: Option<String>,
    pub group: Option<String>,
    pub namespace: Option<String>,
    pub subscription_data: Option<SubscriptionData>,
}

/// Settings of a consumer group (`subscriptionGroup.json`, 200, 201, 352).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct SubscriptionGroupConfig {
    #[serde(deserialize_with = "tolerant::texts")]
    pub attributes: std::collections::BTreeMap<String, String>,
    #[serde(deserialize_with = "tolerant::number")]
    pub broker_id: i64,
    #[serde(deserialize_with = "tolerant::boolean")]
    pub consume_broadcast_enable: bool,
    #[serde(deserialize_with = "tolerant::boolean")]
    pub consume_enable: bool,
    #[serde(deserialize_with = "tolerant::boolean")]
    pub consume_from_min_enable: bool,
    #[serde(deserialize_with = "tolerant::boolean")]
    pub consume_message_orderly: bool,
    #[serde(deserialize_with = "tolerant::number")]
    pub consume_timeout_minute: i32,
    pub group_name: String,
    pub group_retry_policy: serde_json::Value,
    #[serde(deserialize_with = "tolerant::number")]
    pub group_sys_flag: i32,
    #[serde(deserialize_with = "tolerant::boolean")]
    pub notify_consumer_ids_changed_enable: bool,
    #[serde(deserialize_with = "tolerant::number")]
    pub retry_max_times: i32,
    #[serde(deserialize_with = "tolerant::number")]
    pub retry_queue_nums: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<serde_json::Value>,
    #[serde(deserialize_with = "tolerant::number")]
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        SubscriptionGroupConfig {
            attributes: Default::default(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: serde_json::json!({"type": "CUSTOMIZED"}),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// A group with default settings.
    pub fn named(name: &str) -> Self {
        SubscriptionGroupConfig {
            group_name: name.to_owned(),
            ..SubscriptionGroupConfig::default()
        }
    }
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct SubscriptionGroupList {
    #[serde(deserialize_with = "tolerant::or_default")]
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct SubscriptionGroupWrapper {
    pub data_version: DataVersion,
    pub forbidden_table:
        std::collections::BTreeMap<String, std::collections::BTreeMap<String, i32>>,
    pub subscription_group_table: std::collections::BTreeMap<String, SubscriptionGroupConfig>,
}
