//! The unmodified Java `mqadmin`, 5.3.3 and 4.9.8: what it prints for the Java broker it prints for Sluice, but
//! for numbers; and what Sluice has not, it refuses by name.

mod brokers;
mod compare;
mod groups;
mod messages;
mod page;
mod refused;
mod script;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::java::{CLIENT_VERSIONS, JavaPeer};
use sluice_tests::process::wait_until;
use sluice_tests::scenarios::{assert_passed, run_java};

use crate::script::{Said, Script};

/// A Java broker says that it is up before its first registration has arrived.
const REGISTRATION: Duration = Duration::from_secs(60);
/// Traces are sent when a command is over, and indexed later.
const TRACE: Duration = Duration::from_secs(30);

#[test]
fn mqadmin_prints_what_it_prints_for_the_java_broker() {
    let (java, sluice) = thread::scope(|scope| {
        let java = scope.spawn(|| transcript(Kind::Java));
        let sluice = scope.spawn(|| transcript(Kind::Sluice));
        (java.join().expect("Java"), sluice.join().expect("Sluice"))
    });
    let (java, said) = (java.said, &sluice.said);
    assert_eq!(java.len(), said.len());
    let mut wrong: Vec<String> = java
        .iter()
        .zip(said)
        .filter_map(|(java, sluice)| {
            compare::difference(&java.command, &java.printed, &sluice.printed)
        })
        .collect();
    wrong.extend(sluice.wrongly_refused);
    assert!(
        wrong.is_empty(),
        "{} of {} commands:\n\n{}",
        wrong.len(),
        java.len(),
        wrong.join("\n\n")
    );
    page::check(&sluice.known, &script::commands(said));
}

/// What was typed to one kind of servers, and what came of it.
#[derive(Default)]
struct Transcript {
    said: Vec<Said>,
    /// Commands that belong to parts which Sluice does not have, and were not refused so.
    wrongly_refused: Vec<String>,
    /// Every command, and the versions that know it.
    known: BTreeMap<String, Vec<&'static str>>,
}

fn transcript(kind: Kind) -> Transcript {
    let cluster = Cluster::start(kind);
    let mut transcript = Transcript::default();
    for version in CLIENT_VERSIONS.iter().rev() {
        let mut script = Script::start(version, &cluster);
        wait_until("the broker's registration", REGISTRATION, || {
            script
                .quietly("clusterList")
                .contains("broker-a")
                .then_some(())
        });
        for command in page::listed(&script.quietly("@help")).collect::<BTreeSet<_>>() {
            transcript.known.entry(command).or_default().push(version);
        }
        everything(&mut script);
        if kind == Kind::Sluice {
            transcript
                .wrongly_refused
                .extend(refused::wrong(&mut script));
        }
        transcript.said.extend(script.into_said());
    }
    let modes = cluster
        .broker
        .store()
        .join("config/messageRequestMode.json");
    transcript.said.push(Said {
        command: "5.3.3 @messageRequestMode.json".to_owned(),
        printed: std::fs::read_to_string(modes).expect("modes that were set"),
    });
    assert_passed(
        "after the commands",
        &["sync_send"],
        &run_java(
            &JavaPeer::client("5.3.3"),
            cluster.namesrv.address(),
            &["sync_send"],
            cluster.dir(),
        ),
    );
    transcript
}

fn everything(script: &mut Script<'_>) {
    script.say("help updateTopic");
    script.say("noSuchCommand");
    topics::run(script);
    groups::made(script);
    clients(script);
    messages::sent(script);
    messages::found(script);
    committed(script);
    groups::online(script);
    groups::offsets(script);
    messages::looked_at(script);
    brokers::run(script);
    groups::old_offsets(script);
}

/// A consumer, a producer and its first message, a message with a trace.
fn clients(script: &mut Script<'_>) {
    // A consumer that starts before its retry topic has a route finds it 20 s later.
    script.quietly("updateTopic -b {broker} -t %RETRY%group-{v} -r 1 -w 1");
    let client = script.quietly("@consume group-{v} topic-{v} *");
    script.name("client", client.trim());
    let sent = script.quietly("@produce producer-{v} topic-{v} key-{v}");
    let names = ["id", "offset-id", "queue", "offset"];
    let sent: Vec<&str> = sent.split_whitespace().collect();
    assert_eq!(sent.len(), names.len(), "{sent:?}");
    for (name, value) in names.into_iter().zip(sent) {
        script.name(name, value);
    }
    let traced = script.quietly("sendMessage -t topic-{v} -p traced -m true");
    script.name("traced", id_in(&traced));
    // The Java broker's topic of traces is in the routes a moment after its first message.
    if !script.is_5() {
        wait_until("the trace", TRACE, || {
            let trace = script.quietly("queryMsgTraceById -i {traced}");
            trace.contains("success").then_some(())
        });
    }
    committed(script);
}

fn committed(script: &mut Script<'_>) {
    let failure = script.quietly("@commit");
    assert_eq!(failure.trim(), "");
}

/// The id of the message that was sent.
fn id_in(printed: &str) -> &str {
    let is_id = |word: &&str| word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let id = printed.split_whitespace().find(is_id);
    id.unwrap_or_else(|| panic!("no id in {printed}"))
}
