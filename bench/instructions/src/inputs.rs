//! What the functions are called with.

use bytes::Bytes;
use sluice_protocol::code::request;
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::message::RecordFields;
use sluice_protocol::{RemotingCommand, Serialization};

/// Of every message.
pub const TOPIC: &str = "bench";
/// Of every message.
pub const QUEUE: i32 = 1;
/// 1 KiB.
pub const BODY: &[u8] = &[7; 1024];
const BORN_TIMESTAMP: i64 = 1_700_000_000_000;

/// What the Java client gives a message of one tag.
pub const PROPERTIES: &str =
    "UNIQ_KEY\u{1}7F0000010BD018B4AAC27A1B2C3D0001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA";

/// Six properties, two of which filters want.
pub const SIX_PROPERTIES: &str = "UNIQ_KEY\u{1}7F0000010BD018B4AAC27A1B2C3D0001\u{2}CLUSTER\u{1}DefaultCluster\u{2}\
     TAGS\u{1}TagA\u{2}WAIT\u{1}true\u{2}region\u{1}eu\u{2}amount\u{1}250\u{2}";

/// SEND_MESSAGE_V2 as the Java client makes it.
pub fn send_request(serialization: Serialization) -> RemotingCommand {
    let header = SendMessageRequestHeader {
        producer_group: "bench".into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: QUEUE,
        sys_flag: 0,
        born_timestamp: BORN_TIMESTAMP,
        flag: 0,
        properties: PROPERTIES.into(),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
    };
    let mut command =
        RemotingCommand::request(request::SEND_MESSAGE_V2, 7).with_body(Bytes::from_static(BODY));
    command.serialization = serialization;
    header.encode_v2(&mut command.ext);
    command
}

/// The stored message that it becomes.
pub fn fields(properties: &'static str) -> RecordFields<'static> {
    RecordFields {
        topic: TOPIC,
        queue_id: QUEUE,
        flag: 0,
        sys_flag: 0,
        born_timestamp: BORN_TIMESTAMP,
        born_host: "127.0.0.1:50000".parse().expect("an address"),
        store_host: "127.0.0.1:10911".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: BODY,
        properties: properties.as_bytes(),
    }
}

/// Its bytes.
pub fn record(properties: &'static str) -> Vec<u8> {
    let mut bytes = Vec::new();
    fields(properties).encode(&mut bytes).expect("a record");
    bytes
}
