//! A store directory goes from Java to Sluice and back, and each goes on where the other stopped.

use std::collections::HashSet;

use sluice_tests::audit::{AuditConsumer, AuditProducer};
use sluice_tests::cluster::{Cluster, Kind};

const TOPIC: &str = "exchange";
const LOAD: usize = 500;

#[test]
fn a_store_directory_moves_both_ways() {
    let mut cluster = Cluster::start(Kind::Java);
    let mut acked = HashSet::new();
    for (turn, kind) in [Kind::Java, Kind::Sluice, Kind::Java, Kind::Sluice]
        .into_iter()
        .enumerate()
    {
        if turn > 0 {
            cluster.broker.start_again(kind);
        }
        acked = live_once(&cluster, turn, acked);
        cluster.broker.terminate();
    }
}

/// Everything written before can be read from the beginning, the lasting group gets only what is
/// new, and both read what is written now. Returns all that was acknowledged so far.
fn live_once(cluster: &Cluster, turn: usize, before: HashSet<String>) -> HashSet<String> {
    let namesrv = cluster.namesrv.address();
    let name = |role: &str| format!("{role}-{turn}");
    let fresh = AuditConsumer::start(
        namesrv,
        TOPIC,
        &name("fresh-group"),
        &name("fresh"),
        cluster.dir(),
    );
    fresh.wait_for_all(&before);
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
    // What was being consumed when the group stopped may come again, the rest may not.
    assert!(
        again * 10 <= before.len(),
        "turn {turn}: the group got {again} of {} messages again",
        before.len()
    );
    before.into_iter().chain(written).collect()
}
