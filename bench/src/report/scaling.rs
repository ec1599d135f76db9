//! One core and two, and what one foretells of the other.

use std::time::Duration;

use anyhow::{Context, Result};

use super::bars::Bars;
use super::cores::{Pinned, allowed};
use super::page::{Section, Table};
use super::threads::cpu_time_named;
use super::{Report, fresh, loaded};
use crate::load::Load;
use crate::process::cpu_time;

/// Heading of its section.
pub const TITLE: &str = "Cores";

/// Enough for several cores: each connection is one task.
const CONNECTIONS: usize = 8;

/// Name of the broker's thread that makes messages visible.
const DISPATCH: &str = "store-dispatch";

/// What one place of broker and load gave.
struct Placed {
    place: String,
    cores: usize,
    per_second: f64,
    /// CPU time of the broker for a message, microseconds.
    broker: f64,
    /// Of this, that of the one thread that dispatches.
    dispatch: f64,
    /// CPU time of the load for a message, microseconds.
    load: f64,
}

impl Placed {
    /// Cores that the broker kept busy.
    fn busy(&self) -> f64 {
        self.per_second * self.broker / 1e6
    }
}

/// The broker on one core and more, the load on the others; then both on all.
pub fn measured(wanted: &Report) -> Result<Section> {
    let all = allowed()?;
    let mut placed = Vec::new();
    let apart = std::iter::successors(Some(1), |count| Some(count * 2));
    for count in apart.take_while(|count| *count < all.len()) {
        let (broker, load) = all.split_at(count);
        let place = format!("broker on {count}, load on {}", load.len());
        placed.push(on(wanted, place, broker, load)?);
    }
    let together = format!("both on all {}", all.len());
    placed.push(on(wanted, together, &all, &all)?);
    Ok(section(&placed))
}

/// Threads that start from here on, and processes, keep to the cores of the one who starts them.
fn on(wanted: &Report, place: String, broker: &[usize], load: &[usize]) -> Result<Placed> {
    let pinned = Pinned::to(broker)?;
    let subject = fresh()?;
    drop(pinned);
    let _pinned = Pinned::to(load)?;
    let wanted = Load {
        connections: CONNECTIONS,
        ..wanted.load()
    };
    let warm_up = Load {
        seconds: wanted.warm_up.max(1),
        warm_up: 0,
        ..wanted.clone()
    };
    loaded(&subject, &warm_up)?;
    let own = || cpu_time(std::process::id());
    let dispatch = || cpu_time_named(subject.pid, DISPATCH);
    let before = (own()?, dispatch()?);
    let counted = Load {
        warm_up: 0,
        ..wanted
    };
    let figures = loaded(&subject, &counted).with_context(|| place.clone())?;
    let messages = figures.per_second * counted.seconds as f64;
    let micros = |spent: Duration| spent.as_secs_f64() * 1e6 / messages;
    Ok(Placed {
        place,
        cores: broker.len(),
        per_second: figures.per_second,
        broker: figures.cpu_micros.context("CPU time of the broker")?,
        dispatch: micros(dispatch()? - before.1),
        load: micros(own()? - before.0),
    })
}

/// What two cores can do that share a message's work of both sides.
fn foretold(one: &Placed, cores: usize) -> f64 {
    cores as f64 * 1e6 / (one.broker + one.load)
}

fn section(placed: &[Placed]) -> Section {
    let row = |one: &Placed| {
        vec![
            one.place.clone(),
            format!("{:.0}", one.per_second),
            format!("{:.2}", one.broker),
            format!("{:.2}", one.dispatch),
            format!("{:.2}", one.load),
            format!("{:.2}", one.busy()),
            format!("{:.0}", 1e6 / one.broker),
        ]
    };
    let bars = |title: &str, value: fn(&Placed) -> f64| Bars {
        title: title.to_owned(),
        bars: placed
            .iter()
            .map(|one| (one.place.clone(), value(one)))
            .collect(),
        beside: None,
    };
    Section {
        title: TITLE,
        reading: reading(placed),
        plots: vec![
            bars("messages/s", |one| one.per_second).svg(),
            bars("messages for each second of broker CPU", |one| {
                1e6 / one.broker
            })
            .svg(),
        ],
        table: Table {
            head: vec![
                "cores",
                "messages/s",
                "broker CPU us/message",
                "of this, dispatch",
                "load CPU us/message",
                "cores busy with the broker",
                "messages per broker CPU second",
            ],
            rows: placed.iter().map(row).collect(),
        },
    }
}

fn reading(placed: &[Placed]) -> String {
    let mut text = format!(
        "1 KB, {CONNECTIONS} connections, 32 in flight each. Each row is one place for broker and load; equal \
         bars at the right say that a further core makes no message dearer."
    );
    if let [one, .., both] = placed {
        let (foretold, seen) = (foretold(one, both.cores), both.per_second);
        text += &format!(
            " From the first row alone (the CPU times of a message on both sides, all cores busy) the last \
             one should be {foretold:.0} messages/s at most; it is {seen:.0}, {:.0} % of that.",
            100.0 * seen / foretold
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_share_the_work_of_both_sides() {
        let one = Placed {
            place: String::new(),
            cores: 1,
            per_second: 80_000.0,
            broker: 10.0,
            dispatch: 1.0,
            load: 5.0,
        };
        assert_eq!(foretold(&one, 2).round(), 133_333.0);
        assert_eq!(one.busy(), 0.8);
    }
}
