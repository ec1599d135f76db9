//! A valid request of every kind that is served: what most hostile frames start from, because
//! handlers stop at the first field that is missing.

use bytes::Bytes;
use sluice_protocol::code::request as code;
use sluice_protocol::message::batch::{self, BatchItem};
use sluice_protocol::{ExtFields, RemotingCommand};

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A broker.
    Broker,
    /// A name server.
    NameServer,
}

impl Target {
    /// One request, or more, for each code that is served; in an order in which each finds what it
    /// needs, as far as a connection of its own allows.
    pub fn templates(self) -> Vec<RemotingCommand> {
        match self {
            Target::Broker => broker(),
            Target::NameServer => name_server(),
        }
    }
}

const HEARTBEAT: &str = r#"{"clientID":"hostile@1","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g1","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"orders"}],"unitMode":false}],"producerDataSet":[{"groupName":"pg"}]}"#;
const QUEUES: &str = r#"{"clientId":"hostile@1","consumerGroup":"g1","mqSet":[{"brokerName":"broker-a","queueId":0,"topic":"orders"}]}"#;
const ASSIGNMENT: &str = r#"{"clientId":"hostile@1","consumerGroup":"g1","messageModel":"CLUSTERING","strategyName":"CONSISTENT_HASH","topic":"orders"}"#;
const REQUEST_MODE: &str =
    r#"{"consumerGroup":"g1","mode":"PULL","popShareQueueNum":0,"topic":"orders"}"#;
const SQL_CHECK: &str = r#"{"clientId":"hostile@1","group":"g1","namespace":"","subscriptionData":{"expressionType":"SQL92","subString":"a > 1","subVersion":1700000000000,"topic":"orders"}}"#;
const GROUP: &str = r#"{"consumeEnable":true,"consumeTimeoutMinute":15,"groupName":"g1","groupRetryPolicy":{"type":"CUSTOMIZED"},"retryMaxTimes":16,"retryQueueNums":1}"#;
const VERSION: &str = r#"{"counter":7,"stateVersion":0,"timestamp":1700000000000}"#;
const REGISTRATION: &str = r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":1700000000000},"topicConfigTable":{"orders":{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"orders","topicSysFlag":1,"writeQueueNums":4},"%RETRY%g1":{"perm":6,"readQueueNums":1,"topicName":"%RETRY%g1","writeQueueNums":1}}}}"#;

/// A compressed registration, as RocketMQ 5.3.3 writes it.
pub const COMPRESSED: &[u8] = b"\x78\xda\x63\x60\x60\xb0\xa8\x56\x4a\xce\x2f\xcd\x2b\x49\x2d\x52\xb2\x32\xd0\x51\x2a\x2e\x49\x2c\x49\x0d\x4b\x2d\x2a\xce\xcc\xcf\x03\x0b\x94\x64\xe6\xa6\x02\x05\x73\x0b\x94\xac\x0c\xcd\x0d\x10\xa0\x96\x81\x81\x81\x09\x88\x0d\xf3\x8b\x52\x80\xca\x15\x4c\x14\x2c\x14\xcc\x14\x82\x3d\xfd\xdc\x7d\x5c\xe3\x43\x1c\xdd\x15\xaa\x95\x80\x1a\x8b\x13\xd3\x53\xf5\x4a\x2a\x0b\x52\x95\xac\x94\xfc\xfc\x83\x7c\x1d\x7d\x94\x40\x1a\x65\x55\x83\x5c\x43\x82\x22\x55\xd3\x0d\x15\x40\x10\x55\x1f\x48\x81\x50\xb4\x92\xa1\x81\x1e\x08\x9a\x5b\x19\x83\xac\x53\x8a\x05\x8a\x32\x00\x00\xa7\x9f\x2c\x8e";

