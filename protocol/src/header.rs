//! Custom headers: the typed fields of each request and response.
//!
//! A header is declared once, with Java's names; decoding and encoding follow from that.

use bytestring::ByteString;

use crate::ext::ExtFields;

/// A header field is missing or unreadable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A required field is not there.
    #[error("{header}: the field {field} is missing")]
    Missing {
        /// The header.
        header: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field can't be what it says.
    #[error("{header}: the field {field} is {value:?}, {expected} is expected")]
    Value {
        /// The header.
        header: &'static str,
        /// The field.
        field: &'static str,
        /// What came.
        value: String,
        /// What could have come.
        expected: &'static str,
    },
}

/// A type that a header field can have.
trait Field: Sized {
    /// What the type takes, for messages.
    const EXPECTED: &'static str;
    fn read(text: &str, ext: &ExtFields) -> Option<Self>;
    fn put(&self, name: &'static str, ext: &mut ExtFields);
}

impl Field for ByteString {
    const EXPECTED: &'static str = "a text";
    fn read(text: &str, ext: &ExtFields) -> Option<Self> {
        Some(ext.keep(text))
    }
    fn put(&self, name: &'static str, ext: &mut ExtFields) {
        ext.put(name, self);
    }
}

impl Field for i32 {
    const EXPECTED: &'static str = "a 32-bit integer";
    fn read(text: &str, _: &ExtFields) -> Option<Self> {
        text.parse().ok()
    }
    fn put(&self, name: &'static str, ext: &mut ExtFields) {
        ext.put_number(name, *self);
    }
}

impl Field for i64 {
    const EXPECTED: &'static str = "a 64-bit integer";
    fn read(text: &str, _: &ExtFields) -> Option<Self> {
        text.parse().ok()
    }
    fn put(&self, name: &'static str, ext: &mut ExtFields) {
        ext.put_number(name, *self);
    }
}

impl Field for bool {
    const EXPECTED: &'static str = "true or false";
    /// As Java: everything but `true` in any case is false.
    fn read(text: &str, _: &ExtFields) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }
    fn put(&self, name: &'static str, ext: &mut ExtFields) {
        ext.put(name, if *self { "true" } else { "false" });
    }
}

fn read<T: Field>(
    text: &str,
    ext: &ExtFields,
    header: &'static str,
    field: &'static str,
) -> Result<T, HeaderError> {
    T::read(text, ext).ok_or_else(|| HeaderError::Value {
        header,
        field,
        value: text.chars().take(64).collect(),
        expected: T::EXPECTED,
    })
}

fn optional<T: Field>(
    ext: &ExtFields,
    header: &'static str,
    field: &'static str,
) -> Result<Option<T>, HeaderError> {
    let text = ext.get(field);
    text.map(|text| read(text, ext, header, field)).transpose()
}

fn required<T: Field>(
    ext: &ExtFields,
    header: &'static str,
    field: &'static str,
) -> Result<T, HeaderError> {
    optional(ext, header, field)?.ok_or(HeaderError::Missing { header, field })
}

