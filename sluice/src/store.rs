//! `sluice store`: a store directory from outside.

use std::fmt;
use std::io::{BufWriter, ErrorKind, Write};

use anyhow::{Context, Result};
use sluice_store::StoreError;
use sluice_store::inspect::{self, Directory, Report, Selection};

use crate::args::{Store, StoreDirectory, StoreTask};

/// Something is wrong with the store; it has been told.
#[derive(Debug)]
pub struct Unsound;

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store is damaged")
    }
}

impl std::error::Error for Unsound {}

impl From<StoreDirectory> for Directory {
    fn from(named: StoreDirectory) -> Self {
        Directory {
            root: named.dir,
            commit_log: named.commitlog,
        }
    }
}

/// Carries out `sluice store ...`.
pub fn run(store: Store) -> Result<()> {
    match store.task {
        StoreTask::Check(directory) => {
            let report = inspect::check(directory)?;
            tell(&report)?;
            verdict(&report)
        }
        StoreTask::Dump {
            directory,
            topic,
            limit,
        } => dump(&directory.into(), &Selection { topic, limit }),
        StoreTask::Repair(directory) => repair(&directory.into()),
    }
}

fn verdict(report: &Report) -> Result<()> {
    if report.problems.is_empty() {
        Ok(())
    } else {
        Err(Unsound.into())
    }
}

fn dump(directory: &Directory, options: &Selection) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match inspect::dump(directory.clone(), &mut out, options) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error.into()),
        Ok(report) => {
            out.flush().context("standard output can't be written")?;
            report
                .problems
                .iter()
                .for_each(|problem| eprintln!("{problem}"));
            verdict(&report)
        }
    }
}

/// Says what was found and what will be done, does it, and says what is there now.
fn repair(directory: &Directory) -> Result<()> {
    tell(&inspect::check(directory.clone())?)?;
    let quarantine = directory.root.join("quarantine");
    say(&format!(
        "\nrepairing: damaged parts of the CommitLog go to {}, queues and index are built anew from the rest\n",
        quarantine.display()
    ))?;
    let report = inspect::repair(directory.clone())?;
    tell(&report)?;
    verdict(&report)
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output can't be written")
}

fn tell(report: &Report) -> Result<()> {
    let mut out = std::io::stdout().lock();
    write_report(&mut out, report).context("standard output can't be written")
}

fn write_report(out: &mut dyn Write, report: &Report) -> std::io::Result<()> {
    writeln!(out, "commit log files   {}", report.files)?;
    writeln!(out, "messages           {}", report.records)?;
    writeln!(out, "queues             {}", report.queues)?;
    if report.compacted > 0 {
        writeln!(out, "compacted queues   {}", report.compacted)?;
    }
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
