//! Sluice, the Java broker and the floor in turn on one machine in one run: what counts are the ratios.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::java::{JavaPeer, SERVER_VERSION};
use sluice_tests::process::Running;

use crate::floor::{self, Floor};
use crate::load::{self, Load};
use crate::process::cpu_time;

/// What is compared.
#[derive(Debug, clap::Args)]
pub struct Compare {
    /// Seconds counted of each load
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// How often everything is repeated; the middle one of each figure is printed
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    body: usize,
    /// Sends in flight, on one connection
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    in_flight: usize,
}

const FLUSH: [&str; 2] = ["ASYNC_FLUSH", "SYNC_FLUSH"];

/// Figures of one load on one broker.
#[derive(Debug, Clone, Copy)]
struct Figures {
    per_second: f64,
    failed: f64,
    cpu_micros: f64,
    p50: f64,
    p99: f64,
    p999: f64,
}

/// Runs it all and prints a table.
///
/// # Errors
/// A broker or the Java producer can't be run.
pub fn run(compare: &Compare) -> Result<()> {
    ensure!(
        compare.rounds > 0 && compare.seconds > 0,
        "nothing to measure"
    );
    print_settings(compare)?;
    println!(
        "| flush | load | broker | messages/s | failed | CPU us/message | p50 us | p99 us | p99.9 us |"
    );
    println!("|---|---|---|---:|---:|---:|---:|---:|---:|");
    let mut floor = None;
    for flush in FLUSH {
        let mut rounds: Vec<[[Figures; 2]; 2]> = Vec::new();
        for _ in 0..compare.rounds {
            rounds.push([
                both_loads(compare, Kind::Java, flush)?,
                both_loads(compare, Kind::Sluice, flush)?,
            ]);
        }
        if flush == "ASYNC_FLUSH" {
            let rounds = (0..compare.rounds).map(|_| of_floor(compare));
            floor = Some(middle(rounds.collect::<Result<_>>()?));
        }
        for (at, load) in ["Java producer", "sluice-bench"].iter().enumerate() {
            let of = |broker: usize| middle(rounds.iter().map(|round| round[broker][at]).collect());
            print_pair(flush, load, of(0), of(1));
            print_floor(flush, load, of(1), floor);
        }
    }
    Ok(())
}

fn print_settings(compare: &Compare) -> Result<()> {
    let directory = tempfile::tempdir()?;
    println!(
        "{} B bodies, {} in flight, 1 connection, {} s after warm-up, {} round(s), {} cores; Java {SERVER_VERSION}, 1 GiB CommitLog files for both",
        compare.body,
        compare.in_flight,
        compare.seconds,
        compare.rounds,
        std::thread::available_parallelism()?
    );
    println!();
    floor::print_costs(directory.path())
}

fn both_loads(compare: &Compare, kind: Kind, flush: &str) -> Result<[Figures; 2]> {
    let more = More {
        broker: &format!("flushDiskType={flush}\nmappedFileSizeCommitLog=1073741824\n"),
        ..More::default()
    };
    let cluster = Cluster::start_with(kind, more);
    Ok([java_producer(compare, &cluster)?, ours(compare, &cluster)?])
}

/// The floor keeps no promise, so it has one figure for both flush modes.
fn of_floor(compare: &Compare) -> Result<Figures> {
    let floor = Floor::start()?;
    loaded(compare, floor.address().to_owned(), floor.id())
}

fn print_floor(flush: &str, load: &str, sluice: Figures, floor: Option<Figures>) {
    // The official producer asks a name server for its broker; the floor has none.
    let Some(floor) = floor.filter(|_| load == "sluice-bench" && flush == "ASYNC_FLUSH") else {
        return;
    };
    row(flush, load, "floor", floor);
    ratios(flush, load, "Sluice / floor", sluice, floor);
}

fn ours(compare: &Compare, cluster: &Cluster) -> Result<Figures> {
    loaded(compare, cluster.broker.address(), cluster.broker.id())
}

fn loaded(compare: &Compare, broker: String, pid: u32) -> Result<Figures> {
    let outcome = load::run(&Load {
        broker,
        topic: "bench-ours".to_owned(),
        queues: 4,
        body: compare.body,
        connections: 1,
        in_flight: compare.in_flight,
        rate: None,
        seconds: compare.seconds,
        warm_up: compare.seconds / 4 + 1,
        pid: Some(pid),
    })?;
    Ok(Figures {
        per_second: outcome.per_second(),
        failed: outcome.failed as f64,
        cpu_micros: outcome.cpu_micros().context("CPU time of the broker")?,
        p50: outcome.latencies.at(0.5) as f64,
        p99: outcome.latencies.at(0.99) as f64,
        p999: outcome.latencies.at(0.999) as f64,
    })
}

/// The official producer warms up for a fifth of its time, then says that it counts.
fn java_producer(compare: &Compare, cluster: &Cluster) -> Result<Figures> {
    let seconds = compare.seconds + compare.seconds / 4 + 1;
    let deadline = Duration::from_secs(seconds + 60);
    let home = tempfile::tempdir_in(cluster.dir())?;
    let mut command =
        JavaPeer::client(SERVER_VERSION).load_program("sluice.interop.LoadProducer", home.path());
    command.args([
        cluster.namesrv.address(),
        "bench-java",
        &compare.body.to_string(),
        &compare.in_flight.to_string(),
        "1",
        &seconds.to_string(),
    ]);
    let mut running = Running::start("load-producer", home.path(), &mut command);
    running.wait_for("counting", deadline);
    let before = cpu_time(cluster.broker.id())?;
    running.wait_for("messages=", deadline);
    let cpu = cpu_time(cluster.broker.id())? - before;
    running.wait(deadline);
    let output = running.output();
    let value = |name: &str| -> Result<f64> {
        let word = output
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.and_then(|word| word.parse().ok())
            .with_context(|| format!("{name} in {output}"))
    };
    Ok(Figures {
        per_second: value("per_second")?,
        failed: value("failed")?,
        cpu_micros: cpu.as_secs_f64() * 1e6 / value("messages")?,
        p50: value("p50")?,
        p99: value("p99")?,
        p999: value("p999")?,
    })
}

/// The middle of each figure over all rounds.
fn middle(rounds: Vec<Figures>) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        per_second: of(|f| f.per_second),
        failed: of(|f| f.failed),
        cpu_micros: of(|f| f.cpu_micros),
        p50: of(|f| f.p50),
        p99: of(|f| f.p99),
        p999: of(|f| f.p999),
    }
}

fn print_pair(flush: &str, load: &str, java: Figures, sluice: Figures) {
    row(flush, load, "Java", java);
    row(flush, load, "Sluice", sluice);
    ratios(flush, load, "Sluice / Java", sluice, java);
}

fn row(flush: &str, load: &str, broker: &str, f: Figures) {
    println!(
        "| {flush} | {load} | {broker} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} |",
        f.per_second, f.failed, f.cpu_micros, f.p50, f.p99, f.p999
    );
}

fn ratios(flush: &str, load: &str, which: &str, one: Figures, other: Figures) {
    println!(
        "| {flush} | {load} | {which} | {:.2} | | {:.2} | {:.2} | {:.2} | {:.2} |",
        one.per_second / other.per_second,
        one.cpu_micros / other.cpu_micros,
        one.p50 / other.p50,
        one.p99 / other.p99,
        one.p999 / other.p999
    );
}
