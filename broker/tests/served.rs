//! A broker over real sockets, asked as clients and administrators ask.

mod common;

use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC};
use sluice_protocol::body::{GetConsumerListByGroupResponseBody, LockBatchResponseBody};
use sluice_protocol::code::{request, response};
use sluice_protocol::language::Language;
use sluice_protocol::message::{batch, sys_flag};
use sluice_protocol::{RemotingCommand, fastjson};
use tokio::sync::mpsc;

/// Shorter than every hold: what takes longer was not woken.
const WAKE: Duration = Duration::from_secs(5);

fn next_offset(answer: &RemotingCommand) -> Option<&str> {
    answer.ext.get("nextBeginOffset")
}

/// The next request of the broker with this code.
async fn told(asked: &mut mpsc::UnboundedReceiver<RemotingCommand>, code: i32) -> RemotingCommand {
    let wanted = async {
        loop {
            let request = asked.recv().await.expect("a connection");
            if request.code == code {
                return request;
            }
        }
    };
    tokio::time::timeout(WAKE, wanted)
        .await
        .unwrap_or_else(|_| panic!("request {code} did not come"))
}

/// An acknowledged message is in its queue a moment later.
async fn until_dispatched(consumer: &Asker) {
    let there = async {
        while consumer.pull(0, 0, &[]).await.code == response::PULL_NOT_FOUND {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAKE, there).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_pull_is_woken_by_its_message() {
    let served = Served::start(|_| {}).await;
    let ((producer, _), (consumer, _asked)) = (served.client(), served.client());
    assert_eq!(
        producer.send("", b"first", false).await.code,
        response::SUCCESS
    );
    consumer.heartbeat("c", "TagA", Language::Java).await;
    until_dispatched(&consumer).await;
    let pulling = tokio::spawn(async move {
        let answer = consumer.pull(1, sys_flag::PULL_SUSPEND, &[]).await;
        // On a busy machine the unwanted message may come before the pull waits.
        match answer.code {
            response::PULL_RETRY_IMMEDIATELY => consumer.pull(2, sys_flag::PULL_SUSPEND, &[]).await,
            _ => answer,
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    producer
        .send("TAGS\u{1}TagB\u{2}", b"unwanted", false)
        .await;
    producer.send("TAGS\u{1}TagA\u{2}", b"wanted", false).await;
    let answer = tokio::time::timeout(WAKE, pulling).await.unwrap().unwrap();
    assert_eq!(
        (answer.code, next_offset(&answer)),
        (response::SUCCESS, Some("3"))
    );
    assert!(answer.body.windows(6).any(|bytes| bytes == b"wanted"));
    assert!(!answer.body.windows(8).any(|bytes| bytes == b"unwanted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_reaches_a_parked_pull_and_is_not_undone_by_it() {
    let served = Served::start(|_| {}).await;
    let ((producer, _), (consumer, _asked)) = (served.client(), served.client());
    producer.send("", b"one", false).await;
    consumer.heartbeat("c", "*", Language::Java).await;
    until_dispatched(&consumer).await;
    let flags = sys_flag::PULL_SUSPEND | sys_flag::PULL_COMMIT_OFFSET;
    let pulling = tokio::spawn(async move { consumer.pull(1, flags, &[]).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(producer.reset("0").await.code, response::SUCCESS);
    let answer = tokio::time::timeout(WAKE, pulling).await.unwrap().unwrap();
    assert_eq!(
        (answer.code, next_offset(&answer)),
        (response::PULL_OFFSET_MOVED, Some("0"))
    );
}

/// Java clients raise the version of their subscription before a heartbeat can bring it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_with_a_newer_tag_subscription_gets_everything_meanwhile() {
    let served = Served::start(|_| {}).await;
    let (client, _asked) = served.client();
    client.send("TAGS\u{1}TagB\u{2}", b"b", false).await;
    client.heartbeat("c", "TagA", Language::Java).await;
    let known = client.pull(0, 0, &[("subVersion", "1")]).await;
    assert_eq!(known.code, response::PULL_RETRY_IMMEDIATELY);
    let newer = client.pull(0, 0, &[("subVersion", "2"), ("expressionType", "TAG")]);
    assert_eq!(newer.await.code, response::SUCCESS);
    let sql = client.pull(0, 0, &[("subVersion", "2"), ("expressionType", "SQL92")]);
    assert_eq!(sql.await.code, response::SUBSCRIPTION_NOT_LATEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_can_not_blow_itself_up_by_its_common_properties() {
    let served = Served::start(|_| {}).await;
    let (client, _asked) = served.client();
    let mut body = Vec::new();
    while body.len() < 200_000 {
        let item = batch::BatchItem {
            flag: 0,
            body: b"x",
            properties: b"",
        };
        batch::put(&mut body, item);
    }
    let common = format!("k\u{1}{}", "v".repeat(20_000));
    let refused = client.send(&common, &body, true).await;
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL);
    assert!(
        refused.remark().contains("the batch is illegal"),
        "{}",
        refused.remark()
    );
    let delayed = client.send("DELAY\u{1}3\u{2}", &body, true).await;
    assert!(
        delayed.remark().contains("delayed (DELAY)"),
        "{}",
        delayed.remark()
    );
    assert_eq!(client.send("", &body, true).await.code, response::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_queues_that_are_not_there_are_refused() {
    let served = Served::start(|_| {}).await;
    let (client, _asked) = served.client();
    client.send("", b"one", false).await;
    client.heartbeat("c", "*", Language::Java).await;
    let commit = async |queue: &str, offset: &str| {
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", queue),
            ("commitOffset", offset),
        ];
        let answer = client.ask(request::UPDATE_CONSUMER_OFFSET, &fields, Vec::new());
        answer.await.code
    };
    assert_eq!(commit("0", "1").await, response::SUCCESS);
    for (queue, offset) in [("-1", "1"), ("1000000", "1"), ("0", "-1")] {
        assert_eq!(commit(queue, offset).await, response::INVALID_PARAMETER);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_are_told_of_a_reset_in_the_form_they_read() {
    let served = Served::start(|config| config.use_server_side_reset_offset = false).await;
    let (java, mut java_asked) = served.client();
    let (cpp, mut cpp_asked) = served.client();
    java.send("", b"one", false).await;
    assert_eq!(
        java.reset("-1").await.code,
        response::SUBSCRIPTION_GROUP_NOT_EXIST
    );
    java.heartbeat("j", "*", Language::Java).await;
    cpp.heartbeat("c", "*", Language::Cpp).await;
    assert_eq!(
        java.reset("-1").await.code,
        response::SYSTEM_ERROR,
        "no stored offset"
    );
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("commitOffset", "0"),
    ];
    java.ask(request::UPDATE_CONSUMER_OFFSET, &fields, Vec::new())
        .await;
    assert_eq!(java.reset("-1").await.code, response::SUCCESS);
    let text = |command: RemotingCommand| String::from_utf8(command.body.to_vec()).unwrap();
    assert_eq!(
        text(told(&mut java_asked, request::RESET_CONSUMER_CLIENT_OFFSET).await),
        r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"orders"}:1}}"#
    );
    assert_eq!(
        text(told(&mut cpp_asked, request::RESET_CONSUMER_CLIENT_OFFSET).await),
        r#"{"offsetTable":[{"brokerName":"b","offset":1,"queueId":0,"topic":"orders"}]}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_queue_lock_is_told_when_it_comes_free() {
    let served = Served::start(|_| {}).await;
    let ((one, _one_asked), (two, mut two_asked)) = (served.client(), served.client());
    one.heartbeat("one", "*", Language::Java).await;
    two.heartbeat("two", "*", Language::Java).await;
    told(&mut two_asked, request::NOTIFY_CONSUMER_IDS_CHANGED).await;
    let held = |answer: RemotingCommand| {
        let body: LockBatchResponseBody = fastjson::from_slice(&answer.body).unwrap();
        body.lock_ok_mq_set.len()
    };
    assert_eq!(held(one.locks(request::LOCK_BATCH_MQ, "one").await), 1);
    assert_eq!(held(two.locks(request::LOCK_BATCH_MQ, "two").await), 0);
    one.locks(request::UNLOCK_BATCH_MQ, "one").await;
    told(&mut two_asked, request::NOTIFY_CONSUMER_IDS_CHANGED).await;
    assert_eq!(held(two.locks(request::LOCK_BATCH_MQ, "two").await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_two_connections_is_listed_once() {
    let served = Served::start(|_| {}).await;
    let ((old, _), (new, _asked)) = (served.client(), served.client());
    old.heartbeat("same", "*", Language::Java).await;
    new.heartbeat("same", "*", Language::Java).await;
    let fields = [("consumerGroup", GROUP)];
    let answer = new.ask(request::GET_CONSUMER_LIST_BY_GROUP, &fields, Vec::new());
    let listed: GetConsumerListByGroupResponseBody =
        fastjson::from_slice(&answer.await.body).unwrap();
    assert_eq!(listed.consumer_id_list, ["same"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_creation_that_is_off_stays_off_on_a_directory_that_had_it_on() {
    let served = Served::start(|_| {}).await;
    let directory = served.directory;
    served.broker.shutdown().await.unwrap();
    let root = directory.path().to_owned();
    let again = Served::start(|config| {
        config.store_path_root_dir = root;
        config.auto_create_topic_enable = false;
    })
    .await;
    let (client, _asked) = again.client();
    let refused = client.send("", b"one", false).await;
    assert_eq!(refused.code, response::TOPIC_NOT_EXIST);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_clients_invent_break_no_list_of_groups() {
    let served = Served::start(|_| {}).await;
    let (client, _asked) = served.client();
    let topic = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "3"),
        ("writeQueueNums", "3"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    let code = request::UPDATE_AND_CREATE_TOPIC;
    let made = client.ask(code, &topic, Vec::new()).await;
    assert_eq!(made.code, response::SUCCESS, "{:?}", made.remark);
    client.heartbeat("c", "*", Language::Java).await;
    for queue in ["0", "1", "2"] {
        let offset = i64::MAX.to_string();
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", queue),
            ("commitOffset", &*offset),
        ];
        let code = request::UPDATE_CONSUMER_OFFSET;
        let answer = client.ask(code, &fields, Vec::new()).await;
        assert_eq!(answer.code, response::SUCCESS);
    }
    let code = request::GET_BROKER_CONSUME_STATS;
    let list = client.ask(code, &[("isOrder", "false")], Vec::new()).await;
    assert_eq!(list.code, response::SUCCESS, "{:?}", list.remark);
    let text = String::from_utf8_lossy(&list.body);
    assert!(
        text.contains(&format!("\"totalDiff\":{}", i64::MIN)),
        "{text}"
    );
}
