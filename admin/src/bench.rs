//! `sluice plugin bench`: what a plugin costs.

use std::io::Write;
use std::time::{Duration, Instant};

use sluice_plugins::{Compile, Limits, World};
use sluice_protocol::message::Record;

use crate::Outcome;
use crate::args::{Bench, Local};
use crate::error::AdminError;
use crate::samples::{self, Sample};
use crate::strategy;
use crate::subject::Subject;
use crate::table::{Table, bytes, one, time};
use crate::trial::Trial;

/// Messages of one call, as brokers ask: one that has just come, and a queue being caught up with.
const BLOCKS: [usize; 2] = [1, 32];
/// Of one call, milliseconds, if nothing else is said: among so many some are interrupted by whatever
/// else a machine does, and that is no fault of the plugin.
const DEADLINE_MS: u64 = 1000;
/// Instances started to measure one.
const STARTS: usize = 21;

pub(crate) fn bench(
    wanted: &Bench,
    compile: Compile,
    out: &mut dyn Write,
) -> Result<Outcome, AdminError> {
    let local = &wanted.local;
    let subject = Subject::of(local)?;
    let samples = samples::of(&local.source, subject.messages.as_ref())?;
    let records: Vec<Record<'_>> = samples
        .iter()
        .map(Sample::record)
        .collect::<Result<_, _>>()?;
    let Some(first) = records.first() else {
        return Err(AdminError::Command("there are no messages".to_owned()));
    };
    let target = (first.topic(), &*local.group);
    let limits: Vec<(String, u64)> = [("deadlineMs".to_owned(), DEADLINE_MS)]
        .into_iter()
        .chain(subject.limits.iter().cloned())
        .collect();
    let trial = Trial::open(&subject, target, &limits, compile)?;
    let mut table = Table::of(&["WHAT", ">TIME"]);
    table.row(["put: compile and start".to_owned(), ns(trial.put_took)]);
    let rounds = wanted.rounds.max(1);
    if trial.world == World::AllocateStrategy {
        let took = allocations(&trial, local, rounds);
        table.row(["call".to_owned(), ns(took)]);
    } else {
        for block in BLOCKS {
            let records: Vec<Record<'_>> = records.iter().copied().cycle().take(block).collect();
            // Caches, and the instance of this thread.
            messages(&trial, &records, rounds / 10);
            let took = messages(&trial, &records, rounds);
            table.row([format!("message, in blocks of {block}"), ns(took)]);
        }
        let start = starts(&trial, first)?;
        table.row(["instance: start and set up".to_owned(), ns(start)]);
    }
    write!(out, "{table}")?;
    let reading = trial.reading();
    writeln!(
        out,
        "\n{}; module {}, memory of an instance {}, {} instances",
        one(trial.world),
        bytes(subject.module.len() as u64),
        bytes(reading.memory_high_water),
        reading.instances
    )?;
    if reading.traps + reading.timeouts + reading.failed_rows + reading.by_policy == 0 {
        return Ok(Outcome::Well);
    }
    writeln!(
        out,
        "WRONG  {} traps, {} time-outs, {} messages without a verdict: these are no times of a plugin that works",
        reading.traps,
        reading.timeouts,
        reading.failed_rows + reading.by_policy
    )?;
    Ok(Outcome::Wrong)
}

fn ns(took: Duration) -> String {
    time(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}

/// Time of one message.
fn messages(trial: &Trial, block: &[Record<'_>], rounds: usize) -> Duration {
    let calls = rounds.div_ceil(block.len()).max(1);
    let began = Instant::now();
    for _ in 0..calls {
        trial.block(block);
    }
    began.elapsed() / (calls * block.len()) as u32
}

/// Time of one allocation.
fn allocations(trial: &Trial, local: &Local, rounds: usize) -> Duration {
    let calls = rounds.div_ceil(100) as u32;
    let began = Instant::now();
    for client in local.clients.iter().cycle().take(calls as usize) {
        // Failures are in the numbers.
        let _ = strategy::allocate(trial, local, client);
    }
    began.elapsed() / calls
}

/// Time of a call that finds no instance, less that of one that does; the median of some. Other
/// limits are what makes a host let its instances go.
fn starts(trial: &Trial, record: &Record<'_>) -> Result<Duration, AdminError> {
    let block = std::slice::from_ref(record);
    let limits = trial.bound.spec().limits;
    let mut times = Vec::with_capacity(STARTS);
    for round in 0..STARTS {
        let changed = Limits {
            log_lines: limits.log_lines ^ (round as u32 & 1 ^ 1),
            ..limits
        };
        trial.host.set_limits(&trial.key, changed)?;
        let began = Instant::now();
        trial.block(block);
        let cold = began.elapsed();
        let began = Instant::now();
        trial.block(block);
        times.push(cold.saturating_sub(began.elapsed()));
    }
    times.sort();
    Ok(times[STARTS / 2])
}
