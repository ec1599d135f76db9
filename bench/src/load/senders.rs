//! The threads of a load, and what they see.

use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Result, bail};
use sluice_protocol::code::response;

use super::closed::{self, Lane};
use super::{Load, Schedule, open};
use crate::latency::Latencies;
use crate::socket::Socket;

/// Threads that share the connections of a closed loop.
const THREADS: usize = 2;

/// The time that counts.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// When it begins.
    pub counted_from: Instant,
    /// No send leaves from then on.
    pub end: Instant,
}

/// What one thread saw; sends, whatever number of messages each has.
#[derive(Default)]
pub struct Seen {
    /// Sends made.
    pub sent: u64,
    /// Sends refused.
    pub failed: u64,
    /// Of those acknowledged.
    pub latencies: Latencies,
}

impl Seen {
    /// Notes an answer that has come now, unless its send left before the time that counts.
    pub fn note(&mut self, code: i64, since: Instant, now: Instant, span: Span) {
        if since < span.counted_from {
            return;
        }
        if code == i64::from(response::SUCCESS) {
            self.latencies.note(now - since);
        } else {
            self.failed += 1;
        }
    }

    fn join(&mut self, other: &Seen) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.latencies.join(&other.latencies);
    }
}

/// A thread that sends.
pub type Sender = JoinHandle<Result<Seen>>;

/// The connections of a load, before its first send.
pub enum Connected {
    /// Of each thread.
    Closed(Vec<Vec<Lane>>),
    /// All, and sends per second.
    Open(Vec<Socket>, f64),
}

impl Connected {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn to(load: &Load) -> Result<Connected> {
        if let Some(rate) = load.rate {
            return Ok(Connected::Open(open::connect(load)?, rate));
        }
        let mut shares: Vec<Vec<Lane>> = Vec::new();
        shares.resize_with(THREADS.min(load.connections), Vec::new);
        let count = shares.len();
        for id in 0..load.connections {
            shares[id % count].push(Lane::connect(load, id)?);
        }
        Ok(Connected::Closed(shares))
    }

    /// Starts the threads that send and read.
    pub fn start(self, load: &Load, began: Instant, span: Span) -> Vec<Sender> {
        let work = if load.one_way {
            closed::one_way
        } else {
            closed::answered
        };
        match self {
            Connected::Open(sockets, rate) => {
                let (load, schedule) = (load.clone(), Schedule { began, rate });
                let work = move || open::run(&load, sockets, schedule, span);
                vec![thread::spawn(work)]
            }
            Connected::Closed(shares) => shares
                .into_iter()
                .map(|lanes| thread::spawn(move || work(lanes, span)))
                .collect(),
        }
    }
}

/// Waits for their ends: what they saw together.
///
/// # Errors
/// One has failed.
pub fn joined(senders: Vec<Sender>) -> Result<Seen> {
    let mut all = Seen::default();
    for sender in senders {
        match sender.join() {
            Ok(seen) => all.join(&seen?),
            Err(_) => bail!("a sending thread panicked"),
        }
    }
    Ok(all)
}