const SEND: &str = "producerGroup=pg;topic=orders;defaultTopic=TBW102;defaultTopicQueueNums=4;queueId=0;sysFlag=0;bornTimestamp=1700000000000;flag=7;properties=TAGS\u{1}TagA\u{2}KEYS\u{1}k1\u{2};reconsumeTimes=0;unitMode=false;batch=false";
const SEND_V2: &str = "a=pg;b=orders;c=TBW102;d=4;e=0;f=0;g=1700000000000;h=7;i=TAGS\u{1}TagA\u{2};j=0;k=false;l=16;m=false";
const SEND_HALF: &str = "a=pg;b=orders;c=TBW102;d=4;e=0;f=4;g=1700000000000;h=0;i=TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}UNIQ_KEY\u{1}u1\u{2};j=0;k=false;m=false";
/// Of no half message that is there: where one would lie depends on what came before.
const END: &str = "topic=orders;producerGroup=pg;tranStateTableOffset=0;commitLogOffset=0;commitOrRollback=8;fromTransactionCheck=false;msgId=u1;transactionId=u1;bname=broker-a";
/// Of a message whose time is over.
const RECALL: &str =
    "producerGroup=pg;topic=orders;recallHandle=djEgb3JkZXJzIGJyb2tlci1hIDE3NTAwMDAwMDAwMDEgdTE=";
const SEND_BATCH: &str =
    "a=pg;b=orders;c=TBW102;d=4;e=0;f=0;g=1700000000000;h=0;i=;j=0;k=false;m=true";
/// Finds messages.
const PULL: &str = "consumerGroup=g1;topic=orders;queueId=0;queueOffset=0;maxMsgNums=32;sysFlag=4;commitOffset=0;suspendTimeoutMillis=0;subscription=TagA;subVersion=1700000000000;expressionType=TAG";
/// Finds none and waits.
const LONG_PULL: &str = "consumerGroup=g1;topic=orders;queueId=3;queueOffset=0;maxMsgNums=32;sysFlag=7;commitOffset=0;suspendTimeoutMillis=1000;subscription=*;subVersion=0";
const POP: &str = "consumerGroup=g1;topic=orders;queueId=-1;maxMsgNums=32;invisibleTime=60000;pollTime=100;bornTime=0;initMode=0;expType=TAG;exp=TagA";
const ORDERED_POP: &str = "consumerGroup=g1;topic=orders;queueId=1;maxMsgNums=2;invisibleTime=1000;pollTime=0;bornTime=0;initMode=1;order=true;attemptId=a";
const RECEIPT: &str = "0 1700000000000 60000 0 0 broker-a 0 0";
const BATCH_ACK: &str = r#"{"acks":[{"b":"BQ==","c":"g1","it":60000,"pt":1700000000000,"q":0,"r":"0","rq":3,"so":0,"t":"orders"},{"b":"AQ==","c":"g1","it":60000,"pt":1700000000000,"q":0,"r":"1","rq":999,"so":0,"t":"orders"}],"brokerName":"broker-a"}"#;
const TOPIC: &str = "topic=orders;defaultTopic=TBW102;readQueueNums=4;writeQueueNums=4;perm=6;topicFilterType=SINGLE_TAG;topicSysFlag=0;order=false;attributes=+message.type=NORMAL";
const TOPIC_LIST: &str = r#"{"topicConfigList":[{"attributes":{"+message.type":"NORMAL"},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"orders-2","topicSysFlag":0,"writeQueueNums":2}]}"#;
const GROUP_LIST: &str = r#"{"groupConfigList":[{"groupName":"g3","retryQueueNums":1}]}"#;
const BROKER: &str =
    "brokerName=b0;brokerAddr=10.0.0.1:10911;clusterName=c0;haServerAddr=10.0.0.1:10912;brokerId=0";

fn template(code: i32, fields: &str, body: impl Into<Bytes>) -> RemotingCommand {
    let fields = fields.split(';').filter(|field| !field.is_empty());
    let fields = fields.map(|field| field.split_once('=').expect("name=value"));
    let ext: ExtFields = fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    RemotingCommand {
        ext,
        ..RemotingCommand::request(code, 0).with_body(body)
    }
}

