//! What was pulled ahead for whoever polls.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::group::Chunk;

/// The near end of the channel to the poll, which counts what is in it.
#[derive(Debug)]
pub(crate) struct Backlog {
    chunks: mpsc::UnboundedSender<Chunk>,
    /// Messages in the channel, of all queues, those given up included.
    count: AtomicUsize,
    count_max: usize,
}

impl Backlog {
    /// Full beyond `count_max` messages; each queue may go beyond by one pull.
    pub fn new(count_max: usize) -> (Self, mpsc::UnboundedReceiver<Chunk>) {
        let (chunks, receiver) = mpsc::unbounded_channel();
        let backlog = Backlog {
            chunks,
            count: AtomicUsize::new(0),
            count_max,
        };
        (backlog, receiver)
    }

    pub fn put(&self, chunk: Chunk) {
        self.count.fetch_add(chunk.messages.len(), Ordering::AcqRel);
        // The receiver is gone only when the consumer is.
        let _ = self.chunks.send(chunk);
    }

    /// A chunk has left the channel; tells whether that made room.
    pub fn note_taken(&self, chunk: &Chunk) -> bool {
        let taken = chunk.messages.len();
        let before = self.count.fetch_sub(taken, Ordering::AcqRel);
        before > self.count_max && before - taken <= self.count_max
    }

    pub fn is_full(&self) -> bool {
        self.count.load(Ordering::Acquire) > self.count_max
    }
}
