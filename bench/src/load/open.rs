//! The open loop: sends leave at a fixed rate whatever comes back, over all connections in turn.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Load;
use super::frames::Frames;
use super::senders::{Seen, Span};
use crate::patched::OPAQUE_BASE;
use crate::readable::Readable;
use crate::sends::now_ms;
use crate::socket::Socket;

/// It wakes this often and sends what has become due.
const STEP: Duration = Duration::from_micros(100);

/// When each send of an open loop is due.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// When the first one is.
    pub began: Instant,
    /// Sends per second.
    pub rate: f64,
}

impl Schedule {
    /// When the send of this number, from 0 on, is due.
    pub fn due(&self, number: u64) -> Instant {
        self.began + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many are due before a moment.
    pub fn count(&self, end: Instant) -> u64 {
        (end.saturating_duration_since(self.began).as_secs_f64() * self.rate) as u64
    }
}

/// The connections of a load.
///
/// # Errors
/// Nobody listens.
pub fn connect(load: &Load) -> Result<Vec<Socket>> {
    let sockets = (0..load.connections).map(|_| Socket::connect(&load.broker));
    let sockets: std::io::Result<_> = sockets.collect();
    sockets.with_context(|| format!("no connection to {}", load.broker))
}

/// Sends all that is due before the span ends, and waits for the answers.
///
/// # Errors
/// A connection ends, or the broker falls silent.
pub fn run(load: &Load, mut sockets: Vec<Socket>, schedule: Schedule, span: Span) -> Result<Seen> {
    let reading = sockets
        .iter()
        .map(Socket::same)
        .collect::<Result<Vec<_>, _>>()?;
    let total = schedule.count(span.end);
    let reader = thread::spawn(move || read_answers(reading, total, schedule, span));
    let mut frames = Frames::new(load, 0);
    while frames.made() < total {
        let (now, born) = (Instant::now(), now_ms());
        while frames.made() < total && schedule.due(frames.made()) <= now {
            let number = frames.made();
            let socket = &mut sockets[(number % load.connections as u64) as usize];
            let opaque = OPAQUE_BASE + i32::try_from(number)?;
            frames.put(opaque, born, &mut socket.out);
        }
        for socket in sockets.iter_mut().filter(|socket| !socket.out.is_empty()) {
            socket.flush()?;
        }
        thread::sleep(STEP);
    }
    let mut seen = match reader.join() {
        Ok(seen) => seen?,
        Err(_) => bail!("a reading thread panicked"),
    };
    seen.sent = total;
    Ok(seen)
}

fn read_answers(
    mut sockets: Vec<Socket>,
    total: u64,
    schedule: Schedule,
    span: Span,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut readable = Readable::of(sockets.iter())?;
    let mut left = total;
    while left > 0 {
        for place in readable.wait()? {
            let socket = &mut sockets[*place];
            socket.read().context("no answer")?;
            let now = Instant::now();
            while let Some(answer) = socket.next()? {
                let number = u64::try_from(answer.opaque - i64::from(OPAQUE_BASE))?;
                seen.note(answer.code, schedule.due(number), now, span);
                left -= 1;
            }
        }
    }
    Ok(seen)
}
