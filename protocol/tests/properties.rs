//! For any value: what is written is read back alike. For any input: an answer, never a panic, and
//! no more memory than a small multiple of it.

use std::collections::BTreeMap;

use bytestring::ByteString;
use proptest::prelude::*;
use sluice_protocol::body::*;
use sluice_protocol::header::*;
use sluice_protocol::language::Language;
use sluice_protocol::{ExtFields, RemotingCommand, Serialization, fastjson};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_%|-]{1,12}",
        "\\PC{0,12}",
        any::<String>(),
        "\u{1}[\\x00-\\x7F]{0,8}"
    ]
}

fn byte_text() -> impl Strategy<Value = ByteString> {
    text().prop_map(ByteString::from)
}

/// Names in queue keys: the reader takes no quotes and backslashes there, which no legal name has.
fn queue_name() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace(['"', '\\'], "_"))
}

fn queue() -> impl Strategy<Value = MessageQueue> {
    (queue_name(), queue_name(), any::<i32>()).prop_map(|(topic, broker_name, queue_id)| {
        MessageQueue {
            topic,
            broker_name,
            queue_id,
        }
    })
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(text(), text(), 0..6)
}

fn version() -> impl Strategy<Value = DataVersion> {
    any::<[i64; 3]>().prop_map(|[counter, state_version, timestamp]| DataVersion {
        counter,
        state_version,
        timestamp,
    })
}

fn topic_config() -> impl Strategy<Value = TopicConfig> {
    (texts(), any::<bool>(), any::<[i32; 4]>(), text(), text()).prop_map(
        |(
            attributes,
            order,
            [perm, read_queue_nums, write_queue_nums, topic_sys_flag],
            topic_filter_type,
            topic_name,
        )| TopicConfig {
            attributes,
            order,
            perm,
            read_queue_nums,
            topic_filter_type,
            topic_name,
            topic_sys_flag,
            write_queue_nums,
        },
    )
}

