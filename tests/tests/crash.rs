//! What was acknowledged is received, whatever happens to the broker between.

use sluice_tests::audit::{AuditConsumer, AuditProducer};
use sluice_tests::cluster::{Broker, Cluster, Kind, More};

const TOPIC: &str = "audit";
const RESTARTS: usize = 3;
/// Acknowledged messages before each stop.
const LOAD: usize = 1_000;

#[test]
fn kill_9_under_load_loses_nothing_acknowledged() {
    audit_restarts("", Broker::kill);
}

#[test]
fn kill_9_under_load_with_sync_flush_loses_nothing_acknowledged() {
    audit_restarts("flushDiskType=SYNC_FLUSH\n", Broker::kill);
}

#[test]
fn sigterm_under_load_ends_in_order_and_loses_nothing_acknowledged() {
    audit_restarts("", |broker| {
        let status = broker.terminate();
        assert!(
            status.success(),
            "after SIGTERM the broker ended with {status}"
        );
    });
}

fn audit_restarts(settings: &str, stop: impl Fn(&mut Broker)) {
    let more = More {
        broker: settings,
        ..More::default()
    };
    let mut cluster = Cluster::start_with(Kind::Sluice, more);
    let namesrv = cluster.namesrv.address().to_owned();
    let producer = AuditProducer::start(&namesrv, TOPIC, "m", cluster.dir());
    let consumer = AuditConsumer::start(&namesrv, TOPIC, "audit-group", "live", cluster.dir());
    for _ in 0..RESTARTS {
        producer.wait_for_more(LOAD);
        stop(&mut cluster.broker);
        cluster.broker.start_again(Kind::Sluice);
    }
    producer.wait_for_more(LOAD);
    let acked = producer.stop();
    consumer.wait_for_all(&acked);
    // A group that begins now reads the whole log, written by four lives of the broker.
    let later = AuditConsumer::start(&namesrv, TOPIC, "later-group", "later", cluster.dir());
    later.wait_for_all(&acked);
}
