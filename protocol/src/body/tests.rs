use std::collections::BTreeMap;

use super::*;
use crate::fastjson;

fn text<T: Serialize>(value: &T) -> String {
    String::from_utf8(fastjson::to_vec(value).unwrap()).unwrap()
}

/// Reads Java's text and writes it again: the same bytes.
fn round_trip<T: Serialize + serde::de::DeserializeOwned>(java: &str) -> T {
    let value: T = fastjson::from_slice(java.as_bytes()).unwrap();
    assert_eq!(text(&value), java);
    value
}

#[test]
fn bodies_are_byte_for_byte_javas() {
    round_trip::<HeartbeatData>(
        r#"{"clientID":"10.0.0.9@4242#9","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g1","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"orders"},{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1700000000001,"tagsSet":[],"topic":"%RETRY%g1"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}],"withoutSub":false}"#,
    );
    round_trip::<TopicRouteData>(
        r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"b0","cluster":"c0","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"b0","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
    );
    round_trip::<ClusterInfo>(
        r#"{"brokerAddrTable":{"b0":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"b0","cluster":"c0","enableActingMaster":false}},"clusterAddrTable":{"c0":["b0"]}}"#,
    );
    round_trip::<LockBatchRequestBody>(
        r#"{"clientId":"10.0.0.9@4242#9","consumerGroup":"g1","mqSet":[{"brokerName":"b0","queueId":0,"topic":"orders"}],"onlyThisBroker":false}"#,
    );
    round_trip::<TopicStatsTable>(
        r#"{"offsetTable":{{"brokerName":"b0","queueId":0,"topic":"orders"}:{"lastUpdateTimestamp":1700000000000,"maxOffset":12,"minOffset":0},{"brokerName":"b0","queueId":1,"topic":"orders"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}},"topicPutTps":0.0}"#,
    );
    round_trip::<ConsumerConnection>(
        r#"{"connectionSet":[{"clientAddr":"10.0.0.9:51000","clientId":"10.0.0.9@4242#9","language":"JAVA","version":479}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"orders":{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1700000000000,"tagsSet":[],"topic":"orders"}}}"#,
    );
    round_trip::<SubscriptionGroupConfig>(
        r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"g1","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#,
    );
    round_trip::<TopicConfig>(
        r#"{"attributes":{"message.type":"NORMAL"},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"orders","topicSysFlag":0,"writeQueueNums":8}"#,
    );
    round_trip::<ConsumerOffsetSerializeWrapper>(
        r#"{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":1700000000000},"offsetTable":{"orders@g1":{0:12,1:9}}}"#,
    );
    let reset = round_trip::<ResetOffsetBody>(
        r#"{"offsetTable":{{"brokerName":"b0","queueId":0,"topic":"orders"}:5}}"#,
    );
    round_trip::<GetConsumerStatusBody>(
        r#"{"consumerTable":{"10.0.0.9@4242#9":{{"brokerName":"b0","queueId":0,"topic":"orders"}:5}},"messageQueueTable":{}}"#,
    );
    round_trip::<QueryConsumeTimeSpanBody>(
        r#"{"consumeTimeSpanSet":[{"consumeTimeStamp":7,"delayTime":3,"maxTimeStamp":9,"messageQueue":{"brokerName":"b0","queueId":0,"topic":"orders"},"minTimeStamp":-1}]}"#,
    );
    let queue = MessageQueue {
        topic: "orders".into(),
        broker_name: "b0".into(),
        queue_id: 0,
    };
    assert_eq!(reset.offset_table, BTreeMap::from([(queue, 5)]));
}

#[test]
fn what_fastjson_would_take_is_taken() {
    let queues: LockBatchRequestBody =
        fastjson::from_slice(br#"{"mqSet":[{"topic":"t"},{"queueId":"3"},{"brokerName":null}]}"#)
            .unwrap();
    let queue = |topic: &str, queue_id| MessageQueue {
        topic: topic.to_owned(),
        broker_name: String::new(),
        queue_id,
    };
    assert_eq!(queues.mq_set, [queue("t", 0), queue("", 3), queue("", 0)]);

    let config: TopicConfig = fastjson::from_slice(
        br#"{"attributes":{"a":1,"b":true,"c":"x","d":null},"topicFilterType":1}"#,
    )
    .unwrap();
    let attributes: Vec<&str> = config.attributes.values().map(String::as_str).collect();
    assert_eq!(attributes, ["1", "true", "x"]);
    assert_eq!(config.topic_filter_type, "MULTI_TAG");
    let unknown = fastjson::from_slice::<TopicConfig>(br#"{"topicFilterType":7}"#);
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("topicFilterType is 7")
    );
}

#[test]
fn heartbeats_of_other_languages_are_read() {
    let dotnet = r#"{"ClientID":"c","ConsumerDataSet":[{"GroupName":"g","ConsumeType":"CONSUME_PASSIVELY","SubscriptionDataSet":[{"Topic":"t","SubString":"*","CodeSet":null,"TagsSet":null}]}]}"#;
    let cpp = r#"{"clientID":"c","consumerDataSet":[{"groupName":"g","consumeType":1,"messageModel":1,"consumeFromWhere":0,"subscriptionDataSet":[{"topic":"t","subString":"*","subVersion":"0"}]}]}"#;
    let go = r#"{"clientID":"c","consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY","subscriptionDataSet":[{"topic":"t","subString":"*","codeSet":[],"expressionType":"TAG"}]}],"extra":{"x":[1]}}"#;
    for body in [dotnet, cpp, go] {
        let heartbeat: HeartbeatData = fastjson::from_slice(body.as_bytes()).unwrap();
        let consumer = &heartbeat.consumer_data_set[0];
        assert_eq!(
            (heartbeat.client_id.as_str(), consumer.group_name.as_str()),
            ("c", "g")
        );
        assert_eq!(
            (consumer.consume_type, consumer.message_model),
            (ConsumeType::Passively, MessageModel::Clustering)
        );
        assert_eq!(consumer.subscription_data_set[0].topic, "t");
        assert_eq!(consumer.subscription_data_set[0].expression_type, "TAG");
    }
    let strings: SubscriptionData = fastjson::from_slice(br#"{"codeSet":["2598919"]}"#).unwrap();
    assert_eq!(strings.code_set, [2598919]);
}
