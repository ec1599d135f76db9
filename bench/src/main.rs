//! `sluice-bench`: a load, comparisons with the Java broker, start-up time and memory,
//! the cost of plugins, messages that wait.

mod compare;
mod connections;
mod delivery;
mod disk;
mod figures;
mod flight;
mod floor;
mod latency;
mod load;
mod memory;
mod meter;
mod page_cache;
mod patched;
mod peer;
mod plugins;
mod process;
mod readable;
mod ready;
mod report;
mod sends;
mod socket;
mod sql92;
mod subjects;
mod timers;
mod trouble;
mod workloads;

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
    /// Sends: sizes, connections, topics, one-way, batches, sync flush, beside Java and the floor
    Workloads(workloads::matrix::Matrix),
    /// Consumption beside a producer at full speed, and of a backlog, from memory and from the disk
    Consume(workloads::consume::Consume),
    /// Sending and consuming together at half of the Java broker's greatest rate
    OpenLoop(workloads::open_loop::OpenLoop),
    /// How soon a parked pull has its message
    Wake(workloads::wake::Wake),
    /// Pulls of which 1 %, 50 % or 100 % pass: by tag, by SQL92, through WASM
    Filters(workloads::filters::Filters),
    /// Sends beside a standing backlog, and to an empty broker
    Backlog(workloads::backlog::StandingBacklog),
    /// Thousands of idle consumers with parked pulls: what they cost, and that all are woken
    Parked(workloads::parked::Parked),
    /// Sluice and the Java broker in turn: delayed sends, transactions, POP with acks, orderly consumption
    Delivery(delivery::Delivery),
    /// Time from exec to the first accepted send, of empty and of full stores; CPU time and memory when idle
    Ready(ready::Ready),
    /// Bytes for each connection, parked pull, topic, queue, group, subscription; many topics, many messages
    Memory(memory::Memory),
    /// Thousands of connections from several processes, and a broker that may open few files
    Connections(connections::Connections),
    /// Holds connections to a broker until its input ends
    #[command(hide = true)]
    ConnectionsClient {
        /// The broker, host:port
        broker: String,
        /// Connections
        count: usize,
    },
    /// One SQL92 expression on one stored message, with Java's classes and with ours
    Sql92(sql92::Evaluation),
    /// A filter as a WASM plugin, built in and as native code, and how plugins start and fail
    Plugins(plugins::Plugins),
    /// Memory of a million messages that wait for their time, and how late those of one second are
    Timers(timers::Timers),
    /// How rates move with cores, topics, queues, groups, backlog and sizes, as one HTML page
    Report(report::Report),
    /// Sends at a fixed rate, in quiet and under one trouble after the other: what becomes of the tails
    Trouble(trouble::Trouble),
    /// Makes a trouble until its input ends
    #[command(hide = true)]
    MakeTrouble(trouble::Maker),
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
        Task::Workloads(matrix) => workloads::matrix::run(&matrix),
        Task::Consume(wanted) => workloads::consume::run(&wanted),
        Task::OpenLoop(wanted) => workloads::open_loop::run(&wanted),
        Task::Wake(wanted) => workloads::wake::run(&wanted),
        Task::Filters(filters) => workloads::filters::run(&filters),
        Task::Backlog(wanted) => workloads::backlog::run(&wanted),
        Task::Parked(wanted) => workloads::parked::run(&wanted),
        Task::Delivery(wanted) => delivery::run(&wanted),
        Task::Ready(wanted) => ready::run(&wanted),
        Task::Memory(wanted) => memory::run(&wanted),
        Task::Connections(wanted) => connections::run(&wanted),
        Task::ConnectionsClient { broker, count } => connections::hold(&broker, count),
        Task::Sql92(evaluation) => sql92::run(&evaluation),
        Task::Plugins(plugins) => plugins::run(&plugins),
        Task::Timers(wanted) => timers::run(&wanted),
        Task::Report(wanted) => report::run(&wanted),
        Task::Trouble(wanted) => trouble::run(&wanted),
        Task::MakeTrouble(wanted) => trouble::make(&wanted),
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
    if load.rate.is_none() && !load.one_way {
        println!("corrected {}", outcome.latencies.corrected());
    }
    if let Some(micros) = outcome.cpu_micros() {
        println!("broker CPU {micros:.2} us per message");
    }
    Ok(())
}
