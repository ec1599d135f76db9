//! What a Java broker tells Prometheus, Sluice tells under the same names and labels: dashboards and alerts
//! stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::java::JavaPeer;
use sluice_tests::ports::free_port;
use sluice_tests::scenarios::{assert_passed, run_java, run_java_on_java};

/// What happens before the metrics are read.
const SCENARIOS: [&str; 6] = [
    "sync_send",
    "clustering",
    "retry_to_dead_letters",
    "transaction_commit_and_rollback",
    "timer_setters",
    "pop_all",
];

/// Families of the Java broker that this one does not have: what they count is not there, or not counted yet.
/// docs/metrics.md says which.
const NOT_OURS: [&str; 14] = [
    "rocketmq_processor_watermark",
    "rocketmq_pop_",
    "rocketmq_rpc_latency",
    "rocketmq_topic_create_execution_time",
    "rocketmq_consumer_group_create_execution_time",
    "rocketmq_finish_message_latency",
    "rocketmq_delay_message_latency",
    "rocketmq_half_messages",
    "rocketmq_timer_enqueue_latency",
    "rocketmq_timer_enqueue_total",
    "rocketmq_timer_dequeue_lag",
    "rocketmq_timer_dequeue_total",
    "rocketmq_timer_message_snapshot",
    "rocketmq_rocksdb_",
];

/// What a page has.
struct Page {
    /// Names in its `TYPE` lines, whether there are samples or not.
    families: BTreeSet<String>,
    /// Label names of what has samples.
    samples: BTreeMap<String, BTreeSet<String>>,
}

#[test]
fn families_and_labels_are_java_s() {
    let java = page_of(Kind::Java).samples;
    let Page { families, samples } = page_of(Kind::Sluice);
    let lacks = |name: &&String| {
        let not_ours = NOT_OURS.iter().any(|prefix| name.starts_with(prefix));
        !not_ours && !families.iter().any(|family| name.starts_with(family))
    };
    let missing: Vec<&String> = java.keys().filter(lacks).collect();
    assert_eq!(
        missing,
        Vec::<&String>::new(),
        "only the Java broker has these"
    );
    for (name, labels) in &samples {
        let of_java = java
            .get(name)
            .unwrap_or_else(|| panic!("Java has no {name}"));
        let mut of_java = of_java.clone();
        // Java's pops alone have it there; its pulls have not.
        if name.ends_with("_out_total") {
            of_java.remove("is_retry");
        }
        assert_eq!(labels, &of_java, "{name}");
    }
}

fn page_of(kind: Kind) -> Page {
    let port = free_port();
    let settings = format!(
        "metricsExporterType=PROM\nmetricsPromExporterHost=127.0.0.1\nmetricsPromExporterPort={port}\nmetricsLabel=zone:a1\n"
    );
    let more = More {
        broker: &settings,
        ..More::default()
    };
    let cluster = Cluster::start_with(kind, more);
    let run = match kind {
        Kind::Java => run_java_on_java,
        Kind::Sluice => run_java,
    };
    let outcomes = run(
        &JavaPeer::client("5.3.3"),
        cluster.namesrv.address(),
        &SCENARIOS,
        cluster.dir(),
    );
    assert_passed("before the metrics are read", &SCENARIOS, &outcomes);
    parse(&metrics(port).expect("metrics"))
}

/// The page, in one piece: HTTP/1.0 knows no other.
fn metrics(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.contains(" 200 "), "{head}");
    Ok(body.to_owned())
}

fn parse(text: &str) -> Page {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families = types.filter_map(|line| line.split(' ').next());
    let families = families.map(str::to_owned).collect();
    let mut samples: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("rocketmq_")) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let (_, labels) = line.split_once('{').unwrap_or_default();
        let (labels, _) = labels.rsplit_once('}').unwrap_or_default();
        let names = labels
            .split("\",")
            .filter_map(|label| label.split_once('='));
        let names = names.map(|(name, _)| name.to_owned());
        samples
            .entry(name.to_owned())
            .or_default()
            .extend(names.filter(|name| !name.starts_with("otel_scope")));
    }
    Page { families, samples }
}