fn same<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(
    value: &T,
) {
    for json in [
        fastjson::to_vec(value),
        fastjson::to_vec_pretty(value),
        fastjson::to_vec_quoted(value),
    ] {
        let json = json.unwrap();
        let read: T = fastjson::from_slice(&json)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&json)));
        assert_eq!(&read, value, "{}", String::from_utf8_lossy(&json));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_of_topics(data_version in version(), topics in prop::collection::btree_map(text(), topic_config(), 0..4), filter_server_list in prop::collection::vec(text(), 0..3)) {
        let topic_config_serialize_wrapper = TopicConfigSerializeWrapper { data_version, topic_config_table: topics, ..Default::default() };
        same(&RegisterBrokerBody { filter_server_list, topic_config_serialize_wrapper });
    }

    #[test]
    fn tables_by_queue(table in prop::collection::btree_map(queue(), any::<i64>(), 0..5), offsets in prop::collection::btree_map(queue(), any::<[i64; 3]>(), 0..5), tps in any::<i32>()) {
        same(&ResetOffsetBody { offset_table: table });
        let offset_table = offsets.into_iter().map(|(queue, [last_update_timestamp, max_offset, min_offset])| (queue, TopicOffset { last_update_timestamp, max_offset, min_offset }));
        same(&TopicStatsTable { offset_table: offset_table.collect(), topic_put_tps: f64::from(tps) / 1000.0 });
    }

    #[test]
    fn tables_by_number(offset_table in prop::collection::btree_map(text(), prop::collection::btree_map(any::<i32>(), any::<i64>(), 0..4), 0..4), data_version in version()) {
        same(&ConsumerOffsetSerializeWrapper { data_version, offset_table });
    }

    #[test]
    fn routes(addresses in prop::collection::btree_map(any::<i64>(), text(), 0..4), broker_name in text(), cluster in text(), order_topic_conf in prop::option::of(text()), table in texts()) {
        let broker = BrokerData { broker_addrs: addresses, broker_name, cluster, ..Default::default() };
        same(&TopicRouteData { broker_datas: vec![broker], order_topic_conf, ..Default::default() });
        same(&KvTable { table });
    }

    #[test]
    fn heartbeats(client_id in text(), group_name in text(), subscription in (text(), text(), any::<i64>(), prop::collection::vec(any::<i64>(), 0..3), prop::collection::vec(text(), 0..3))) {
        let (topic, sub_string, sub_version, code_set, tags_set) = subscription;
        let subscription = SubscriptionData { topic, sub_string, sub_version, code_set, tags_set, ..Default::default() };
        let consumer = ConsumerData { group_name, consume_type: ConsumeType::Passively, subscription_data_set: vec![subscription], ..Default::default() };
        same(&HeartbeatData { client_id, consumer_data_set: vec![consumer], ..Default::default() });
    }

    #[test]
    fn any_body_is_answered_and_grows_little(body in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), r#"[{}\[\]":,0-9a-z\\ "]{0,200}"#.prop_map(String::into_bytes)]) {
        if let Ok(standard) = fastjson::to_standard(&body) {
            prop_assert!(standard.len() <= 4 * body.len());
        }
        let _ = fastjson::from_slice::<HeartbeatData>(&body);
        let _ = fastjson::from_slice::<ResetOffsetBody>(&body);
        let _ = RegisterBrokerBody::decode_compressed(&body);
    }

    #[test]
    fn headers_of_sends(producer_group in byte_text(), topic in byte_text(), properties in byte_text(), numbers in any::<[i32; 5]>(), born_timestamp in any::<i64>(), max_reconsume_times in prop::option::of(any::<i32>()), flags in any::<[bool; 2]>()) {
        let header = SendMessageRequestHeader {
            producer_group, topic, properties, born_timestamp, max_reconsume_times, default_topic: "TBW102".into(),
            default_topic_queue_nums: numbers[0], queue_id: numbers[1], sys_flag: numbers[2], flag: numbers[3],
            reconsume_times: numbers[4], unit_mode: flags[0], batch: flags[1],
        };
        let mut ext = ExtFields::new();
        header.encode_v2(&mut ext);
        prop_assert_eq!(SendMessageRequestHeader::decode(&ext).unwrap(), header);
    }

    #[test]
    fn headers_of_pulls_and_registrations(name in byte_text(), other in byte_text(), number in any::<i64>(), queue_id in any::<i32>(), some in prop::option::of(byte_text()), flag in prop::option::of(any::<bool>())) {
        let mut ext = ExtFields::new();
        let pull = PullMessageRequestHeader {
            consumer_group: name.clone(), topic: other.clone(), queue_id, queue_offset: number, max_msg_nums: queue_id, sys_flag: 3,
            commit_offset: number, suspend_timeout_millis: number, subscription: some.clone(), sub_version: number, expression_type: some,
        };
        pull.encode(&mut ext);
        prop_assert_eq!(PullMessageRequestHeader::decode(&ext).unwrap(), pull);
        let mut ext = ExtFields::new();
        let registration = RegisterBrokerRequestHeader {
            broker_name: name.clone(), broker_addr: other.clone(), cluster_name: name, ha_server_addr: other, broker_id: number,
            heartbeat_timeout_millis: Some(number), enable_acting_master: flag, compressed: flag == Some(true), body_crc32: queue_id,
        };
        registration.encode(&mut ext);
        prop_assert_eq!(RegisterBrokerRequestHeader::decode(&ext).unwrap(), registration);
    }

    /// A field or remark of no text is not told from none in the binary form, as in Java.
    #[test]
    fn commands(code in 0..1000_i32, opaque in any::<i32>(), flag in any::<i32>(), version in any::<i16>(), language in 0..14_u8, remark in prop::option::of(text()), fields in prop::collection::btree_map("[a-zA-Z]{1,8}", text(), 0..6), body in prop::collection::vec(any::<u8>(), 0..64), binary in any::<bool>()) {
        let mut command = RemotingCommand { flag, version: version.into(), language: Language::from_ordinal(language), ..RemotingCommand::request(code, opaque).with_body(body) };
        command.serialization = if binary { Serialization::RocketMq } else { Serialization::Json };
        command.remark = remark.map(ByteString::from);
        command.ext = fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let read = RemotingCommand::decode(&command.encode()).unwrap();
        prop_assert_eq!((read.code, read.opaque, read.flag, &read.body), (command.code, command.opaque, command.flag, &command.body));
        prop_assert_eq!((read.version, read.language, read.remark()), (command.version, command.language, command.remark()));
        prop_assert_eq!(read.serialization, command.serialization);
        for (name, value) in &fields {
            prop_assert_eq!(read.ext.get(name).unwrap_or_default(), value);
        }
    }

    #[test]
    fn any_frame_is_answered(frame in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3_u8) {
        let mut frame = frame;
        if let (Some(first), true) = (frame.get_mut(4), kind < 2) {
            *first = kind;
        }
        let _ = RemotingCommand::decode(&frame.into());
    }
}
