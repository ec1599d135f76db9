//! The unmodified Java 5.3.3 `mqadmin`: the same commands print the same, but for numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_tests::audit::AuditConsumer;
use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::java::JavaPeer;
use sluice_tests::process::{Running, wait_until};
use sluice_tests::scenarios::{assert_passed, run_java};

const COMMAND: Duration = Duration::from_secs(60);
const TOPIC: &str = "admin-topic";
const GROUP: &str = "admin-group";

/// Lines of `brokerStatus` that operators and tools read; Java has more, as far as its features go.
const STATUS: [&str; 34] = [
    "bootTimestamp",
    "brokerActive",
    "brokerVersion",
    "brokerVersionDesc",
    "commitLogDirCapacity",
    "commitLogDiskRatio",
    "commitLogMaxOffset",
    "commitLogMinOffset",
    "consumeQueueDiskRatio",
    "dispatchBehindBytes",
    "dispatchMaxBuffer",
    "earliestMessageTimeStamp",
    "getFoundTps",
    "getMessageEntireTimeMax",
    "getMissTps",
    "getTotalTps",
    "getTransferredTps",
    "msgGetTotalTodayMorning",
    "msgGetTotalTodayNow",
    "msgGetTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalTodayNow",
    "msgPutTotalYesterdayMorning",
    "pageCacheLockTimeMills",
    "putMessageAverageSize",
    "putMessageDistributeTime",
    "putMessageEntireTimeMax",
    "putMessageFailedTimes",
    "putMessageSizeTotal",
    "putMessageTimesTotal",
    "putTps",
    "remainHowManyDataToFlush",
    "remainTransientStoreBufferNumbs",
    "runtime",
];

#[test]
fn mqadmin_prints_what_it_prints_for_the_java_broker() {
    let (java, java_modes) = transcript(Kind::Java);
    let (sluice, sluice_modes) = transcript(Kind::Sluice);
    assert_eq!(sluice_modes, java_modes, "messageRequestMode.json");
    let mut different = Vec::new();
    for ((command, expected), (_, actual)) in java.iter().zip(&sluice) {
        if let Some(difference) = difference(command, &shape(expected), &shape(actual)) {
            different.push(difference);
        }
    }
    assert!(
        different.is_empty(),
        "{} commands differ:\n\n{}",
        different.len(),
        different.join("\n\n")
    );
}

/// Every command with what it printed, and the file of what `setConsumeMode` has set.
fn transcript(kind: Kind) -> (Vec<(String, String)>, String) {
    let cluster = Cluster::start(kind);
    let namesrv = cluster.namesrv.address();
    let broker = cluster.broker.address();
    // A Java broker says that it is up before its first registration has arrived.
    wait_until("the broker's registration", COMMAND, || {
        let clusters = mqadmin(&cluster, &["clusterList", "-n", namesrv]);
        clusters.contains("broker-a").then_some(())
    });
    let mut said = Vec::new();
    let mut say =
        |arguments: &[&str]| said.push((arguments.join(" "), mqadmin(&cluster, arguments)));
    say(&[
        "updateTopic",
        "-n",
        namesrv,
        "-b",
        &broker,
        "-t",
        TOPIC,
        "-r",
        "4",
        "-w",
        "4",
    ]);
    say(&[
        "updateTopic",
        "-n",
        namesrv,
        "-c",
        "DefaultCluster",
        "-t",
        "short-lived",
        "-a",
        "+message.type=NORMAL",
    ]);
    say(&["updateSubGroup", "-n", namesrv, "-b", &broker, "-g", GROUP]);
    let set_consume_mode = ["setConsumeMode", "-n", namesrv, "-t", TOPIC, "-g", GROUP];
    say(&[&set_consume_mode[..], &["-m", "PULL", "-b", &broker]].concat());
    say(&[
        &set_consume_mode[..],
        &["-m", "PULL", "-c", "DefaultCluster"],
    ]
    .concat());
    let modes = cluster
        .broker
        .store()
        .join("config/messageRequestMode.json");
    let modes = std::fs::read_to_string(modes).expect("modes that were set");
    say(&["topicList", "-n", namesrv]);
    say(&["topicRoute", "-n", namesrv, "-t", TOPIC]);
    say(&["topicStatus", "-n", namesrv, "-t", TOPIC]);
    say(&["clusterList", "-n", namesrv]);
    say(&["brokerStatus", "-n", namesrv, "-b", &broker]);
    let consumer = AuditConsumer::start(namesrv, TOPIC, GROUP, "admin", cluster.dir());
    say(&[
        "sendMessage",
        "-n",
        namesrv,
        "-t",
        TOPIC,
        "-p",
        "hello",
        "-k",
        "key-one",
    ]);
    consumer.wait_for_all(&["hello".to_owned()].into());
    say(&["queryMsgByKey", "-n", namesrv, "-t", TOPIC, "-k", "key-one"]);
    let traced = [
        "sendMessage",
        "-n",
        namesrv,
        "-t",
        TOPIC,
        "-p",
        "traced",
        "-m",
        "true",
    ];
    let sent = mqadmin(&cluster, &traced);
    say(&["queryMsgTraceById", "-n", namesrv, "-i", id_in(&sent)]);
    say(&["consumerConnection", "-n", namesrv, "-g", GROUP]);
    say(&["consumerProgress", "-n", namesrv, "-g", GROUP]);
    say(&[
        "updateBrokerConfig",
        "-n",
        namesrv,
        "-b",
        &broker,
        "-k",
        "maxTransferCountOnMessageInMemory",
        "-v",
        "48",
    ]);
    assert!(
        cluster
            .broker
            .settings()
            .lines()
            .any(|line| line == "maxTransferCountOnMessageInMemory=48"),
        "{kind:?}: a changed setting outlives the broker"
    );
    consumer.stop();
    say(&["brokerConsumeStats", "-n", namesrv, "-b", &broker]);
    say(&["consumerProgress", "-n", namesrv]);
    say(&["statsAll", "-n", namesrv, "-t", TOPIC]);
    say(&[
        "resetOffsetByTime",
        "-n",
        namesrv,
        "-g",
        GROUP,
        "-t",
        TOPIC,
        "-s",
        "0",
    ]);
    say(&[
        "deleteTopic",
        "-n",
        namesrv,
        "-c",
        "DefaultCluster",
        "-t",
        "short-lived",
    ]);
    say(&["topicList", "-n", namesrv]);
    assert_passed(
        "after the commands",
        &["sync_send"],
        &run_java(
            &JavaPeer::client("5.3.3"),
            namesrv,
            &["sync_send"],
            cluster.dir(),
        ),
    );
    (said, modes)
}