fn batch_body() -> Vec<u8> {
    let mut body = Vec::new();
    for text in ["a", "bc"] {
        let item = BatchItem {
            flag: 0,
            body: text.as_bytes(),
            properties: b"TAGS\x01TagA\x02",
        };
        batch::put(&mut body, item);
    }
    body
}

fn broker() -> Vec<RemotingCommand> {
    let queue = "topic=orders;queueId=0";
    let group = "consumerGroup=g1";
    let offset = "consumerGroup=g1;topic=orders;queueId=0";
    vec![
        template(code::UPDATE_AND_CREATE_TOPIC, TOPIC, ""),
        template(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, "", GROUP),
        template(code::HEART_BEAT, "", HEARTBEAT),
        template(code::SEND_MESSAGE, SEND, "hello"),
        template(code::SEND_MESSAGE_V2, SEND_V2, "hello"),
        template(code::SEND_BATCH_MESSAGE, SEND_BATCH, batch_body()),
        template(code::SEND_MESSAGE_V2, SEND_HALF, "hello"),
        template(code::END_TRANSACTION, END, ""),
        template(code::RECALL_MESSAGE, RECALL, ""),
        template(
            code::RESUME_CHECK_HALF_MESSAGE,
            "topic=TRANS_CHECK_MAX_TIME_TOPIC;msgId=7F00000100002A9F0000000000000000",
            "",
        ),
        template(code::PULL_MESSAGE, PULL, ""),
        template(code::PULL_MESSAGE, LONG_PULL, ""),
        template(code::LITE_PULL_MESSAGE, PULL, ""),
        template(code::POP_MESSAGE, POP, ""),
        template(code::POP_MESSAGE, ORDERED_POP, ""),
        template(
            code::ACK_MESSAGE,
            &format!("{offset};offset=0;extraInfo={RECEIPT}"),
            "",
        ),
        template(code::BATCH_ACK_MESSAGE, "", BATCH_ACK),
        template(
            code::CHANGE_MESSAGE_INVISIBLETIME,
            &format!("{offset};offset=0;invisibleTime=1000;extraInfo={RECEIPT}"),
            "",
        ),
        template(code::PEEK_MESSAGE, &format!("{offset};maxMsgNums=32"), ""),
        template(
            code::NOTIFICATION,
            &format!("{offset};pollTime=10;bornTime=0;order=false"),
            "",
        ),
        template(code::POLLING_INFO, offset, ""),
        template(code::CHECK_CLIENT_CONFIG, "", SQL_CHECK),
        template(code::GET_CONSUMER_LIST_BY_GROUP, group, ""),
        template(
            code::UPDATE_CONSUMER_OFFSET,
            &format!("{offset};commitOffset=1"),
            "",
        ),
        template(
            code::QUERY_CONSUMER_OFFSET,
            &format!("{offset};setZeroIfNotFound=true"),
            "",
        ),
        template(code::GET_ALL_CONSUMER_OFFSET, "", ""),
        template(
            code::INVOKE_BROKER_TO_RESET_OFFSET,
            "topic=orders;group=g1;timestamp=-1;isForce=true;queueId=0;offset=0",
            "",
        ),
        template(code::GET_MAX_OFFSET, queue, ""),
        template(code::GET_MIN_OFFSET, queue, ""),
        template(
            code::SEARCH_OFFSET_BY_TIMESTAMP,
            &format!("{queue};timestamp=1700000000000;boundaryType=UPPER"),
            "",
        ),
        template(code::GET_EARLIEST_MSG_STORETIME, queue, ""),
        template(code::LOCK_BATCH_MQ, "", QUEUES),
        template(code::UNLOCK_BATCH_MQ, "", QUEUES),
        // The text is an empty module, in base64.
        template(
            code::REGISTER_MESSAGE_FILTER_CLASS,
            "consumerGroup=g1;topic=orders;className=org.example.F;classCRC=400116265",
            "AGFzbQEAAAA=",
        ),
        template(
            code::SEND_REPLY_MESSAGE,
            "producerGroup=g1;topic=DefaultCluster_REPLY_TOPIC;defaultTopic=TBW102;defaultTopicQueueNums=4;queueId=0;sysFlag=0;bornTimestamp=1;flag=0;properties=REPLY_TO_CLIENT\u{1}c\u{2};reconsumeTimes=0;unitMode=false",
            "reply",
        ),
        template(
            code::SEND_REPLY_MESSAGE_V2,
            "a=g1;b=DefaultCluster_REPLY_TOPIC;c=TBW102;d=4;e=0;f=0;g=1;h=0;i=REPLY_TO_CLIENT\u{1}c\u{2};j=0;k=false",
            "reply",
        ),
        template(
            code::CONSUMER_SEND_MSG_BACK,
            "offset=0;group=g1;delayLevel=0;originMsgId=0;originTopic=orders;unitMode=false;maxReconsumeTimes=16",
            "",
        ),
        template(
            code::SLUICE_ADMINISTRATION,
            "method=POST;path=/v1/bindings;token=0",
            r#"{"plugin":"x","topic":"orders","group":"g1"}"#,
        ),
        template(code::QUERY_ASSIGNMENT, "", ASSIGNMENT),
        template(code::SET_MESSAGE_REQUEST_MODE, "", REQUEST_MODE),
        template(
            code::QUERY_MESSAGE,
            "topic=orders;key=k1;maxNum=4;beginTimestamp=0;endTimestamp=9223372036854775807",
            "",
        ),
        template(code::VIEW_MESSAGE_BY_ID, "offset=0", ""),
        template(code::GET_ALL_TOPIC_CONFIG, "", ""),
        template(code::GET_TOPIC_CONFIG, "topic=orders;lo=false", ""),
        template(code::GET_TOPIC_STATS_INFO, "topic=orders", ""),
        template(code::QUERY_TOPIC_CONSUME_BY_WHO, "topic=orders", ""),
        template(code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, "", ""),
        template(code::UPDATE_AND_CREATE_TOPIC_LIST, "", TOPIC_LIST),
        template(
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
            "",
            GROUP_LIST,
        ),
        template(
            code::UPDATE_AND_GET_GROUP_FORBIDDEN,
            "group=g1;topic=orders;readable=true",
            "",
        ),
        template(
            code::QUERY_SUBSCRIPTION_BY_CONSUMER,
            "group=g1;topic=orders",
            "",
        ),
        template(code::GET_ALL_PRODUCER_INFO, "", ""),
        template(
            code::QUERY_CONSUME_QUEUE,
            &format!("{queue};index=0;count=2;consumerGroup=g1"),
            "",
        ),
        template(
            code::CLONE_GROUP_OFFSET,
            "srcGroup=g1;destGroup=g2;topic=orders;offline=true",
            "",
        ),
        template(
            code::QUERY_CORRECTION_OFFSET,
            "topic=orders;compareGroup=g1;filterGroups=g2",
            "",
        ),
        template(code::CLEAN_EXPIRED_CONSUMEQUEUE, "", ""),
        template(code::CLEAN_UNUSED_TOPIC, "", ""),
        template(code::DELETE_EXPIRED_COMMITLOG, "", ""),
        template(code::POP_ROLLBACK, "", ""),
        template(code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, "", ""),
        template(code::GET_SUBSCRIPTIONGROUP_CONFIG, "group=g1", ""),
        template(code::GET_CONSUMER_CONNECTION_LIST, group, ""),
        template(code::GET_PRODUCER_CONNECTION_LIST, "producerGroup=pg", ""),
        template(code::GET_CONSUME_STATS, "consumerGroup=g1;topic=orders", ""),
        template(code::QUERY_TOPICS_BY_CONSUMER, "group=g1", ""),
        template(
            code::GET_CONSUMER_RUNNING_INFO,
            "consumerGroup=g1;clientId=hostile@1;jstackEnable=false",
            "",
        ),
        template(
            code::CONSUME_MESSAGE_DIRECTLY,
            "consumerGroup=g1;clientId=hostile@1;msgId=7F00000100002A9F0000000000000000;topic=orders",
            "",
        ),
        template(
            code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
            "topic=orders;group=g1;clientAddr=hostile@1",
            "",
        ),
        template(code::QUERY_CONSUME_TIME_SPAN, "topic=orders;group=g1", ""),
        template(
            code::VIEW_BROKER_STATS_DATA,
            "statsName=GROUP_GET_NUMS;statsKey=orders@g1",
            "",
        ),
        template(code::GET_BROKER_CONSUME_STATS, "isOrder=false", ""),
        template(code::GET_BROKER_RUNTIME_INFO, "", ""),
        template(code::GET_BROKER_CONFIG, "", ""),
        // No beginning of it is another valid setting.
        template(code::UPDATE_BROKER_CONFIG, "", "longPollingEnable=true"),
        template(code::DELETE_TOPIC_IN_BROKER, "topic=doomed", ""),
        template(
            code::DELETE_SUBSCRIPTIONGROUP,
            "groupName=doomed;cleanOffset=true",
            "",
        ),
        template(
            code::UNREGISTER_CLIENT,
            "clientID=hostile@2;producerGroup=pg;consumerGroup=g1",
            "",
        ),
    ]
}

