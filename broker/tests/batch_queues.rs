//! A topic with `queue.type=BatchCQ`, asked as clients ask that take batches apart and that do not.

mod common;

use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC};
use sluice_protocol::code::{request, response};
use sluice_protocol::language::Language;
use sluice_protocol::message::batch::{self, BatchItem};
use sluice_protocol::message::{Record, inner_batch, properties, sys_flag, view};
use sluice_protocol::{RemotingCommand, version};

/// Shorter than every hold: what takes longer was not woken.
const WAKE: Duration = Duration::from_secs(5);

async fn make_topic(client: &Asker) {
    let fields = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("attributes", "+queue.type=BatchCQ"),
    ];
    let code = request::UPDATE_AND_CREATE_TOPIC;
    let made = client.ask(code, &fields, Vec::new()).await;
    assert_eq!(made.code, response::SUCCESS, "{:?}", made.remark);
}

/// A batch's body; each message is a tag and a text, which is its unique key as well.
fn packed(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (tag, text) in messages {
        let properties = format!("TAGS\u{1}{tag}\u{2}UNIQ_KEY\u{1}{text}\u{2}");
        let item = BatchItem {
            flag: 0,
            body: text.as_bytes(),
            properties: properties.as_bytes(),
        };
        batch::put(&mut body, item);
    }
    body
}

async fn sent(client: &Asker, text: &str, body: &[u8], batch: bool) -> RemotingCommand {
    let answer = client.send(text, body, batch).await;
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    answer
}

/// Three messages as one record, one alone, and two of a producer that gives the batch no key.
async fn fill(client: &Asker) {
    let three = packed(&[("a", "one"), ("b", "two"), ("a", "three")]);
    let answer = sent(client, "UNIQ_KEY\u{1}whole\u{2}", &three, true).await;
    assert_eq!(answer.ext.get("batchUniqId"), Some("whole"));
    assert_eq!(answer.ext.get("queueOffset"), Some("0"));
    let answer = sent(
        client,
        "TAGS\u{1}a\u{2}UNIQ_KEY\u{1}four\u{2}",
        b"four",
        false,
    )
    .await;
    assert_eq!(answer.ext.get("queueOffset"), Some("3"));
    let two = packed(&[("b", "five"), ("c", "six")]);
    let answer = sent(client, "", &two, true).await;
    assert_eq!(answer.ext.get("batchUniqId"), None);
    assert_eq!(answer.ext.get("queueOffset"), Some("4"));
}

async fn offset(client: &Asker, code: i32) -> String {
    let fields = [("topic", TOPIC), ("queueId", "0")];
    let answer = client.ask(code, &fields, Vec::new()).await;
    answer.ext.get("offset").unwrap().to_owned()
}

async fn until_max(client: &Asker, max: &str) {
    let there = async {
        while offset(client, request::GET_MAX_OFFSET).await != max {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAKE, there).await.unwrap();
}

async fn pull_as(client: &Asker, language: Language, version: i32, from: &str) -> RemotingCommand {
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("queueOffset", from),
        ("maxMsgNums", "32"),
        ("sysFlag", "0"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
    ];
    let mut command = RemotingCommand::request(request::PULL_MESSAGE, 0);
    for (name, value) in fields {
        command.ext.put(name, value);
    }
    (command.language, command.version) = (language, version);
    client.call(command).await
}

/// Offsets and bodies; `None` for a packed body.
fn given(answer: &RemotingCommand) -> Vec<(i64, Option<String>)> {
    let one = |record: Record<'_>| {
        let text = String::from_utf8(record.body().to_vec()).unwrap();
        let packed = inner_batch::is_packed(&record);
        (record.queue_offset(), (!packed).then_some(text))
    };
    let records = view::records(&answer.body);
    records.map(|record| one(record.unwrap())).collect()
}