macro_rules! headers {
    ($($(#[$doc:meta])* $name:ident { $($body:tt)* })+) => { $(headers!(@one $(#[$doc])* $name { $($body)* });)+ };
    (@one $(#[$doc:meta])* $name:ident { $($field:ident : $wire:literal $kind:tt $type:ty $(= $default:expr)?),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // the fields are Java's
        pub struct $name { $(pub $field: headers!(@type $kind $type)),* }

        impl $name {
            /// Reads the fields.
            ///
            /// # Errors
            /// A required field is missing, or a field is unreadable.
            #[allow(unused_variables)]
            pub fn decode(ext: &ExtFields) -> Result<Self, HeaderError> {
                Ok($name { $($field: headers!(@read $kind $type, ext, stringify!($name), $wire $(, $default)?)),* })
            }

            /// Adds the fields.
            #[allow(unused_variables)]
            pub fn encode(&self, ext: &mut ExtFields) {
                $(headers!(@write $kind self.$field, ext, $wire);)*
            }
        }
    };
    (@type ! $type:ty) => { $type };
    (@type ? $type:ty) => { Option<$type> };
    (@type ~ $type:ty) => { $type };
    (@read ! $type:ty, $ext:ident, $header:expr, $wire:literal) => { required::<$type>($ext, $header, $wire)? };
    (@read ? $type:ty, $ext:ident, $header:expr, $wire:literal) => { optional::<$type>($ext, $header, $wire)? };
    (@read ~ $type:ty, $ext:ident, $header:expr, $wire:literal, $default:expr) => { optional::<$type>($ext, $header, $wire)?.unwrap_or($default) };
    (@write ! $value:expr, $ext:ident, $wire:literal) => { Field::put(&$value, $wire, $ext) };
    (@write ~ $value:expr, $ext:ident, $wire:literal) => { Field::put(&$value, $wire, $ext) };
    (@write ? $value:expr, $ext:ident, $wire:literal) => {
        if let Some(value) = &$value { Field::put(value, $wire, $ext) }
    };
}

// A field is required (!), optional (?), or has a default (~).
headers! {
    /// PULL_MESSAGE (11), LITE_PULL_MESSAGE (361).
    PullMessageRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
        queue_offset: "queueOffset" ! i64, max_msg_nums: "maxMsgNums" ! i32, sys_flag: "sysFlag" ! i32,
        commit_offset: "commitOffset" ~ i64 = 0, suspend_timeout_millis: "suspendTimeoutMillis" ~ i64 = 0,
        subscription: "subscription" ? ByteString, sub_version: "subVersion" ~ i64 = 0,
        expression_type: "expressionType" ? ByteString,
    }
    /// Answer to a pull; all four fields must be there with codes 0, 19, 20 and 21.
    PullMessageResponseHeader {
        suggest_which_broker_id: "suggestWhichBrokerId" ! i64, next_begin_offset: "nextBeginOffset" ! i64,
        min_offset: "minOffset" ! i64, max_offset: "maxOffset" ! i64,
    }
    /// POP_MESSAGE (200050). Queue -1 stands for all of the broker.
    PopMessageRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
        max_msg_nums: "maxMsgNums" ! i32, invisible_time: "invisibleTime" ! i64, poll_time: "pollTime" ! i64,
        born_time: "bornTime" ~ i64 = 0, init_mode: "initMode" ! i32, exp_type: "expType" ? ByteString,
        exp: "exp" ? ByteString, order: "order" ~ bool = false, attempt_id: "attemptId" ? ByteString,
    }
    /// Answer to a pop, found or not.
    PopMessageResponseHeader {
        pop_time: "popTime" ! i64, invisible_time: "invisibleTime" ! i64, revive_qid: "reviveQid" ! i32,
        rest_num: "restNum" ! i64, start_offset_info: "startOffsetInfo" ? ByteString,
        msg_offset_info: "msgOffsetInfo" ? ByteString, order_count_info: "orderCountInfo" ? ByteString,
    }
    /// ACK_MESSAGE (200051).
    AckMessageRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
        extra_info: "extraInfo" ! ByteString, offset: "offset" ! i64,
    }
    /// CHANGE_MESSAGE_INVISIBLETIME (200053).
    ChangeInvisibleTimeRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
        extra_info: "extraInfo" ! ByteString, offset: "offset" ! i64, invisible_time: "invisibleTime" ! i64,
    }
    /// Answer to a change of the invisible time: what the next receipt is made of.
    ChangeInvisibleTimeResponseHeader {
        pop_time: "popTime" ! i64, invisible_time: "invisibleTime" ! i64, revive_qid: "reviveQid" ! i32,
    }
    /// PEEK_MESSAGE (200052).
    PeekMessageRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
        max_msg_nums: "maxMsgNums" ! i32,
    }
    /// NOTIFICATION (200054).
    NotificationRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
        poll_time: "pollTime" ! i64, born_time: "bornTime" ~ i64 = 0, order: "order" ~ bool = false,
        attempt_id: "attemptId" ? ByteString,
    }
    /// Answer to a notification.
    NotificationResponseHeader { has_msg: "hasMsg" ! bool, polling_full: "pollingFull" ! bool }
    /// POLLING_INFO (200055).
    PollingInfoRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
    }
    /// REGISTER_MESSAGE_FILTER_CLASS (302).
    RegisterMessageFilterClassRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString,
        class_name: "className" ! ByteString, class_crc: "classCRC" ! i32,
    }
    /// CONSUMER_SEND_MSG_BACK (36).
    ConsumerSendMsgBackRequestHeader {
        offset: "offset" ! i64, group: "group" ! ByteString, delay_level: "delayLevel" ! i32,
        origin_msg_id: "originMsgId" ? ByteString, origin_topic: "originTopic" ? ByteString,
        unit_mode: "unitMode" ~ bool = false, max_reconsume_times: "maxReconsumeTimes" ? i32,
    }
    /// RECALL_MESSAGE (370).
    RecallMessageRequestHeader {
        producer_group: "producerGroup" ? ByteString, topic: "topic" ! ByteString, recall_handle: "recallHandle" ! ByteString,
    }
    /// QUERY_CONSUMER_OFFSET (14).
    QueryConsumerOffsetRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
        set_zero_if_not_found: "setZeroIfNotFound" ? bool,
    }
    /// UPDATE_CONSUMER_OFFSET (15).
    UpdateConsumerOffsetRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ! ByteString, queue_id: "queueId" ! i32,
        commit_offset: "commitOffset" ! i64,
    }
    /// GET_MAX_OFFSET (30).
    GetMaxOffsetRequestHeader { topic: "topic" ! ByteString, queue_id: "queueId" ! i32 }
    /// GET_MIN_OFFSET (31).
    GetMinOffsetRequestHeader { topic: "topic" ! ByteString, queue_id: "queueId" ! i32 }
    /// GET_EARLIEST_MSG_STORETIME (32).
    GetEarliestMsgStoretimeRequestHeader { topic: "topic" ! ByteString, queue_id: "queueId" ! i32 }
    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    SearchOffsetRequestHeader {
        topic: "topic" ! ByteString, queue_id: "queueId" ! i32, timestamp: "timestamp" ! i64,
        boundary_type: "boundaryType" ? ByteString,
    }
    /// QUERY_MESSAGE (12).
    QueryMessageRequestHeader {
        topic: "topic" ! ByteString, key: "key" ! ByteString, max_num: "maxNum" ! i32,
        begin_timestamp: "beginTimestamp" ! i64, end_timestamp: "endTimestamp" ! i64,
    }
    /// VIEW_MESSAGE_BY_ID (33).
    ViewMessageRequestHeader { offset: "offset" ! i64 }
    /// UNREGISTER_CLIENT (35).
    UnregisterClientRequestHeader {
        client_id: "clientID" ? ByteString, producer_group: "producerGroup" ? ByteString, consumer_group: "consumerGroup" ? ByteString,
    }
    /// GET_CONSUMER_LIST_BY_GROUP (38).
    GetConsumerListByGroupRequestHeader { consumer_group: "consumerGroup" ! ByteString }
    /// END_TRANSACTION (37): 8 commits, 12 rolls back, 0 says that it is not known yet.
    EndTransactionRequestHeader {
        topic: "topic" ? ByteString, producer_group: "producerGroup" ! ByteString,
        tran_state_table_offset: "tranStateTableOffset" ! i64, commit_log_offset: "commitLogOffset" ! i64,
        commit_or_rollback: "commitOrRollback" ! i32, from_transaction_check: "fromTransactionCheck" ~ bool = false,
        msg_id: "msgId" ! ByteString, transaction_id: "transactionId" ? ByteString,
    }
    /// RESUME_CHECK_HALF_MESSAGE (323).
    ResumeCheckHalfMessageRequestHeader { topic: "topic" ? ByteString, msg_id: "msgId" ! ByteString }
    /// CHECK_TRANSACTION_STATE (39), to producers.
    CheckTransactionStateRequestHeader {
        topic: "topic" ? ByteString, tran_state_table_offset: "tranStateTableOffset" ! i64,
        commit_log_offset: "commitLogOffset" ! i64, msg_id: "msgId" ? ByteString,
        transaction_id: "transactionId" ? ByteString, offset_msg_id: "offsetMsgId" ? ByteString,
        broker_name: "bname" ? ByteString,
    }
    /// NOTIFY_CONSUMER_IDS_CHANGED (40).
    NotifyConsumerIdsChangedRequestHeader { consumer_group: "consumerGroup" ! ByteString }
    /// UPDATE_AND_CREATE_TOPIC (17).
    CreateTopicRequestHeader {
        topic: "topic" ! ByteString, default_topic: "defaultTopic" ? ByteString, read_queue_nums: "readQueueNums" ! i32,
        write_queue_nums: "writeQueueNums" ! i32, perm: "perm" ! i32, topic_filter_type: "topicFilterType" ? ByteString,
        topic_sys_flag: "topicSysFlag" ~ i32 = 0, order: "order" ~ bool = false, attributes: "attributes" ? ByteString,
    }
    /// Requests that name a topic and nothing else: 202, 215, 300, 351 and others.
    TopicRequestHeader { topic: "topic" ! ByteString }
    /// DELETE_SUBSCRIPTIONGROUP (207); 4.9 calls the flag `removeOffset`.
    DeleteSubscriptionGroupRequestHeader {
        group_name: "groupName" ! ByteString, clean_offset: "cleanOffset" ~ bool = false, remove_offset: "removeOffset" ~ bool = false,
    }
    /// GET_CONSUMER_CONNECTION_LIST (203).
    GetConsumerConnectionListRequestHeader { consumer_group: "consumerGroup" ! ByteString }
    /// GET_PRODUCER_CONNECTION_LIST (204).
    GetProducerConnectionListRequestHeader { producer_group: "producerGroup" ! ByteString }
    /// GET_CONSUME_STATS (208); topics of a list have `;` between them.
    GetConsumeStatsRequestHeader {
        consumer_group: "consumerGroup" ! ByteString, topic: "topic" ? ByteString, topic_list: "topicList" ? ByteString,
    }
    /// GET_BROKER_CONSUME_STATS (317).
    GetConsumeStatsInBrokerHeader { is_order: "isOrder" ! bool }
    /// GET_SUBSCRIPTIONGROUP_CONFIG (352), QUERY_TOPICS_BY_CONSUMER (343).
    GroupRequestHeader { group: "group" ! ByteString }
    /// INVOKE_BROKER_TO_RESET_OFFSET (222).
    ResetOffsetRequestHeader {
        topic: "topic" ! ByteString, group: "group" ! ByteString, timestamp: "timestamp" ! i64, is_force: "isForce" ~ bool = false,
        queue_id: "queueId" ~ i32 = -1, offset: "offset" ? i64,
    }
    /// CLONE_GROUP_OFFSET (314); all of the group's topics, if none is named.
    CloneGroupOffsetRequestHeader {
        src_group: "srcGroup" ! ByteString, dest_group: "destGroup" ! ByteString, topic: "topic" ? ByteString,
        offline: "offline" ~ bool = false,
    }
    /// QUERY_CORRECTION_OFFSET (308); groups of a list have `,` between them.
    QueryCorrectionOffsetHeader {
        topic: "topic" ! ByteString, compare_group: "compareGroup" ! ByteString, filter_groups: "filterGroups" ? ByteString,
    }
    /// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
    QuerySubscriptionByConsumerRequestHeader { group: "group" ! ByteString, topic: "topic" ! ByteString }
    /// UPDATE_AND_GET_GROUP_FORBIDDEN (353); only asks, if it does not say what is to be.
    UpdateGroupForbiddenRequestHeader { group: "group" ! ByteString, topic: "topic" ! ByteString, readable: "readable" ? bool }
    /// QUERY_CONSUME_QUEUE (321).
    QueryConsumeQueueRequestHeader {
        topic: "topic" ! ByteString, queue_id: "queueId" ! i32, index: "index" ! i64, count: "count" ! i32,
        consumer_group: "consumerGroup" ? ByteString,
    }
    /// GET_CONSUMER_RUNNING_INFO (307), CONSUME_MESSAGE_DIRECTLY (309): whom to relay to.
    RelayRequestHeader { consumer_group: "consumerGroup" ! ByteString, client_id: "clientId" ! ByteString }
    /// CONSUME_MESSAGE_DIRECTLY (309): what to relay.
    ConsumeMessageDirectlyRequestHeader { msg_id: "msgId" ! ByteString, topic: "topic" ? ByteString }
    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223), GET_CONSUMER_STATUS_FROM_CLIENT (221).
    GetConsumerStatusRequestHeader { topic: "topic" ! ByteString, group: "group" ! ByteString, client_addr: "clientAddr" ? ByteString }
    /// QUERY_CONSUME_TIME_SPAN (303).
    QueryConsumeTimeSpanRequestHeader { topic: "topic" ! ByteString, group: "group" ! ByteString }
    /// VIEW_BROKER_STATS_DATA (315).
    ViewBrokerStatsDataRequestHeader { stats_name: "statsName" ! ByteString, stats_key: "statsKey" ! ByteString }
    /// PUT_KV_CONFIG (100).
    PutKvConfigRequestHeader { namespace: "namespace" ! ByteString, key: "key" ! ByteString, value: "value" ! ByteString }
    /// GET_KV_CONFIG (101), DELETE_KV_CONFIG (102).
    KvConfigRequestHeader { namespace: "namespace" ! ByteString, key: "key" ! ByteString }
    /// GET_KVLIST_BY_NAMESPACE (219).
    GetKvListByNamespaceRequestHeader { namespace: "namespace" ! ByteString }
    /// REGISTER_BROKER (103).
    RegisterBrokerRequestHeader {
        broker_name: "brokerName" ! ByteString, broker_addr: "brokerAddr" ! ByteString, cluster_name: "clusterName" ! ByteString,
        ha_server_addr: "haServerAddr" ! ByteString, broker_id: "brokerId" ! i64, heartbeat_timeout_millis: "heartbeatTimeoutMillis" ? i64,
        enable_acting_master: "enableActingMaster" ? bool, compressed: "compressed" ~ bool = false, body_crc32: "bodyCrc32" ~ i32 = 0,
    }
    /// Answer to a registration of a slave.
    RegisterBrokerResponseHeader { ha_server_addr: "haServerAddr" ? ByteString, master_addr: "masterAddr" ? ByteString }
    /// UNREGISTER_BROKER (104), QUERY_DATA_VERSION (322).
    UnregisterBrokerRequestHeader {
        broker_name: "brokerName" ! ByteString, broker_addr: "brokerAddr" ! ByteString, cluster_name: "clusterName" ! ByteString,
        broker_id: "brokerId" ! i64,
    }
    /// BROKER_HEARTBEAT (904).
    BrokerHeartbeatRequestHeader {
        cluster_name: "clusterName" ! ByteString, broker_addr: "brokerAddr" ! ByteString, broker_name: "brokerName" ! ByteString,
        heartbeat_timeout_mills: "heartbeatTimeoutMills" ? i64,
    }
    /// GET_ROUTEINFO_BY_TOPIC (105).
    GetRouteInfoRequestHeader { topic: "topic" ! ByteString, accept_standard_json_only: "acceptStandardJsonOnly" ~ bool = false }
    /// WIPE_WRITE_PERM_OF_BROKER (205), ADD_WRITE_PERM_OF_BROKER (327).
    BrokerNameRequestHeader { broker_name: "brokerName" ! ByteString }
    /// DELETE_TOPIC_IN_NAMESRV (216).
    DeleteTopicFromNamesrvRequestHeader { topic: "topic" ! ByteString, cluster_name: "clusterName" ? ByteString }
    /// GET_TOPICS_BY_CLUSTER (224).
    GetTopicsByClusterRequestHeader { cluster: "cluster" ! ByteString }
    /// GET_BROKER_MEMBER_GROUP (901).
    GetBrokerMemberGroupRequestHeader { cluster_name: "clusterName" ? ByteString, broker_name: "brokerName" ! ByteString }
}

