//! What plugins do, by plugin, world, topic, group and version.

use sluice_plugins::stats::Reading;

use super::exposition::{Exposition, Kind};
use crate::Broker;
use crate::http::plugins::breaker;

/// Name, kind, meaning, and where the number is.
type Metric = (&'static str, Kind, &'static str, fn(&Reading) -> u64);

const METRICS: [Metric; 13] = [
    ("calls_total", Kind::Counter, "Calls for blocks.", |r| {
        r.calls
    }),
    ("rows_total", Kind::Counter, "Messages in them.", |r| r.rows),
    (
        "passed_total",
        Kind::Counter,
        "Messages that passed.",
        |r| r.passed,
    ),
    (
        "dropped_total",
        Kind::Counter,
        "Messages dropped or refused.",
        |r| r.dropped,
    ),
    (
        "changed_total",
        Kind::Counter,
        "Changes that hooks made.",
        |r| r.changed,
    ),
    (
        "failed_rows_total",
        Kind::Counter,
        "Messages without a verdict.",
        |r| r.failed_rows,
    ),
    (
        "by_policy_total",
        Kind::Counter,
        "Messages not asked about, the breaker being open.",
        |r| r.by_policy,
    ),
    ("traps_total", Kind::Counter, "Calls that trapped.", |r| {
        r.traps
    }),
    (
        "timeouts_total",
        Kind::Counter,
        "Calls stopped at their deadline.",
        |r| r.timeouts,
    ),
    (
        "differing_total",
        Kind::Counter,
        "Messages a shadow judged otherwise.",
        |r| r.differing,
    ),
    ("instances_total", Kind::Counter, "Instances made.", |r| {
        r.instances
    }),
    (
        "busy_nanoseconds_total",
        Kind::Counter,
        "Time spent in calls.",
        |r| r.busy_ns,
    ),
    (
        "memory_high_water_bytes",
        Kind::Gauge,
        "Most linear memory of an instance.",
        |r| r.memory_high_water,
    ),
];

/// One version of one binding.
struct Read {
    /// Plugin, world, topic, group, version.
    of: [String; 5],
    reading: Reading,
    breaker: &'static str,
}

impl Read {
    fn labels(&self) -> [(&str, &str); 5] {
        let [plugin, world, topic, group, version] = &self.of;
        [
            ("plugin", plugin),
            ("world", world),
            ("topic", topic),
            ("group", group),
            ("version", version),
        ]
    }
}

pub(super) fn write(broker: &Broker, page: &mut Exposition) {
    let all = read(broker);
    for (name, kind, help, value) in METRICS {
        let mut family = page.own(&format!("plugin_{name}"), kind, help);
        for one in &all {
            family.sample(&one.labels(), value(&one.reading));
        }
    }
    let mut closed = page.own(
        "plugin_breaker_closed",
        Kind::Gauge,
        "1 while calls go through.",
    );
    for one in &all {
        closed.sample(&one.labels(), u8::from(one.breaker == "closed"));
    }
    let mut seconds = page.own("plugin_call_seconds", Kind::Histogram, "Time of a call.");
    for one in &all {
        let counts = &one.reading.histogram[..];
        // The last bucket has no bound.
        let bounds: Vec<f64> = (0..counts.len().saturating_sub(1))
            .map(|bucket| (1_u64 << bucket) as f64 / 1e6)
            .collect();
        let sum = one.reading.busy_ns as f64 / 1e9;
        seconds.histogram(&one.labels(), &bounds, counts, sum);
    }
}

fn read(broker: &Broker) -> Vec<Read> {
    let mut all = Vec::new();
    for (world, bound) in broker.plugins.all_bound() {
        let spec = bound.spec();
        for (version, reading) in bound.readings() {
            all.push(Read {
                of: [
                    spec.plugin.clone(),
                    world.to_string(),
                    spec.topic.clone(),
                    spec.group.clone(),
                    version.to_string(),
                ],
                reading,
                breaker: breaker(bound.breaker_state()),
            });
        }
    }
    all
}
