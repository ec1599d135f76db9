//! Messages that wait for their delivery time: the memory that many of them take, and how late those
//! are that are due in one second.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use sluice_protocol::code::response;
use sluice_protocol::message::{properties, view};
use sluice_tests::plugins::Plugins;
use sluice_tests::wire::{Wire, pull, send};

use crate::process::resident;
use crate::ready::{first_send, plugins, start, stop};
use crate::sends::now_ms;

const TOPIC: &str = "DefaultCluster";
const IN_FLIGHT: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(300);
/// Those that wait are due from this long on.
const FAR_MS: i64 = 3_600_000;

/// Options of `sluice-bench timers`.
#[derive(Debug, Args)]
pub struct Timers {
    /// The sluice binary
    #[arg(long, value_name = "PATH", default_value = "target/release/sluice")]
    binary: PathBuf,
    /// How many wait
    #[arg(long, default_value_t = 1_000_000)]
    pending: u64,
    /// Over how many days their times are spread
    #[arg(long, default_value_t = 30)]
    days: u64,
    /// How many are due in one second
    #[arg(long, default_value_t = 5_000)]
    due: u64,
}

/// Starts `sluice dev` and prints what was measured.
///
/// # Errors
/// It does not start, or something is lost.
pub fn run(wanted: &Timers) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (_, mut child, address) = start(&wanted.binary, directory.path())?;
    let measured = measure(wanted, &address, child.id());
    stop(&mut child)?;
    measured
}

fn measure(wanted: &Timers, address: &str, pid: u32) -> Result<()> {
    first_send(address)?;
    let mut wire = Wire::connect(address)?;
    let now = now_ms();
    let span_ms = i64::try_from(wanted.days * 86_400_000)?;
    let began = Instant::now();
    send_timed(&mut wire, wanted.pending, |number| {
        now + FAR_MS + number.wrapping_mul(7_919_000_007).rem_euclid(span_ms)
    })?;
    let sent = began.elapsed();
    wait_until_filed(plugins(address)?, wanted.pending)?;
    let memory = resident(pid)?;
    println!(
        "{} messages wait over {} days: sent in {:.1} s, filed in {:.1} s; anonymous memory {:.1} MiB",
        wanted.pending,
        wanted.days,
        sent.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        memory.anonymous as f64 / f64::from(1 << 20)
    );
    let due_ms = (now_ms() / 1000 + 6) * 1000;
    let spread = i64::try_from(wanted.due)?.max(1);
    send_timed(&mut wire, wanted.due, |number| {
        due_ms + number * 1000 / spread
    })?;
    ensure!(now_ms() < due_ms, "sending took too long");
    let late = lateness(&mut wire, wanted.due)?;
    let at = |percent: usize| late[(late.len() - 1) * percent / 100];
    println!(
        "{} due in one second: late by {} ms at the median, {} ms at p99, {} ms at most",
        late.len(),
        at(50),
        at(99),
        at(100)
    );
    Ok(())
}

/// Sends so many; `deliver_ms` says when each is due.
fn send_timed(wire: &mut Wire, count: u64, deliver_ms: impl Fn(i64) -> i64) -> Result<()> {
    let mut answered = 0;
    for number in 0..count {
        let deliver_ms = deliver_ms(i64::try_from(number)?);
        let text = format!("{}\u{1}{deliver_ms}\u{2}", properties::TIMER_DELIVER_MS);
        let request = send(TOPIC, &text, &[b'x'; 100]);
        wire.out.extend_from_slice(&request.encode());
        if number + 1 - answered >= IN_FLIGHT as u64 || number + 1 == count {
            wire.flush()?;
            while answered <= number {
                let answer = wire.read()?;
                ensure!(answer.code == response::SUCCESS, "{answer:?}");
                answered += 1;
            }
        }
    }
    Ok(())
}

fn wait_until_filed(http: Plugins, pending: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, timer) = http.ask("GET", "/v1/timer", "application/json", b"");
        if timer["pending"] == pending && timer["unfiled"] == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("not filed within {PATIENCE:?}: {timer}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How late each was stored under its topic, milliseconds, in order.
fn lateness(wire: &mut Wire, due: u64) -> Result<Vec<i64>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut late, mut offset) = (Vec::new(), 0);
    while (late.len() as u64) < due {
        if Instant::now() > deadline {
            bail!("{} of {due} came within {PATIENCE:?}", late.len());
        }
        let answer = wire.ask(&pull("readers", TOPIC, 0, offset))?;
        if answer.code != response::SUCCESS {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        for record in view::records(&answer.body) {
            let record = record?;
            offset = record.queue_offset() + 1;
            let Some(deliver_ms) = record.property(properties::TIMER_DELIVER_MS) else {
                continue;
            };
            let deliver_ms: i64 = deliver_ms.parse().context("a time")?;
            ensure!(record.store_timestamp() >= deliver_ms, "delivered early");
            late.push(record.store_timestamp() - deliver_ms);
        }
    }
    late.sort_unstable();
    Ok(late)
}