/// SEND_MESSAGE (10) with whole names; 310 and 320 with one-letter names. One struct for both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are Java's
pub struct SendMessageRequestHeader {
    pub producer_group: ByteString,
    pub topic: ByteString,
    pub default_topic: ByteString,
    pub default_topic_queue_nums: i32,
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    pub properties: ByteString,
    pub reconsume_times: i32,
    pub unit_mode: bool,
    pub max_reconsume_times: Option<i32>,
    pub batch: bool,
}

/// Names of the fields in the order of the struct: whole and one-letter.
const SEND_V1: [&str; 13] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
];
const SEND_V2: [&str; 13] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m",
];

/// The fields of a send under either of their names, found in one walk: it is the most frequent request.
struct SendFields<'a> {
    ext: &'a ExtFields,
    names: &'static [&'static str; 13],
    values: [Option<&'a str>; 13],
}

impl<'a> SendFields<'a> {
    fn of(ext: &'a ExtFields) -> Self {
        let mut short = [None; 13];
        for (name, value) in ext.iter() {
            if let [letter @ b'a'..=b'm'] = name.as_bytes() {
                short[usize::from(letter - b'a')] = Some(value);
            }
        }
        if short[1].is_some() {
            return SendFields {
                ext,
                names: &SEND_V2,
                values: short,
            };
        }
        SendFields {
            ext,
            names: &SEND_V1,
            values: SEND_V1.map(|name| ext.get(name)),
        }
    }

