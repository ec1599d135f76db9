//! Loads that differ in one number.

use anyhow::{Context, Result};

use super::page::{Section, Table};
use super::plot::{Axis, Line, Plot, Scale};
use super::{CELLS, Report, cells, fresh, loaded};
use crate::figures::Figures;
use crate::load::Load;

/// One of the figures of a load.
type Figure = fn(&Figures) -> Option<f64>;

/// One number of a load, and the values that it takes.
pub struct Sweep {
    /// Heading of its section.
    pub title: &'static str,
    /// Name of the number.
    of: &'static str,
    values: &'static [usize],
    load: fn(usize, Load) -> Load,
    reading: &'static str,
}

/// Sends in flight of the sweep over connections, all together.
const TOGETHER: usize = 1_000;

/// All of them.
pub const ALL: [Sweep; 5] = [
    Sweep {
        title: "Topics",
        of: "topics, 4 queues each",
        values: &[1, 10, 100, 1_000, 10_000],
        load: |topics, load| Load { topics, ..load },
        reading: "1 KB, one connection, 32 in flight, topics written in turn. A level line is what is wanted: \
            a topic more should cost memory, not time. What falls is mostly what the flush of queues once \
            a second takes, for each queue is a file of its own.",
    },
    Sweep {
        title: "Queues",
        of: "queues of one topic",
        values: &[1, 10, 100, 1_000],
        load: |queues, load| Load {
            queues: queues as i32,
            ..load
        },
        reading: "1 KB, one connection, 32 in flight, queues written in turn. As above, a level line is wanted.",
    },
    Sweep {
        title: "Connections",
        of: "connections",
        values: &[1, 10, 100, 1_000],
        load: |connections, load| Load {
            connections,
            in_flight: (TOGETHER / connections).max(1),
            ..load
        },
        reading: "1 KB, 1,000 sends in flight over all connections. To the right each connection brings fewer \
            frames at a time, so that reads, writes and wake-ups are shared by fewer messages: the CPU time \
            of a message rises to that of a send that comes alone.",
    },
    Sweep {
        title: "Sends in flight",
        of: "sends in flight",
        values: &[1, 4, 16, 64, 256],
        load: |in_flight, load| Load { in_flight, ..load },
        reading: "1 KB, one connection. At the left the rate is that of round trips, one after the other; it grows \
            until a core is busy, and from there on only the latency does.",
    },
    Sweep {
        title: "Body size",
        of: "bytes of a body",
        values: &[128, 1_024, 4_096, 16_384, 65_536],
        load: |body, load| Load { body, ..load },
        reading: "One connection, 32 in flight. While the CPU time stays level a message costs what a message \
            costs; from where it rises with the size, copying does.",
    },
];

impl Sweep {
    /// Measures all values, each on a fresh broker.
    pub fn measured(&self, wanted: &Report) -> Result<Section> {
        let values = self.values.iter().copied();
        // Sizes are no counts.
        let values = values.filter(|value| self.title == "Body size" || *value <= wanted.most);
        let point = |value: usize| {
            let figures =
                fresh().and_then(|broker| loaded(&broker, &(self.load)(value, wanted.load())));
            let context = || format!("{value} {}", self.of);
            figures
                .map(|figures| (value, figures))
                .with_context(context)
        };
        let points: Vec<(usize, Figures)> = values.map(point).collect::<Result<_>>()?;
        Ok(self.section(&points))
    }

    fn section(&self, points: &[(usize, Figures)]) -> Section {
        let row = |(value, figures): &(usize, Figures)| {
            [vec![value.to_string()], cells(figures)].concat()
        };
        Section {
            title: self.title,
            reading: self.reading.to_owned(),
            plots: vec![
                self.plot(
                    points,
                    "messages/s",
                    Scale::Linear,
                    &[("rate", |it| Some(it.per_second))],
                ),
                self.plot(
                    points,
                    "broker CPU us/message",
                    Scale::Linear,
                    &[("CPU", |it| it.cpu_micros)],
                ),
                self.plot(
                    points,
                    "latency us",
                    Scale::Log,
                    &[("p50", |it| it.p50), ("p99", |it| it.p99)],
                ),
            ],
            table: Table {
                head: [&[self.of][..], &CELLS].concat(),
                rows: points.iter().map(row).collect(),
            },
        }
    }

    fn plot(
        &self,
        points: &[(usize, Figures)],
        label: &'static str,
        scale: Scale,
        lines: &[(&'static str, Figure)],
    ) -> String {
        let known = |figure: Figure| {
            let points = points.iter();
            points
                .filter_map(|(value, figures)| Some((*value as f64, figure(figures)?)))
                .collect()
        };
        let line = |(name, figure): &(&'static str, Figure)| Line {
            name,
            points: known(*figure),
        };
        Plot {
            title: format!("{}: {label}", self.title),
            x: Axis {
                label: self.of,
                scale: Scale::Log,
            },
            y: Axis { label, scale },
            lines: lines.iter().map(line).collect(),
        }
        .svg()
    }
}