fn texts(pairs: &[(i64, &str)]) -> Vec<(i64, Option<String>)> {
    let one = |(at, text): &(i64, &str)| (*at, Some(text.to_string()));
    pairs.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_gets_what_it_can_read() {
    let served = Served::start(|_| {}).await;
    let (client, _asked) = served.client();
    make_topic(&client).await;
    assert_eq!(offset(&client, request::GET_MIN_OFFSET).await, "-1");
    assert_eq!(offset(&client, request::GET_MAX_OFFSET).await, "0");
    client.heartbeat("c", "*", Language::Java).await;
    let empty = pull_as(&client, Language::Java, version::V5_3_3, "0").await;
    assert_eq!(empty.code, response::PULL_NOT_FOUND);
    assert_eq!(empty.ext.get("minOffset"), Some("-1"));
    fill(&client).await;
    until_max(&client, "6").await;
    assert_eq!(offset(&client, request::GET_MIN_OFFSET).await, "0");
    let java = pull_as(&client, Language::Java, version::V5_3_3, "1").await;
    let rest = texts(&[(3, "four"), (4, "five"), (5, "six")]);
    assert_eq!(given(&java), [&[(0, None)][..], &rest].concat());
    for (language, version) in [
        (Language::Java, version::V4_9_4),
        (Language::Go, version::V5_3_3),
    ] {
        let answer = pull_as(&client, language, version, "1").await;
        let first = texts(&[(1, "two"), (2, "three")]);
        assert_eq!(given(&answer), [first, rest.clone()].concat());
        assert_eq!(answer.ext.get("nextBeginOffset"), Some("6"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_for_a_tag_is_woken_by_a_message_of_a_batch() {
    let served = Served::start(|_| {}).await;
    let ((producer, _), (consumer, _asked)) = (served.client(), served.client());
    make_topic(&producer).await;
    consumer.heartbeat("c", "c", Language::Java).await;
    let pulling = tokio::spawn(async move {
        let answer = consumer.pull(0, sys_flag::PULL_SUSPEND, &[]).await;
        match answer.code {
            response::PULL_RETRY_IMMEDIATELY => consumer.pull(2, sys_flag::PULL_SUSPEND, &[]).await,
            _ => answer,
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let unwanted = packed(&[("a", "one"), ("b", "two")]);
    sent(&producer, "UNIQ_KEY\u{1}x\u{2}", &unwanted, true).await;
    let wanted = packed(&[("b", "three"), ("c", "four")]);
    sent(&producer, "UNIQ_KEY\u{1}y\u{2}", &wanted, true).await;
    let answer = tokio::time::timeout(WAKE, pulling).await.unwrap().unwrap();
    assert_eq!(given(&answer), texts(&[(3, "four")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_broker_says_is_not_taken_from_clients() {
    let served = Served::start(|_| {}).await;
    let (client, _asked) = served.client();
    make_topic(&client).await;
    let text = "INNER_NUM\u{1}30000\u{2}INNER_BASE\u{1}7\u{2}";
    sent(&client, text, b"one", false).await;
    until_max(&client, "1").await;
    client.heartbeat("c", "*", Language::Java).await;
    let answer = client.pull(0, 0, &[]).await;
    let record = Record::parse(&answer.body).unwrap();
    assert_eq!(record.property(properties::INNER_NUM), None);
    assert_eq!(record.property(properties::INNER_BASE), None);
    assert_eq!(record.queue_offset(), 0);
    let flags = inner_batch::PACKED.to_string();
    let fields = [
        ("a", "shop"),
        ("b", TOPIC),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", &*flags),
        ("g", "1700000000000"),
        ("h", "0"),
    ];
    let refused = client
        .ask(request::SEND_MESSAGE_V2, &fields, b"x".to_vec())
        .await;
    assert_eq!(
        refused.code,
        response::MESSAGE_ILLEGAL,
        "{:?}",
        refused.remark
    );
    for body in [&b"no batch"[..], b""] {
        let refused = client.send("UNIQ_KEY\u{1}x\u{2}", body, true).await;
        assert_eq!(
            refused.code,
            response::MESSAGE_ILLEGAL,
            "{:?}",
            refused.remark
        );
    }
    let many = packed(&vec![("a", "x"); inner_batch::MESSAGES_MAX + 1]);
    let refused = client.send("UNIQ_KEY\u{1}x\u{2}", &many, true).await;
    assert_eq!(
        refused.code,
        response::MESSAGE_ILLEGAL,
        "{:?}",
        refused.remark
    );
    until_max(&client, "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_of_a_batch_comes_back_alone() {
    let served = Served::start(|_| {}).await;
    let (client, _asked) = served.client();
    make_topic(&client).await;
    fill(&client).await;
    until_max(&client, "6").await;
    client.heartbeat("c", "*", Language::Java).await;
    let answer = pull_as(&client, Language::Java, version::V5_3_3, "0").await;
    let place = Record::parse(&answer.body).unwrap().physical_offset();
    let place = place.to_string();
    let back = |id: &'static str| {
        let fields = [
            ("offset", &*place),
            ("group", GROUP),
            ("delayLevel", "1"),
            ("originMsgId", id),
            ("originTopic", TOPIC),
        ];
        let fields: Vec<(&str, String)> = fields.map(|(n, v)| (n, v.to_owned())).into();
        let client = &client;
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, &**v)).collect();
            client
                .ask(request::CONSUMER_SEND_MSG_BACK, &fields, Vec::new())
                .await
        }
    };
    let unknown = back("seven").await;
    assert_eq!(unknown.code, response::SYSTEM_ERROR);
    assert_eq!(back("two").await.code, response::SUCCESS);
    let retries = format!("%RETRY%{GROUP}");
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", &*retries),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("subscription", "*"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
    ];
    let there = async {
        loop {
            let answer = client.ask(request::PULL_MESSAGE, &fields, Vec::new()).await;
            if answer.code == response::SUCCESS {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = tokio::time::timeout(WAKE, there).await.unwrap();
    let record = Record::parse(&answer.body).unwrap();
    assert_eq!(record.body(), b"two");
    assert_eq!(record.property(properties::TAGS), Some("b"));
    assert_eq!(record.reconsume_times(), 1);
}

/// All queues of the topic are popped; the batch is one message, and comes back as one.
#[tokio::test(flavor = "multi_thread")]
async fn a_pop_takes_batches_as_they_are() {
    let served = Served::start(|config| config.revive_interval = 20).await;
    let (client, _asked) = served.client();
    make_topic(&client).await;
    fill(&client).await;
    until_max(&client, "6").await;
    let pop = || async {
        let born = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let born = born.as_millis().to_string();
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", "-1"),
            ("maxMsgNums", "32"),
            ("invisibleTime", "500"),
            ("pollTime", "0"),
            ("bornTime", &born),
            ("initMode", "0"),
        ];
        client.ask(request::POP_MESSAGE, &fields, Vec::new()).await
    };
    let first = pop().await;
    let expected = [
        &[(0, None)][..],
        &texts(&[(3, "four"), (4, "five"), (5, "six")]),
    ]
    .concat();
    assert_eq!(given(&first), expected);
    let again = async {
        loop {
            let answer = pop().await;
            if answer.code == response::SUCCESS {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = tokio::time::timeout(2 * WAKE, again).await.unwrap();
    let record = Record::parse(&answer.body).unwrap();
    assert_eq!(
        record.body(),
        packed(&[("a", "one"), ("b", "two"), ("a", "three")])
    );
    assert_eq!(record.sys_flag() & inner_batch::PACKED, 0);
    assert_eq!(record.property(properties::INNER_NUM), None);
}
