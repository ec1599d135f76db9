//! A connection that keeps no buffer, so that one process can hold thousands of them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::{RemotingCommand, frame};

/// How long the broker may leave a request unanswered.
const ANSWER: Duration = Duration::from_secs(60);

/// One connection on which one request is in flight at a time.
#[derive(Debug)]
pub struct Peer(TcpStream);

impl Peer {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(broker: &str) -> io::Result<Peer> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Peer(stream))
    }

    /// Sends one request, and reads the answer and nothing else; what the broker itself asks is passed over.
    ///
    /// # Errors
    /// None came in time, or the connection ended.
    pub fn ask(&mut self, request: &RemotingCommand) -> io::Result<RemotingCommand> {
        self.0.write_all(&request.encode())?;
        loop {
            let command = self.read()?;
            if command.is_response() {
                return Ok(command);
            }
        }
    }

    fn read(&mut self) -> io::Result<RemotingCommand> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let size = (u32::from_be_bytes(length) as usize).min(frame::FRAME_SIZE_MAX);
        let mut buffer = BytesMut::from(&length[..]);
        buffer.resize(length.len() + size, 0);
        self.0.read_exact(&mut buffer[length.len()..])?;
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let whole = frame::split(&mut buffer, frame::FRAME_SIZE_MAX).map_err(broken)?;
        let whole = whole.ok_or(io::ErrorKind::InvalidData)?;
        RemotingCommand::decode(&whole).map_err(broken)
    }
}
