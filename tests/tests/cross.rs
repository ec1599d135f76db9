//! A Java broker on our name server, and our broker on a Java name server.

use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::java::{CLIENT_VERSIONS, JavaPeer};
use sluice_tests::scenarios::{assert_passed, run_java, run_java_on_java};

const SCENARIOS: [&str; 10] = [
    "sync_send",
    "unknown_topic_autocreate",
    "tags",
    "clustering",
    "rebalance_join_leave",
    "lite_assign",
    "admin_topics",
    "admin_topic_stats",
    "admin_kv_config",
    "system_topics",
];

#[test]
fn a_java_broker_runs_on_our_name_server() {
    run_on(Kind::Sluice, Kind::Java);
}

#[test]
fn our_broker_runs_on_a_java_name_server() {
    run_on(Kind::Java, Kind::Sluice);
}

fn run_on(namesrv: Kind, broker: Kind) {
    let cluster = Cluster::mixed(namesrv, broker);
    for version in CLIENT_VERSIONS {
        let client = JavaPeer::client(version);
        let address = cluster.namesrv.address();
        let run = match broker {
            Kind::Java => run_java_on_java,
            Kind::Sluice => run_java,
        };
        let outcomes = run(&client, address, &SCENARIOS, cluster.dir());
        assert_passed(
            &format!("client {version}, {namesrv:?} name server, {broker:?} broker"),
            &SCENARIOS,
            &outcomes,
        );
    }
}
