//! Tails under trouble: sends leave at a fixed rate, once in quiet and then under one trouble after the
//! other, each on a fresh broker. What counts is how far p99.9 moves from that of the quiet run.
//!
//! A trouble that has not happened (no file was made, no page was taken back) ends the measurement.

mod files;
mod kinds;
mod lagging;
mod maker;
mod pressure;
mod retention;
mod syncs;

use anyhow::{Context, Result, ensure};
use sluice_tests::java::SERVER_VERSION;

use crate::disk;
use crate::load::{self, Load, Outcome};
use crate::subjects::{Subject, Which};

use kinds::{KINDS, QUIET, TroubleKind};
pub use maker::{Maker, run as make};

/// Greatest ratio of p99.9 to that of the quiet run.
const GOAL: f64 = 3.0;
/// Seconds that a JVM needs to compile what it runs, and to catch up with what was due meanwhile.
const JVM: u64 = 15;

/// What is sent, and which troubles.
#[derive(Debug, clap::Args)]
pub struct Trouble {
    /// Only the troubles whose names begin so
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Seconds counted of each run
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Sends per second, on one connection
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5_000.0)]
    rate: f64,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    body: usize,
    /// How often each is repeated; the run with the middle p99.9 is printed
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// The Java broker, too
    #[arg(long)]
    java: bool,
    /// The floor, too, under what is the machine's trouble
    #[arg(long)]
    floor: bool,
    /// Page-cache pressure: memory that is left to page cache and all programs
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    leave: u64,
    /// Page-cache pressure: the file that is read and written meanwhile
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    file: u64,
    /// Lagging group: what it has to read
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    backlog: u64,
}

impl Trouble {
    fn kinds(&self, broker: Which) -> Vec<&'static TroubleKind> {
        let wanted = |kind: &&TroubleKind| {
            kind.name.starts_with(&*self.only) && (broker != Which::Floor || kind.of_machine)
        };
        KINDS.iter().filter(wanted).collect()
    }

    fn brokers(&self) -> Vec<Which> {
        let java = self.java.then_some(Which::Java);
        let floor = self.floor.then_some(Which::Floor);
        [Which::Sluice]
            .into_iter()
            .chain(java)
            .chain(floor)
            .collect()
    }

    /// Seconds before those that count.
    fn warm_up(&self, broker: Which) -> u64 {
        let jvm = if broker == Which::Java { JVM } else { 0 };
        self.seconds / 4 + 1 + jvm
    }
}

/// One run, and what the trouble said of itself.
struct Run {
    outcome: Outcome,
    happened: String,
}

impl Run {
    fn p999(&self) -> f64 {
        self.outcome.latencies.at(0.999) as f64
    }
}

/// Measures and prints a table.
///
/// # Errors
/// A broker can't be run, stops answering, or a trouble can't be made.
pub fn run(wanted: &Trouble) -> Result<()> {
    ensure!(
        wanted.rounds > 0 && wanted.seconds > 0,
        "nothing to measure"
    );
    ensure!(!wanted.kinds(Which::Sluice).is_empty(), "no such trouble");
    print_settings(wanted)?;
    println!(
        "| trouble | flush | broker | messages/s | failed | p50 us | p99 us | p99.9 us | max us | p99.9 / quiet | what happened |"
    );
    println!("|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|");
    let mut brokers = wanted.brokers().into_iter();
    brokers.try_for_each(|which| of_broker(wanted, which))
}

fn print_settings(wanted: &Trouble) -> Result<()> {
    let directory = tempfile::tempdir()?;
    println!(
        "{} sends/s of {} B for {} s, {} round(s), {} cores; Java {SERVER_VERSION}\n",
        wanted.rate,
        wanted.body,
        wanted.seconds,
        wanted.rounds,
        std::thread::available_parallelism()?
    );
    println!(
        "fdatasync of 4 KiB in {}: {}",
        directory.path().display(),
        disk::sync_times(directory.path())?
    );
    println!("Goal of the ratio: at most {GOAL:.0}.\n");
    Ok(())
}

/// A quiet run of each flush mode, followed by its troubles.
fn of_broker(wanted: &Trouble, broker: Which) -> Result<()> {
    let kinds = wanted.kinds(broker);
    for quiet in &QUIET {
        let troubles: Vec<_> = kinds
            .iter()
            .filter(|kind| kind.flush == quiet.flush)
            .collect();
        if troubles.is_empty() {
            continue;
        }
        let calm = middle(wanted, broker, quiet)?;
        print_row(quiet, broker, &calm, None);
        for kind in troubles {
            let run = middle(wanted, broker, kind)?;
            print_row(kind, broker, &run, Some(&calm));
        }
    }
    Ok(())
}

/// The run with the middle p99.9 of all rounds.
fn middle(wanted: &Trouble, broker: Which, kind: &TroubleKind) -> Result<Run> {
    let rounds = (0..wanted.rounds).map(|_| once(wanted, broker, kind));
    let mut rounds: Vec<Run> = rounds
        .collect::<Result<_>>()
        .with_context(|| format!("{broker:?}, {}", kind.name))?;
    rounds.sort_by(|one, other| one.p999().total_cmp(&other.p999()));
    Ok(rounds.swap_remove(rounds.len() / 2))
}

fn once(wanted: &Trouble, broker: Which, kind: &TroubleKind) -> Result<Run> {
    let settings = format!("flushDiskType={}\n{}", kind.flush, kind.settings);
    let mut subject = Subject::start(broker, &settings)?;
    let trouble = (kind.begin)(wanted, &mut subject)?;
    let outcome = load::run(&subject.load(&Load {
        topic: "bench-trouble".to_owned(),
        body: wanted.body,
        rate: Some(wanted.rate),
        seconds: wanted.seconds,
        warm_up: wanted.warm_up(broker),
        ..Load::default()
    }))?;
    let happened = trouble.end()?;
    Ok(Run { outcome, happened })
}

fn print_row(kind: &TroubleKind, broker: Which, run: &Run, calm: Option<&Run>) {
    let outcome = &run.outcome;
    let at = |quantile| outcome.latencies.at(quantile);
    let ratio = calm.map_or_else(String::new, |calm| {
        let ratio = run.p999() / calm.p999();
        let missed = if ratio <= GOAL { "" } else { ": missed" };
        format!("{ratio:.2}{missed}")
    });
    println!(
        "| {} | {} | {broker:?} | {:.0} | {} | {} | {} | {} | {} | {ratio} | {} |",
        kind.name,
        kind.flush,
        outcome.per_second(),
        outcome.failed,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        run.happened
    );
}
