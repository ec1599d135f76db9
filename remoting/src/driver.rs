//! The one task of a connection: read, handle every whole frame, write all answers.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::Handler;
use crate::connection::{Connection, UNANSWERED_MAX};
use crate::error::CloseReason;
use crate::outbox::{WRITE_PIECES_MAX, advance, io_slices};
use crate::read_buffer::ReadBuffer;
use crate::responder::Responder;
use crate::stream::Stream;

/// Most time that answers get to leave once we have ended the connection.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
/// Reads that a connection may do before it is the turn of others.
const TURNS_MAX: usize = 2;
/// While more than this waits to be written, nothing more is read or handled.
const WRITE_HIGH_WATER: usize = 1024 * 1024;

/// Serves the connection until it ends, then tells the handler and everybody who waits, and why.
pub(crate) async fn drive(
    stream: Stream,
    connection: Arc<Connection>,
    handler: Arc<dyn Handler>,
    frame_size_max: usize,
) -> CloseReason {
    let mut driver = Driver {
        stream,
        connection,
        handler,
        buffer: ReadBuffer::new(frame_size_max),
        writing: VecDeque::new(),
        needs_flush: false,
    };
    let reason = poll_fn(|cx| driver.poll(cx)).await;
    driver.connection.close(reason);
    let reason = driver.connection.close_reason();
    driver.connection.abandon_calls();
    if matches!(reason, CloseReason::Frame(_) | CloseReason::Local(_)) {
        let _ = tokio::time::timeout(FAREWELL, driver.take_leave()).await;
    }
    driver.connection.outbox.lock().clear();
    driver.handler.closed(&driver.connection, &reason);
    reason
}

struct Driver {
    stream: Stream,
    connection: Arc<Connection>,
    handler: Arc<dyn Handler>,
    buffer: ReadBuffer,
    /// Pieces taken out of the outbox and not yet wholly written.
    writing: VecDeque<Bytes>,
    needs_flush: bool,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        match self.run(cx) {
            Ok(()) => Poll::Pending,
            Err(reason) => Poll::Ready(reason),
        }
    }

    /// Goes on until nothing moves; an error is the end of the connection.
    fn run(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        // Awake: what this task itself puts in the outbox needs nobody to wake it.
        self.connection.outbox.lock().sleeper = None;
        for _ in 0..TURNS_MAX {
            if let Some(reason) = self.connection.closing() {
                return Err(reason.clone());
            }
            let read = self.poll_read(cx)?;
            let written = self.poll_write(cx)?;
            if read.is_pending() && written.is_pending() && self.falls_asleep(cx) {
                return Ok(());
            }
        }
        // A peer that sends without end must not keep the thread from other connections.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Reads once, unless whole frames are left from before, and handles what there is. Pending also
    /// while the peer must read first.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, CloseReason> {
        if !self.takes_requests() {
            // Not the peer's fault: no frame is late while we do not read.
            self.connection.note_missing(0);
            return Ok(Poll::Pending);
        }
        if !self.buffer.has_frame() {
            match self.buffer.poll_fill(Pin::new(&mut self.stream), cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(0)) => return Err(CloseReason::Peer),
                Poll::Ready(Ok(size)) => self.connection.note_read(size),
                Poll::Ready(Err(error)) => return Err(CloseReason::Io(error.to_string())),
            }
        }
        self.handle_frames()?;
        self.connection.note_missing(self.buffer.missing()?);
        Ok(Poll::Ready(()))
    }

    /// Handles whole frames until there is none, or until their answers must be written first.
    fn handle_frames(&mut self) -> Result<(), CloseReason> {
        let handler = self.handler.clone();
        let mut handled = Ok(());
        let kept = handler.together(&mut || handled = self.handle_each());
        kept.map_err(CloseReason::Withheld)?;
        handled
    }

    fn handle_each(&mut self) -> Result<(), CloseReason> {
        while self.takes_requests()
            && let Some(frame) = self.buffer.next_frame()?
        {
            let command = RemotingCommand::decode(&frame)?;
            if command.is_response() {
                self.connection.settle(command);
            } else {
                self.connection
                    .remember_serialization(command.serialization);
                self.handle(command);
            }
        }
        Ok(())
    }

    fn takes_requests(&self) -> bool {
        !self.connection.is_closed()
            && !self.connection.is_draining()
            && self.connection.outbox.lock().pending() <= WRITE_HIGH_WATER
    }

    /// A panic costs the one request: its responder answers while the stack unwinds.
    fn handle(&self, request: RemotingCommand) {
        let code = request.code;
        let responder = Responder::new(&self.connection, &request);
        if self.connection.unanswered.load(Ordering::Relaxed) > UNANSWERED_MAX {
            let remark = format!(
                "system busy: {UNANSWERED_MAX} requests of this connection are unanswered, more are not taken"
            );
            return responder.refuse(response::SYSTEM_BUSY, remark);
        }
        let handled = catch_unwind(AssertUnwindSafe(|| {
            self.handler.handle(&self.connection, request, responder)
        }));
        if let Err(panic) = handled {
            tracing::error!(peer = %self.connection.peer(), code, cause = panic_text(&*panic), "a request handler panicked");
        }
    }

    /// Writes once. Ready when something was written; pending when nothing waits or the peer must read.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, CloseReason> {
        let fresh = self.writing.is_empty();
        if self.writing.len() < WRITE_PIECES_MAX / 2 {
            self.connection.outbox.lock().take(&mut self.writing);
        }
        if self.writing.is_empty() {
            return self.poll_flush(cx);
        }
        if fresh {
            self.connection.note_write_start();
        }
        let mut slices = [IoSlice::new(&[]); WRITE_PIECES_MAX];
        let count = io_slices(&self.writing, &mut slices);
        match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => Err(CloseReason::Peer),
            Poll::Ready(Ok(written)) => {
                advance(&mut self.writing, written);
                self.connection.note_written(written);
                self.needs_flush = !matches!(self.stream, Stream::Plain(_));
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(error)) => Err(CloseReason::Io(error.to_string())),
        }
    }

    /// Answers that are there still leave, and the end of the stream is announced.
    async fn take_leave(&mut self) -> Result<(), CloseReason> {
        poll_fn(|cx| self.poll_write_all(cx)).await?;
        let ended = self.stream.shutdown().await;
        ended.map_err(|error| CloseReason::Io(error.to_string()))
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        while self.poll_write(cx)?.is_ready() {}
        if self.writing.is_empty() && !self.needs_flush {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// TLS may hold the last record back until it is told to flush.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, CloseReason> {
        if !self.needs_flush {
            return Ok(Poll::Pending);
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(())) => {
                self.needs_flush = false;
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(error)) => Err(CloseReason::Io(error.to_string())),
        }
    }

    /// Leaves the waker for whoever puts something in next; false when something came meanwhile.
    fn falls_asleep(&mut self, cx: &mut Context<'_>) -> bool {
        let mut outbox = self.connection.outbox.lock();
        if (self.writing.is_empty() && outbox.pending() > 0) || self.connection.is_closed() {
            return false;
        }
        outbox.sleeper = Some(cx.waker().clone());
        true
    }
}

/// What a panic said, if it was a text.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}
