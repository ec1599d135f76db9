//! The programs of docs/performance.md run to their end and print what they promise. What they
//! measure is no matter here.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sluice_tests::cluster::{Cluster, Kind, sluice_binary};
use sluice_tests::process::Running;

const END: Duration = Duration::from_secs(240);

fn bench(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice-bench"));
    command.args(arguments).env("SLUICE_BIN", sluice_binary());
    let mut running = Running::start("sluice-bench", Path::new(dir.path()), &mut command);
    let status = running.wait(END);
    assert!(status.success(), "{arguments:?}: {}", running.tail());
    running.output()
}

fn number(output: &str, name: &str) -> f64 {
    let value = output
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name));
    let value = value.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {output}"))
}

#[test]
fn closed_and_open_loads_count_what_the_broker_took() {
    let cluster = Cluster::start(Kind::Sluice);
    let (broker, pid) = (cluster.broker.address(), cluster.broker.id().to_string());
    let common = [
        "load",
        "--broker",
        &broker,
        "--pid",
        &pid,
        "--seconds",
        "1",
        "--warm-up",
        "0",
    ];
    let closed = bench(&[&common[..], &["--connections", "2", "--in-flight", "8"]].concat());
    assert!(
        number(&closed, "messages=") > 0.0 && closed.contains("corrected p50="),
        "{closed}"
    );
    assert!(closed.contains("us per message"), "{closed}");
    let open = bench(&[&common[..], &["--rate", "500", "--topic", "open"]].concat());
    // Every send that was due is made and answered.
    assert!(
        (450.0..=510.0).contains(&number(&open, "messages=")),
        "{open}"
    );
    assert_eq!(number(&open, "failed="), 0.0);
}

#[test]
fn readiness_is_measured() {
    let binary = sluice_binary();
    let output = bench(&[
        "ready",
        "--binary",
        binary.to_str().expect("a path in UTF-8"),
        "--starts",
        "3",
        "--idle",
        "1",
        "--size-gb",
        "0.02",
    ]);
    for row in [
        "| exec to first accepted send, empty store |",
        "| share of a core when idle, over 1 s |",
        "| resident when idle, anonymous and program |",
        "| exec to first accepted send after it |",
        "| the same, none of its files in memory |",
        "| the same after kill -9, 2 s of load before |",
    ] {
        assert!(output.contains(row), "{row} in {output}");
    }
}

#[test]
fn memory_is_counted_for_each_thing() {
    let output = bench(&[
        "memory",
        "--count",
        "1000",
        "--topics",
        "100",
        "--messages",
        "1000",
    ]);
    assert_eq!(output.matches("| Sluice |").count(), 9, "{output}");
    for row in [
        "| anonymous memory after 1000 messages of 1 KB |",
        "| 100 topics x 8 queues: anonymous memory |",
        "| a registration at a name server |",
    ] {
        assert!(output.contains(row), "{row} in {output}");
    }
}

#[test]
fn connections_of_several_processes_are_served() {
    let output = bench(&[
        "connections",
        "--count",
        "301",
        "--processes",
        "3",
        "--seconds",
        "1",
    ]);
    assert!(output.contains("each answered | 301 |"), "{output}");
    assert!(
        output.contains("the limit of 256 open files is nearly reached"),
        "{output}"
    );
}

#[test]
fn batches_topics_and_one_way_sends_are_counted_as_messages() {
    let cluster = Cluster::start(Kind::Sluice);
    let (broker, pid) = (cluster.broker.address(), cluster.broker.id().to_string());
    let common = ["load", "--broker", &broker, "--pid", &pid, "--warm-up", "0"];
    let several = ["--batch", "4", "--topics", "3", "--connections", "20"];
    let exactly = ["--messages", "1000", "--body", "100"];
    let batches = bench(&[&common[..], &several, &exactly].concat());
    assert_eq!(number(&batches, "messages="), 1000.0, "{batches}");
    assert_eq!(number(&batches, "failed="), 0.0, "{batches}");
    let one_way = ["--one-way", "--seconds", "1", "--topic", "one-way"];
    let one_way = bench(&[&common[..], &one_way].concat());
    assert!(number(&one_way, "messages=") > 0.0, "{one_way}");
    assert_eq!(number(&one_way, "failed="), 0.0, "{one_way}");
}

#[test]
fn each_send_is_measured_on_both_brokers_and_on_the_floor() {
    let short = ["workloads", "--seconds", "1", "--warm-up", "0"];
    let output = bench(&[&short[..], &["--only", "1 in flight"]].concat());
    for (ratio, times) in [
        ("| Sluice / Java |", 3),
        ("| Sluice / floor |", 3),
        ("| Sluice / that |", 1),
    ] {
        assert_eq!(output.matches(ratio).count(), times, "{output}");
    }
}

