//! What waits to be written to one peer: bounded, in order, ready for vectored writes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::task::Waker;

use bytes::{Buf, Bytes, BytesMut};
use sluice_protocol::RemotingCommand;
use sluice_protocol::frame::FrameError;

/// Bodies up to this size are copied behind their header; larger ones are sent from where they lie.
const COPY_SIZE_MAX: usize = 512;
/// Most pieces one vectored write takes.
pub(crate) const WRITE_PIECES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Bytes>,
    /// Heads and small bodies that are still being gathered, behind all `chunks`.
    tail: BytesMut,
    /// Bytes in `chunks` and `tail`.
    pending: usize,
    /// Bytes written since the beginning.
    taken: u64,
    /// The driver sleeps and has to be woken by whoever puts something in.
    pub(crate) sleeper: Option<Waker>,
}

impl Outbox {
    /// Puts a command in whose body continues with `slices`.
    ///
    /// # Errors
    /// It is larger than a frame of `frame_size_max` bytes; nothing was put in.
    pub(crate) fn put(
        &mut self,
        command: &RemotingCommand,
        slices: &[Bytes],
        frame_size_max: usize,
    ) -> Result<(), FrameError> {
        let before = self.tail.len();
        let body_size = command.body.len() + slices.iter().map(Bytes::len).sum::<usize>();
        command.encode_head(body_size, &mut self.tail)?;
        let size = self.tail.len() - before + body_size;
        if size > frame_size_max {
            self.tail.truncate(before);
            return Err(FrameError::TooLarge {
                size,
                max: frame_size_max,
            });
        }
        self.pending += size;
        self.put_bytes(&command.body);
        slices.iter().for_each(|slice| self.put_bytes(slice));
        Ok(())
    }

    fn put_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPY_SIZE_MAX {
            self.tail.extend_from_slice(bytes);
            return;
        }
        self.close_tail();
        self.chunks.push_back(bytes.clone());
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    /// Moves up to [`WRITE_PIECES_MAX`] pieces to the writer.
    pub(crate) fn take(&mut self, into: &mut VecDeque<Bytes>) {
        self.close_tail();
        while into.len() < WRITE_PIECES_MAX {
            let Some(chunk) = self.chunks.pop_front() else {
                return;
            };
            into.push_back(chunk);
        }
    }

    /// `written` bytes have left for the peer.
    pub(crate) fn written(&mut self, written: usize) {
        self.pending -= written;
        self.taken += written as u64;
    }

    /// Bytes not yet written, those in the writer's hands included.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Bytes written since the beginning.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.tail = BytesMut::new();
        self.pending = 0;
    }
}

/// Drops the first `written` bytes of `pieces`.
pub(crate) fn advance(pieces: &mut VecDeque<Bytes>, mut written: usize) {
    while written > 0 {
        let Some(first) = pieces.front_mut() else {
            return;
        };
        if written < first.len() {
            first.advance(written);
            return;
        }
        written -= first.len();
        pieces.pop_front();
    }
}

/// The pieces as one vectored write takes them.
pub(crate) fn io_slices<'a>(
    pieces: &'a VecDeque<Bytes>,
    out: &mut [IoSlice<'a>; WRITE_PIECES_MAX],
) -> usize {
    let mut count = 0;
    for (slot, piece) in out.iter_mut().zip(pieces) {
        *slot = IoSlice::new(piece);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_bodies_join_their_heads_and_large_ones_are_not_copied() {
        let mut outbox = Outbox::default();
        let command = RemotingCommand::request(10, 1).with_body("small");
        let mut put = |command: &RemotingCommand, slices: &[Bytes]| {
            outbox.put(command, slices, 1024).expect("it fits");
        };
        put(&command, &[]);
        let large = Bytes::from(vec![7; COPY_SIZE_MAX + 1]);
        put(
            &RemotingCommand::request(10, 2),
            std::slice::from_ref(&large),
        );
        put(&command, &[]);
        let mut pieces = VecDeque::new();
        outbox.take(&mut pieces);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        let total: usize = pieces.iter().map(Bytes::len).sum();
        assert_eq!(outbox.pending(), total);
        outbox.written(total);
        assert_eq!(outbox.pending(), 0);
    }

    #[test]
    fn what_fits_in_no_frame_is_refused_and_leaves_nothing() {
        let mut outbox = Outbox::default();
        let mut wide = RemotingCommand::request(10, 1);
        wide.ext.put("x", "y".repeat(1 << 24));
        assert!(outbox.put(&wide, &[], usize::MAX).is_err());
        let long = RemotingCommand::request(10, 1).with_body(vec![7; 4096]);
        assert!(outbox.put(&long, &[], 4096).is_err());
        assert_eq!((outbox.pending(), outbox.tail.len()), (0, 0));
    }

    #[test]
    fn advance_crosses_pieces() {
        let mut pieces: VecDeque<Bytes> = [
            Bytes::from_static(b"abc"),
            Bytes::from_static(b"de"),
            Bytes::from_static(b"f"),
        ]
        .into();
        advance(&mut pieces, 4);
        assert_eq!(pieces, [&b"e"[..], b"f"]);
        advance(&mut pieces, 2);
        assert!(pieces.is_empty());
    }
}
