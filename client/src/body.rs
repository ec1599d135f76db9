//! Bodies that only clients write; all others are the protocol's.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_protocol::body::{MessageQueue, SubscriptionData, queue_map};
use sluice_protocol::fastjson;

/// Reads a body in fastjson's dialect.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    fastjson::from_slice(bytes).map_err(|error| error.to_string())
}

/// Writes a body; none of ours holds anything that does not serialise.
pub(crate) fn write<T: Serialize>(body: &T) -> Vec<u8> {
    fastjson::to_vec(body).expect("plain data serialises")
}

/// The answer to GET_CONSUMER_STATUS_FROM_CLIENT.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsumerStatus {
    pub consumer_table: BTreeMap<String, i64>,
    #[serde(with = "queue_map")]
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// The answer to GET_CONSUMER_RUNNING_INFO.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningInfo {
    pub mq_pop_table: BTreeMap<String, i64>,
    #[serde(with = "queue_map")]
    pub mq_table: BTreeMap<MessageQueue, QueueInfo>,
    pub properties: BTreeMap<&'static str, String>,
    pub status_table: BTreeMap<String, ConsumeStatus>,
    pub subscription_set: Vec<SubscriptionData>,
    pub user_consumer_info: BTreeMap<String, String>,
}

/// One queue of a [`RunningInfo`] (`ProcessQueueInfo`).
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueInfo {
    pub cached_msg_count: usize,
    pub cached_msg_max_offset: i64,
    pub cached_msg_min_offset: i64,
    pub cached_msg_size_in_mi_b: usize,
    pub commit_offset: i64,
    pub droped: bool,
    pub last_consume_timestamp: u64,
    pub last_lock_timestamp: u64,
    pub last_pull_timestamp: u64,
    pub locked: bool,
    pub transaction_msg_count: usize,
    pub transaction_msg_max_offset: i64,
    pub transaction_msg_min_offset: i64,
    pub try_unlock_times: u64,
}

/// One topic of a [`RunningInfo`].
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsumeStatus {
    pub consume_failed_msgs: u64,
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

/// The answer to CONSUME_MESSAGE_DIRECTLY.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DirectResult {
    pub auto_commit: bool,
    pub consume_result: &'static str,
    pub order: bool,
    pub spent_time_mills: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_brokers_are_javas() {
        let queue = MessageQueue {
            topic: "T".to_owned(),
            broker_name: "b".to_owned(),
            queue_id: 0,
        };
        let status = ConsumerStatus {
            message_queue_table: BTreeMap::from([(queue, 5)]),
            ..ConsumerStatus::default()
        };
        assert_eq!(
            String::from_utf8(write(&status)).unwrap(),
            r#"{"consumerTable":{},"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"T"}:5}}"#
        );
        let direct = DirectResult {
            auto_commit: true,
            consume_result: "CR_SUCCESS",
            order: false,
            spent_time_mills: 0,
        };
        assert_eq!(
            String::from_utf8(write(&direct)).unwrap(),
            r#"{"autoCommit":true,"consumeResult":"CR_SUCCESS","order":false,"spentTimeMills":0}"#
        );
    }
}