fn name_server() -> Vec<RemotingCommand> {
    let setting = "namespace=ORDER_TOPIC_CONFIG;key=orders";
    vec![
        template(
            code::REGISTER_BROKER,
            &format!("{BROKER};enableActingMaster=false;compressed=false;bodyCrc32=0"),
            REGISTRATION,
        ),
        template(
            code::REGISTER_BROKER,
            &format!("{BROKER};heartbeatTimeoutMillis=120000;compressed=true"),
            COMPRESSED,
        ),
        template(code::QUERY_DATA_VERSION, BROKER, VERSION),
        template(
            code::BROKER_HEARTBEAT,
            &format!("{BROKER};heartbeatTimeoutMills=10000"),
            "",
        ),
        template(
            code::GET_ROUTEINFO_BY_TOPIC,
            "topic=orders;acceptStandardJsonOnly=true",
            "",
        ),
        template(code::GET_BROKER_CLUSTER_INFO, "", ""),
        template(
            code::GET_BROKER_MEMBER_GROUP,
            "clusterName=c0;brokerName=b0",
            "",
        ),
        template(code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, "", ""),
        template(code::GET_TOPICS_BY_CLUSTER, "cluster=c0", ""),
        template(code::GET_SYSTEM_TOPIC_LIST_FROM_NS, "", ""),
        template(code::GET_UNIT_TOPIC_LIST, "", ""),
        template(code::GET_HAS_UNIT_SUB_TOPIC_LIST, "", ""),
        template(code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, "", ""),
        template(code::PUT_KV_CONFIG, &format!("{setting};value=b0:4"), ""),
        template(code::GET_KV_CONFIG, setting, ""),
        template(
            code::GET_KVLIST_BY_NAMESPACE,
            "namespace=ORDER_TOPIC_CONFIG",
            "",
        ),
        template(code::DELETE_KV_CONFIG, setting, ""),
        template(code::WIPE_WRITE_PERM_OF_BROKER, "brokerName=b0", ""),
        template(code::ADD_WRITE_PERM_OF_BROKER, "brokerName=b0", ""),
        template(
            code::DELETE_TOPIC_IN_NAMESRV,
            "topic=doomed;clusterName=c0",
            "",
        ),
        template(code::GET_NAMESRV_CONFIG, "", ""),
        template(code::UPDATE_NAMESRV_CONFIG, "", "orderMessageEnable=true"),
        template(code::UNREGISTER_BROKER, BROKER, ""),
    ]
}
