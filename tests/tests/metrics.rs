//! What a Java broker tells Prometheus, Sluice tells under the same names and labels: dashboards and alerts
//! stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::java::JavaPeer;
use sluice_tests::plugins::Plugins;
use sluice_tests::ports::free_port;
use sluice_tests::process::wait_until;
use sluice_tests::scenarios::{assert_passed, run_java};

const SOON: Duration = Duration::from_secs(60);
/// What happens before the metrics are read.
const SCENARIOS: [&str; 6] = [
    "sync_send",
    "clustering",
    "retry_to_dead_letters",
    "transaction_commit_and_rollback",
    "timer_setters",
    "pop_all",
];

/// Families of the Java broker that stand for parts this broker does not have.
const NOT_OURS: [&str; 4] = [
    // Requests are answered where they arrive: there are no queues before processors.
    "rocketmq_processor_watermark",
    "rocketmq_pop_",
    "rocketmq_rocksdb_",
    "rocketmq_tiered_store_",
];

/// Label names of each family.
type Families = BTreeMap<String, BTreeSet<String>>;

#[test]
fn families_and_labels_are_java_s() {
    let java = families(Kind::Java);
    let sluice = families(Kind::Sluice);
    for (name, labels) in &java {
        println!("java   {name} {labels:?}");
        println!("sluice {name} {:?}", sluice.get(name));
    }
}

fn families(kind: Kind) -> Families {
    let port = free_port();
    let settings = format!(
        "metricsExporterType=PROM\nmetricsPromExporterHost=127.0.0.1\nmetricsPromExporterPort={port}\nmetricsLabel=zone:a1\n"
    );
    let more = More {
        broker: &settings,
        ..More::default()
    };
    let cluster = Cluster::start_with(kind, more);
    let outcomes = run_java(
        &JavaPeer::client("5.3.3"),
        cluster.namesrv.address(),
        &SCENARIOS,
        cluster.dir(),
    );
    assert_passed("before the metrics are read", &SCENARIOS, &outcomes);
    let text = wait_until("metrics of messages that came in", SOON, || {
        let (_, text) = Plugins::at(port).ask("GET", "/metrics", "text/plain", b"");
        let text = text.as_str()?.to_owned();
        text.contains("rocketmq_messages_in_total{").then_some(text)
    });
    println!("{kind:?}\n{text}");
    parse(&text)
}

fn parse(text: &str) -> Families {
    let mut families = Families::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once('{').unwrap_or((line, ""));
        let labels = rest.rsplit_once('}').map_or("", |(labels, _)| labels);
        let names = labels
            .split("\",")
            .filter_map(|label| label.split_once('='));
        let names = names.map(|(name, _)| name.to_owned());
        families
            .entry(name.to_owned())
            .or_default()
            .extend(names.filter(|name| !name.starts_with("otel_scope")));
    }
    families
}
