//! `subscriptionConflict=EACH`: members of one group that subscribe differently, each served by its own
//! subscription, over sockets.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC, no_compiler};
use sluice_broker::config::SubscriptionConflict;
use sluice_broker::{Broker, BrokerConfig};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    ConsumerConnection, ConsumerData, ConsumerOffsetSerializeWrapper,
    GetConsumerListByGroupResponseBody, HeartbeatData, LockBatchResponseBody, SubscriptionData,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::fastjson;
use sluice_protocol::message::view;

const SOON: Duration = Duration::from_secs(20);
const RETRIES: &str = "%RETRY%billing";

async fn served() -> Served {
    Served::start(each).await
}

fn each(config: &mut BrokerConfig) {
    config.subscription_conflict = SubscriptionConflict::Each;
}

/// A heartbeat of a member of the group that wants tags of topics, and its retries.
async fn heartbeat(client: &Asker, id: &str, wanted: &[(&str, &str)]) -> RemotingCommand {
    let wanted = wanted.iter().chain(&[(RETRIES, "*")]);
    let consumer = ConsumerData {
        group_name: GROUP.to_owned(),
        subscription_data_set: wanted
            .map(|(topic, tags)| SubscriptionData::tags(topic, tags, 1).unwrap())
            .collect(),
        ..ConsumerData::default()
    };
    let heartbeat = HeartbeatData {
        client_id: id.to_owned(),
        consumer_data_set: vec![consumer],
        ..HeartbeatData::default()
    };
    let body = fastjson::to_vec(&heartbeat).unwrap();
    client.ask(request::HEART_BEAT, &[], body).await
}

async fn beats(client: &Asker, id: &str, wanted: &[(&str, &str)]) {
    let answer = heartbeat(client, id, wanted).await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
}

async fn send(client: &Asker, body: &str, tag: &str) {
    let properties = format!("TAGS\u{1}{tag}\u{2}");
    let answer = client.send(&properties, body.as_bytes(), false).await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
}

/// A pull of queue 0 that does not wait.
async fn pull(client: &Asker, topic: &str, offset: i64) -> RemotingCommand {
    let offset = offset.to_string();
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", topic),
        ("queueId", "0"),
        ("queueOffset", &offset),
        ("maxMsgNums", "32"),
        ("sysFlag", "0"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subVersion", "1"),
    ];
    client.ask(request::PULL_MESSAGE, &fields, Vec::new()).await
}

/// Bodies that it gets.
async fn pulled(client: &Asker, topic: &str, offset: i64) -> Vec<String> {
    let answer = pull(client, topic, offset).await;
    match answer.code {
        response::SUCCESS => view::records(&answer.body)
            .flatten()
            .map(|record| String::from_utf8_lossy(record.body()).into_owned())
            .collect(),
        response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => Vec::new(),
        code => panic!("{code}: {}", answer.remark()),
    }
}

/// Waits until a pull gets just these.
async fn gets(client: &Asker, topic: &str, offset: i64, wanted: &[&str]) {
    let looking = async {
        while pulled(client, topic, offset).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(SOON, looking).await;
    assert!(
        in_time.is_ok(),
        "{wanted:?}: {:?}",
        pulled(client, topic, offset).await
    );
}

async fn offset(client: &Asker) -> Option<i64> {
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("setZeroIfNotFound", "false"),
    ];
    let answer = client
        .ask(request::QUERY_CONSUMER_OFFSET, &fields, Vec::new())
        .await;
    (answer.code == response::SUCCESS).then(|| answer.ext.get("offset").unwrap().parse().unwrap())
}

/// Where tools see the group.
async fn place_of_group(client: &Asker) -> Option<i64> {
    let answer = client
        .ask(request::GET_ALL_CONSUMER_OFFSET, &[], Vec::new())
        .await;
    let all: ConsumerOffsetSerializeWrapper = fastjson::from_slice(&answer.body).unwrap();
    let queues = all.offset_table.get(&format!("{TOPIC}@{GROUP}"))?;
    queues.get(&0).copied()
}

async fn commit(client: &Asker, offset: i64) -> i32 {
    let offset = offset.to_string();
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("commitOffset", &*offset),
    ];
    let answer = client.ask(request::UPDATE_CONSUMER_OFFSET, &fields, Vec::new());
    answer.await.code
}

