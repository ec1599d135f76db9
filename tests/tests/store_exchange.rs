//! A store directory goes from Java to Sluice and back, and each goes on where the other stopped.

use std::collections::HashSet;
use std::time::Duration;

use sluice_tests::audit::{AuditConsumer, AuditProducer};
use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::java::JavaPeer;
use sluice_tests::process::Running;

/// A topic of single messages, and one with `queue.type=BatchCQ` for batches.
const TOPICS: &str = "exchange,exchange-batches";
const COMMAND: Duration = Duration::from_secs(60);
const LOAD: usize = 500;
const TURNS: [Kind; 4] = [Kind::Java, Kind::Sluice, Kind::Java, Kind::Sluice];

#[test]
fn a_store_directory_moves_both_ways() {
    // The commit log lies on two disks, as it were, and goes from one to the other with each file.
    let disks = tempfile::tempdir().expect("temporary directory");
    let disk = |name: &str| disks.path().join(name);
    let settings = format!(
        "storePathCommitLog={},{}\nmappedFileSizeCommitLog=131072\n",
        disk("b").display(),
        disk("a").display()
    );
    let mut cluster = start(&settings);
    let mut acked = HashSet::new();
    for (turn, kind) in TURNS.into_iter().enumerate() {
        if turn > 0 {
            cluster.broker.start_again(kind);
        }
        let (now, again) = live_once(&cluster, turn, &acked);
        // What was being consumed when the group stopped may come again, the rest may not.
        assert!(
            again * 10 <= acked.len(),
            "turn {turn}: the group got {again} of {} messages again",
            acked.len()
        );
        acked.extend(now);
        cluster.broker.terminate();
    }
    for (name, turn) in [("a", 0), ("b", 1)] {
        let files = std::fs::read_dir(disk(name)).expect("a directory of the commit log");
        let names = files.map(|file| file.expect("a file").file_name());
        let starts: Vec<u64> = names
            .map(|name| name.to_string_lossy().parse().expect("an offset"))
            .collect();
        assert!(starts.len() > 1, "{name}: {starts:?}");
        let in_turn = |start: &u64| start / 131_072 % 2 == turn;
        assert!(starts.iter().all(in_turn), "{name}: {starts:?}");
    }
}

/// Each recovers what the other left behind when it was killed.
#[test]
fn a_store_directory_moves_both_ways_after_kill_9() {
    let mut cluster = start("");
    let mut acked = HashSet::new();
    for (turn, kind) in TURNS.into_iter().enumerate() {
        if turn > 0 {
            cluster.broker.start_again(kind);
        }
        acked.extend(live_once(&cluster, turn, &acked).0);
        cluster.broker.kill();
    }
}

/// A Java broker with the topic of batches, made by Java's own tool.
fn start(settings: &str) -> Cluster {
    let more = More {
        broker: settings,
        ..More::default()
    };
    let cluster = Cluster::start_with(Kind::Java, more);
    let topic = TOPICS.split(',').next_back().expect("the second");
    let broker = cluster.broker.address();
    let home = tempfile::tempdir_in(cluster.dir()).expect("home of mqadmin");
    let tool = "org.apache.rocketmq.tools.command.MQAdminStartup";
    let mut command = JavaPeer::server().program(tool, home.path());
    command.env("ROCKETMQ_HOME", home.path());
    command.args(["updateTopic", "-n", cluster.namesrv.address()]);
    command.args(["-b", &broker, "-t", topic, "-a", "+queue.type=BatchCQ"]);
    let mut running = Running::start("mqadmin", home.path(), &mut command);
    assert!(running.wait(COMMAND).success(), "{}", running.output());
    cluster
}

/// Everything written before can be read from the beginning, and what is written now both by a new
/// group and by one that lasts. Returns what was acknowledged now, and how much of what was before
/// the lasting group got again.
fn live_once(cluster: &Cluster, turn: usize, before: &HashSet<String>) -> (HashSet<String>, usize) {
    let namesrv = cluster.namesrv.address();
    let name = |role: &str| format!("{role}-{turn}");
    let fresh = AuditConsumer::start(
        namesrv,
        TOPICS,
        &name("fresh-group"),
        &name("fresh"),
        cluster.dir(),
    );
    fresh.wait_for_all(before);
    let producer = AuditProducer::start(namesrv, TOPICS, &name("m"), cluster.dir());
    let lasting = AuditConsumer::start(
        namesrv,
        TOPICS,
        "lasting-group",
        &name("lasting"),
        cluster.dir(),
    );
    producer.wait_for_more(LOAD);
    let written = producer.stop();
    fresh.wait_for_all(&written);
    lasting.wait_for_all(&written);
    let again = lasting
        .stop()
        .into_iter()
        .filter(|id| before.contains(id))
        .count();
    (written, again)
}
