//! A plain socket that speaks frames, so that the tool takes as little of the machine as it can.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::BytesMut;
use sluice_protocol::{RemotingCommand, frame};

/// How long the broker may leave a request unanswered.
const ANSWER: Duration = Duration::from_secs(30);
const READ_SIZE: usize = 64 * 1024;

/// One connection.
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
    /// What [`Wire::flush`] sends.
    pub out: Vec<u8>,
}

impl Wire {
    pub fn connect(broker: &str) -> Result<Wire> {
        let stream =
            TcpStream::connect(broker).with_context(|| format!("no connection to {broker}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Wire {
            stream,
            buffer: BytesMut::new(),
            out: Vec::new(),
        })
    }

    pub fn flush(&mut self) -> Result<()> {
        self.stream
            .write_all(&self.out)
            .context("the broker takes no more")?;
        self.out.clear();
        Ok(())
    }

    /// The next answer; waits for it. `None` at the end of the connection.
    pub fn read(&mut self) -> Result<Option<RemotingCommand>> {
        loop {
            if let Some(answer) = self.next_read()? {
                return Ok(Some(answer));
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + READ_SIZE, 0);
            let read = self
                .stream
                .read(&mut self.buffer[filled..])
                .context("no answer")?;
            self.buffer.truncate(filled + read);
            if read == 0 {
                return Ok(None);
            }
        }
    }

    /// The same connection once more, for another thread.
    pub fn same(&self) -> Result<Wire> {
        Ok(Wire {
            stream: self.stream.try_clone()?,
            buffer: BytesMut::new(),
            out: Vec::new(),
        })
    }

    /// Sends one request and waits for its answer.
    pub fn ask(&mut self, request: &RemotingCommand) -> Result<RemotingCommand> {
        self.out.extend_from_slice(&request.encode());
        self.flush()?;
        self.read()?.context("the broker closed the connection")
    }

    /// The next answer that has already come.
    pub fn next_read(&mut self) -> Result<Option<RemotingCommand>> {
        let whole = frame::split(&mut self.buffer, frame::FRAME_SIZE_MAX)?;
        Ok(whole
            .map(|whole| RemotingCommand::decode(&whole))
            .transpose()?)
    }
}
