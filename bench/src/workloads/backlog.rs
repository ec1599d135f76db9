//! Sends to a broker that keeps a standing backlog, beside the same sends to an empty one.

use anyhow::{Context, Result, ensure};
use sluice_tests::wire::Wire;

use crate::figures::{Figures, print_head, print_ratios, print_row};
use crate::load::{self, Load};
use crate::subjects::{Subject, Which};

const TOPIC: &str = "backlog";
/// Bytes of the bodies of the backlog.
const SMALL: usize = 100;
/// The backlog is sent in batches of so many.
const BATCH: usize = 32;
/// Least share of the empty broker's rate.
const GOAL: f64 = 0.95;

/// How much lies there.
#[derive(Debug, clap::Args)]
pub struct StandingBacklog {
    /// Messages over 8 queues; a tenth of them in the other run, of a single queue
    #[arg(long, value_name = "MESSAGES", default_value_t = 10_000_000)]
    backlog: u64,
    /// Seconds counted of each load
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Loads on each broker, in turn; the middle one counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Measures Sluice and prints a table.
///
/// # Errors
/// A broker can't be run, or the backlog is not all there.
pub fn run(wanted: &StandingBacklog) -> Result<()> {
    ensure!(
        wanted.rounds > 0 && wanted.seconds > 0 && wanted.backlog >= 10,
        "nothing to measure"
    );
    println!(
        "1 KB, 32 in flight, 1 connection, {} s, {} round(s), two brokers in turn, sends to the queues of the backlog, {} cores\n",
        wanted.seconds,
        wanted.rounds,
        std::thread::available_parallelism()?
    );
    print_head(&["backlog", "broker"]);
    for (queues, messages) in [(8, wanted.backlog), (1, wanted.backlog / 10)] {
        beside(wanted, queues, messages).with_context(|| format!("{queues} queue(s)"))?;
    }
    Ok(())
}

fn beside(wanted: &StandingBacklog, queues: i32, messages: u64) -> Result<()> {
    let empty = Subject::start(Which::Sluice, "flushDiskType=ASYNC_FLUSH")?;
    let full = Subject::start(Which::Sluice, "flushDiskType=ASYNC_FLUSH")?;
    fill(&full, queues, messages)?;
    let load = Load {
        topic: TOPIC.to_owned(),
        queues,
        seconds: wanted.seconds,
        warm_up: 1,
        ..Load::default()
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..wanted.rounds {
        without.push(empty.measure(&load)?);
        with.push(full.measure(&load)?);
    }
    let (without, with) = (Figures::middle(&without), Figures::middle(&with));
    let name = format!("{messages} messages in {queues} queue(s)");
    print_row(&[&name, "empty"], without);
    print_row(&[&name, "full"], with);
    let ratio = with.per_second / without.per_second;
    let missed = if ratio >= GOAL { "" } else { ": missed" };
    let which = format!("full / empty, goal {GOAL}{missed}");
    print_ratios(&[&name, &which], with, without);
    Ok(())
}

fn fill(subject: &Subject, queues: i32, messages: u64) -> Result<()> {
    let small = subject.load(&Load {
        topic: TOPIC.to_owned(),
        queues,
        body: SMALL,
        batch: BATCH,
        ..Load::default()
    });
    load::send_all(&small, messages)?;
    let ends = load::ends_in_the_end(&mut Wire::connect(&subject.address)?, TOPIC, queues)?;
    let stored = ends.iter().sum::<i64>() as u64;
    ensure!(stored >= messages, "{stored} of {messages} stored");
    Ok(())
}
