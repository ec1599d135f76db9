//! Sends: each axis around one centre of 1 KB, 32 in flight, one connection, one topic, async flush.

use anyhow::{Context, Result, ensure};
use sluice_tests::java::SERVER_VERSION;

use crate::disk;
use crate::figures::{Figures, print_beside, print_head, print_ratios, print_row};
use crate::load::Load;
use crate::subjects::{Subject, Which};

const BROKERS: [Which; 3] = [Which::Java, Which::Sluice, Which::Floor];
/// Share of what the disk would allow that a sync flush should reach.
const SYNC_GOAL: f64 = 0.8;

/// What is sent.
#[derive(Debug, clap::Args)]
pub struct Matrix {
    /// Only the cells whose names contain this
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Seconds counted of each cell
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Seconds of load for each broker before its first cell; a JVM needs some 10
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    warm_up: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Async,
    Sync,
}

/// One load.
struct Cell {
    name: &'static str,
    flush: Flush,
    load: Load,
}

/// Figures of one cell, in the order of [`BROKERS`]; the floor keeps nothing that could be counted when no answers
/// are wanted.
type Row = [Option<Figures>; 3];

/// Runs all cells and prints a table.
///
/// # Errors
/// A broker can't be run.
pub fn run(matrix: &Matrix) -> Result<()> {
    let cells = cells(matrix);
    ensure!(!cells.is_empty(), "no cell is named so");
    ensure!(matrix.seconds > 0, "nothing to measure");
    println!(
        "Java {SERVER_VERSION}; {} s a cell after {} s of load, {} cores; 1 KB, 32 in flight, 1 connection, 1 topic of 4 queues, async flush unless said otherwise\n",
        matrix.seconds,
        matrix.warm_up,
        std::thread::available_parallelism()?
    );
    print_head(&["send", "broker"]);
    for flush in [Flush::Async, Flush::Sync] {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.flush == flush).collect();
        let sync_micros = sync_micros()?;
        let rows = rows(matrix, flush, &cells)?;
        for (cell, row) in cells.iter().zip(rows) {
            let [java, sluice, floor] = row;
            let sluice = sluice.context("figures of Sluice")?;
            print_beside(&[cell.name], sluice, java, floor);
            if flush == Flush::Sync {
                print_goal(cell, sluice, sync_micros);
            }
        }
    }
    Ok(())
}

/// What half of the syncs of 4 KiB take at most, on this disk at this moment.
fn sync_micros() -> Result<f64> {
    let directory = tempfile::tempdir()?;
    Ok(disk::sync_times(directory.path())?.at(0.5) as f64)
}

/// What the disk allows when each of its syncs serves all that is in flight.
fn print_goal(cell: &Cell, sluice: Figures, sync_micros: f64) {
    let in_flight = cell.load.in_flight;
    let goal = Figures {
        per_second: SYNC_GOAL * in_flight as f64 * 1e6 / sync_micros,
        ..Figures::default()
    };
    let what = format!("{SYNC_GOAL} x {in_flight} in flight / fdatasync of {sync_micros:.0} us");
    print_row(&[cell.name, &what], goal);
    print_ratios(&[cell.name, "Sluice / that"], sluice, goal);
}

fn cells(matrix: &Matrix) -> Vec<Cell> {
    let centre = || Load {
        seconds: matrix.seconds,
        warm_up: 1,
        ..Load::default()
    };
    let mut cells = Vec::new();
    let mut add = |name, flush, change: fn(&mut Load)| {
        let mut load = centre();
        change(&mut load);
        load.topic = format!("cell-{}", cells.len());
        cells.push(Cell { name, flush, load });
    };
    add("1 KB", Flush::Async, |_| ());
    add("128 B", Flush::Async, |load| load.body = 128);
    add("16 KB", Flush::Async, |load| load.body = 16 << 10);
    add("1 in flight", Flush::Async, |load| load.in_flight = 1);
    add("256 in flight", Flush::Async, |load| load.in_flight = 256);
    add("16 connections, 2 in flight each", Flush::Async, |load| {
        (load.connections, load.in_flight) = (16, 2);
    });
    add(
        "1,000 connections, 1 in flight each",
        Flush::Async,
        |load| {
            (load.connections, load.in_flight) = (1000, 1);
        },
    );
    add("64 topics", Flush::Async, |load| load.topics = 64);
    add("10,000 topics of 1 queue", Flush::Async, |load| {
        (load.topics, load.queues) = (10_000, 1);
    });
    add("one-way, 128 B", Flush::Async, |load| {
        (load.one_way, load.body) = (true, 128);
    });
    add("one-way", Flush::Async, |load| load.one_way = true);
    add("batches of 32 x 128 B", Flush::Async, |load| {
        (load.batch, load.body) = (32, 128);
    });
    add("sync flush, 1 in flight", Flush::Sync, |load| {
        load.in_flight = 1;
    });
    add("sync flush", Flush::Sync, |_| ());
    add("sync flush, 256 in flight", Flush::Sync, |load| {
        load.in_flight = 256;
    });
    cells.retain(|cell| cell.name.contains(&*matrix.only));
    cells
}

/// The rows of cells of one flush mode: each broker is started once for all of them.
fn rows(matrix: &Matrix, flush: Flush, cells: &[&Cell]) -> Result<Vec<Row>> {
    let mut rows = vec![Row::default(); cells.len()];
    if cells.is_empty() {
        return Ok(rows);
    }
    let settings = match flush {
        Flush::Async => "flushDiskType=ASYNC_FLUSH",
        Flush::Sync => "flushDiskType=SYNC_FLUSH",
    };
    for (at, which) in BROKERS.into_iter().enumerate() {
        let subject = Subject::start(which, settings)?;
        subject.warm_up(matrix.warm_up)?;
        for (cell, row) in cells.iter().zip(&mut rows) {
            if which == Which::Floor && cell.load.one_way {
                continue;
            }
            row[at] = match (subject.measure(&cell.load), which) {
                (Ok(figures), _) => Some(figures),
                // It closes the connection of who sends one-way without end.
                (Err(error), Which::Java) => {
                    eprintln!("Java, {}: {error:#}", cell.name);
                    None
                }
                (Err(error), _) => return Err(error.context(format!("{which:?}: {}", cell.name))),
            };
        }
    }
    Ok(rows)
}
