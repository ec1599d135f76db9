//! A store directory goes from Java to Sluice and back, and each goes on where the other stopped.

use std::collections::HashSet;

use sluice_tests::audit::{AuditConsumer, AuditProducer};
use sluice_tests::cluster::{Cluster, Kind, More};

const TOPIC: &str = "exchange";
const LOAD: usize = 500;
const TURNS: [Kind; 4] = [Kind::Java, Kind::Sluice, Kind::Java, Kind::Sluice];

#[test]
fn a_store_directory_moves_both_ways() {
    // The commit log lies on two disks, as it were, and goes from one to the other with each file.
    let disks = tempfile::tempdir().expect("temporary directory");
    let disk = |name: &str| disks.path().join(name);
    let more = format!(
        "storePathCommitLog={},{}\nmappedFileSizeCommitLog=131072\n",
        disk("b").display(),
        disk("a").display()
    );
    let more = More {
        broker: &more,
        ..More::default()
    };
    let mut cluster = Cluster::start_with(Kind::Java, more);
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
    let mut cluster = Cluster::start(Kind::Java);
    let mut acked = HashSet::new();
    for (turn, kind) in TURNS.into_iter().enumerate() {
        if turn > 0 {
            cluster.broker.start_again(kind);
        }
        acked.extend(live_once(&cluster, turn, &acked).0);
        cluster.broker.kill();
    }
}

/// Everything written before can be read from the beginning, and what is written now both by a new
/// group and by one that lasts. Returns what was acknowledged now, and how much of what was before
/// the lasting group got again.
fn live_once(cluster: &Cluster, turn: usize, before: &HashSet<String>) -> (HashSet<String>, usize) {
    let namesrv = cluster.namesrv.address();
    let name = |role: &str| format!("{role}-{turn}");
    let fresh = AuditConsumer::start(
        namesrv,
        TOPIC,
        &name("fresh-group"),
        &name("fresh"),
        cluster.dir(),
    );
    fresh.wait_for_all(before);
    let producer = AuditProducer::start(namesrv, TOPIC, &name("m"), cluster.dir());
    let lasting = AuditConsumer::start(
        namesrv,
        TOPIC,
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
