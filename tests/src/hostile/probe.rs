//! Sends hostile frames one by one and watches what a server makes of them.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::code::response;
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
    /// A handler gave up without an answer of its own: it panicked, most likely.
    #[error("the server failed inside: {remark}, noticed after {frame}")]
    Inside {
        /// Remark of the answer.
        remark: String,
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
    /// Request codes that were served at least once: what came back was neither that the code is
    /// not supported nor that header or body can't be read.
    pub served: BTreeSet<i32>,
    /// Answers of that kind.
    pub deep: usize,
}

/// A connection that counts answers.
#[derive(Debug)]
pub struct Probe {
    stream: TcpStream,
    buffer: BytesMut,
    /// Requests not yet answered, by opaque: their code.
    open: HashMap<i32, i32>,
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

    /// What happened, in the end.
    pub fn into_report(self) -> Report {
        self.report
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
            self.open.insert(frame.number, frame.code);
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
        self.open.insert(sentinel.opaque, sentinel.code);
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

    /// Waits until nothing is open any more.
    ///
    /// # Errors
    /// [`Failure`]; an answer that does not come names how many do not.
    pub fn drain(&mut self) -> Result<(), Failure> {
        while !self.open.is_empty() {
            let sent = format!("{} requests left open: {:?}", self.open.len(), self.open);
            self.next_answer(&sent)?;
        }
        Ok(())
    }

    /// Reads until `opaque` is answered. Those that wait may be answered meanwhile, each once.
    fn answer(&mut self, opaque: i32, sent: &str) -> Result<RemotingCommand, Failure> {
        loop {
            let answer = self.next_answer(sent)?;
            if answer.opaque == opaque {
                return Ok(answer);
            }
        }
    }

    /// The next answer, which must be due. Requests of the server's own are refused meanwhile.
    fn next_answer(&mut self, sent: &str) -> Result<RemotingCommand, Failure> {
        let lost = |source| Failure::NoAnswer {
            frame: sent.to_owned(),
            source,
        };
        loop {
            let command = self.receive().map_err(lost)?;
            if command.is_response() {
                self.note(&command, sent)?;
                return Ok(command);
            }
            if !command.is_one_way() {
                let refusal = command.refusal(response::SYSTEM_ERROR, "not served here");
                self.stream.write_all(&refusal.encode()).map_err(lost)?;
            }
        }
    }

    fn note(&mut self, answer: &RemotingCommand, sent: &str) -> Result<(), Failure> {
        let Some(asked) = self.open.remove(&answer.opaque) else {
            return Err(Failure::NotDue {
                opaque: answer.opaque,
                code: answer.code,
                frame: sent.to_owned(),
            });
        };
        if answer.remark().contains("failed inside the server") {
            return Err(Failure::Inside {
                remark: answer.remark().to_owned(),
                frame: sent.to_owned(),
            });
        }
        *self.report.answers.entry(answer.code).or_default() += 1;
        if is_served(answer) && answer.opaque >= 0 {
            self.report.served.insert(asked);
            self.report.deep += 1;
        }
        Ok(())
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

/// Whether the handler got to its own work.
fn is_served(answer: &RemotingCommand) -> bool {
    let unread = [
        ": the field ",
        "body can't be read",
        "compressed registration",
    ];
    match answer.code {
        response::REQUEST_CODE_NOT_SUPPORTED => false,
        response::SYSTEM_ERROR => !unread.iter().any(|text| answer.remark().contains(text)),
        _ => true,
    }
}
