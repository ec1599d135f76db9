//! POP, request by request, over real sockets.

mod common;

use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC};
use sluice_broker::{Broker, BrokerConfig};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::message::{Record, properties};

/// A wake-up takes less, a poll that ends by itself takes longer.
const WAKE: Duration = Duration::from_secs(5);

fn quick(config: &mut BrokerConfig) {
    config.revive_interval = 20;
    config.default_topic_queue_nums = 1;
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis() as i64
}

struct Popping<'a> {
    client: &'a Asker,
    invisible: &'a str,
    poll: &'a str,
    more: &'a [(&'a str, &'a str)],
}

impl Popping<'_> {
    async fn pop(&self) -> RemotingCommand {
        let born = now_ms().to_string();
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", "-1"),
            ("maxMsgNums", "32"),
            ("invisibleTime", self.invisible),
            ("pollTime", self.poll),
            ("bornTime", &born),
            ("initMode", "0"),
        ];
        let fields = [&fields, self.more].concat();
        self.client
            .ask(request::POP_MESSAGE, &fields, Vec::new())
            .await
    }
}

fn popping(client: &Asker) -> Popping<'_> {
    Popping {
        client,
        invisible: "60000",
        poll: "0",
        more: &[],
    }
}

/// Sends to the one queue and waits until all can be read.
async fn send(client: &Asker, bodies: &[&str]) {
    let queue = [("topic", TOPIC), ("queueId", "0")];
    for body in bodies {
        client.send("", body.as_bytes(), false).await;
    }
    let end = bodies.len().to_string();
    let end = end.as_str();
    while field(
        &client
            .ask(request::GET_MAX_OFFSET, &queue, Vec::new())
            .await,
        "offset",
    ) != end
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Body, topic, queue offset, reconsume times and receipt of each message of an answer.
fn messages(answer: &RemotingCommand) -> Vec<(String, String, i64, i32, Option<String>)> {
    let mut rest = &answer.body[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let record = Record::parse(rest).unwrap();
        found.push((
            String::from_utf8(record.body().to_vec()).unwrap(),
            record.topic().to_owned(),
            record.queue_offset(),
            record.reconsume_times(),
            record.property(properties::POP_CK).map(str::to_owned),
        ));
        rest = &rest[record.size()..];
    }
    found
}

fn bodies(answer: &RemotingCommand) -> Vec<String> {
    let messages = messages(answer).into_iter();
    messages.map(|message| message.0).collect()
}

fn field<'a>(answer: &'a RemotingCommand, name: &str) -> &'a str {
    answer.ext.get(name).unwrap_or_else(|| panic!("no {name}"))
}

/// The receipt of a message that has none in its properties, as clients put it together.
fn receipt(answer: &RemotingCommand, offset: i64) -> String {
    let start = field(answer, "startOffsetInfo").rsplit(' ').next().unwrap();
    format!(
        "{start} {} {} {} 0 b 0 {offset}",
        field(answer, "popTime"),
        field(answer, "invisibleTime"),
        field(answer, "reviveQid")
    )
}

async fn ack(client: &Asker, topic: &str, receipt: &str, offset: i64) -> RemotingCommand {
    let offset = offset.to_string();
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", topic),
        ("queueId", "0"),
        ("extraInfo", receipt),
        ("offset", &offset),
    ];
    client.ask(request::ACK_MESSAGE, &fields, Vec::new()).await
}

async fn change(client: &Asker, receipt: &str, offset: i64, invisible: &str) -> RemotingCommand {
    let offset = offset.to_string();
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("extraInfo", receipt),
        ("offset", &offset),
        ("invisibleTime", invisible),
    ];
    let code = request::CHANGE_MESSAGE_INVISIBLETIME;
    client.ask(code, &fields, Vec::new()).await
}

