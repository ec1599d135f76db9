//! The load: sends over plain sockets, so that the tool takes as little of the machine as it can.
//!
//! *Closed loop*: each connection keeps a fixed number of sends in flight. *Open loop*: sends leave
//! at a fixed rate whatever comes back, and a latency counts from the moment its send was due, so
//! that a stall of the broker is seen by every send that it delayed. *One-way*: as fast as the sockets
//! take them; what was accepted is what the broker's queues have grown by.

mod closed;
mod frames;
mod open;
mod senders;
mod topics;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use sluice_tests::wire::Wire;

use crate::latency::Latencies;
use crate::process::cpu_time;
pub use frames::Frames;
pub use open::Schedule;
use senders::{Connected, Sender, Span, joined};
pub use topics::{end, ends_in_the_end, make as make_topics};

/// Longest that a load of so many messages may take.
const LONGEST: Duration = Duration::from_secs(3600);

/// What to send, where, and how fast.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// The broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    pub broker: String,
    /// Topic; the first message creates it
    #[arg(long, default_value = "bench")]
    pub topic: String,
    /// Topics that are written to in turn; of several, the names are TOPIC-00000 and so on
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub topics: usize,
    /// Queues of a topic that are written to in turn
    #[arg(long, default_value_t = 4)]
    pub queues: i32,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub body: usize,
    /// Messages of one send: more than one make a batch
    #[arg(long, value_name = "MESSAGES", default_value_t = 1)]
    pub batch: usize,
    /// Want no answers
    #[arg(long, conflicts_with = "rate")]
    pub one_way: bool,
    /// Connections
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Closed loop: sends in flight on each connection; one-way: sends in one write
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    pub in_flight: usize,
    /// Open loop: sends per second over all connections, instead of a closed loop
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Closed loop: end after so many messages, however long they take
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["rate", "one_way"])]
    pub messages: Option<u64>,
    /// Seconds that are counted
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seconds before, which are not counted; none of one-way sends
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub warm_up: u64,
    /// The broker's process, to count its CPU time per message
    #[arg(long)]
    pub pid: Option<u32>,
}

impl Default for Load {
    /// As the command line has it when nothing is said.
    fn default() -> Load {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            load: Load,
        }
        Line::parse_from(["load"]).load
    }
}

impl Load {
    /// Name of the topic of this number, from 0 on.
    pub fn topic_name(&self, number: usize) -> String {
        match self.topics {
            1 => self.topic.clone(),
            _ => format!("{}-{number:05}", self.topic),
        }
    }

    /// How long it counts at most.
    fn counted(&self) -> Duration {
        match self.messages {
            Some(_) => LONGEST,
            None => Duration::from_secs(self.seconds),
        }
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.connections > 0 && self.in_flight > 0 && self.queues > 0 && self.batch > 0,
            "nothing to send with"
        );
        ensure!(
            (1..100_000).contains(&self.topics) && self.queues < 100_000,
            "names have five digits"
        );
        Ok(())
    }
}

/// Sends so many messages, as many at once as the load has in flight.
///
/// # Errors
/// As [`run`], and when one is refused.
pub fn send_all(load: &Load, messages: u64) -> Result<()> {
    let outcome = run(&Load {
        messages: Some(messages),
        warm_up: 0,
        ..load.clone()
    })?;
    ensure!(outcome.failed == 0, "{} refused", outcome.failed);
    Ok(())
}

/// What a run saw.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Acknowledged messages; of one-way sends, those that were stored.
    pub messages: u64,
    /// Refused messages; of one-way sends, those that were never stored.
    pub failed: u64,
    /// From the end of the warm-up to the last answer, or to the last one that was stored.
    pub elapsed: Duration,
    /// From send (open loop: from when it was due) to answer; none of one-way sends.
    pub latencies: Latencies,
    /// CPU time the broker used meanwhile.
    pub cpu: Option<Duration>,
}

impl Outcome {
    /// Acknowledged messages per second.
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
    load.check()?;
    topics::make(load)?;
    run_from(load, Instant::now())
}

/// Runs a load whose topics are there; the first send of an open loop is due at `began`.
///
/// # Errors
/// As [`run`].
pub fn run_from(load: &Load, began: Instant) -> Result<Outcome> {
    let mut wire = Wire::connect(&load.broker)?;
    // Answered is not yet visible: what is counted before must have come to rest.
    let at_rest = load
        .one_way
        .then(|| topics::stored_in_the_end(&mut wire, load));
    let connected = Connected::to(load)?;
    // A schedule stands; a closed loop begins when its connections are there.
    let began = match load.rate {
        Some(_) => began,
        None => began.max(Instant::now()),
    };
    let warm_up = if load.one_way { 0 } else { load.warm_up };
    let counted_from = began + Duration::from_secs(warm_up);
    let span = Span {
        counted_from,
        end: counted_from + load.counted(),
    };
    let senders = connected.start(load, began, span);
    thread::sleep(counted_from.saturating_duration_since(Instant::now()));
    let cpu = |pid: Option<u32>| pid.map(cpu_time).transpose();
    let before = cpu(load.pid)?;
    let outcome = match at_rest {
        None => answered(load, senders, counted_from),
        Some(at_rest) => kept(load, senders, at_rest?.0, counted_from, &mut wire),
    }?;
    Ok(Outcome {
        cpu: cpu(load.pid)?
            .zip(before)
            .map(|(after, before)| after - before),
        ..outcome
    })
}

fn answered(load: &Load, senders: Vec<Sender>, counted_from: Instant) -> Result<Outcome> {
    let seen = joined(senders)?;
    let batch = load.batch as u64;
    Ok(Outcome {
        messages: seen.latencies.count() * batch,
        failed: seen.failed * batch,
        elapsed: counted_from.elapsed(),
        latencies: seen.latencies,
        cpu: None,
    })
}

/// Of one-way sends: what the topics have grown by since the first, for a flood delays whoever asks meanwhile.
fn kept(
    load: &Load,
    senders: Vec<Sender>,
    at_first: u64,
    began: Instant,
    wire: &mut Wire,
) -> Result<Outcome> {
    let sent = joined(senders)?.sent * load.batch as u64;
    let (in_the_end, last) = topics::stored_in_the_end(wire, load)?;
    let stored = in_the_end - at_first;
    Ok(Outcome {
        messages: stored,
        failed: sent
            .checked_sub(stored)
            .with_context(|| format!("{stored} of {sent} messages stored"))?,
        elapsed: last - began,
        ..Outcome::default()
    })
}
