//! Closed loops: each connection keeps a fixed number of sends in flight, or writes what the socket takes when no
//! answers are wanted.

use std::time::Instant;

use anyhow::{Context, Result};

use super::Load;
use super::frames::Frames;
use super::senders::{Seen, Span};
use crate::patched::OPAQUE_BASE;
use crate::readable::Readable;
use crate::sends::now_ms;
use crate::socket::Socket;

/// One connection and what it has in flight.
pub struct Lane {
    socket: Socket,
    frames: Frames,
    /// When the send of each slot left; its opaque is its slot's.
    sent_at: Vec<Instant>,
    free: Vec<i32>,
    /// Sends that may still be made.
    left: u64,
}

impl Lane {
    /// Connects; `id` is the series of its unique keys.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(load: &Load, id: usize) -> Result<Lane> {
        Ok(Lane {
            socket: Socket::connect(&load.broker)
                .with_context(|| format!("no connection to {}", load.broker))?,
            frames: Frames::new(load, id as u64),
            sent_at: vec![Instant::now(); load.in_flight],
            free: (0..load.in_flight as i32).collect(),
            left: share(load, id),
        })
    }

    /// Sends as many as may be in flight.
    fn send(&mut self, span: Span) -> Result<()> {
        let (now, born) = (Instant::now(), now_ms());
        while now < span.end
            && self.left > 0
            && let Some(slot) = self.free.pop()
        {
            self.sent_at[slot as usize] = now;
            self.left -= 1;
            let out = &mut self.socket.out;
            self.frames.put(OPAQUE_BASE + slot, born, out);
        }
        Ok(self.socket.flush()?)
    }

    /// Reads once, and notes the answers that came.
    fn receive(&mut self, seen: &mut Seen, span: Span) -> Result<()> {
        self.socket.read().context("no answer")?;
        let now = Instant::now();
        while let Some(answer) = self.socket.next()? {
            let slot = answer.opaque - i64::from(OPAQUE_BASE);
            let sent = usize::try_from(slot).ok();
            let sent = sent.and_then(|slot| self.sent_at.get(slot));
            let sent = *sent.context("an answer to nothing that was asked")?;
            seen.note(answer.code, sent, now, span);
            self.free.push(slot as i32);
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.free.len() == self.sent_at.len()
    }
}

/// How many sends this connection makes at most; the first ones make what is left over.
fn share(load: &Load, id: usize) -> u64 {
    let Some(messages) = load.messages else {
        return u64::MAX;
    };
    let (sends, connections) = (
        messages.div_ceil(load.batch as u64),
        load.connections as u64,
    );
    sends / connections + u64::from((id as u64) < sends % connections)
}

/// Keeps all connections of one thread busy until the span ends, and waits for the last answers.
///
/// # Errors
/// A connection ends, or the broker falls silent.
pub fn answered(mut lanes: Vec<Lane>, span: Span) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut readable = Readable::of(lanes.iter().map(|lane| &lane.socket))?;
    for lane in &mut lanes {
        lane.send(span)?;
    }
    let mut busy = lanes.iter().filter(|lane| !lane.is_idle()).count();
    while busy > 0 {
        for place in readable.wait()? {
            let lane = &mut lanes[*place];
            lane.receive(&mut seen, span)?;
            lane.send(span)?;
            if lane.is_idle() {
                busy -= 1;
            }
        }
    }
    seen.sent = lanes.iter().map(|lane| lane.frames.made()).sum();
    Ok(seen)
}

/// Writes one-way sends to the connections in turn, until the span ends.
///
/// # Errors
/// A connection ends.
pub fn one_way(mut lanes: Vec<Lane>, span: Span) -> Result<Seen> {
    while Instant::now() < span.end {
        for lane in &mut lanes {
            let born = now_ms();
            for _ in 0..lane.sent_at.len() {
                lane.frames.put(OPAQUE_BASE, born, &mut lane.socket.out);
            }
            lane.socket.flush()?;
        }
    }
    let sent = lanes.iter().map(|lane| lane.frames.made()).sum();
    Ok(Seen {
        sent,
        ..Seen::default()
    })
}
