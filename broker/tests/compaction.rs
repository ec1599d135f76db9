//! A topic that is kept by its last key, request by request, over real sockets.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{Asker, GROUP, Served, TOPIC};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::message::{Record, batch, sys_flag};

const SOON: Duration = Duration::from_secs(20);

async fn served() -> Served {
    Served::start(|config| {
        config.revive_interval = 20;
        config.max_message_size = 4096;
        // Nine messages to a file.
        config.compaction_mapped_file_size = 92_000;
        config.compaction_cq_mapped_file_size = 460;
        config.compaction_schedule_internal = 1;
    })
    .await
}

async fn create(client: &Asker) -> RemotingCommand {
    let fields = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
        ("attributes", "+cleanup.policy=COMPACTION"),
    ];
    let code = request::UPDATE_AND_CREATE_TOPIC;
    client.ask(code, &fields, Vec::new()).await
}

/// Offset, key and body of each message of an answer.
fn messages(answer: &RemotingCommand) -> Vec<(i64, String, String)> {
    let mut rest = &answer.body[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let record = Record::parse(rest).unwrap();
        let key = record.property("KEYS").unwrap_or_default().to_owned();
        let body = String::from_utf8(record.body().to_vec()).unwrap();
        found.push((record.queue_offset(), key, body));
        rest = &rest[record.size()..];
    }
    found
}

async fn pull(client: &Asker, tags: &str) -> Vec<(i64, String, String)> {
    let more = [("subscription", tags), ("subVersion", "0")];
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let answer = client.pull(offset, sys_flag::PULL_SUBSCRIPTION, &more);
        let answer = answer.await;
        let next = answer.ext.get("nextBeginOffset");
        let next = next.and_then(|next| next.parse().ok()).unwrap_or(offset);
        found.extend(messages(&answer));
        if next <= offset {
            return found;
        }
        offset = next;
    }
}

/// Sends three keys again and again, the last of them once; answers the newest bodies.
async fn fill(client: &Asker) -> BTreeMap<String, String> {
    let mut newest = BTreeMap::new();
    for number in 0..40 {
        let (key, tag) = match number {
            0 => ("once", "TagB"),
            _ if number % 2 == 0 => ("even", "TagA"),
            _ => ("odd", "TagB"),
        };
        let properties = format!("KEYS\u{1}{key}\u{2}TAGS\u{1}{tag}\u{2}");
        let body = format!("{key}-{number}");
        let answer = client.send(&properties, body.as_bytes(), false).await;
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        newest.insert(key.to_owned(), body);
    }
    newest
}

async fn compacted(client: &Asker) -> Vec<(i64, String, String)> {
    let deadline = Instant::now() + SOON;
    loop {
        let found = pull(client, "*").await;
        if found.iter().any(|one| one.0 >= 38) && found.len() < 16 {
            return found;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn messages_without_a_key_are_refused() {
    let served = served().await;
    let (client, _) = served.client();
    assert_eq!(create(&client).await.code, response::SUCCESS);
    let again = create(&client).await;
    let words = again.remark.unwrap_or_default();
    assert!(words.contains("unchangeable attribute"), "{words}");
    let refused = |answer: RemotingCommand| {
        assert_eq!(answer.code, response::MESSAGE_ILLEGAL);
        let words = answer.remark.unwrap_or_default();
        assert_eq!(words, "Required message key is missing");
    };
    refused(client.send("", b"none", false).await);
    refused(client.send("KEYS\u{1} \u{2}", b"blank", false).await);
    let batch = |last: &[u8]| {
        let mut body = Vec::new();
        for properties in [b"KEYS\x01a\x02", last] {
            let flag = 0;
            let item = batch::BatchItem {
                flag,
                body: b"item",
                properties,
            };
            batch::put(&mut body, item);
        }
        body
    };
    refused(client.send("", &batch(b"TAGS\x01TagA\x02"), true).await);
    let taken = client.send("", &batch(b"KEYS\x01b\x02"), true).await;
    assert_eq!(taken.code, response::SUCCESS, "{:?}", taken.remark);
}

#[tokio::test]
async fn what_was_compacted_is_pulled_by_tag_and_popped_until_it_is_acked() {
    let served = served().await;
    let (client, _) = served.client();
    create(&client).await;
    let newest = fill(&client).await;
    let found = compacted(&client).await;
    let last: BTreeMap<_, _> = found
        .iter()
        .map(|(_, key, body)| (key.clone(), body.clone()))
        .collect();
    assert_eq!(last, newest);
    assert_eq!(found[0].0, 0, "the key that came once is kept");
    let of_a = pull(&client, "TagA").await;
    let expected: Vec<_> = found
        .iter()
        .filter(|one| one.1 == "even")
        .cloned()
        .collect();
    assert_eq!(of_a, expected);
    let mut popped = Vec::new();
    while popped.len() < found.len() {
        popped.extend(pop(&client).await);
    }
    assert_eq!(
        popped,
        found.iter().map(|one| one.2.clone()).collect::<Vec<_>>()
    );
    // Nobody acks: all come back, once each.
    let mut back = Vec::new();
    let deadline = Instant::now() + SOON;
    while back.len() < popped.len() {
        assert!(Instant::now() < deadline, "{back:?}");
        back.extend(pop(&client).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    back.sort();
    back.dedup();
    let mut all = popped;
    all.sort();
    assert_eq!(back, all);
}

async fn pop(client: &Asker) -> Vec<String> {
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "-1"),
        ("maxMsgNums", "32"),
        ("invisibleTime", "1000"),
        ("pollTime", "0"),
        ("bornTime", "0"),
        ("initMode", "0"),
    ];
    let answer = client.ask(request::POP_MESSAGE, &fields, Vec::new()).await;
    messages(&answer).into_iter().map(|one| one.2).collect()
}

#[tokio::test]
async fn a_deleted_topic_leaves_nothing_behind() {
    let served = served().await;
    let (client, _) = served.client();
    create(&client).await;
    fill(&client).await;
    compacted(&client).await;
    let root = served.directory.path().join("compaction/compactionLog");
    assert!(root.join(TOPIC).exists());
    let fields = [("topic", TOPIC)];
    let code = request::DELETE_TOPIC_IN_BROKER;
    let deleted = client.ask(code, &fields, Vec::new()).await;
    assert_eq!(deleted.code, response::SUCCESS, "{:?}", deleted.remark);
    assert!(!root.join(TOPIC).exists());
    create(&client).await;
    assert_eq!(pull(&client, "*").await, []);
}

#[tokio::test]
async fn a_broker_that_does_not_compact_says_so() {
    let served = Served::start(|config| config.enable_compaction = false).await;
    let (client, _) = served.client();
    let refused = create(&client).await;
    assert_eq!(refused.code, response::SYSTEM_ERROR);
    let words = refused.remark.unwrap_or_default();
    assert!(words.contains("enableCompaction=false"), "{words}");
}
