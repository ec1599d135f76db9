//! A body as each of the types that a request or an answer can have: read or refused, and what was
//! read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_protocol::body::*;
use sluice_protocol::fastjson;

macro_rules! survive {
    ($bytes:expr, $($body:ident)*) => {
        $(if let Ok(body) = fastjson::from_slice::<$body>($bytes) {
            fastjson::to_vec(&body).expect("what was read can be written");
        })*
    };
}

fuzz_target!(|bytes: &[u8]| {
    survive!(
        bytes,
        CheckClientRequestBody
        ClusterInfo
        ConsumeStats
        ConsumerConnection
        ConsumerOffsetSerializeWrapper
        DataVersion
        GetBrokerMemberGroupResponseBody
        GetConsumerListByGroupResponseBody
        GroupList
        HeartbeatData
        KvTable
        LockBatchRequestBody
        LockBatchResponseBody
        ProducerConnection
        QueryAssignmentRequestBody
        QueryAssignmentResponseBody
        RegisterBrokerBody
        ResetOffsetBody
        SetMessageRequestModeRequestBody
        SubscriptionGroupConfig
        SubscriptionGroupWrapper
        TopicConfig
        TopicConfigSerializeWrapper
        TopicList
        TopicRouteData
        TopicStatsTable
    );
});
