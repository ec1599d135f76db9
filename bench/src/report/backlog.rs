//! Sends beside a backlog that nobody reads.

use anyhow::{Context, Result};

use super::page::{Section, Table};
use super::plot::{Axis, Line, Plot, Scale};
use super::{CELLS, Report, cells, fresh, loaded};
use crate::figures::Figures;
use crate::load::{self, Load};

/// Heading of its section.
pub const TITLE: &str = "Backlog";

/// The backlog and the sends beside it are in the same topic.
const TOPIC: &str = "bench-backlog";
/// It is made of batches of so many messages.
const BATCH: usize = 100;
/// Parts of the largest backlog that are measured at.
const PARTS: [u64; 4] = [1_000, 100, 10, 1];

/// Messages that wait, and the sends beside them.
type Point = (u64, Figures);

/// An empty store, then larger and larger backlogs, each of a fresh broker.
pub fn measured(wanted: &Report) -> Result<Section> {
    let parts = PARTS.into_iter().map(|part| wanted.backlog / part);
    let sizes = std::iter::once(0).chain(parts.filter(|size| *size > 0));
    let point = |size| beside(wanted, size).with_context(|| format!("{size} messages"));
    let points: Vec<Point> = sizes.map(point).collect::<Result<_>>()?;
    Ok(section(&points))
}

fn beside(wanted: &Report, size: u64) -> Result<Point> {
    let subject = fresh()?;
    let load = Load {
        topic: TOPIC.to_owned(),
        ..wanted.load()
    };
    if size > 0 {
        let small = Load {
            body: 128,
            batch: BATCH,
            ..load.clone()
        };
        load::send_all(&subject.load(&small), size)?;
    }
    Ok((size, loaded(&subject, &load)?))
}

fn section(points: &[Point]) -> Section {
    let empty = points[0].1.per_second;
    let ratio = |figures: &Figures| figures.per_second / empty;
    let row = |(messages, figures): &Point| {
        let ratio = format!("{:.2}", ratio(figures));
        [vec![messages.to_string()], cells(figures), vec![ratio]].concat()
    };
    let behind = points[1..].iter();
    let line = behind.map(|(messages, figures)| (*messages as f64, ratio(figures)));
    let plot = Plot {
        title: "Backlog: rate of sends beside that of an empty store".to_owned(),
        x: Axis {
            label: "messages that wait",
            scale: Scale::Log,
        },
        y: Axis {
            label: "ratio to an empty store",
            scale: Scale::Linear,
        },
        lines: vec![Line {
            name: "ratio",
            points: line.collect(),
        }],
    };
    Section {
        title: TITLE,
        reading: "1 KB, one connection, 32 in flight, sent into the topic that the backlog is in. A line at 1 \
            says that what waits costs nothing; the goal is 0.95 at least."
            .to_owned(),
        plots: vec![plot.svg()],
        table: Table {
            head: [&["messages that wait"][..], &CELLS, &["to an empty store"]].concat(),
            rows: points.iter().map(row).collect(),
        },
    }
}
