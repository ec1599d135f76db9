//! What a broker's memory takes for each thing that it has to know: a connection, a parked pull, a topic, a
//! queue, a group, a subscription; and in all, with many topics and after many messages.
//!
//! Each is counted on a fresh broker: some of the thing are made to warm up, then many, and what is more
//! afterwards is divided by their number. Of the Java broker what counts is what lives in its heap after a full
//! collection, so neither its garbage nor what lies outside its heap.

mod held;
mod registration;
mod scene;
mod things;
mod totals;

use anyhow::{Context, Result, ensure};
use sluice_tests::cluster::Kind;

use held::Held;
use scene::Scene;
use things::{THINGS, Thing};

/// Options of `sluice-bench memory`.
#[derive(Debug, clap::Args)]
pub struct Memory {
    /// How many of each thing are counted; of large ones (connections, topics) a part of that
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Topics of 8 queues of the broker with many; 0 leaves it out
    #[arg(long, default_value_t = 10_000)]
    topics: usize,
    /// Messages of 1 KB that are sent; 0 leaves them out
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// The Java broker as well, with the ratio
    #[arg(long)]
    java: bool,
    /// Only the things whose names begin so
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
}

/// Measures and prints tables.
///
/// # Errors
/// A broker can't be run, or refuses something.
pub fn run(wanted: &Memory) -> Result<()> {
    ensure!(wanted.count >= 100, "too few to be seen");
    println!("| what | broker | counted | bytes each | kernel's, both ends, bytes each |");
    println!("|---|---|---:|---:|---:|");
    let things = THINGS.iter();
    for thing in things.filter(|thing| thing.name.starts_with(&wanted.only)) {
        let sluice = row(wanted, thing, Kind::Sluice)?;
        if wanted.java {
            let java = row(wanted, thing, Kind::Java)?;
            println!(
                "| {} | Sluice / Java | | {:.2} | |",
                thing.name,
                sluice / java
            );
        }
    }
    println!();
    totals::measure(wanted)
}

/// Prints what one of the things takes, and returns that.
fn row(wanted: &Memory, thing: &Thing, kind: Kind) -> Result<f64> {
    let count = (wanted.count / thing.one_in).max(10);
    let more = each(thing, kind, count).with_context(|| format!("{kind:?}, {}", thing.name))?;
    println!(
        "| {} | {kind:?} | {count} | {:.0} | {:.0} |",
        thing.name, more.own, more.kernel
    );
    Ok(more.own)
}

/// Bytes for each of so many.
fn each(thing: &Thing, kind: Kind, count: usize) -> Result<Held> {
    let mut scene = Scene::of(kind)?;
    (thing.make)(&mut scene, count / 10)?;
    let before = scene.held()?;
    (thing.make)(&mut scene, count)?;
    let more = scene.held()? - before;
    (thing.check)(&mut scene)?;
    Ok(more / count as f64)
}
