//! Small messages at full speed, with and without answers, alone and in batches.

use anyhow::{Context, Result};

use super::bars::Bars;
use super::page::{Section, Table};
use super::{Report, fresh, loaded};
use crate::figures::Figures;
use crate::load::Load;

/// Heading of its section.
pub const TITLE: &str = "Small messages at full speed";

/// Bytes of a body.
const BODY: usize = 128;
/// What the literature on RocketMQ claims for one tuned server, messages a second.
const CLAIMED: f64 = 900_000.0;
const BATCH: usize = 64;

const LOADS: [(&str, bool, usize); 4] = [
    ("answered", false, 1),
    ("one-way", true, 1),
    ("batches of 64, answered", false, BATCH),
    ("batches of 64, one-way", true, BATCH),
];

/// All of them on two connections.
pub fn measured(wanted: &Report) -> Result<Section> {
    let mut points = Vec::new();
    for (name, one_way, batch) in LOADS {
        let load = Load {
            body: BODY,
            connections: 2,
            one_way,
            batch,
            ..wanted.load()
        };
        let figures = loaded(&fresh()?, &load).context(name)?;
        let cpu = figures.cpu_micros.context("CPU time of the broker")?;
        points.push((name, figures, 1e6 / cpu));
    }
    Ok(section(&points))
}

fn section(points: &[(&'static str, Figures, f64)]) -> Section {
    let row = |(name, figures, for_second): &(&str, Figures, f64)| {
        vec![
            (*name).to_owned(),
            format!("{:.0}", figures.per_second),
            format!("{:.2}", 1e6 / for_second),
            format!("{for_second:.0}"),
            format!("{:.2}", for_second / CLAIMED),
        ]
    };
    let bars = |title: &str, value: fn(&(&str, Figures, f64)) -> f64| Bars {
        title: title.to_owned(),
        bars: points
            .iter()
            .map(|point| (point.0.to_owned(), value(point)))
            .collect(),
        beside: Some(("900,000: claimed for one tuned server", CLAIMED)),
    };
    Section {
        title: TITLE,
        reading: format!(
            "Bodies of {BODY} B, two connections, 32 sends in flight or in one write. At the left what this \
             machine does, with the load on the same cores; at the right what a second of the broker's CPU time \
             is good for, that is one busy core. The line is the rate that the literature on RocketMQ claims for \
             a whole tuned server. Messages that were not stored would end the measurement."
        ),
        plots: vec![
            bars("messages/s", |(_, figures, _)| figures.per_second).svg(),
            bars(
                "messages for each second of broker CPU",
                |(_, _, for_second)| *for_second,
            )
            .svg(),
        ],
        table: Table {
            head: vec![
                "sends of 128 B",
                "messages/s",
                "broker CPU us/message",
                "messages per broker CPU second",
                "that / 900,000",
            ],
            rows: points.iter().map(row).collect(),
        },
    }
}
