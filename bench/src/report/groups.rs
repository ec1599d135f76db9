//! Groups that read the same messages.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use sluice_protocol::message::view;
use sluice_tests::wire::{Wire, pull};

use super::page::{Section, Table};
use super::plot::{Axis, Line, Plot, Scale};
use super::{Report, fresh};
use crate::flight::{ask, number};
use crate::load::{self, Load};
use crate::meter::Meter;
use crate::subjects::Subject;

/// Heading of its section.
pub const TITLE: &str = "Groups";

const TOPIC: &str = "bench-read";
/// Messages that all groups read, again and again.
const MESSAGES: u64 = 50_000;
const COUNTS: [usize; 4] = [1, 4, 16, 64];

/// So many groups, and what they were given together.
struct Point {
    groups: usize,
    per_second: f64,
    cpu_micros: f64,
}

/// All counts on one broker.
pub fn measured(wanted: &Report) -> Result<Section> {
    let subject = fresh()?;
    let load = Load {
        topic: TOPIC.to_owned(),
        queues: 1,
        ..Load::default()
    };
    load::send_all(&subject.load(&load), MESSAGES)?;
    let counts = COUNTS.into_iter().filter(|count| *count <= wanted.most);
    let lasting = Duration::from_secs(wanted.seconds);
    let point =
        |groups| together(&subject, groups, lasting).with_context(|| format!("{groups} groups"));
    let points: Vec<Point> = counts.map(point).collect::<Result<_>>()?;
    Ok(section(&points))
}

fn together(subject: &Subject, groups: usize, lasting: Duration) -> Result<Point> {
    let meter = Meter::start(subject.pid)?;
    let (address, end) = (&subject.address, meter.began() + lasting);
    let given = thread::scope(|scope| {
        let readers: Vec<_> = (0..groups)
            .map(|group| scope.spawn(move || read(address, &format!("group-{group}"), end)))
            .collect();
        let given = readers.into_iter().map(|reader| {
            let read = reader.join();
            read.map_err(|_| anyhow!("a reading thread panicked"))?
        });
        given.sum::<Result<u64>>()
    })?;
    Ok(Point {
        groups,
        per_second: given as f64 / meter.elapsed().as_secs_f64(),
        cpu_micros: meter.cpu_micros(given)?,
    })
}

/// Messages that one group is given; each pull must go on where the last one ended.
fn read(address: &str, group: &str, end: Instant) -> Result<u64> {
    let mut wire = Wire::connect(address)?;
    let (mut offset, mut given) = (0, 0);
    while Instant::now() < end {
        let answer = ask(&mut wire, &pull(group, TOPIC, 0, offset))?;
        let count = view::records(&answer.body).count();
        let next = number(&answer, "nextBeginOffset")?;
        ensure!(
            count > 0 && next == offset + count as i64,
            "{count} messages from {offset} on, and {next} is next"
        );
        given += count as u64;
        offset = if next < MESSAGES as i64 { next } else { 0 };
    }
    Ok(given)
}

fn section(points: &[Point]) -> Section {
    let plot = |label: &'static str, figure: fn(&Point) -> f64| {
        let points = points
            .iter()
            .map(|point| (point.groups as f64, figure(point)));
        Plot {
            title: format!("{TITLE}: {label}"),
            x: Axis {
                label: "groups",
                scale: Scale::Log,
            },
            y: Axis {
                label,
                scale: Scale::Linear,
            },
            lines: vec![Line {
                name: label,
                points: points.collect(),
            }],
        }
        .svg()
    };
    let row = |point: &Point| {
        vec![
            point.groups.to_string(),
            format!("{:.0}", point.per_second),
            format!("{:.2}", point.cpu_micros),
        ]
    };
    Section {
        title: TITLE,
        reading: "Each group has one connection and one pull of 32 messages of 1 KB in flight; all read the same \
            messages, from memory. The rate is that of all groups together. It should rise until the cores are \
            busy, and then stay: what a group is given costs the same however many others there are."
            .to_owned(),
        plots: vec![
            plot("messages/s", |point| point.per_second),
            plot("broker CPU us/message", |point| point.cpu_micros),
        ],
        table: Table {
            head: vec!["groups", "messages/s", "broker CPU us/message"],
            rows: points.iter().map(row).collect(),
        },
    }
}
