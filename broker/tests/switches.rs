//! Settings that keep something from clients do so, in Java's words and codes; and each status of a send that one
//! broker alone can give.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use sluice_broker::BrokerConfig;
use sluice_broker::config::{BrokerRole, FlushDiskType};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::MessageModel;
use sluice_protocol::code::{request, response};
use sluice_protocol::language::Language;
use sluice_store::SimulatedFiles;

mod common;
use common::{Asker, GROUP, Served, TOPIC, environment_on};

async fn topic_with(asker: &Asker, perm: &str) {
    let fields = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", perm),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    let code = request::UPDATE_AND_CREATE_TOPIC;
    let answer = asker.ask(code, &fields, Vec::new()).await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
}

/// A group with one setting of its own.
async fn group_with(asker: &Asker, setting: &str) {
    let body = format!("{{\"groupName\":\"{GROUP}\",{setting}}}");
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    let answer = asker.ask(code, &[], body.into_bytes()).await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
}

fn says(answer: &RemotingCommand, code: i32, words: &str) {
    assert_eq!(answer.code, code, "{}", answer.remark());
    assert!(answer.remark().contains(words), "{}", answer.remark());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_s_permission() {
    let served = Served::start(|_| {}).await;
    let (asker, _asked) = served.client();
    topic_with(&asker, "6").await;
    assert_eq!(asker.send("", b"x", false).await.code, response::SUCCESS);
    asker.heartbeat("c", "*", Language::Java).await;
    assert_eq!(asker.pull(0, 0, &[]).await.code, response::SUCCESS);
    // Producers go by the route, which says so; as in Java, nobody else asks.
    topic_with(&asker, "4").await;
    assert_eq!(asker.pull(0, 0, &[]).await.code, response::SUCCESS);
    topic_with(&asker, "2").await;
    assert_eq!(asker.send("", b"x", false).await.code, response::SUCCESS);
    let refused = asker.pull(0, 0, &[]).await;
    says(
        &refused,
        response::NO_PERMISSION,
        "pulling message is forbidden",
    );
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_s_switches() {
    let served = Served::start(|_| {}).await;
    let (asker, _asked) = served.client();
    assert_eq!(asker.send("", b"x", false).await.code, response::SUCCESS);
    group_with(&asker, "\"consumeEnable\":false").await;
    asker.heartbeat("c", "*", Language::Java).await;
    let refused = asker.pull(0, 0, &[]).await;
    says(
        &refused,
        response::NO_PERMISSION,
        "subscription group no permission",
    );

    group_with(&asker, "\"consumeBroadcastEnable\":false").await;
    assert_eq!(asker.pull(0, 0, &[]).await.code, response::SUCCESS);
    let model = MessageModel::Broadcasting;
    asker.heartbeat_as("c", "*", Language::Java, model).await;
    let refused = asker.pull(0, 0, &[]).await;
    says(
        &refused,
        response::NO_PERMISSION,
        "can not consume by broadcast way",
    );
    served.broker.shutdown().await.unwrap();
}

/// No queues for retries: what comes back is given up, as in Java.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_retry_queues_has_no_retries() {
    let served = Served::start(|_| {}).await;
    let (asker, _asked) = served.client();
    let sent = asker.send("", b"x", false).await;
    group_with(&asker, "\"retryQueueNums\":0").await;
    asker.heartbeat("c", "*", Language::Java).await;
    let id = sent.ext.get("msgId").unwrap().to_owned();
    let fields = [
        ("offset", "0"),
        ("group", GROUP),
        ("delayLevel", "0"),
        ("originMsgId", &*id),
        ("originTopic", TOPIC),
    ];
    let code = request::CONSUMER_SEND_MSG_BACK;
    let back = asker.ask(code, &fields, Vec::new()).await;
    assert_eq!(back.code, response::SUCCESS, "{}", back.remark());
    let retries = format!("%RETRY%{GROUP}");
    let topics = asker
        .ask(request::GET_ALL_TOPIC_CONFIG, &[], Vec::new())
        .await;
    let topics = String::from_utf8_lossy(&topics.body).into_owned();
    assert!(
        topics.contains(TOPIC) && !topics.contains(&retries),
        "{topics}"
    );
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_of_each_other_only_if_the_group_wants_it() {
    let served = Served::start(|_| {}).await;
    let (first, mut told) = served.client();
    group_with(&first, "\"notifyConsumerIdsChangedEnable\":false").await;
    first.heartbeat("c1", "*", Language::Java).await;
    let (second, _asked) = served.client();
    second.heartbeat("c2", "*", Language::Java).await;
    group_with(&first, "\"notifyConsumerIdsChangedEnable\":true").await;
    let (third, _asked_too) = served.client();
    third.heartbeat("c3", "*", Language::Java).await;
    // One connection's requests come in order: what had been told before would come first.
    let wait = tokio::time::timeout(Duration::from_secs(20), told.recv());
    let news = wait.await.expect("news of the third member").unwrap();
    assert_eq!(news.code, request::NOTIFY_CONSUMER_IDS_CHANGED);
    assert!(
        told.try_recv().is_err(),
        "the second member was told of, too"
    );
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_made_by_itself_must_be_made() {
    let served = Served::start(|config| {
        config.auto_create_topic_enable = false;
        config.auto_create_subscription_group = false;
    })
    .await;
    let (asker, _asked) = served.client();
    let refused = asker.send("", b"x", false).await;
    says(&refused, response::TOPIC_NOT_EXIST, "not exist");
    topic_with(&asker, "6").await;
    assert_eq!(asker.send("", b"x", false).await.code, response::SUCCESS);
    asker.heartbeat("c", "*", Language::Java).await;
    let refused = asker.pull(0, 0, &[]).await;
    says(
        &refused,
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        "subscription group",
    );
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_as_large_as_max_message_size_at_most() {
    let served = Served::start(|config| config.max_message_size = 100).await;
    let (asker, _asked) = served.client();
    let fits = asker.send("", &[b'x'; 100], false).await;
    assert_eq!(fits.code, response::SUCCESS);
    let refused = asker.send("", &[b'x'; 101], false).await;
    says(&refused, response::MESSAGE_ILLEGAL, "101");
    served.broker.shutdown().await.unwrap();
}

/// `longPollingEnable=false`: who finds nothing waits `shortPollingTimeMills`, however long it asked to.
#[tokio::test(flavor = "multi_thread")]
async fn without_long_polling_nobody_waits_long() {
    let served = Served::start(|config| {
        config.long_polling_enable = false;
        config.short_polling_time_mills = 10;
    })
    .await;
    let (asker, _asked) = served.client();
    assert_eq!(asker.send("", b"x", false).await.code, response::SUCCESS);
    asker.heartbeat("c", "*", Language::Java).await;
    let suspend = sluice_protocol::message::sys_flag::PULL_SUSPEND;
    let hold = [("suspendTimeoutMillis", "60000")];
    let waited = asker.pull(1, suspend, &hold).await;
    assert_eq!(waited.code, response::PULL_NOT_FOUND);
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_a_send() {
    let status = async |change: &dyn Fn(&mut BrokerConfig), properties: &str| {
        let served = Served::start(|config| change(config)).await;
        let (asker, _asked) = served.client();
        let sent = asker.send(properties, b"x", false).await;
        assert!(sent.ext.get("msgId").is_some(), "it is stored");
        served.broker.shutdown().await.unwrap();
        sent.code
    };
    let plain = |_: &mut BrokerConfig| {};
    assert_eq!(status(&plain, "").await, response::SUCCESS);
    let sync_master = |config: &mut BrokerConfig| config.broker_role = BrokerRole::SyncMaster;
    assert_eq!(
        status(&sync_master, "").await,
        response::SLAVE_NOT_AVAILABLE
    );
    // `waitStoreMsgOK` off: its producer does not ask.
    let no_wait = "WAIT\u{1}false\u{2}";
    assert_eq!(status(&sync_master, no_wait).await, response::SUCCESS);
}

/// A disk that does not come back in `syncFlushTimeout`.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_times_a_send_out() {
    let files = SimulatedFiles::new();
    let served = Served::start_in(environment_on(&files), |config| {
        config.flush_disk_type = FlushDiskType::SyncFlush;
        config.sync_flush_timeout = 50;
    })
    .await;
    let (asker, _asked) = served.client();
    assert_eq!(asker.send("", b"x", false).await.code, response::SUCCESS);
    files.hold_syncs(Some(served.directory.path()));
    let sent = asker.send("", b"y", false).await;
    assert_eq!(sent.code, response::FLUSH_DISK_TIMEOUT, "{}", sent.remark());
    files.hold_syncs(None);
    asker.heartbeat("c", "*", Language::Java).await;
    let kept = async || asker.pull(1, 0, &[]).await.code == response::SUCCESS;
    while !kept().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    served.broker.shutdown().await.unwrap();
}

/// Who is refused tries another broker at once; who waits for one whose disk is slow to let it start loses
/// the whole time of a send.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_ready_refuses_connections() {
    let files = SimulatedFiles::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let disk = files.clone();
    let starting = Served::start_in(environment_on(&files), move |config| {
        config.listen_port = address.port();
        disk.hold_syncs(Some(&config.store_path_root_dir.join("config")));
    });
    let starting = tokio::spawn(starting);
    let waits = async {
        while files.syncs_held() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waits = tokio::time::timeout(Duration::from_secs(10), waits).await;
    let connected = TcpStream::connect(address);
    let taken = TcpListener::bind(address);
    // Before anything is said of it: a thread that waits for the disk would hold up the end of a test that fails.
    files.hold_syncs(None);
    assert!(waits.is_ok(), "it did not come as far as its files");
    assert!(connected.is_err(), "{connected:?}");
    assert!(taken.is_err(), "{taken:?}");
    let served = starting.await.unwrap();
    let (asker, _asked) = served.client();
    assert_eq!(asker.send("", b"x", false).await.code, response::SUCCESS);
    served.broker.shutdown().await.unwrap();
}
