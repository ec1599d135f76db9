//! `sluice-bench`: a load, comparisons with the Java broker, start-up time and memory,
//! the cost of plugins, messages that wait.

mod compare;
mod delivery;
mod disk;
mod floor;
mod latency;
mod load;
mod plugins;
mod process;
mod pulls;
mod ready;
mod sends;
mod sql92;
mod timers;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures a RocketMQ broker, ours or Java's. Addresses are those of this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Bench {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Send to a running broker and print rate, latency and CPU time per message
    Load(load::Load),
    /// Sluice and the Java broker in turn, with the official Java producer and with our load
    Compare(compare::Compare),
    /// Sluice and the Java broker in turn: delayed sends, transactions, POP with acks, orderly consumption
    Delivery(delivery::Delivery),
    /// Time from exec to the first accepted send, and resident memory when idle
    Ready {
        /// The sluice binary
        #[arg(long, value_name = "PATH", default_value = "target/release/sluice")]
        binary: PathBuf,
    },
    /// One SQL92 expression on one stored message, with Java's classes and with ours
    Sql92(sql92::Evaluation),
    /// A filter as a WASM plugin, built in and as native code, and how plugins start and fail
    Plugins(plugins::Plugins),
    /// Pulls of one backlog: unfiltered, by SQL92, through WASM filters
    Pulls(pulls::Pulls),
    /// Memory of a million messages that wait for their time, and how late those of one second are
    Timers(timers::Timers),
    /// What the machine takes for each thing that a send cannot do without
    Floor {
        /// A directory on the disk to measure
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// A server that keeps bodies and answers, and does nothing else; it prints its address
    #[command(hide = true)]
    FloorServer,
    /// Time of one fdatasync of 4 KiB in a directory
    Disk {
        /// A directory on the disk to measure
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
}

fn main() -> Result<()> {
    match Bench::parse().task {
        Task::Load(load) => print_load(&load),
        Task::Compare(compare) => compare::run(&compare),
        Task::Delivery(wanted) => delivery::run(&wanted),
        Task::Ready { binary } => ready::measure(&binary),
        Task::Sql92(evaluation) => sql92::run(&evaluation),
        Task::Plugins(plugins) => plugins::run(&plugins),
        Task::Pulls(pulls) => pulls::run(&pulls),
        Task::Timers(wanted) => timers::run(&wanted),
        Task::Floor { dir } => floor::print_costs(&dir),
        Task::FloorServer => floor::serve(),
        Task::Disk { dir } => {
            println!(
                "fdatasync of 4 KiB in {}: {}",
                dir.display(),
                disk::sync_times(&dir)?
            );
            Ok(())
        }
    }
}

fn print_load(load: &load::Load) -> Result<()> {
    println!("{load:?}");
    let outcome = load::run(load)?;
    println!(
        "messages={} failed={} per_second={:.0}",
        outcome.messages,
        outcome.failed,
        outcome.per_second()
    );
    println!("latency   {}", outcome.latencies);
    if load.rate.is_none() {
        println!("corrected {}", outcome.latencies.corrected());
    }
    if let Some(micros) = outcome.cpu_micros() {
        println!("broker CPU {micros:.2} us per message");
    }
    Ok(())
}
