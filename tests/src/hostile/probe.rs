//! Sends hostile frames one by one and watches what a server makes of them.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::{RemotingCommand, frame};

use super::{Due, HostileFrame};

/// Largest answer the probe takes, bytes.
const ANSWER_SIZE_MAX: usize = 64 * 1024 * 1024;

/// What a server did wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection ended, or an answer that was due did not come.
    #[error("no answer to {frame}: {source}")]
    NoAnswer {
        /// The frame.
        frame: String,
        /// How the connection ended, or that it timed out.
        source: io::Error,
    },
    /// An answer to nothing that was asked, or a second one.
    #[error(
        "an answer with opaque {opaque} and code {code} that is not due, noticed after {frame}"
    )]
    NotDue {
        /// Opaque of the answer.
        opaque: i32,
        /// Code of the answer.
        code: i32,
        /// The frame sent last.
        frame: String,
    },
    /// An ordinary request is no longer served.
    #[error("the sentinel was answered with {code} ({remark}) after {frame}")]
    Sentinel {
        /// Code of the answer.
        code: i32,
        /// Its remark.
        remark: String,
        /// The frame sent last.
        frame: String,
    },
}

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    /// Frames sent.
    pub frames: usize,
    /// Answers by response code.
    pub answers: HashMap<i32, usize>,
}

/// A connection that counts answers.
#[derive(Debug)]
pub struct Probe {
    stream: TcpStream,
    buffer: BytesMut,
    /// Opaques asked for and not yet answered.
    open: HashMap<i32, Due>,
    report: Report,
}

impl Probe {
    /// Connects; `patience` is the longest wait for an answer that is due.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: SocketAddr, patience: Duration) -> io::Result<Probe> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Probe {
            stream,
            buffer: BytesMut::new(),
            open: HashMap::new(),
            report: Report::default(),
        })
    }

    /// What happened so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Sends `frame`, waits for the answer if one is due, then sends `sentinel`, which must be
    /// answered with success.
    ///
    /// # Errors
    /// [`Failure`], naming the frame.
    pub fn check(
        &mut self,
        frame: &HostileFrame,
        sentinel: &RemotingCommand,
    ) -> Result<(), Failure> {
        self.report.frames += 1;
        if frame.due != Due::None {
            self.open.insert(frame.number, frame.due);
        }
        let lost = |source| Failure::NoAnswer {
            frame: frame.text.clone(),
            source,
        };
        self.stream.write_all(&frame.bytes).map_err(lost)?;
        if frame.due == Due::One {
            self.answer(frame.number, &frame.text)?;
        }
        self.sentinel(frame, sentinel)
    }

    fn sentinel(
        &mut self,
        frame: &HostileFrame,
        sentinel: &RemotingCommand,
    ) -> Result<(), Failure> {
        let mut sentinel = sentinel.clone();
        sentinel.opaque = !frame.number;
        self.open.insert(sentinel.opaque, Due::One);
        let lost = |source| Failure::NoAnswer {
            frame: format!("the sentinel after {}", frame.text),
            source,
        };
        self.stream.write_all(&sentinel.encode()).map_err(lost)?;
        let answer = self.answer(sentinel.opaque, &frame.text)?;
        if answer.code == 0 {
            return Ok(());
        }
        Err(Failure::Sentinel {
            code: answer.code,
            remark: answer.remark().to_owned(),
            frame: frame.text.clone(),
        })
    }

    /// Reads until `opaque` is answered. Parked requests may be answered meanwhile, each once.
    fn answer(&mut self, opaque: i32, sent: &str) -> Result<RemotingCommand, Failure> {
        loop {
            let command = self.receive().map_err(|source| Failure::NoAnswer {
                frame: sent.to_owned(),
                source,
            })?;
            // The server may have requests of its own.
            if !command.is_response() {
                continue;
            }
            if self.open.remove(&command.opaque).is_none() {
                return Err(Failure::NotDue {
                    opaque: command.opaque,
                    code: command.code,
                    frame: sent.to_owned(),
                });
            }
            *self.report.answers.entry(command.code).or_default() += 1;
            if command.opaque == opaque {
                return Ok(command);
            }
        }
    }

    fn receive(&mut self) -> io::Result<RemotingCommand> {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some(frame) = frame::split(&mut self.buffer, ANSWER_SIZE_MAX).map_err(broken)? {
                return RemotingCommand::decode(&frame).map_err(broken);
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                size => self.buffer.extend_from_slice(&piece[..size]),
            }
        }
    }
}
