//! Messages that are delivered later: by a delay level, by the timer.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_protocol::message::properties;
use sluice_tests::cluster::Kind;

use super::topics::{QUEUES, create, read_back, wait_for};
use super::{Figures, Meter, Subject};
use crate::flight::fly;
use crate::sends::Sends;

const DELAY_MS: i64 = 5_000;

/// A way to ask for a delay of [`DELAY_MS`].
struct Way {
    topic: &'static str,
    property: (&'static str, &'static str),
    /// How much earlier Java may deliver, milliseconds: it cuts the timer's times off to seconds.
    java_early_ms: i64,
}

/// Sends by level 2 of the usual table.
pub fn by_level(subject: &mut Subject<'_>, round: usize) -> Result<Vec<Figures>> {
    let way = Way {
        topic: "delay-level",
        property: (properties::DELAY, "2"),
        java_early_ms: 0,
    };
    run(subject, round, &way)
}

/// Sends by an arbitrary delay.
pub fn by_timer(subject: &mut Subject<'_>, round: usize) -> Result<Vec<Figures>> {
    let way = Way {
        topic: "timer",
        property: (properties::TIMER_DELAY_MS, "5000"),
        java_early_ms: 1_000,
    };
    run(subject, round, &way)
}

/// Two rows: answers to the sends; from the first to the last delivery, with the CPU time of both.
fn run(subject: &mut Subject<'_>, round: usize, way: &Way) -> Result<Vec<Figures>> {
    let (wanted, wire) = (subject.wanted, &mut subject.wire);
    let count = wanted.messages;
    let topic = format!("{}-{round}", way.topic);
    create(wire, &topic)?;
    let mut sends = Sends::new(&topic, QUEUES, wanted.body, 0).with(0, &[way.property]);

    let meter = Meter::start(subject.pid)?;
    let next = || sends.next();
    fly(wire, count, wanted.in_flight, next, |_, _| Ok(()))?;
    let sent = Figures {
        per_second: f64::from(count) / meter.elapsed().as_secs_f64(),
        cpu_micros: None,
        late_ms: None,
    };
    thread::sleep(Duration::from_millis(DELAY_MS as u64));
    wait_for(wire, &topic, count)?;
    let cpu_micros = meter.cpu_micros(count as u64)?;

    let (mut stored, mut late) = (Vec::new(), Vec::new());
    read_back(wire, &topic, &sends, |record| {
        stored.push(record.store_timestamp());
        late.push(record.store_timestamp() - record.born_timestamp() - DELAY_MS);
        Ok(())
    })?;
    stored.sort_unstable();
    late.sort_unstable();
    let early_ms = match subject.kind {
        Kind::Java => way.java_early_ms,
        Kind::Sluice => 0,
    };
    ensure!(late[0] >= -early_ms, "{} ms early", -late[0]);
    let span_ms = (stored[stored.len() - 1] - stored[0]).max(1);
    let delivered = Figures {
        per_second: f64::from(count) * 1000.0 / span_ms as f64,
        cpu_micros: Some(cpu_micros),
        late_ms: Some(late[(late.len() - 1) * 99 / 100] as f64),
    };
    Ok(vec![sent, delivered])
}
