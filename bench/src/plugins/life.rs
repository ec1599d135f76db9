//! What happens once in a plugin's life, or when it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_plugins::filter::{Judgement, Thread};
use sluice_plugins::{Bind, Bound, Host, Key, Limits, Policy, Row, World};

use super::{BIG_ORDERS, compile, quantile};

/// Does what each message's property says: `p` pass, `t` trap, `l` loop for ever.
const VERDICT: &str = include_str!("../../../plugins/host/tests/guests/verdict.wat");
const PASS: &[u8] = b"verdict\x01p\x02";
const TRAP: &[u8] = b"verdict\x01t\x02";
const LOOP: &[u8] = b"verdict\x01l\x02";

/// Failures after which a binding is made anew: one more and its breaker would open.
const FAILURES: usize = 4;
const DEADLINE_MS: u64 = 10;

/// Measures and prints them.
pub(super) fn run(samples: usize) -> Result<()> {
    println!("| what | median | 90 % | goal |");
    println!("|---|---:|---:|---|");
    let ready = (0..samples.div_ceil(8)).map(|_| put_to_ready());
    print(
        "upload to first verdict",
        "ms",
        1e3,
        ready.collect::<Result<_>>()?,
        300.0,
    );
    print(
        "trap, and the next call in a fresh instance",
        "us",
        1e6,
        replaced(samples)?,
        50.0,
    );
    let over = runaway(samples)?;
    print(
        &format!("runaway stopped, beyond its deadline of {DEADLINE_MS} ms"),
        "ms",
        1e3,
        over,
        2.0,
    );
    Ok(())
}

fn print(what: &str, unit: &str, scale: f64, seconds: Vec<f64>, goal: f64) {
    let scaled: Vec<f64> = seconds.iter().map(|second| second * scale).collect();
    let (median, most) = (quantile(scaled.clone(), 0.5), quantile(scaled, 0.9));
    let missed = if median <= goal { "" } else { ": missed" };
    println!("| {what} | {median:.2} {unit} | {most:.2} {unit} | {goal} {unit}{missed} |");
}

/// Component, machine code, trial, writing it down, binding and the first call, in a broker that has
/// had no plugin before.
fn put_to_ready() -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let host = Host::open(dir.path(), Box::new(compile))?;
    let began = Instant::now();
    host.put("big-orders", BIG_ORDERS, 0)?;
    let bound = bind(&host, "big-orders")?;
    judge(&bound, b"TAGS\x01TagB\x02");
    Ok(began.elapsed().as_secs_f64())
}

fn bind(host: &Host, plugin: &str) -> Result<Arc<Bound>> {
    let limits = Limits {
        deadline_ms: DEADLINE_MS,
        ..Limits::of(World::Filter)
    };
    host.bind(Bind {
        plugin: plugin.to_owned(),
        topic: "bench".to_owned(),
        policy: Policy::Reject,
        limits: limits.into(),
        ..Bind::default()
    })?;
    let key = Key {
        plugin: plugin.to_owned(),
        topic: "bench".to_owned(),
        group: String::new(),
    };
    Ok(host.bound(&key)?)
}

fn judge(bound: &Bound, properties: &[u8]) -> Judgement {
    let row = Row {
        properties,
        body: b"",
        sys_flag: 0,
        queue_id: 0,
        queue_offset: 0,
        store_time_ms: 1_700_000_000_000,
        born_time_ms: 0,
        reconsume_times: 0,
    };
    let mut judgements = [Judgement::Hold];
    bound.judge(&[row], Thread::Aside, &mut judgements);
    judgements[0]
}

/// Seconds of `sample` on a binding of [`VERDICT`], each after a call that went well.
fn sampled(samples: usize, sample: impl Fn(&Bound) -> Result<f64>) -> Result<Vec<f64>> {
    let dir = tempfile::tempdir()?;
    let host = Host::open(dir.path(), Box::new(compile))?;
    host.put("verdict", VERDICT.as_bytes(), 0)?;
    let mut seconds = Vec::with_capacity(samples);
    while seconds.len() < samples {
        let bound = bind(&host, "verdict")?;
        for _ in 0..FAILURES {
            ensure!(judge(&bound, PASS) == Judgement::Pass, "it does not serve");
            seconds.push(sample(&bound)?);
        }
    }
    Ok(seconds)
}

fn replaced(samples: usize) -> Result<Vec<f64>> {
    sampled(samples, |bound| {
        let began = Instant::now();
        let of = [judge(bound, TRAP), judge(bound, PASS)];
        let took = began.elapsed();
        ensure!(of == [Judgement::Drop, Judgement::Pass], "trapped: {of:?}");
        Ok(took.as_secs_f64())
    })
}

fn runaway(samples: usize) -> Result<Vec<f64>> {
    sampled(samples, |bound| {
        let began = Instant::now();
        let of = judge(bound, LOOP);
        let took = began.elapsed();
        ensure!(of == Judgement::Drop, "ran away: {of:?}");
        let over = took.saturating_sub(Duration::from_millis(DEADLINE_MS));
        Ok(over.as_secs_f64())
    })
}