#[tokio::test]
async fn what_is_popped_is_invisible_and_what_is_not_acked_comes_back() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    send(&client, &["a", "b", "c"]).await;
    let mut pop = popping(&client);
    pop.invisible = "500";
    let first = pop.pop().await;
    assert_eq!(first.code, response::SUCCESS, "{}", first.remark());
    assert_eq!(bodies(&first), ["a", "b", "c"]);
    assert_eq!(field(&first, "startOffsetInfo"), "0 0 0");
    assert_eq!(field(&first, "msgOffsetInfo"), "0 0 0,1,2");
    assert_eq!(field(&first, "restNum"), "0");
    let nothing = pop.pop().await;
    assert_eq!(nothing.code, response::POLLING_TIMEOUT);
    assert_eq!(nothing.remark(), "NO_MESSAGE_IN_QUEUE");
    for offset in [0, 2] {
        let acked = ack(&client, TOPIC, &receipt(&first, offset), offset).await;
        assert_eq!(acked.code, response::SUCCESS, "{}", acked.remark());
    }
    pop.poll = "20000";
    let again = pop.pop().await;
    assert_eq!(again.code, response::SUCCESS, "{}", again.remark());
    let popped: i64 = field(&first, "popTime").parse().unwrap();
    let back: i64 = field(&again, "popTime").parse().unwrap();
    assert!(back - popped >= 500, "{} ms", back - popped);
    let [(body, topic, offset, times, Some(receipt))] = &messages(&again)[..] else {
        panic!("{:?}", messages(&again));
    };
    assert_eq!((&**body, &**topic, *offset, *times), ("b", TOPIC, 0, 1));
    assert_eq!(field(&again, "startOffsetInfo"), "1 0 0");
    let retry = format!("%RETRY%{GROUP}_{TOPIC}");
    let acked = ack(&client, &retry, receipt, 0).await;
    assert_eq!(acked.code, response::SUCCESS, "{}", acked.remark());
    pop.poll = "4000";
    assert_eq!(pop.pop().await.code, response::POLLING_TIMEOUT);
}

#[tokio::test]
async fn retry_topics_of_the_second_kind_are_popped_and_acked_as_well() {
    let served = Served::start(|config| {
        quick(config);
        config.enable_retry_topic_v2 = true;
        config.retrieve_message_from_pop_retry_topic_v1 = false;
    })
    .await;
    let (client, _) = served.client();
    send(&client, &["a"]).await;
    let mut pop = popping(&client);
    (pop.invisible, pop.poll) = ("100", "20000");
    let first = pop.pop().await;
    assert_eq!(messages(&first)[0].3, 0);
    let again = tokio::time::timeout(WAKE * 2, pop.pop()).await.unwrap();
    let (_, topic, _, times, receipt) = &messages(&again)[0];
    assert_eq!((&**topic, *times), (TOPIC, 1));
    assert_eq!(field(&again, "msgOffsetInfo"), "2 0 0");
    let retry = format!("%RETRY%{GROUP}+{TOPIC}");
    let receipt = receipt.as_deref().unwrap();
    let acked = ack(&client, &retry, receipt, 0).await;
    assert_eq!(acked.code, response::SUCCESS, "{}", acked.remark());
    pop.poll = "3500";
    assert_eq!(pop.pop().await.code, response::POLLING_TIMEOUT);
}

#[tokio::test]
async fn a_waiting_pop_is_woken_by_a_message_that_is_for_it() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    client.send("TAGS\u{1}no\u{2}", b"first", false).await;
    let mut pop = popping(&client);
    pop.more = &[("exp", "yes"), ("expType", "TAG")];
    (pop.poll, pop.invisible) = ("20000", "60000");
    let (other, _) = served.client();
    let (third, _) = served.client();
    let sent = async {
        let info = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", "-1"),
        ];
        let waits = async || {
            let answer = third.ask(request::POLLING_INFO, &info, Vec::new()).await;
            field(&answer, "pollingNum") == "1"
        };
        while !waits().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other.send("TAGS\u{1}no\u{2}", b"second", false).await;
        other.send("TAGS\u{1}yes\u{2}", b"third", false).await;
    };
    let both = async { tokio::join!(pop.pop(), sent).0 };
    let answer = tokio::time::timeout(WAKE, both).await.expect("missed");
    assert_eq!(bodies(&answer), ["third"]);
}

#[tokio::test]
async fn the_invisible_time_can_be_changed() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    send(&client, &["a"]).await;
    let mut pop = popping(&client);
    let first = pop.pop().await;
    let changed = change(&client, &receipt(&first, 0), 0, "100").await;
    assert_eq!(changed.code, response::SUCCESS, "{}", changed.remark());
    assert_eq!(field(&changed, "invisibleTime"), "100");
    assert_eq!(field(&changed, "reviveQid"), field(&first, "reviveQid"));
    pop.poll = "20000";
    let again = tokio::time::timeout(WAKE * 2, pop.pop()).await.unwrap();
    assert_eq!(messages(&again)[0].3, 1);
    assert_eq!(
        change(&client, &receipt(&first, 0), 1, "1").await.code,
        response::NO_MESSAGE
    );
}