#[test]
fn consumption_is_compared_warm_and_cold() {
    let short = [
        "consume",
        "--seconds",
        "1",
        "--warm-up",
        "0",
        "--rounds",
        "1",
    ];
    let output = bench(&[&short[..], &["--backlog", "67108864"]].concat());
    assert_eq!(output.matches("| Sluice / Java |").count(), 5, "{output}");
}

#[test]
fn tails_are_compared_at_one_rate() {
    let output = bench(&["open-loop", "--seconds", "1", "--warm-up", "0"]);
    assert_eq!(output.matches("| Sluice / Java |").count(), 2, "{output}");
    assert!(
        output.contains("p99.9 of sends, Sluice / Java:"),
        "{output}"
    );
}

#[test]
fn wake_ups_are_compared() {
    let output = bench(&["wake", "--seconds", "1", "--warm-up", "0"]);
    assert_eq!(output.matches("| Sluice / Java |").count(), 3, "{output}");
}

#[test]
fn filters_are_compared_at_three_shares() {
    let short = ["filters", "--messages", "1000", "--rounds", "1"];
    let output = bench(&[&short[..], &["--warm-up", "0"]].concat());
    assert_eq!(output.matches("| Sluice / Java |").count(), 7, "{output}");
    assert_eq!(output.matches("| WASM |").count(), 3, "{output}");
}

#[test]
fn sends_beside_a_standing_backlog_are_measured() {
    let short = ["backlog", "--backlog", "10000", "--seconds", "1"];
    let output = bench(&[&short[..], &["--rounds", "1"]].concat());
    assert_eq!(output.matches("| full / empty").count(), 2, "{output}");
}

#[test]
fn all_parked_pulls_are_woken() {
    let short = ["parked", "--consumers", "100", "--idle", "1"];
    let rounds = ["--seconds", "1", "--rounds", "1", "--warm-up", "0"];
    let output = bench(&[&short[..], &rounds].concat());
    assert!(
        output.contains("| 100 pulls, 1 message each | Sluice |"),
        "{output}"
    );
}

#[test]
fn both_brokers_are_compared() {
    let output = bench(&["compare", "--seconds", "1"]);
    assert_eq!(output.matches("| Sluice / Java |").count(), 4, "{output}");
}

#[test]
fn delivery_is_compared() {
    let output = bench(&["delivery", "--messages", "500", "--rounds", "1"]);
    assert_eq!(output.matches("| Sluice / Java |").count(), 7, "{output}");
}

#[test]
fn a_filter_is_measured_as_a_plugin_and_built_in() {
    let output = bench(&["plugins", "--rounds", "1", "--runs", "1", "--samples", "1"]);
    for row in [
        "| native closure | 32 |",
        "| SQL92, built in | 32 |",
        "| WASM | 1 |",
        "| SQL92 as a WASM language | 32 |",
        "| nothing bound, a send | 32 |",
        "| upload to first verdict |",
        "| trap, and the next call in a fresh instance |",
        "| runaway stopped",
    ] {
        assert!(output.contains(row), "{row} in {output}");
    }
}

#[test]
fn tails_under_trouble_are_printed_beside_the_quiet_one() {
    let output = bench(&["trouble", "--only", "commit log roll", "--seconds", "2"]);
    assert!(
        output.contains("| quiet | ASYNC_FLUSH | Sluice | "),
        "{output}"
    );
    assert!(output.contains(" files made |"), "{output}");
    let output = bench(&[
        "trouble",
        "--floor",
        "--only",
        "slow",
        "--seconds",
        "1",
        "--rate",
        "500",
    ]);
    assert_eq!(output.matches(" syncs of ").count(), 3, "{output}");
    assert_eq!(output.matches("_FLUSH | Sluice | ").count(), 4, "{output}");
    assert_eq!(output.matches("_FLUSH | Floor | ").count(), 2, "{output}");
}

#[test]
fn a_report_is_a_page_with_plots_and_their_numbers() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("report.html");
    let out = path.to_str().expect("a path in UTF-8");
    let common = [
        "report",
        "--seconds",
        "1",
        "--warm-up",
        "0",
        "--most",
        "10",
        "--out",
        out,
    ];
    let output = bench(&[&common[..], &["--only", "Queues"]].concat());
    let page = std::fs::read_to_string(&path).expect("the page");
    assert_eq!(page.matches("<svg").count(), 3, "{page}");
    assert!(!page.contains("NaN") && !page.contains("://"), "{page}");
    for row in ["<tr><td>1</td><td>", "<tr><td>10</td><td>"] {
        assert!(page.contains(row), "{row} in {page}");
    }
    assert!(
        output.contains("| queues of one topic | messages/s |"),
        "{output}"
    );
    let output = bench(&[&common[..], &["--only", "Backlog", "--backlog", "10000"]].concat());
    assert!(
        output.contains("| messages that wait | messages/s |"),
        "{output}"
    );
}
