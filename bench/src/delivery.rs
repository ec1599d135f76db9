//! What happens after "sent", on Sluice and on the Java broker in turn: delayed sends, transactions, POP
//! with acks, orderly consumption. What counts are the ratios.
//!
//! Both are driven alike, by the requests of a 5.3.3 client over plain sockets, so that neither rate
//! is that of a client. Each round of each workload is checked: a message that is missing, that comes twice,
//! too early or in the wrong order ends the measurement.

mod delayed;
mod orderly;
mod pops;
mod topics;
mod transactions;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::java::SERVER_VERSION;
use sluice_tests::wire::Wire;

use crate::disk;
use crate::figures::median;
use crate::meter::Meter;

use topics::Backlog;

/// Longest that anything may be waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Greatest share of Java's CPU time per message that a message may cost.
const CPU_GOAL: f64 = 1.0 / 3.0;
/// As a broker has them that nobody has tuned.
const SETTINGS: &str = "flushDiskType=ASYNC_FLUSH\nmappedFileSizeCommitLog=1073741824\n\
    transactionCheckInterval=30000\ntransactionOpBatchInterval=3000\n";

/// How much is delivered.
#[derive(Debug, clap::Args)]
pub struct Delivery {
    /// Messages of each round of each workload
    #[arg(long, default_value_t = 50_000)]
    messages: i32,
    /// Rounds that are counted; the middle one of each figure is printed
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Rounds before, which are not counted
    #[arg(long, value_name = "ROUNDS", default_value_t = 1)]
    warm_up: usize,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    body: usize,
    /// Sends in flight, on one connection
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    in_flight: i32,
    /// Only the workloads whose names begin so
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
}

/// The broker that is measured.
struct Subject<'a> {
    wanted: &'a Delivery,
    kind: Kind,
    address: String,
    pid: u32,
    wire: Wire,
    backlog: Backlog,
    /// Groups that have popped it.
    popped: Vec<String>,
}

/// What one round of a workload, or a part of it, took.
#[derive(Debug, Clone, Copy)]
struct Figures {
    per_second: f64,
    cpu_micros: Option<f64>,
    /// What the latest hundredth of the deliveries was late by, milliseconds.
    late_ms: Option<f64>,
}

/// A workload gives one [`Figures`] for each of its rows.
struct Workload {
    rows: &'static [&'static str],
    round: fn(&mut Subject<'_>, usize) -> Result<Vec<Figures>>,
}

/// POP is the last: brokers work on its acks for some time after.
const WORKLOADS: [Workload; 5] = [
    Workload {
        rows: &["delay level 2: sent", "delay level 2: delivered"],
        round: delayed::by_level,
    },
    Workload {
        rows: &["timer, 5 s: sent", "timer, 5 s: delivered"],
        round: delayed::by_timer,
    },
    Workload {
        rows: &["transactions: committed"],
        round: transactions::committed,
    },
    Workload {
        rows: &["orderly: consumed"],
        round: orderly::consumed,
    },
    Workload {
        rows: &["POP: popped and acked"],
        round: pops::acked,
    },
];

impl Delivery {
    fn workloads(&self) -> impl Iterator<Item = &'static Workload> {
        let only = &*self.only;
        let rows = move |workload: &&Workload| workload.rows[0].starts_with(only);
        WORKLOADS.iter().filter(rows)
    }
}

/// Measures both and prints a table.
///
/// # Errors
/// A broker can't be run, or does not deliver what it should.
pub fn run(wanted: &Delivery) -> Result<()> {
    ensure!(
        wanted.rounds > 0 && wanted.messages > 0 && wanted.in_flight > 0,
        "nothing to measure"
    );
    ensure!(wanted.workloads().count() > 0, "no such workload");
    print_settings(wanted)?;
    let java = measure(wanted, Kind::Java)?;
    let sluice = measure(wanted, Kind::Sluice)?;
    println!("| workload | broker | messages/s | broker CPU us/message | late, p99 ms |");
    println!("|---|---|---:|---:|---:|");
    let names = wanted.workloads().flat_map(|workload| workload.rows);
    for ((name, java), sluice) in names.zip(java).zip(sluice) {
        print_row(name, "Java", java);
        print_row(name, "Sluice", sluice);
        print_ratios(name, java, sluice);
    }
    Ok(())
}