#[tokio::test]
async fn retries_end_among_the_dead_letters() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    send(&client, &["a"]).await;
    let group = format!(r#"{{"groupName":"{GROUP}","consumeEnable":true,"retryMaxTimes":1}}"#);
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    client.ask(code, &[], group.into_bytes()).await;
    let mut pop = popping(&client);
    (pop.invisible, pop.poll) = ("50", "20000");
    for times in [0, 1] {
        assert_eq!(messages(&pop.pop().await)[0].3, times);
    }
    let dead = format!("%DLQ%{GROUP}");
    let dead = [("topic", &*dead), ("queueId", "0")];
    let buried = async {
        while field(
            &client.ask(request::GET_MAX_OFFSET, &dead, Vec::new()).await,
            "offset",
        ) != "1"
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAKE * 2, buried)
        .await
        .expect("no letter");
    pop.poll = "0";
    assert_eq!(pop.pop().await.code, response::POLLING_TIMEOUT);
}

#[tokio::test]
async fn batches_of_acks_peeks_and_notifications() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    send(&client, &["a", "b", "c"]).await;
    let queue = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "-1"),
    ];
    let peek = async || {
        let fields = [&queue[..], &[("maxMsgNums", "2")]].concat();
        client.ask(request::PEEK_MESSAGE, &fields, Vec::new()).await
    };
    let notify = async |poll: &str| {
        let born = now_ms().to_string();
        let fields = [&queue[..], &[("pollTime", poll), ("bornTime", &born)]].concat();
        let answer = client.ask(request::NOTIFICATION, &fields, Vec::new()).await;
        assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
        field(&answer, "hasMsg").to_owned()
    };
    for _ in 0..2 {
        let peeked = peek().await;
        assert_eq!((bodies(&peeked).len(), field(&peeked, "restNum")), (2, "3"));
    }
    assert_eq!(notify("0").await, "true");
    let mut pop = popping(&client);
    pop.invisible = "300";
    let first = pop.pop().await;
    assert_eq!(bodies(&first), ["a", "b", "c"]);
    assert_eq!(peek().await.code, response::PULL_NOT_FOUND);
    assert_eq!(notify("0").await, "false");
    let (time, queue_id) = (field(&first, "popTime"), field(&first, "reviveQid"));
    // Bits 0 and 2, and one for an offset that is not there.
    let batch = format!(
        r#"{{"acks":[{{"b":"BQE=","c":"{GROUP}","it":300,"pt":{time},"q":0,"r":"0","rq":{queue_id},"so":0,"t":"{TOPIC}"}},{{"c":"{GROUP}","r":"7","t":"{TOPIC}"}}],"brokerName":"b"}}"#
    );
    let acked = client
        .ask(request::BATCH_ACK_MESSAGE, &[], batch.into_bytes())
        .await;
    assert_eq!(acked.code, response::SUCCESS, "{}", acked.remark());
    let noticed = tokio::time::timeout(WAKE, notify("20000"))
        .await
        .expect("missed");
    assert_eq!(noticed, "true");
    assert_eq!(bodies(&pop.pop().await), ["b"]);
    let none = client
        .ask(request::BATCH_ACK_MESSAGE, &[], b"{}".to_vec())
        .await;
    assert_eq!(none.code, response::NO_MESSAGE);
}

/// The first one names a message that was not popped, so it is refused; the second counts all the same.
#[tokio::test]
async fn a_refused_ack_keeps_back_none_of_its_batch() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    send(&client, &["a", "b", "c"]).await;
    let mut pop = popping(&client);
    pop.more = &[("order", "true"), ("attemptId", "one"), ("maxMsgNums", "2")];
    let first = pop.pop().await;
    assert_eq!(bodies(&first), ["a", "b"]);
    let time = field(&first, "popTime");
    let entry = |bits: &str| {
        format!(
            r#"{{"b":"{bits}","c":"{GROUP}","it":60000,"pt":{time},"q":0,"r":"0","rq":999,"so":0,"t":"{TOPIC}"}}"#
        )
    };
    // Bit 2, then bits 0 and 1.
    let batch = format!(
        r#"{{"acks":[{},{}],"brokerName":"b"}}"#,
        entry("BA=="),
        entry("Aw==")
    );
    let acked = client
        .ask(request::BATCH_ACK_MESSAGE, &[], batch.into_bytes())
        .await;
    assert_eq!(acked.code, response::MESSAGE_ILLEGAL, "{}", acked.remark());
    pop.more = &[("order", "true"), ("attemptId", "two"), ("maxMsgNums", "2")];
    assert_eq!(bodies(&pop.pop().await), ["c"]);
}

