//! What plugins and transactions do, and what waits, in the Prometheus text format.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use sluice_plugins::stats::Reading;

use super::plugins::breaker;
use crate::Broker;

/// Name, kind, meaning, and where the number is.
type Metric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Reading) -> u64,
);

const METRICS: [Metric; 13] = [
    ("calls_total", "counter", "Calls for blocks.", |r| r.calls),
    ("rows_total", "counter", "Messages in them.", |r| r.rows),
    ("passed_total", "counter", "Messages that passed.", |r| {
        r.passed
    }),
    (
        "dropped_total",
        "counter",
        "Messages dropped or refused.",
        |r| r.dropped,
    ),
    (
        "changed_total",
        "counter",
        "Changes that hooks made.",
        |r| r.changed,
    ),
    (
        "failed_rows_total",
        "counter",
        "Messages without a verdict.",
        |r| r.failed_rows,
    ),
    (
        "by_policy_total",
        "counter",
        "Messages not asked about, the breaker being open.",
        |r| r.by_policy,
    ),
    ("traps_total", "counter", "Calls that trapped.", |r| r.traps),
    (
        "timeouts_total",
        "counter",
        "Calls stopped at their deadline.",
        |r| r.timeouts,
    ),
    (
        "differing_total",
        "counter",
        "Messages a shadow judged otherwise.",
        |r| r.differing,
    ),
    ("instances_total", "counter", "Instances made.", |r| {
        r.instances
    }),
    (
        "busy_nanoseconds_total",
        "counter",
        "Time spent in calls.",
        |r| r.busy_ns,
    ),
    (
        "memory_high_water_bytes",
        "gauge",
        "Most linear memory of an instance.",
        |r| r.memory_high_water,
    ),
];

struct Labelled {
    labels: String,
    reading: Reading,
    breaker: &'static str,
}

pub(super) async fn metrics(State(broker): State<Arc<Broker>>) -> impl IntoResponse {
    let mut all = Vec::new();
    for (world, bound) in broker.plugins.all_bound() {
        let spec = bound.spec();
        for (version, reading) in bound.readings() {
            let (plugin, topic, group) = (
                escaped(&spec.plugin),
                escaped(&spec.topic),
                escaped(&spec.group),
            );
            all.push(Labelled {
                labels: format!(
                    "plugin=\"{plugin}\",world=\"{world}\",topic=\"{topic}\",group=\"{group}\",version=\"{version}\""
                ),
                reading,
                breaker: breaker(bound.breaker_state()),
            });
        }
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        text(&all)
            + &transactions(&broker)
            + &gauges("pop", &broker.pop_gauges())
            + &gauges("timer", &broker.timer_gauges()),
    )
}

fn transactions(broker: &Broker) -> String {
    let counts = &broker.transactions.counts;
    let undecided = AtomicU64::new(broker.transactions.undecided() as u64);
    let metrics = [
        (
            "undecided",
            "gauge",
            "Half messages that await a decision.",
            &undecided,
        ),
        (
            "committed_total",
            "counter",
            "Transactions committed.",
            &counts.committed,
        ),
        (
            "rolled_back_total",
            "counter",
            "Transactions rolled back.",
            &counts.rolled_back,
        ),
        (
            "checks_total",
            "counter",
            "Questions to producers.",
            &counts.checks,
        ),
        (
            "given_up_total",
            "counter",
            "Transactions that nobody decided.",
            &counts.given_up,
        ),
    ];
    let mut out = String::new();
    for (name, kind, help, value) in metrics {
        let value = value.load(Ordering::Relaxed);
        let _ = writeln!(
            out,
            "# HELP sluice_transactions_{name} {help}\n# TYPE sluice_transactions_{name} {kind}\nsluice_transactions_{name} {value}"
        );
    }
    out
}

fn gauges(of: &str, all: &[(&str, &str, u64)]) -> String {
    let gauge = |(name, help, value): &(&str, &str, u64)| {
        let name = format!("sluice_{of}_{name}");
        format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n")
    };
    all.iter().map(gauge).collect()
}

/// Writing to a String can't fail.
fn text(all: &[Labelled]) -> String {
    let mut out = String::new();
    for (name, kind, help, value) in METRICS {
        let _ = writeln!(
            out,
            "# HELP sluice_plugin_{name} {help}\n# TYPE sluice_plugin_{name} {kind}"
        );
        for Labelled {
            labels, reading, ..
        } in all
        {
            let _ = writeln!(out, "sluice_plugin_{name}{{{labels}}} {}", value(reading));
        }
    }
    out.push_str("# HELP sluice_plugin_breaker_closed 1 while calls go through.\n# TYPE sluice_plugin_breaker_closed gauge\n");
    for Labelled {
        labels, breaker, ..
    } in all
    {
        let closed = u8::from(*breaker == "closed");
        let _ = writeln!(out, "sluice_plugin_breaker_closed{{{labels}}} {closed}");
    }
    out.push_str("# HELP sluice_plugin_call_seconds Time of a call.\n# TYPE sluice_plugin_call_seconds histogram\n");
    for labelled in all {
        histogram(&mut out, labelled);
    }
    out
}

fn histogram(out: &mut String, labelled: &Labelled) {
    let Labelled {
        labels, reading, ..
    } = labelled;
    let mut so_far = 0;
    let last = reading.histogram.len().saturating_sub(1);
    for (bucket, count) in reading.histogram.iter().enumerate() {
        so_far += count;
        let bound = match bucket {
            _ if bucket == last => "+Inf".to_owned(),
            _ => format!("{}", (1_u64 << bucket) as f64 / 1e6),
        };
        let _ = writeln!(
            out,
            "sluice_plugin_call_seconds_bucket{{{labels},le=\"{bound}\"}} {so_far}"
        );
    }
    let seconds = reading.busy_ns as f64 / 1e9;
    let _ = writeln!(out, "sluice_plugin_call_seconds_sum{{{labels}}} {seconds}");
    let _ = writeln!(out, "sluice_plugin_call_seconds_count{{{labels}}} {so_far}");
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