/// The id of the message that was sent.
fn id_in(output: &str) -> &str {
    let is_id = |word: &&str| word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let id = output.split_whitespace().find(is_id);
    id.unwrap_or_else(|| panic!("no id in {output}"))
}

fn mqadmin(cluster: &Cluster, arguments: &[&str]) -> String {
    let home = tempfile::tempdir_in(cluster.dir()).expect("home of mqadmin");
    let mut command = JavaPeer::server().program(
        "org.apache.rocketmq.tools.command.MQAdminStartup",
        home.path(),
    );
    command.env("ROCKETMQ_HOME", home.path());
    let mut running = Running::start("mqadmin", home.path(), command.args(arguments));
    let status = running.wait(COMMAND);
    let output = running.output();
    assert!(
        status.success(),
        "mqadmin {arguments:?} ended with {status}: {output}"
    );
    output
}

/// The lines with numbers, ids and white space masked, without order and repetition.
fn shape(output: &str) -> BTreeSet<String> {
    output
        .lines()
        .map(mask)
        .filter(|line| !line.is_empty())
        .collect()
}

fn mask(line: &str) -> String {
    line.split_whitespace()
        .map(mask_word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn mask_word(word: &str) -> String {
    if word.len() >= 16 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
        return "#".to_owned();
    }
    let mut masked = String::new();
    for c in word.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !masked.ends_with('#') {
            masked.push(c);
        }
    }
    masked
}

fn difference(command: &str, java: &BTreeSet<String>, sluice: &BTreeSet<String>) -> Option<String> {
    if command.starts_with("brokerStatus") {
        let has = |key: &&&str| {
            sluice
                .iter()
                .any(|line| line.split([' ', ':']).next() == Some(**key))
        };
        let missing: Vec<_> = STATUS.iter().filter(|key| !has(key)).collect();
        return (!missing.is_empty()).then(|| format!("{command}: without {missing:?}"));
    }
    let mut missing: Vec<_> = java.difference(sluice).collect();
    if command.starts_with("statsAll") {
        // The Java broker names a group after the topic there, which nobody has made.
        missing.retain(|line| !line.starts_with(&format!("{TOPIC} {TOPIC} ")));
    }
    let surplus: Vec<_> = sluice.difference(java).collect();
    (!missing.is_empty() || !surplus.is_empty())
        .then(|| format!("{command}\n  only Java: {missing:#?}\n  only Sluice: {surplus:#?}"))
}