    fn optional<T: Field>(&self, at: usize) -> Result<Option<T>, HeaderError> {
        let value = self.values[at].map(|text| read(text, self.ext, Self::HEADER, self.names[at]));
        value.transpose()
    }

    fn required<T: Field>(&self, at: usize) -> Result<T, HeaderError> {
        self.optional(at)?.ok_or(HeaderError::Missing {
            header: Self::HEADER,
            field: self.names[at],
        })
    }

    const HEADER: &'static str = "SendMessageRequestHeader";
}

impl SendMessageRequestHeader {
    /// Reads the fields; which names they have is told by the topic's.
    ///
    /// # Errors
    /// A required field is missing, or a field is unreadable.
    pub fn decode(ext: &ExtFields) -> Result<Self, HeaderError> {
        let fields = SendFields::of(ext);
        Ok(SendMessageRequestHeader {
            producer_group: fields.required(0)?,
            topic: fields.required(1)?,
            default_topic: fields.optional(2)?.unwrap_or_default(),
            default_topic_queue_nums: fields.optional(3)?.unwrap_or(4),
            queue_id: fields.required(4)?,
            sys_flag: fields.required(5)?,
            born_timestamp: fields.required(6)?,
            flag: fields.optional(7)?.unwrap_or(0),
            properties: fields.optional(8)?.unwrap_or_default(),
            reconsume_times: fields.optional(9)?.unwrap_or(0),
            unit_mode: fields.optional(10)?.unwrap_or(false),
            max_reconsume_times: fields.optional(11)?,
            batch: fields.optional(12)?.unwrap_or(false),
        })
    }

