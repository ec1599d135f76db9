//! Sluice, the Java broker and the floor in turn on one machine in one run: what counts are the ratios.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::java::{JavaPeer, SERVER_VERSION};
use sluice_tests::process::Running;

use crate::figures::{Figures, print_beside, print_head};
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
    print_head(&["flush", "load", "broker"]);
    for flush in FLUSH {
        let mut rounds: Vec<[[Figures; 2]; 2]> = Vec::new();
        let mut floor = Vec::new();
        for _ in 0..compare.rounds {
            rounds.push([
                both_loads(compare, Kind::Java, flush)?,
                both_loads(compare, Kind::Sluice, flush)?,
            ]);
            floor.push(of_floor(compare)?);
        }
        for (at, load) in ["Java producer", "sluice-bench"].iter().enumerate() {
            let of = |broker: usize| {
                let figures: Vec<Figures> = rounds.iter().map(|round| round[broker][at]).collect();
                Figures::middle(&figures)
            };
            // The official producer asks a name server for its broker; the floor has none.
            let floor = (at == 1).then(|| Figures::middle(&floor));
            print_beside(&[flush, load], of(1), Some(of(0)), floor);
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

/// It promises nothing, whatever the flush mode.
fn of_floor(compare: &Compare) -> Result<Figures> {
    let floor = Floor::start()?;
    loaded(compare, floor.address().to_owned(), floor.id())
}

fn ours(compare: &Compare, cluster: &Cluster) -> Result<Figures> {
    loaded(compare, cluster.broker.address(), cluster.broker.id())
}

fn loaded(compare: &Compare, broker: String, pid: u32) -> Result<Figures> {
    let outcome = load::run(&Load {
        broker,
        topic: "bench-ours".to_owned(),
        body: compare.body,
        in_flight: compare.in_flight,
        seconds: compare.seconds,
        warm_up: compare.seconds / 4 + 1,
        pid: Some(pid),
        ..Load::default()
    })?;
    Figures::of(&outcome)
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
        cpu_micros: Some(cpu.as_secs_f64() * 1e6 / value("messages")?),
        p50: Some(value("p50")?),
        p99: Some(value("p99")?),
        p999: Some(value("p999")?),
        resident: None,
    })
}
