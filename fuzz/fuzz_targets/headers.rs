//! The fields of a command under every typed header: read or refused, and the same when written
//! and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sluice_protocol::header::*;
use sluice_protocol::{ExtFields, RemotingCommand};

macro_rules! survive {
    ($ext:expr, $($header:ident)*) => {
        $(if let Ok(header) = $header::decode($ext) {
            let mut again = ExtFields::new();
            header.encode(&mut again);
            assert_eq!($header::decode(&again), Ok(header));
        })*
    };
}

fuzz_target!(|frame: &[u8]| {
    let Ok(command) = RemotingCommand::decode(&Bytes::copy_from_slice(frame)) else {
        return;
    };
    let ext = &command.ext;
    if let Ok(send) = SendMessageRequestHeader::decode(ext) {
        let mut again = ExtFields::new();
        send.encode_v2(&mut again);
        assert_eq!(SendMessageRequestHeader::decode(&again), Ok(send));
    }
    survive!(
        ext,
        BrokerHeartbeatRequestHeader
        BrokerNameRequestHeader
        CloneGroupOffsetRequestHeader
        ConsumeMessageDirectlyRequestHeader
        CreateTopicRequestHeader
        DeleteSubscriptionGroupRequestHeader
        DeleteTopicFromNamesrvRequestHeader
        GetBrokerMemberGroupRequestHeader
        GetConsumeStatsRequestHeader
        GetConsumerConnectionListRequestHeader
        GetConsumerListByGroupRequestHeader
        GetEarliestMsgStoretimeRequestHeader
        GetKvListByNamespaceRequestHeader
        GetMaxOffsetRequestHeader
        GetMinOffsetRequestHeader
        GetProducerConnectionListRequestHeader
        GetRouteInfoRequestHeader
        GetTopicsByClusterRequestHeader
        GroupRequestHeader
        KvConfigRequestHeader
        NotifyConsumerIdsChangedRequestHeader
        PullMessageRequestHeader
        PullMessageResponseHeader
        PutKvConfigRequestHeader
        QueryConsumeQueueRequestHeader
        QueryConsumerOffsetRequestHeader
        QueryCorrectionOffsetHeader
        QueryMessageRequestHeader
        QuerySubscriptionByConsumerRequestHeader
        RegisterBrokerRequestHeader
        RegisterBrokerResponseHeader
        RelayRequestHeader
        ResetOffsetRequestHeader
        SearchOffsetRequestHeader
        TopicRequestHeader
        UnregisterBrokerRequestHeader
        UnregisterClientRequestHeader
        UpdateConsumerOffsetRequestHeader
        UpdateGroupForbiddenRequestHeader
        ViewBrokerStatsDataRequestHeader
        ViewMessageRequestHeader
    );
});
