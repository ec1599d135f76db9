//! Thousands of connections from several processes, each of which has sent a heartbeat and a message: what they
//! take of the broker, and whether it still serves others as before. And a broker that has no more files to open.

mod clients;
mod limit;
mod usual;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_tests::cluster::{Cluster, Kind, sluice_binary};

use crate::process::{cpu_time, resident};
use crate::ready::table::{self, mib, print, print_goal};
pub use clients::{Clients, hold};
use usual::Usual;

/// How much longer than before a send of others may take at p99, while all the connections are there.
const LATENCY_GOAL: f64 = 2.0;

/// Options of `sluice-bench connections`.
#[derive(Debug, clap::Args)]
pub struct Connections {
    /// Connections of all processes
    #[arg(long, default_value_t = 15_000)]
    count: usize,
    /// Processes that make them
    #[arg(long, default_value_t = 3)]
    processes: usize,
    /// Seconds for which others' sends are measured, before and beside them
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The Java broker as well
    #[arg(long)]
    java: bool,
    /// Limit of open files of the broker that has too few
    #[arg(long, value_name = "FILES", default_value_t = 256)]
    files: u64,
    /// The sluice binary of that broker; without it $SLUICE_BIN
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// Measures and prints tables.
///
/// # Errors
/// A broker can't be run, or a connection is not served that should be, or is served that should not.
pub fn run(wanted: &Connections) -> Result<()> {
    ensure!(
        wanted.count >= wanted.processes && wanted.processes > 0,
        "nothing to measure"
    );
    beside_many(wanted, Kind::Sluice)?;
    if wanted.java {
        beside_many(wanted, Kind::Java)?;
    }
    let binary = wanted.binary.clone().unwrap_or_else(sluice_binary);
    limit::run(&binary, wanted.files, wanted.seconds)
}

fn beside_many(wanted: &Connections, kind: Kind) -> Result<()> {
    let cluster = Cluster::start(kind);
    let (address, pid) = (cluster.broker.address(), cluster.broker.id());
    let time = Duration::from_secs(wanted.seconds);
    let before = Usual::of(&address, time)?;
    let (memory, cpu, began) = (resident(pid)?, cpu_time(pid)?, Instant::now());

    let clients = Clients::start(&address, wanted.processes, wanted.count)?;
    let (took, used) = (began.elapsed(), cpu_time(pid)? - cpu);
    println!(
        "{kind:?}, {} connections of {} processes:\n",
        wanted.count, wanted.processes
    );
    table::print_head();
    print(
        "served: a heartbeat and a send of each answered",
        clients.served(),
    );
    print(
        "time until then",
        format_args!("{:.1} s", took.as_secs_f64()),
    );
    let each = used.as_secs_f64() * 1e6 / wanted.count as f64;
    print("broker CPU for each", format_args!("{each:.0} us"));
    let more = resident(pid)?.anonymous.saturating_sub(memory.anonymous);
    print("anonymous memory that came with them", mib(more));
    print("for each", format_args!("{} B", more / wanted.count as u64));
    print("share of a core while they are silent", silent(pid, time)?);

    let beside = Usual::of(&address, time)?;
    print("sends of another, before: p50, p99", &before);
    print_goal(
        "the same beside them",
        &beside,
        format_args!("p99 {LATENCY_GOAL} x"),
        beside.p99() <= LATENCY_GOAL * before.p99(),
    );
    clients.end()?;
    print("the same after they have left", Usual::of(&address, time)?);
    println!();
    Ok(())
}

fn silent(pid: u32, time: Duration) -> Result<String> {
    let before = cpu_time(pid)?;
    thread::sleep(time);
    let used = cpu_time(pid)? - before;
    let share = 100.0 * used.as_secs_f64() / time.as_secs_f64().max(1e-3);
    Ok(format!("{share:.1} %"))
}
