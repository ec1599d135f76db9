//! What has come from a peer and is not yet handled: whole frames at the front, part of one behind.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use sluice_protocol::frame::{self, FrameError};
use tokio::io::{AsyncRead, ReadBuf};

/// Room made for a read when nothing is known of what comes.
const READ_SIZE_MIN: usize = 8 * 1024;
/// Most room made for a read: a peer that fills it has much in flight.
const READ_SIZE_MAX: usize = 128 * 1024;
/// Most room made ahead of bytes that a frame has only announced.
const READ_AHEAD_MAX: usize = 256 * 1024;

/// The bytes, and how much room the next read gets.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: BytesMut,
    frame_size_max: usize,
    /// Room for the next read: twice as much after one that filled it, half after one that took
    /// less than a quarter.
    read_size: usize,
    /// More memory is held than the next read needs.
    oversized: bool,
}

impl ReadBuffer {
    pub(crate) fn new(frame_size_max: usize) -> Self {
        ReadBuffer {
            bytes: BytesMut::new(),
            frame_size_max,
            read_size: READ_SIZE_MIN,
            oversized: false,
        }
    }

    /// The next whole frame.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        frame::split(&mut self.bytes, self.frame_size_max)
    }

    /// Bytes that the frame at the front still needs: 0 if it is whole, or if there is none.
    pub(crate) fn missing(&self) -> Result<usize, FrameError> {
        if self.bytes.is_empty() {
            return Ok(0);
        }
        let size = frame::size(&self.bytes, self.frame_size_max)?.unwrap_or(4);
        Ok(size.saturating_sub(self.bytes.len()))
    }

    /// Whether a whole frame, or a broken one, can be taken without reading.
    pub(crate) fn has_frame(&self) -> bool {
        !self.bytes.is_empty() && !matches!(self.missing(), Ok(1..))
    }

    /// Reads once; 0 bytes are the end of the stream. While nothing comes from a peer that has never sent
    /// much, no memory is held for it.
    pub(crate) fn poll_fill(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut room = ReadBuf::uninit(self.bytes.spare_capacity_mut());
        let Poll::Ready(read) = stream.poll_read(cx, &mut room) else {
            self.rest();
            return Poll::Pending;
        };
        read?;
        let (filled, capacity) = (room.filled().len(), room.capacity());
        // SAFETY: poll_read has initialised the first `filled` bytes of the spare capacity.
        unsafe { self.bytes.set_len(self.bytes.len() + filled) };
        self.note_read(filled, capacity);
        Poll::Ready(Ok(filled))
    }

    /// Most connections are silent most of the time. Room that has grown stays, for the next burst.
    fn rest(&mut self) {
        if self.bytes.is_empty() && self.read_size == READ_SIZE_MIN {
            self.bytes = BytesMut::new();
        }
    }

    /// Room grows with what has really come, not with what a length word claims.
    fn make_room(&mut self) {
        self.give_back();
        let missing = self.missing().unwrap_or(0);
        let wanted = match missing {
            0 => self.read_size,
            missing => missing.min(self.read_size),
        };
        if self.bytes.capacity() - self.bytes.len() < wanted {
            let ahead = READ_AHEAD_MAX.max(self.bytes.len());
            let room = missing.clamp(self.read_size, ahead);
            self.bytes.reserve(room);
            self.oversized |= room > READ_SIZE_MAX;
        }
    }

    /// The rest of an old buffer says nothing: only a read that had its whole room counts.
    fn note_read(&mut self, filled: usize, room: usize) {
        if room < self.read_size {
            return;
        }
        if filled == room {
            self.read_size = (2 * self.read_size).min(READ_SIZE_MAX);
        } else if filled < self.read_size / 4 && self.read_size > READ_SIZE_MIN {
            self.read_size /= 2;
            self.oversized = true;
        }
    }

    /// Memory that a large frame or a burst has grown goes back once little is left in it.
    fn give_back(&mut self) {
        if self.oversized && self.bytes.len() < READ_SIZE_MIN {
            self.bytes = BytesMut::from(&self.bytes[..]);
            self.oversized = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use sluice_protocol::RemotingCommand;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn frames(count: usize, size: usize) -> Vec<u8> {
        let frame = RemotingCommand::request(10, 1).with_body(vec![7; size]);
        frame.encode().repeat(count)
    }

    async fn fill(buffer: &mut ReadBuffer, stream: &mut &[u8]) -> usize {
        poll_fn(|cx| buffer.poll_fill(Pin::new(&mut *stream), cx))
            .await
            .expect("memory reads")
    }

    fn take_all(buffer: &mut ReadBuffer) -> usize {
        std::iter::from_fn(|| buffer.next_frame().expect("frames")).count()
    }

    #[tokio::test]
    async fn room_doubles_while_reads_fill_it_and_halves_when_they_do_not() {
        let mut buffer = ReadBuffer::new(1 << 24);
        let all = frames(2000, 1000);
        let mut stream = &all[..];
        let mut largest = 0;
        let mut taken = 0;
        while !stream.is_empty() {
            largest = largest.max(fill(&mut buffer, &mut stream).await);
            taken += take_all(&mut buffer);
        }
        assert_eq!(taken, 2000);
        assert!(
            (READ_SIZE_MAX..2 * READ_SIZE_MAX).contains(&largest),
            "{largest}"
        );
        for _ in 0..8 {
            fill(&mut buffer, &mut &frames(1, 1000)[..]).await;
            take_all(&mut buffer);
        }
        assert_eq!(buffer.read_size, READ_SIZE_MIN);
    }

    #[tokio::test]
    async fn what_a_large_frame_has_grown_is_given_back() {
        let mut buffer = ReadBuffer::new(1 << 24);
        let all = frames(1, 4 << 20);
        let mut stream = &all[..];
        while !stream.is_empty() {
            fill(&mut buffer, &mut stream).await;
        }
        assert!(buffer.bytes.capacity() > 4 << 20);
        assert_eq!(take_all(&mut buffer), 1);
        for _ in 0..200 {
            fill(&mut buffer, &mut &frames(1, 1000)[..]).await;
            assert!(buffer.bytes.capacity() <= 2 * READ_SIZE_MAX);
            take_all(&mut buffer);
        }
    }

    #[tokio::test]
    async fn a_silent_peer_that_never_sent_much_holds_no_memory() {
        let mut buffer = ReadBuffer::new(1 << 24);
        let (mut peer, mut stream) = tokio::io::duplex(1 << 16);
        peer.write_all(&frames(1, 1000)).await.expect("room");
        poll_fn(|cx| buffer.poll_fill(Pin::new(&mut stream), cx))
            .await
            .expect("memory reads");
        assert_eq!(take_all(&mut buffer), 1);
        let mut context = Context::from_waker(Waker::noop());
        let polled = buffer.poll_fill(Pin::new(&mut stream), &mut context);
        assert!(polled.is_pending());
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[tokio::test]
    async fn no_room_is_made_for_what_was_only_announced() {
        let mut buffer = ReadBuffer::new(1 << 24);
        let announced = (16_000_000u32).to_be_bytes();
        fill(&mut buffer, &mut &announced[..]).await;
        assert_eq!(buffer.missing(), Ok(16_000_000));
        buffer.make_room();
        assert!(buffer.bytes.capacity() <= 2 * READ_AHEAD_MAX);
    }
}