    /// Adds the fields under their one-letter names.
    pub fn encode_v2(&self, ext: &mut ExtFields) {
        self.producer_group.put(SEND_V2[0], ext);
        self.topic.put(SEND_V2[1], ext);
        self.default_topic.put(SEND_V2[2], ext);
        self.default_topic_queue_nums.put(SEND_V2[3], ext);
        self.queue_id.put(SEND_V2[4], ext);
        self.sys_flag.put(SEND_V2[5], ext);
        self.born_timestamp.put(SEND_V2[6], ext);
        self.flag.put(SEND_V2[7], ext);
        self.properties.put(SEND_V2[8], ext);
        self.reconsume_times.put(SEND_V2[9], ext);
        self.unit_mode.put(SEND_V2[10], ext);
        if let Some(max) = self.max_reconsume_times {
            max.put(SEND_V2[11], ext);
        }
        self.batch.put(SEND_V2[12], ext);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_unreadable_fields_are_named() {
        let mut ext = ExtFields::new();
        ext.put("topic", "t");
        let missing = GetMaxOffsetRequestHeader::decode(&ext).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "GetMaxOffsetRequestHeader: the field queueId is missing"
        );
        ext.put("queueId", " 1");
        let wrong = GetMaxOffsetRequestHeader::decode(&ext).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "GetMaxOffsetRequestHeader: the field queueId is \" 1\", a 32-bit integer is expected"
        );
    }

    #[test]
    fn sends_are_read_under_both_kinds_of_names() {
        let values = [
            "pg",
            "t",
            "TBW102",
            "4",
            "-1",
            "0",
            "7",
            "0",
            "x\u{1}y\u{2}",
            "0",
            "False",
            "3",
            "TRUE",
        ];
        let v1: ExtFields = SEND_V1.into_iter().zip(values).collect();
        let v2: ExtFields = SEND_V2.into_iter().zip(values).collect();
        let header = SendMessageRequestHeader::decode(&v1).unwrap();
        assert_eq!(SendMessageRequestHeader::decode(&v2).unwrap(), header);
        assert!(header.batch && !header.unit_mode && header.queue_id == -1);
        let mut again = ExtFields::new();
        header.encode_v2(&mut again);
        assert_eq!(SendMessageRequestHeader::decode(&again).unwrap(), header);
    }
}
