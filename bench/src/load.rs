//! The load: sends over plain sockets, so that the tool takes as little of the machine as it can.
//!
//! *Closed loop*: each connection keeps a fixed number of sends in flight. *Open loop*: sends leave
//! at a fixed rate whatever comes back, and a latency counts from the moment its send was due, so
//! that a stall of the broker is seen by every send that it delayed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;

use sluice_tests::wire::Wire;

use crate::latency::Latencies;
use crate::process::cpu_time;
use crate::sends::Sends;

/// An open loop wakes this often and sends what has become due.
const OPEN_LOOP_STEP: Duration = Duration::from_micros(100);

/// What to send, where, and how fast.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// The broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    pub broker: String,
    /// Topic; the first message creates it
    #[arg(long, default_value = "bench")]
    pub topic: String,
    /// Queues of the topic that are written to in turn
    #[arg(long, default_value_t = 4)]
    pub queues: i32,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub body: usize,
    /// Connections
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Closed loop: sends in flight on each connection
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    pub in_flight: usize,
    /// Open loop: sends per second over all connections, instead of a closed loop
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Seconds that are counted
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seconds before, which are not counted
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub warm_up: u64,
    /// The broker's process, to count its CPU time per message
    #[arg(long)]
    pub pid: Option<u32>,
}

/// What a run saw.
#[derive(Debug)]
pub struct Outcome {
    /// Acknowledged sends.
    pub messages: u64,
    /// Refused sends.
    pub failed: u64,
    /// From the end of the warm-up to the last answer.
    pub elapsed: Duration,
    /// From send (open loop: from when it was due) to answer.
    pub latencies: Latencies,
    /// CPU time the broker used meanwhile.
    pub cpu: Option<Duration>,
}

impl Outcome {
    /// Acknowledged sends per second.
    pub fn per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time of the broker per message, microseconds.
    pub fn cpu_micros(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() * 1e6 / self.messages.max(1) as f64)
    }
}

/// Runs the load to its end.
///
/// # Errors
/// The broker can't be reached, refuses the first message, or stops answering.
pub fn run(load: &Load) -> Result<Outcome> {
    ensure!(
        load.connections > 0 && load.in_flight > 0 && load.queues > 0,
        "nothing to send with"
    );
    create_topic(load)?;
    let counted_from = Instant::now() + Duration::from_secs(load.warm_up);
    let end = counted_from + Duration::from_secs(load.seconds);
    let senders: Vec<_> = (0..load.connections)
        .map(|id| {
            let load = load.clone();
            thread::spawn(move || match load.rate {
                None => closed_loop(&load, id, counted_from, end),
                Some(rate) => {
                    open_loop(&load, id, rate / load.connections as f64, counted_from, end)
                }
            })
        })
        .collect();
    let cpu = |pid: Option<u32>| pid.map(cpu_time).transpose();
    thread::sleep(counted_from.saturating_duration_since(Instant::now()));
    let before = cpu(load.pid)?;
    let mut outcome = Outcome {
        messages: 0,
        failed: 0,
        elapsed: Duration::ZERO,
        latencies: Latencies::default(),
        cpu: None,
    };
    for sender in senders {
        let Ok(seen) = sender.join() else {
            bail!("a sending thread panicked")
        };
        let seen = seen?;
        outcome.failed += seen.failed;
        outcome.latencies.join(&seen.latencies);
    }
    outcome.elapsed = counted_from.elapsed();
    outcome.messages = outcome.latencies.count();
    outcome.cpu = cpu(load.pid)?
        .zip(before)
        .map(|(after, before)| after - before);
    Ok(outcome)
}

fn create_topic(load: &Load) -> Result<()> {
    let mut wire =
        Wire::connect(&load.broker).with_context(|| format!("no connection to {}", load.broker))?;
    let mut requests = sends(load, usize::MAX);
    wire.out.extend_from_slice(&requests.next().encode());
    wire.flush()?;
    let answer = wire.read().context("no answer")?;
    ensure!(
        answer.code == response::SUCCESS,
        "the broker refused the first message: {} {}",
        answer.code,
        answer.remark()
    );
    Ok(())
}

/// The sends of one connection.
fn sends(load: &Load, connection: usize) -> Sends {
    Sends::new(&load.topic, load.queues, load.body, connection as u64)
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    failed: u64,
    latencies: Latencies,
}

impl Seen {
    fn note(&mut self, answer: &RemotingCommand, since: Instant, counted_from: Instant) {
        if since < counted_from {
            return;
        }
        if answer.code == response::SUCCESS {
            self.latencies.note(since.elapsed());
        } else {
            self.failed += 1;
        }
    }
}

fn closed_loop(load: &Load, id: usize, counted_from: Instant, end: Instant) -> Result<Seen> {
    let mut wire =
        Wire::connect(&load.broker).with_context(|| format!("no connection to {}", load.broker))?;
    let mut requests = sends(load, id);
    let mut seen = Seen::default();
    let mut sent_at = vec![Instant::now(); load.in_flight];
    // Which slot of `sent_at` a send has; answers may come in another order.
    let mut slots: std::collections::HashMap<i32, usize> = Default::default();
    let mut free: Vec<usize> = (0..load.in_flight).collect();
    loop {
        let now = Instant::now();
        while now < end
            && let Some(slot) = free.pop()
        {
            let request = requests.next();
            slots.insert(request.opaque, slot);
            sent_at[slot] = now;
            wire.out.extend_from_slice(&request.encode());
        }
        wire.flush()?;
        if slots.is_empty() {
            return Ok(seen);
        }
        let mut answer = Some(wire.read().context("no answer")?);
        while let Some(one) = answer {
            if let Some(slot) = slots.remove(&one.opaque) {
                seen.note(&one, sent_at[slot], counted_from);
                free.push(slot);
            }
            answer = wire.next_read()?;
        }
    }
}

fn open_loop(
    load: &Load,
    id: usize,
    rate: f64,
    counted_from: Instant,
    end: Instant,
) -> Result<Seen> {
    let began = Instant::now();
    let due = move |opaque: i32| began + Duration::from_secs_f64(f64::from(opaque) / rate);
    let mut wire =
        Wire::connect(&load.broker).with_context(|| format!("no connection to {}", load.broker))?;
    let reading = wire.same()?;
    let total = (end.saturating_duration_since(began).as_secs_f64() * rate) as u64;
    let reader = thread::spawn(move || read_answers(reading, total, due, counted_from));
    let mut requests = sends(load, id);
    while (requests.made() as u64) < total {
        let now = Instant::now();
        while (requests.made() as u64) < total && due(requests.made()) <= now {
            wire.out.extend_from_slice(&requests.next().encode());
        }
        wire.flush()?;
        thread::sleep(OPEN_LOOP_STEP);
    }
    reader
        .join()
        .unwrap_or_else(|_| bail!("a reading thread panicked"))
}

fn read_answers(
    mut wire: Wire,
    total: u64,
    due: impl Fn(i32) -> Instant,
    counted_from: Instant,
) -> Result<Seen> {
    let mut seen = Seen::default();
    for _ in 0..total {
        let answer = wire.read().context("no answer")?;
        seen.note(&answer, due(answer.opaque), counted_from);
    }
    Ok(seen)
}