fn print_settings(wanted: &Delivery) -> Result<()> {
    let directory = tempfile::tempdir()?;
    println!(
        "{} messages a round, {} B bodies, {} sends in flight, {} round(s) after {} of warm-up, {} cores; Java {SERVER_VERSION}, async flush, 1 GiB CommitLog files for both",
        wanted.messages,
        wanted.body,
        wanted.in_flight,
        wanted.rounds,
        wanted.warm_up,
        std::thread::available_parallelism()?
    );
    println!(
        "fdatasync of 4 KiB in {}: {}",
        directory.path().display(),
        disk::sync_times(directory.path())?
    );
    println!("Goals of the ratios: messages/s at least 1, CPU time at most {CPU_GOAL:.2}.\n");
    Ok(())
}

/// The figures of all rows, of a broker with an empty store.
fn measure(wanted: &Delivery, kind: Kind) -> Result<Vec<Figures>> {
    let more = More {
        broker: SETTINGS,
        ..More::default()
    };
    let cluster = Cluster::start_with(kind, more);
    let address = cluster.broker.address();
    let mut wire = Wire::connect(&address)?;
    let mut subject = Subject {
        wanted,
        kind,
        pid: cluster.broker.id(),
        backlog: Backlog::fill(wanted, &mut wire)?,
        popped: Vec::new(),
        address,
        wire,
    };
    let mut rows = Vec::new();
    for workload in wanted.workloads() {
        let rounds = rounds_of(workload, &mut subject)
            .with_context(|| format!("{kind:?}, {}", workload.rows[0]))?;
        rows.extend((0..workload.rows.len()).map(|row| middle(&rounds, row)));
    }
    pops::nothing_comes_back(&mut subject)?;
    Ok(rows)
}

fn rounds_of(workload: &Workload, subject: &mut Subject<'_>) -> Result<Vec<Vec<Figures>>> {
    let wanted = subject.wanted;
    let rounds = (0..wanted.warm_up + wanted.rounds).map(|round| (workload.round)(subject, round));
    let mut rounds: Vec<_> = rounds.collect::<Result<_>>()?;
    Ok(rounds.split_off(wanted.warm_up))
}

/// The middle of each figure of a row over all rounds.
fn middle(rounds: &[Vec<Figures>], row: usize) -> Figures {
    let rounds = || rounds.iter().map(|figures| figures[row]);
    let known = |figure: fn(Figures) -> Option<f64>| {
        let values: Vec<f64> = rounds().filter_map(figure).collect();
        (!values.is_empty()).then(|| median(values.into_iter()))
    };
    Figures {
        per_second: median(rounds().map(|figures| figures.per_second)),
        cpu_micros: known(|figures| figures.cpu_micros),
        late_ms: known(|figures| figures.late_ms),
    }
}

fn print_row(name: &str, broker: &str, figures: Figures) {
    let or_blank = |figure: Option<f64>, digits: usize| {
        figure.map_or_else(String::new, |figure| format!("{figure:.digits$}"))
    };
    println!(
        "| {name} | {broker} | {:.0} | {} | {} |",
        figures.per_second,
        or_blank(figures.cpu_micros, 1),
        or_blank(figures.late_ms, 0)
    );
}

fn print_ratios(name: &str, java: Figures, sluice: Figures) {
    let missed = |met: bool| if met { "" } else { ": missed" };
    let rate = sluice.per_second / java.per_second;
    let cpu = java.cpu_micros.zip(sluice.cpu_micros);
    let cpu = cpu.map_or_else(String::new, |(java, sluice)| {
        let cpu = sluice / java;
        format!("{cpu:.2}{}", missed(cpu <= CPU_GOAL))
    });
    println!(
        "| {name} | Sluice / Java | {rate:.2}{} | {cpu} | |",
        missed(rate >= 1.0)
    );
}

/// So many messages are done.
fn figures(meter: &Meter, messages: i32) -> Result<Figures> {
    Ok(Figures {
        per_second: f64::from(messages) / meter.elapsed().as_secs_f64(),
        cpu_micros: Some(meter.cpu_micros(messages as u64)?),
        late_ms: None,
    })
}