async fn members(client: &Asker) -> BTreeSet<String> {
    let fields = [("consumerGroup", GROUP)];
    let answer = client
        .ask(request::GET_CONSUMER_LIST_BY_GROUP, &fields, Vec::new())
        .await;
    if answer.code != response::SUCCESS {
        return BTreeSet::new();
    }
    let list: GetConsumerListByGroupResponseBody = fastjson::from_slice(&answer.body).unwrap();
    list.consumer_id_list.into_iter().collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_gets_what_it_asked_for_at_its_own_pace() {
    let served = served().await;
    let ((one, _o), (all, _a), (third, _t)) = (served.client(), served.client(), served.client());
    for (body, tag) in [("a0", "A"), ("b1", "B"), ("a2", "A")] {
        send(&one, body, tag).await;
    }
    beats(&one, "one", &[(TOPIC, "A")]).await;
    assert_eq!(commit(&one, 1).await, response::SUCCESS);
    beats(&all, "all", &[(TOPIC, "*")]).await;
    // The later one begins where the group was, and neither is moved by the other.
    assert_eq!((offset(&one).await, offset(&all).await), (Some(1), Some(1)));
    gets(&one, TOPIC, 1, &["a2"]).await;
    gets(&all, TOPIC, 1, &["b1", "a2"]).await;
    commit(&one, 3).await;
    assert_eq!((offset(&one).await, offset(&all).await), (Some(3), Some(1)));

    // Queues are shared among those who agree.
    beats(&third, "third", &[(TOPIC, "*")]).await;
    assert_eq!(members(&one).await, names(&["one"]));
    assert_eq!(members(&all).await, names(&["all", "third"]));
    assert_eq!(members(&third).await, names(&["all", "third"]));

    // Heartbeats change nothing of it.
    beats(&one, "one", &[(TOPIC, "A")]).await;
    gets(&all, TOPIC, 1, &["b1", "a2"]).await;

    // Tools see where the group is: with the slowest. A stranger goes on nowhere and moves nobody.
    let (tool, _t) = served.client();
    assert_eq!(place_of_group(&tool).await, Some(1));
    assert_eq!(offset(&tool).await, None);
    assert_ne!(commit(&tool, 0).await, response::SUCCESS);
    assert_eq!(members(&tool).await, BTreeSet::new());
    // A reset moves all.
    assert_eq!(tool.reset("-1").await.code, response::SUCCESS);
    assert_eq!((offset(&one).await, offset(&all).await), (Some(3), Some(3)));
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_topics_do_not_erase_each_other() {
    let served = served().await;
    let ((orders, _o), (bills, _b)) = (served.client(), served.client());
    for round in 0..2 {
        beats(&orders, "orders", &[(TOPIC, "*")]).await;
        beats(&bills, "bills", &[("bills", "*")]).await;
        send(&orders, &format!("o{round}"), "A").await;
        gets(&orders, TOPIC, 0, &["o0", "o1"][..=round]).await;
    }
    assert_eq!(members(&orders).await, names(&["orders"]));
    // What it has not subscribed to it does not get; if it reads it on its own, it begins where the group is.
    commit(&orders, 1).await;
    assert_eq!(offset(&bills).await, Some(1));
    let refused = bills.pull(0, 0, &[]).await;
    assert_eq!(refused.code, response::SUBSCRIPTION_NOT_EXIST);
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_find_their_progress_again_and_a_broker_that_splits_no_more_misses_nothing() {
    let mut config = BrokerConfig::default();
    let served = Served::start(|settings| {
        each(settings);
        config = settings.clone();
    })
    .await;
    let ((one, _o), (all, _a)) = (served.client(), served.client());
    for number in 0..5 {
        send(&one, &number.to_string(), "A").await;
    }
    beats(&one, "one", &[(TOPIC, "A")]).await;
    beats(&all, "all", &[(TOPIC, "*")]).await;
    commit(&one, 4).await;
    commit(&all, 2).await;
    let Served { broker, directory } = served;
    broker.shutdown().await.unwrap();

    let again = |config: BrokerConfig| async {
        let started = Broker::start_in(
            sluice_store::Environment::system(),
            config,
            None,
            no_compiler(),
        );
        started.await.unwrap()
    };
    let served = Served {
        broker: again(config.clone()).await,
        directory,
    };
    let ((one, _o), (all, _a)) = (served.client(), served.client());
    // The first one back does not become the group.
    beats(&all, "all", &[(TOPIC, "*")]).await;
    assert_eq!(commit(&one, 0).await, response::SYSTEM_ERROR, "who is it?");
    assert_eq!(offset(&all).await, Some(2));
    commit(&all, 3).await;
    beats(&one, "one", &[(TOPIC, "A")]).await;
    assert_eq!((offset(&one).await, offset(&all).await), (Some(4), Some(3)));
    let Served { broker, directory } = served;
    broker.shutdown().await.unwrap();

    config.subscription_conflict = SubscriptionConflict::Warn;
    let served = Served {
        broker: again(config).await,
        directory,
    };
    let (one, _o) = served.client();
    beats(&one, "one", &[(TOPIC, "A")]).await;
    assert_eq!(offset(&one).await, Some(3));
    served.broker.shutdown().await.unwrap();
}

/// The message at an offset of queue 0 is to come back after a second.
async fn give_back(client: &Asker, at: i64) {
    let answer = client.pull(at, 0, &[("subVersion", "1")]).await;
    let record = view::records(&answer.body).flatten().next().unwrap();
    let place = record.physical_offset().to_string();
    let fields = [
        ("offset", &*place),
        ("group", GROUP),
        ("delayLevel", "1"),
        ("originMsgId", ""),
        ("originTopic", TOPIC),
        ("unitMode", "false"),
    ];
    let given = client.ask(request::CONSUMER_SEND_MSG_BACK, &fields, Vec::new());
    assert_eq!(given.await.code, response::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_retries_when_the_group_was_split_gets_no_other_s() {
    let served = served().await;
    let ((one, _o), (all, _a)) = (served.client(), served.client());
    beats(&one, "one", &[(TOPIC, "A")]).await;
    send(&one, "x", "A").await;
    gets(&one, TOPIC, 0, &["x"]).await;
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", RETRIES),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "2"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "15000"),
        ("subVersion", "1"),
    ];
    let waiting = one.ask(request::PULL_MESSAGE, &fields, Vec::new());
    let meanwhile = async {
        beats(&all, "all", &[(TOPIC, "*")]).await;
        give_back(&all, 0).await;
        gets(&all, RETRIES, 0, &["x"]).await;
    };
    let (answer, ()) = tokio::join!(waiting, meanwhile);
    assert_eq!(answer.code, response::PULL_RETRY_IMMEDIATELY);
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_back_to_who_gave_it_back() {
    let served = served().await;
    let ((one, _o), (all, _a)) = (served.client(), served.client());
    beats(&one, "one", &[(TOPIC, "A")]).await;
    beats(&all, "all", &[(TOPIC, "*")]).await;
    send(&one, "mine", "A").await;
    send(&one, "ours", "A").await;
    gets(&one, TOPIC, 0, &["mine", "ours"]).await;
    give_back(&one, 0).await;
    give_back(&all, 1).await;
    let fields = |body: &'static str| {
        let properties = format!("RETRY_TOPIC\u{1}{TOPIC}\u{2}TAGS\u{1}B\u{2}");
        (body, properties)
    };
    // One that nobody of the group has given back, and that only one of them asked for.
    let (body, properties) = fields("resent");
    let sent = [
        ("a", "shop"),
        ("b", RETRIES),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", &*properties),
        ("j", "1"),
        ("k", "false"),
        ("m", "false"),
    ];
    let (stranger, _s) = served.client();
    let answer = stranger
        .ask(request::SEND_MESSAGE_V2, &sent, body.into())
        .await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
    let looking = async {
        while pulled(&all, RETRIES, 0).await.len() < 2 || pulled(&one, RETRIES, 0).await.is_empty()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking)
        .await
        .expect("they come back");
    gets(&one, RETRIES, 0, &["mine"]).await;
    let got: BTreeSet<String> = pulled(&all, RETRIES, 0).await.into_iter().collect();
    assert_eq!(got, names(&["ours", "resent"]));
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_the_share_s_and_go_along() {
    let served = served().await;
    let ((one, _o), (all, _a), (more, _m)) = (served.client(), served.client(), served.client());
    let locked = |answer: RemotingCommand| -> usize {
        let held: LockBatchResponseBody = fastjson::from_slice(&answer.body).unwrap();
        held.lock_ok_mq_set.len()
    };
    beats(&one, "one", &[(TOPIC, "A")]).await;
    assert_eq!(locked(one.locks(request::LOCK_BATCH_MQ, "one").await), 1);
    beats(&all, "all", &[(TOPIC, "*")]).await;
    assert_eq!(locked(all.locks(request::LOCK_BATCH_MQ, "all").await), 1);
    beats(&more, "more", &[(TOPIC, "A")]).await;
    let held = more.locks(request::LOCK_BATCH_MQ, "more").await;
    assert_eq!(locked(held), 0, "it was taken before the group was split");
    one.locks(request::UNLOCK_BATCH_MQ, "one").await;
    assert_eq!(locked(more.locks(request::LOCK_BATCH_MQ, "more").await), 1);
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_pops_is_not_split_and_a_split_one_does_not_pop() {
    let served = served().await;
    let ((one, _o), (all, _a)) = (served.client(), served.client());
    send(&one, "x", "A").await;
    let pop = |client: Asker, group: &'static str| async move {
        let born = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let born = born.as_millis().to_string();
        let fields = [
            ("consumerGroup", group),
            ("topic", TOPIC),
            ("queueId", "0"),
            ("maxMsgNums", "2"),
            ("invisibleTime", "60000"),
            ("pollTime", "15000"),
            ("bornTime", &*born),
            ("initMode", "0"),
        ];
        let answer = client.ask(request::POP_MESSAGE, &fields, Vec::new()).await;
        (client, answer)
    };
    beats(&one, "one", &[(TOPIC, "A")]).await;
    let (one, popped) = pop(one, GROUP).await;
    assert_eq!(popped.code, response::SUCCESS, "{}", popped.remark());
    let refused = heartbeat(&all, "all", &[(TOPIC, "*")]).await;
    assert_eq!(refused.code, response::NO_PERMISSION);
    assert!(
        refused.remark().contains("the group pops"),
        "{}",
        refused.remark()
    );
    served.broker.shutdown().await.unwrap();

    let served = self::served().await;
    let ((first, _f), (second, _s)) = (served.client(), served.client());
    send(&first, "x", "A").await;
    beats(&first, "one", &[(TOPIC, "A")]).await;
    beats(&second, "all", &[(TOPIC, "*")]).await;
    let (_, refused) = pop(first, GROUP).await;
    assert_eq!(refused.code, response::NO_PERMISSION);
    assert!(
        refused.remark().contains("can not pop"),
        "{}",
        refused.remark()
    );
    let (_, other) = pop(second, "other").await;
    assert_eq!(other.code, response::SUCCESS, "{}", other.remark());
    drop(one);
    served.broker.shutdown().await.unwrap();
}

/// A client that runs keeps its own position on a queue that it keeps.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_into_a_share_that_was_there_goes_on_where_that_is() {
    let served = served().await;
    let ((one, _o), (all, _a)) = (served.client(), served.client());
    for number in 0..5 {
        send(&one, &number.to_string(), "A").await;
    }
    beats(&all, "all", &[(TOPIC, "*")]).await;
    beats(&one, "one", &[(TOPIC, "A")]).await;
    commit(&all, 2).await;
    commit(&one, 4).await;
    beats(&one, "one", &[(TOPIC, "*")]).await;
    // What it stores before it is led says nothing of its new share.
    assert_eq!(commit(&one, 4).await, response::SUCCESS);
    assert_eq!((offset(&one).await, offset(&all).await), (Some(2), Some(2)));
    let led = pull(&one, TOPIC, 4).await;
    assert_eq!(led.code, response::PULL_OFFSET_MOVED, "{}", led.remark());
    assert_eq!(led.ext.get("nextBeginOffset").unwrap(), "2");
    // Its heartbeats change nothing of it, and it is told once.
    beats(&one, "one", &[(TOPIC, "*")]).await;
    gets(&one, TOPIC, 2, &["2", "3", "4"]).await;
    assert_eq!(commit(&one, 5).await, response::SUCCESS);
    assert_eq!(offset(&all).await, Some(5));
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_its_mind_goes_on_where_it_was() {
    let served = served().await;
    let ((one, _o), (all, _a)) = (served.client(), served.client());
    for number in 0..5 {
        send(&one, &number.to_string(), "A").await;
    }
    beats(&all, "all", &[(TOPIC, "*")]).await;
    commit(&all, 1).await;
    beats(&one, "one", &[(TOPIC, "A")]).await;
    commit(&one, 4).await;
    beats(&one, "one", &[(TOPIC, "A"), ("bills", "*")]).await;
    assert_eq!(offset(&one).await, Some(4));
    // Nobody else was ever in its old share: the group does not wait for it.
    commit(&all, 5).await;
    assert_eq!(place_of_group(&all).await, Some(4));
    // It is another member now, though, for whom a new share with the old subscription is not the old one's.
    let (late, _l) = served.client();
    beats(&late, "late", &[(TOPIC, "A")]).await;
    assert_eq!(offset(&late).await, Some(4));
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_connection_shows_who_wants_what() {
    let served = Served::start(|_| {}).await;
    let ((one, _o), (all, _a)) = (served.client(), served.client());
    beats(&one, "one", &[(TOPIC, "A")]).await;
    beats(&all, "all", &[(TOPIC, "*")]).await;
    let fields = [("consumerGroup", GROUP)];
    let answer = one
        .ask(request::GET_CONSUMER_CONNECTION_LIST, &fields, Vec::new())
        .await;
    let seen: ConsumerConnection = fastjson::from_slice(&answer.body).unwrap();
    let shown: BTreeSet<String> = seen
        .subscription_table
        .values()
        .filter(|shown| shown.topic == TOPIC)
        .map(|shown| shown.sub_string.clone())
        .collect();
    assert_eq!(shown, names(&["A", "TAG \"*\" of all", "TAG \"A\" of one"]));
    // By default they share the queues all the same, as with Java.
    assert_eq!(members(&one).await, names(&["all", "one"]));
    served.broker.shutdown().await.unwrap();
}
