//! `sluice store`: a store directory from outside.

use std::fmt;
use std::io::{BufWriter, ErrorKind, Write};

use anyhow::{Context, Result};
use sluice_store::StoreError;
use sluice_store::inspect::{self, DumpOptions, Report};

use crate::args::{Store, StoreTask};

/// Something is wrong with the store; it has been told.
#[derive(Debug)]
pub struct Unsound;

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store is damaged")
    }
}

impl std::error::Error for Unsound {}

/// Carries out `sluice store ...`.
pub fn run(store: Store) -> Result<()> {
    match store.task {
        StoreTask::Check { dir } => verdict(&inspect::check(&dir)?),
        StoreTask::Repair { dir } => verdict(&inspect::repair(&dir)?),
        StoreTask::Dump { dir, topic, limit } => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let dumped = inspect::dump(&dir, &mut out, &DumpOptions { topic, limit });
            match dumped {
                // A reader that has seen enough (`| head`) is no failure.
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => {
                    Ok(())
                }
                Err(error) => Err(error.into()),
                Ok(report) => {
                    out.flush().context("standard output can't be written")?;
                    report
                        .problems
                        .iter()
                        .for_each(|problem| eprintln!("{problem}"));
                    if report.problems.is_empty() {
                        Ok(())
                    } else {
                        Err(Unsound.into())
                    }
                }
            }
        }
    }
}

fn verdict(report: &Report) -> Result<()> {
    let mut out = std::io::stdout().lock();
    tell(&mut out, report).context("standard output can't be written")?;
    if report.problems.is_empty() {
        Ok(())
    } else {
        Err(Unsound.into())
    }
}

fn tell(out: &mut dyn Write, report: &Report) -> std::io::Result<()> {
    writeln!(out, "commit log files   {}", report.files)?;
    writeln!(out, "messages           {}", report.records)?;
    writeln!(
        out,
        "physical offsets   {} to {}",
        report.min_offset, report.end_offset
    )?;
    let closed = if report.clean {
        "yes"
    } else {
        "no, the next start recovers it"
    };
    writeln!(out, "closed in order    {closed}")?;
    for problem in &report.problems {
        writeln!(out, "damaged            {problem}")?;
    }
    if report.problems.is_empty() {
        writeln!(out, "no damage found")?;
    }
    Ok(())
}
