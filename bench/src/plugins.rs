//! What a plugin costs beside the same filter built in: nanoseconds a message, and the ratios, which
//! are what counts.
//!
//! All variants live in one process and are run in turn, a slice of 1.5 ms each, for many rounds; of
//! the rounds the 10th percentile counts, of several runs the median. Whatever else the machine does
//! meets all of them alike.

mod life;
mod variant;
mod workload;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_plugins::{Compiled, Host};
use sluice_protocol::message::Record;

use variant::Variant;
pub(crate) use workload::SQL92;
use workload::Workload;

/// How much is measured.
#[derive(Debug, clap::Args)]
pub struct Plugins {
    /// Rounds of all variants in a run
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Runs, of which the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Samples of what happens once in a plugin's life
    #[arg(long, default_value_t = 40)]
    samples: usize,
}

const SLICE: Duration = Duration::from_micros(1_500);
/// Messages between two looks at the clock; a multiple of every block.
const LAP: usize = 256;

/// The filter that all variants but two are.
pub(crate) const BIG_ORDERS: &[u8] = include_bytes!("../guests/big-orders/big-orders.wasm");
/// SQL92 as a plugin.
pub(crate) const SQL92_LANGUAGE: &[u8] =
    include_bytes!("../../plugins/sql92-language/sql92-language.wasm");

/// Measures and prints the tables.
///
/// # Errors
/// A plugin does not start, or a variant judges otherwise than the native filter.
pub fn run(plugins: &Plugins) -> Result<()> {
    ensure!(
        plugins.rounds > 0 && plugins.runs > 0 && plugins.samples > 0,
        "nothing to measure"
    );
    let workload = Workload::new()?;
    let records = workload.records()?;
    println!(
        "{} messages, 6 properties, 256 B body, {:.0} % pass; {} run(s) of {} rounds, {} cores\n",
        records.len(),
        100.0 * workload::share(&records),
        plugins.runs,
        plugins.rounds,
        std::thread::available_parallelism()?
    );
    let dir = tempfile::tempdir()?;
    let host = Host::open(dir.path(), Box::new(compile))?;
    let variants = variant::all(&host, dir.path())?;
    for variant in &variants {
        variant.check(&records)?;
    }
    print(&variants, &measure(plugins, &variants, &records));
    life::run(plugins.samples)
}

/// Makes a component and machine code in this process.
pub(crate) fn compile(upload: &[u8]) -> Result<Compiled, String> {
    let compiled = sluice_plugin_compiler::compile(upload).map_err(|error| error.to_string())?;
    Ok(Compiled {
        component: compiled.component,
        machine_code: compiled.machine_code,
    })
}

/// Nanoseconds a message of each variant.
fn measure(plugins: &Plugins, variants: &[Variant<'_>], records: &[Record<'_>]) -> Vec<f64> {
    let run = |_| {
        let mut rounds = vec![Vec::with_capacity(plugins.rounds); variants.len()];
        for _ in 0..plugins.rounds {
            for (variant, times) in variants.iter().zip(&mut rounds) {
                times.push(slice(variant, records));
            }
        }
        rounds.into_iter().map(|times| quantile(times, 0.1))
    };
    let runs: Vec<Vec<f64>> = (0..plugins.runs).map(|n| run(n).collect()).collect();
    let of = |at: usize| quantile(runs.iter().map(|run| run[at]).collect(), 0.5);
    (0..variants.len()).map(of).collect()
}

fn slice(variant: &Variant<'_>, records: &[Record<'_>]) -> f64 {
    let mut laps = records.chunks_exact(LAP).cycle();
    let mut messages = 0;
    let began = Instant::now();
    loop {
        // A cycle of something never ends.
        let Some(lap) = laps.next() else { return 0.0 };
        for block in lap.chunks(variant.block) {
            variant.judge(block);
        }
        messages += lap.len();
        let took = began.elapsed();
        if took >= SLICE {
            return took.as_nanos() as f64 / messages as f64;
        }
    }
}

/// The value below which that part of the values lies.
pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

fn print(variants: &[Variant<'_>], nanos: &[f64]) {
    let native = nanos[0];
    println!("| filter | block | ns/message | x native | + ns | goal |");
    println!("|---|---:|---:|---:|---:|---|");
    for (variant, &nanos) in variants.iter().zip(nanos) {
        let (ratio, added) = (nanos / native, nanos - native);
        println!(
            "| {} | {} | {nanos:.1} | {ratio:.2} | {added:.1} | {} |",
            variant.name,
            variant.block,
            variant.goal.said(nanos, ratio, added)
        );
    }
    println!();
}
