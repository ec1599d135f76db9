//! One connection of a load: frames go out in one write, and of an answer only what a load needs is read, so that
//! the load leaves the machine to the broker.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::LazyLock;
use std::time::Duration;

use memchr::memmem::Finder;
use sluice_protocol::command::FLAG_RESPONSE;

/// How long the broker may leave a load without any answer.
pub const PATIENCE: Duration = Duration::from_secs(120);
const BUFFER: usize = 16 * 1024;
/// Total size, and size of the header.
const LENGTHS: usize = 8;

/// A connection that blocks; [`Readable`](crate::readable::Readable) tells which of many has something to read.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    input: Vec<u8>,
    /// What of `input` has been read from the stream.
    filled: usize,
    /// What of it has been handed out.
    taken: usize,
    /// What [`Socket::flush`] sends.
    pub out: Vec<u8>,
}

/// What a load reads of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Response code; -1 if the peer asks something itself.
    pub code: i64,
    /// Opaque of the request.
    pub opaque: i64,
    /// Header, JSON.
    pub header: &'a [u8],
    /// Body.
    pub body: &'a [u8],
}

impl Socket {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: &str) -> io::Result<Socket> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Socket::on(stream))
    }

    fn on(stream: TcpStream) -> Socket {
        Socket {
            stream,
            input: Vec::new(),
            filled: 0,
            taken: 0,
            out: Vec::new(),
        }
    }

    /// The same connection once more, for a thread that reads while another one writes.
    ///
    /// # Errors
    /// The system has no more of them.
    pub fn same(&self) -> io::Result<Socket> {
        Ok(Socket::on(self.stream.try_clone()?))
    }

    /// Sends what has gathered; waits until the system has taken it all.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Waits for bytes, and reads once.
    ///
    /// # Errors
    /// None came within [`PATIENCE`], or the connection ended.
    pub fn read(&mut self) -> io::Result<()> {
        self.make_room();
        match self.stream.read(&mut self.input[self.filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }

    /// The begun frame moves to the front. A connection that has been read from once keeps its buffer.
    fn make_room(&mut self) {
        self.input.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        if self.filled == self.input.len() {
            let size = (2 * self.filled).max(BUFFER);
            self.input.resize(size, 0);
        }
    }

    /// The next answer that has been read as a whole.
    ///
    /// # Errors
    /// It has no header of JSON with a code and an opaque.
    pub fn next(&mut self) -> io::Result<Option<Answer<'_>>> {
        let Some(frame) = whole_frame(&self.input[self.taken..self.filled]) else {
            return Ok(None);
        };
        self.taken += frame.len();
        answer(frame).map(Some)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

fn whole_frame(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..LENGTHS)?;
    bytes.get(..(be32(bytes) + 4).max(LENGTHS))
}

fn be32(bytes: &[u8]) -> usize {
    let word = [bytes[0], bytes[1], bytes[2], bytes[3]];
    u32::from_be_bytes(word) as usize
}

fn answer(frame: &[u8]) -> io::Result<Answer<'_>> {
    static CODE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"code\":"));
    static FLAG: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"flag\":"));
    static OPAQUE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"opaque\":"));
    let rest = &frame[LENGTHS..];
    // A header that is not JSON has a size beyond any frame's.
    let (header, body) = rest
        .split_at_checked(be32(&frame[4..]))
        .ok_or(io::ErrorKind::InvalidData)?;
    let number = |name| number_behind(header, name).ok_or(io::ErrorKind::InvalidData);
    let is_answer = number(&FLAG)? & i64::from(FLAG_RESPONSE) != 0;
    Ok(Answer {
        code: if is_answer { number(&CODE)? } else { -1 },
        opaque: number(&OPAQUE)?,
        header,
        body,
    })
}

impl Answer<'_> {
    /// A field of the header's `extFields` that is a number.
    pub fn field(&self, name: &str) -> Option<i64> {
        let name = format!("\"{name}\":");
        number_behind(self.header, &Finder::new(&name))
    }
}

/// The digits behind the first place of a name, in quotes or not.
fn number_behind(header: &[u8], name: &Finder<'_>) -> Option<i64> {
    let at = name.find(header)? + name.needle().len();
    let digits = header[at..].strip_prefix(b"\"").unwrap_or(&header[at..]);
    let mut number = None;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        number = Some(number.unwrap_or(0_i64) * 10 + i64::from(digit - b'0'));
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_protocol::RemotingCommand;

    #[test]
    fn an_answer_is_read_without_decoding_it() {
        let request = RemotingCommand::request(310, 1_000_000_042);
        let mut refusal = request.refusal(1, "no \"code\":7 and no \"opaque\":8");
        refusal.ext.put("queueOffset", "123");
        let whole = refusal.with_body(vec![1, 2, 3]).encode();
        assert!(whole_frame(&whole[..whole.len() - 1]).is_none());
        let read = answer(whole_frame(&whole).unwrap()).unwrap();
        assert_eq!((read.code, read.opaque), (1, 1_000_000_042));
        assert_eq!(
            (read.field("queueOffset"), read.body),
            (Some(123), &[1, 2, 3][..])
        );
        let asked = request.encode();
        assert_eq!(answer(&asked).unwrap().code, -1);
    }
}