#[tokio::test]
async fn in_order_a_queue_waits_for_its_acks() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    send(&client, &["a", "b", "c"]).await;
    let mut pop = popping(&client);
    pop.more = &[("order", "true"), ("attemptId", "one"), ("maxMsgNums", "2")];
    let first = pop.pop().await;
    assert_eq!(bodies(&first), ["a", "b"]);
    assert_eq!(field(&first, "reviveQid"), "999");
    assert_eq!(field(&first, "orderCountInfo"), "0 0 0");
    assert_eq!(bodies(&pop.pop().await), ["a", "b"], "the same try");
    let second = pop.pop().await;
    pop.more = &[("order", "true"), ("attemptId", "two")];
    assert_eq!(pop.pop().await.code, response::POLLING_TIMEOUT);
    let acked = ack(&client, TOPIC, &receipt(&second, 7), 7).await;
    assert_eq!(acked.code, response::NO_MESSAGE);
    let acked = ack(&client, TOPIC, &receipt(&second, 2), 2).await;
    assert_eq!(acked.code, response::MESSAGE_ILLEGAL, "{}", acked.remark());
    pop.poll = "20000";
    let acks = async {
        for offset in [0, 1] {
            let acked = ack(&client, TOPIC, &receipt(&second, offset), offset).await;
            assert_eq!(acked.code, response::SUCCESS, "{}", acked.remark());
        }
    };
    let both = async { tokio::join!(pop.pop(), acks).0 };
    let next = tokio::time::timeout(WAKE, both).await.expect("missed");
    assert_eq!(bodies(&next), ["c"]);
    let changed = change(&client, &receipt(&next, 2), 2, "10").await;
    assert_eq!(changed.code, response::SUCCESS, "{}", changed.remark());
    pop.more = &[("order", "true"), ("attemptId", "three")];
    let again = tokio::time::timeout(WAKE, pop.pop()).await.expect("missed");
    assert_eq!(bodies(&again), ["c"]);
    assert_eq!(field(&again, "orderCountInfo"), "0 qo0%2 1;0 0 1");
}

#[tokio::test]
async fn what_can_t_be_served_is_refused_as_in_java() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    send(&client, &["a"]).await;
    let mut pop = popping(&client);
    type Refused<'a> = (&'a [(&'a str, &'a str)], i32, &'a str);
    let refusals: [Refused<'_>; 6] = [
        (
            &[("bornTime", "1")],
            response::POLLING_TIMEOUT,
            "the broker[127.0.0.1] pop message is timeout too much",
        ),
        (
            &[("maxMsgNums", "33")],
            response::INVALID_PARAMETER,
            "the broker[127.0.0.1] pop message's num is greater than 32",
        ),
        (
            &[("topic", "none")],
            response::TOPIC_NOT_EXIST,
            "topic[none] not exist",
        ),
        (
            &[("queueId", "1")],
            response::INVALID_PARAMETER,
            "queueId[1] is illegal",
        ),
        (
            &[("consumerGroup", "not/valid")],
            response::SUBSCRIPTION_GROUP_NOT_EXIST,
            "subscription group [not/valid] does not exist",
        ),
        (
            &[("exp", "a >"), ("expType", "SQL92")],
            response::SUBSCRIPTION_PARSE_FAILED,
            "parse the consumer's subscription failed",
        ),
    ];
    for (more, code, remark) in refusals {
        pop.more = more;
        let answer = pop.pop().await;
        assert_eq!(answer.code, code, "{more:?}: {}", answer.remark());
        assert!(answer.remark().starts_with(remark), "{}", answer.remark());
    }
    for (receipt, offset, code) in [
        ("0 1 2 3 0 b 0", 9, response::NO_MESSAGE),
        ("nothing", 0, response::SYSTEM_ERROR),
        ("0 1 2 77 0 b 0", 0, response::SYSTEM_ERROR),
        ("0 1 2 3 0 b 0", 0, response::SUCCESS),
    ] {
        assert_eq!(
            ack(&client, TOPIC, receipt, offset).await.code,
            code,
            "{receipt}"
        );
    }
}

#[tokio::test]
async fn a_restart_remembers_what_is_invisible() {
    let served = Served::start(quick).await;
    let (client, _) = served.client();
    send(&client, &["a", "b"]).await;
    let mut pop = popping(&client);
    pop.invisible = "4000";
    let first = pop.pop().await;
    assert_eq!(bodies(&first), ["a", "b"]);
    ack(&client, TOPIC, &receipt(&first, 0), 0).await;
    let (config, directory) = (served.broker.broker().config(), served.directory);
    served.broker.shutdown().await.unwrap();
    let broker = Broker::start(BrokerConfig::clone(&config), None, common::no_compiler());
    let broker = broker.await.unwrap();
    let served = Served { broker, directory };
    let (client, _) = served.client();
    pop = popping(&client);
    assert_eq!(pop.pop().await.code, response::POLLING_TIMEOUT);
    pop.poll = "20000";
    let again = pop.pop().await;
    assert_eq!(bodies(&again), ["b"]);
    assert_eq!(messages(&again)[0].3, 1);
    served.broker.shutdown().await.unwrap();
}
