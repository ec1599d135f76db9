//! `sluice plugin test`: a plugin on messages, and whether it does what is expected.

use std::io::Write;

use sluice_plugins::filter::{BLOCK_ROWS_MAX, Judgement, Thread};
use sluice_plugins::{Bind, Compile, Key, Row, World};
use sluice_protocol::message::{Record, properties};

use crate::Outcome;
use crate::args::Test;
use crate::error::AdminError;
use crate::expectation::Judged;
use crate::samples::{self, Sample};
use crate::strategy;
use crate::subject::Subject;
use crate::table::{Table, bytes, one, time};
use crate::trial::{self, Trial};

pub(crate) fn test(
    wanted: &Test,
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
    let topic = records.first().map_or("orders", Record::topic);
    let trial = Trial::open(&subject, (topic, &local.group), &subject.limits, compile)?;
    if trial.world == World::AllocateStrategy {
        return strategy::test(&trial, local, out);
    }
    let judged: Vec<Judged> = records.iter().map(|record| trial.judge(record)).collect();
    let differing = show(&samples, &records, &judged, out)?;
    for line in trial.said(0) {
        writeln!(out, "log  {:<5}  {}", line.level, line.text)?;
    }
    summary(&trial, &judged, differing, out)?;
    let otherwise = in_blocks(&trial, &subject, &records, &judged)?;
    for line in &otherwise {
        writeln!(out, "{line}")?;
    }
    Ok(match differing == 0 && otherwise.is_empty() {
        true => Outcome::Well,
        false => Outcome::Wrong,
    })
}

/// Prints what came of each message; how many came out otherwise than expected.
fn show(
    samples: &[Sample],
    records: &[Record<'_>],
    judged: &[Judged],
    out: &mut dyn Write,
) -> Result<usize, AdminError> {
    let mut table = Table::of(&["MESSAGE", "TAGS", "VERDICT", "EXPECTED", "WHY"]);
    let mut differing = 0;
    for ((sample, record), judged) in samples.iter().zip(records).zip(judged) {
        let differences = sample.expectation.differences(judged);
        differing += usize::from(!differences.is_empty());
        let mark = match (differences.is_empty(), &sample.expectation.verdict) {
            (false, _) => "WRONG",
            (true, Some(_)) => "ok",
            (true, None) => "",
        };
        let why: Vec<String> = differences
            .into_iter()
            .chain(Some(judged.why.clone()).filter(|why| !why.is_empty()))
            .collect();
        let tags = record.property(properties::TAGS).unwrap_or_default();
        table.row([
            trial::label(record),
            tags.to_owned(),
            judged.verdict.clone(),
            mark.to_owned(),
            why.join("; "),
        ]);
    }
    write!(out, "{table}")?;
    Ok(differing)
}

fn summary(
    trial: &Trial,
    judged: &[Judged],
    differing: usize,
    out: &mut dyn Write,
) -> Result<(), AdminError> {
    let reading = trial.reading();
    let failed = judged.iter().filter(|judged| judged.failed).count();
    let mean = reading.busy_ns.checked_div(reading.calls).unwrap_or(0);
    writeln!(
        out,
        "\n{}; {} messages, {failed} failed, {differing} otherwise than expected",
        one(trial.world),
        judged.len()
    )?;
    writeln!(
        out,
        "{} calls, {} a call, {} traps, {} time-outs, {} instances, memory {}; {} lines of log not kept",
        reading.calls,
        time(mean),
        reading.traps,
        reading.timeouts,
        reading.instances,
        bytes(reading.memory_high_water),
        trial.bound.logs().dropped()
    )?;
    for (name, count) in &reading.counters {
        writeln!(out, "counter {name} = {count}")?;
    }
    Ok(())
}

/// Bound a second time, with instances and state of its own, a filter must say the same of whole
/// blocks. One line for each message of which it does not.
fn in_blocks(
    trial: &Trial,
    subject: &Subject,
    records: &[Record<'_>],
    alone: &[Judged],
) -> Result<Vec<String>, AdminError> {
    let filters = matches!(trial.world, World::Filter | World::Language);
    if !filters || alone.iter().any(|judged| judged.failed) {
        return Ok(Vec::new());
    }
    let key = Key {
        group: format!("{}-blocks", trial.key.group),
        ..trial.key.clone()
    };
    trial.host.bind(Bind {
        plugin: key.plugin.clone(),
        topic: key.topic.clone(),
        group: key.group.clone(),
        params: subject.params.clone(),
        kv: subject.kv,
        limits: trial.bound.spec().limits.into(),
        ..Bind::default()
    })?;
    let bound = trial.host.bound(&key)?;
    let rows: Vec<Row<'_>> = records.iter().map(Row::from).collect();
    let mut judgements = vec![Judgement::Drop; rows.len()];
    let blocks = rows.chunks(BLOCK_ROWS_MAX);
    for (rows, judgements) in blocks.zip(judgements.chunks_mut(BLOCK_ROWS_MAX)) {
        bound.judge(rows, Thread::Aside, judgements);
    }
    let all = records.iter().zip(alone).zip(judgements);
    let otherwise = all.filter(|((_, alone), judgement)| alone.verdict != trial::name(*judgement));
    let line = |((record, alone), judgement): ((&Record<'_>, &Judged), Judgement)| {
        format!(
            "WRONG  {}: {} alone, {} in a block of up to {BLOCK_ROWS_MAX} messages",
            trial::label(record),
            alone.verdict,
            trial::name(judgement)
        )
    };
    Ok(otherwise.map(line).collect())
}
