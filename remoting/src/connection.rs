//! One peer, as everybody but its driver sees it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sluice_protocol::frame::FrameError;
use sluice_protocol::{RemotingCommand, Serialization};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::error::{CloseReason, RemotingError};
use crate::outbox::Outbox;
use crate::watch::Watch;

/// Most bytes that may wait for one peer; beyond that it is dropped. One largest pull response and
/// then some.
pub(crate) const OUTBOX_SIZE_MAX: usize = 64 * 1024 * 1024;

/// Most requests of one peer that may be unanswered at a time: each holds memory or a task that the
/// outbox does not count, a parked pull for instance. One more is refused as busy.
pub(crate) const UNANSWERED_MAX: usize = 16_384;

/// While more than this waits, requests of our own are not put in.
const ROOM_MAX: usize = 8 * 1024 * 1024;
/// When no more than this is left, they are again.
const ROOM_MIN: usize = ROOM_MAX / 2;

/// A connection to a peer: answers and requests are put in from any thread, its driver writes them.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    tls: bool,
    /// Largest frame sent, bytes: what we take ourselves.
    frame_size_max: usize,
    pub(crate) outbox: Mutex<Outbox>,
    /// Our requests that wait for their response, by opaque.
    waiting: Mutex<HashMap<i32, oneshot::Sender<RemotingCommand>>>,
    next_opaque: AtomicI32,
    /// Responders that live: requests of the peer that have no answer yet.
    pub(crate) unanswered: AtomicUsize,
    /// Those of them that wait for an event.
    pub(crate) parked: AtomicUsize,
    draining: AtomicBool,
    /// Told when the outbox has fallen to [`ROOM_MIN`], and when the connection ends.
    emptied: Notify,
    /// Form of the last request that came; our own requests take it.
    serialization: AtomicU8,
    closed: OnceLock<CloseReason>,
    opened: Instant,
    /// Milliseconds after `opened` when the peer last sent anything or took anything.
    pub(crate) last_read_ms: AtomicU64,
    pub(crate) last_write_ms: AtomicU64,
    bytes_read: AtomicU64,
    /// Bytes to come of a frame that has begun, 0 without one; also while nothing is read because
    /// the peer does not read.
    pub(crate) frame_missing: AtomicU64,
    pub(crate) watch: Mutex<Watch>,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        peer: SocketAddr,
        local: SocketAddr,
        tls: bool,
        first_opaque: i32,
        frame_size_max: usize,
    ) -> Arc<Self> {
        Arc::new(Connection {
            id,
            peer: canonical(peer),
            local: canonical(local),
            tls,
            frame_size_max,
            outbox: Mutex::default(),
            waiting: Mutex::default(),
            next_opaque: AtomicI32::new(first_opaque),
            unanswered: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            emptied: Notify::new(),
            serialization: AtomicU8::new(Serialization::Json as u8),
            closed: OnceLock::new(),
            opened: Instant::now(),
            last_read_ms: AtomicU64::new(0),
            last_write_ms: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            frame_missing: AtomicU64::new(0),
            watch: Mutex::default(),
        })
    }

    /// Unique in this process, never used again.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// The peer's address; IPv4 in its own form even on an IPv6 socket.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
    /// Our address as the peer reaches it.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Ends the connection; nothing more is taken or put in. Only the first reason counts.
    pub fn close(&self, reason: CloseReason) {
        if self.closed.set(reason).is_ok() {
            self.wake();
            self.emptied.notify_waiters();
        }
    }

    /// Sends a request and forgets it.
    pub fn one_way(&self, mut request: RemotingCommand) {
        request.opaque = self.next_opaque();
        request.flag |= sluice_protocol::command::FLAG_ONE_WAY;
        request.serialization = self.serialization();
        if let Err(error) = self.send(&request, &[]) {
            tracing::warn!(peer = %self.peer, code = request.code, %error, "a one-way request can't be sent");
        }
    }

    /// Sends a request and waits for its response.
    ///
    /// Dropping the future gives the response up; the request may have been carried out.
    ///
    /// # Errors
    /// [`RemotingError::Timeout`] or [`RemotingError::Closed`]; the request may have been carried
    /// out in either case. [`RemotingError::Unsendable`]: it was not sent.
    pub async fn call(
        &self,
        mut request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, RemotingError> {
        request.opaque = self.next_opaque();
        request.serialization = self.serialization();
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting {
            connection: self,
            opaque: request.opaque,
        };
        let deadline = Instant::now() + timeout;
        let late = |_| RemotingError::Timeout {
            address: self.peer.to_string(),
            code: request.code,
            timeout,
        };
        tokio::time::timeout_at(deadline, self.room())
            .await
            .map_err(late)?;
        self.waiting.lock().insert(request.opaque, sender);
        self.send(&request, &[])
            .map_err(|source| RemotingError::Unsendable {
                address: self.peer.to_string(),
                source,
            })?;
        if let Some(reason) = self.closed.get() {
            return Err(RemotingError::Closed {
                address: self.peer.to_string(),
                reason: reason.clone(),
            });
        }
        let outcome = tokio::time::timeout_at(deadline, receiver).await;
        drop(waiting);
        outcome.map_err(late)?.map_err(|_| RemotingError::Closed {
            address: self.peer.to_string(),
            reason: self.close_reason(),
        })
    }

    /// Waits until requests of ours may be put in, so that many senders at once wait for the peer
    /// instead of being taken for one that it does not read. Returns at once on a closed connection.
    pub(crate) async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // From here on no emptying is missed.
            emptied.as_mut().enable();
            if self.is_closed() || self.outbox.lock().pending() <= ROOM_MAX {
                return;
            }
            emptied.await;
        }
    }

    /// `written` bytes have left for the peer.
    pub(crate) fn note_written(&self, written: usize) {
        let mut outbox = self.outbox.lock();
        let before = outbox.pending();
        outbox.written(written);
        let low = before > ROOM_MIN && outbox.pending() <= ROOM_MIN;
        drop(outbox);
        if low {
            self.emptied.notify_waiters();
        }
        self.note_write();
    }

    /// Puts a command in the outbox; on a closed connection it is dropped.
    ///
    /// # Errors
    /// It does not fit into a frame; nothing was put in.
    pub(crate) fn send(
        &self,
        command: &RemotingCommand,
        slices: &[Bytes],
    ) -> Result<(), FrameError> {
        if self.is_closed() {
            return Ok(());
        }
        let mut outbox = self.outbox.lock();
        if outbox.pending() == 0 {
            // The stall time counts from here, also before the driver has woken up.
            self.note_write();
        }
        outbox.put(command, slices, self.frame_size_max)?;
        let pending = outbox.pending();
        let sleeper = outbox.sleeper.take();
        drop(outbox);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        if pending > OUTBOX_SIZE_MAX {
            self.close(CloseReason::NotReading {
                pending,
                limit: OUTBOX_SIZE_MAX,
            });
        }
        Ok(())
    }

    /// A response came: whoever waits for it gets it, an unknown one is ignored.
    pub(crate) fn settle(&self, response: RemotingCommand) {
        let waiter = self.waiting.lock().remove(&response.opaque);
        if let Some(waiter) = waiter {
            let _ = waiter.send(response);
        }
    }

    pub(crate) fn remember_serialization(&self, serialization: Serialization) {
        self.serialization
            .store(serialization as u8, Ordering::Relaxed);
    }

    /// Everybody who waits for a response learns that none will come.
    pub(crate) fn abandon_calls(&self) {
        self.waiting.lock().clear();
    }

    /// Takes nothing more from the peer; what was taken can still be answered.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether an answer is on its way: being made or waiting to be written. Parked requests have
    /// none in sight.
    pub(crate) fn owes_answers(&self) -> bool {
        let parked = self.parked.load(Ordering::Relaxed);
        self.unanswered.load(Ordering::Relaxed) > parked || self.outbox.lock().pending() > 0
    }

    pub(crate) fn close_reason(&self) -> CloseReason {
        self.closed.get().cloned().unwrap_or(CloseReason::Peer)
    }

    pub(crate) fn closing(&self) -> Option<&CloseReason> {
        self.closed.get()
    }

    pub(crate) fn note_read(&self, size: usize) {
        self.last_read_ms.store(self.age_ms(), Ordering::Relaxed);
        self.bytes_read.fetch_add(size as u64, Ordering::Relaxed);
    }

    pub(crate) fn note_missing(&self, missing: usize) {
        self.frame_missing.store(missing as u64, Ordering::Relaxed);
    }

    /// Bytes that have come from the peer.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub(crate) fn note_write(&self) {
        self.last_write_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    /// The writer starts on something new: the stall time counts from here.
    pub(crate) fn note_write_start(&self) {
        self.note_write();
    }

    fn wake(&self) {
        if let Some(sleeper) = self.outbox.lock().sleeper.take() {
            Waker::wake(sleeper);
        }
    }

    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    fn age_ms(&self) -> u64 {
        self.age().as_millis() as u64
    }

    fn next_opaque(&self) -> i32 {
        self.next_opaque.fetch_add(1, Ordering::Relaxed)
    }

    fn serialization(&self) -> Serialization {
        if self.serialization.load(Ordering::Relaxed) == Serialization::RocketMq as u8 {
            Serialization::RocketMq
        } else {
            Serialization::Json
        }
    }
}

/// Takes the place in the waiting table back, also when the caller gives up.
struct Waiting<'a> {
    connection: &'a Connection,
    opaque: i32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.connection.waiting.lock().remove(&self.opaque);
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
