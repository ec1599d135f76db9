//! How rates move with cores, topics, queues, groups, backlog, connections, sends in flight and sizes: measured in
//! one run, and written as one HTML page with plots and their numbers.

mod backlog;
mod bars;
mod cores;
mod groups;
mod machine;
mod page;
mod plot;
mod scaling;
mod small;
mod sweeps;
mod threads;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::figures::Figures;
use crate::load::{self, Load};
use crate::subjects::{Subject, Which};
use page::{Section, page};

/// The first message of a topic makes as many queues as it wants, up to this number.
const SETTINGS: &str = "flushDiskType=ASYNC_FLUSH\ndefaultTopicQueueNums=1000";
const TITLE: &str = "Sluice: how it scales";

/// What is measured, and where it is written to.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// The page
    #[arg(long, value_name = "PATH", default_value = "target/report.html")]
    out: PathBuf,
    /// Seconds counted of each point
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Seconds before, which are not counted
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    warm_up: u64,
    /// No more topics, queues, groups, connections or sends in flight than so many
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    most: usize,
    /// Messages of the largest backlog
    #[arg(long, value_name = "MESSAGES", default_value_t = 5_000_000)]
    backlog: u64,
    /// Only the sections whose titles begin so
    #[arg(long, value_name = "TITLE", default_value = "")]
    only: String,
}

impl Report {
    /// A load that is counted as long as each point is.
    fn load(&self) -> Load {
        Load {
            seconds: self.seconds,
            warm_up: self.warm_up,
            ..Load::default()
        }
    }

    /// Whether a section is wanted.
    fn wants(&self, title: &str) -> bool {
        title.starts_with(&*self.only)
    }
}

/// Measures all and writes the page; the tables are printed, too.
///
/// # Errors
/// A broker can't be run, refuses a message, or the page can't be written.
pub fn run(wanted: &Report) -> Result<()> {
    ensure!(wanted.seconds > 0, "nothing to measure");
    crate::process::raise_open_file_limit()?;
    let machine = machine::described()?;
    println!("{}", machine.markdown());
    let mut sections: Vec<Section> = Vec::new();
    let mut keep = |section: Section| {
        println!("\n{}\n\n{}", section.title, section.table.markdown());
        sections.push(section);
    };
    if wanted.wants(scaling::TITLE) {
        keep(scaling::measured(wanted)?);
    }
    if wanted.wants(small::TITLE) {
        keep(small::measured(wanted)?);
    }
    for sweep in sweeps::ALL.iter().filter(|sweep| wanted.wants(sweep.title)) {
        keep(sweep.measured(wanted)?);
    }
    if wanted.wants(groups::TITLE) {
        keep(groups::measured(wanted)?);
    }
    if wanted.wants(backlog::TITLE) {
        keep(backlog::measured(wanted)?);
    }
    ensure!(!sections.is_empty(), "no such section");
    write(wanted, &page(TITLE, &machine, &sections))
}

fn write(wanted: &Report, page: &str) -> Result<()> {
    let path = wanted.out.display();
    let dir = wanted
        .out
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty());
    dir.map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&wanted.out, page))
        .with_context(|| path.to_string())?;
    println!("\nwritten: {path}");
    Ok(())
}

/// A broker with an empty store.
fn fresh() -> Result<Subject> {
    Subject::start(Which::Sluice, SETTINGS)
}

/// Figures of a load on a broker, which must refuse and lose nothing.
fn loaded(subject: &Subject, load: &Load) -> Result<Figures> {
    let outcome = load::run(&subject.load(load))?;
    ensure!(
        outcome.failed == 0 && outcome.messages > 0,
        "{} messages, {} failed",
        outcome.messages,
        outcome.failed
    );
    Figures::of(&outcome)
}

/// Cells of a row that most tables end with.
fn cells(figures: &Figures) -> Vec<String> {
    let or_blank = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    vec![
        format!("{:.0}", figures.per_second),
        or_blank(figures.cpu_micros, 2),
        or_blank(figures.p50, 0),
        or_blank(figures.p99, 0),
    ]
}

/// Names of these cells.
const CELLS: [&str; 4] = ["messages/s", "broker CPU us/message", "p50 us", "p99 us"];
