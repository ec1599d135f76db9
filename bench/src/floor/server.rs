//! Frames in, bodies to a file, answers out: no header is read but for its opaque, nothing is checked, found or
//! kept in order.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// The file that bodies go to is written from its start again after so many bytes.
const FILE_SIZE: u64 = 1 << 30;
const BUFFER: usize = 1 << 18;
/// Total size, and size of the header.
const LENGTHS: usize = 8;

/// Where the next bodies go.
struct Bodies {
    file: File,
    at: AtomicU64,
}

impl Bodies {
    fn keep(&self, bodies: &[u8]) -> io::Result<()> {
        let at = self.at.fetch_add(bodies.len() as u64, Ordering::Relaxed) % FILE_SIZE;
        self.file.write_all_at(bodies, at)
    }
}

/// Serves on a free port of this machine, which it prints, until standard input ends.
///
/// # Errors
/// There is no port or no file to be had.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let file = tempfile::tempfile()?;
    preallocate(&file)?;
    let bodies = Arc::new(Bodies {
        file,
        at: AtomicU64::new(0),
    });
    println!("{}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bodies = bodies.clone();
            thread::spawn(move || answer(stream, &bodies));
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn preallocate(file: &File) -> io::Result<()> {
    let zeroes = vec![0; 1 << 20];
    for piece in 0..FILE_SIZE >> 20 {
        file.write_all_at(&zeroes, piece << 20)?;
    }
    Ok(())
}

/// One connection, until its peer leaves.
fn answer(mut stream: TcpStream, bodies: &Bodies) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    let (mut filled, mut kept, mut out) = (0, Vec::new(), Vec::new());
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut at = 0;
        while let Some(frame) = frame(&buffer[at..filled]) {
            let header_size = be32(&frame[4..]) & 0x00FF_FFFF;
            let (header, body) = frame[LENGTHS..].split_at(header_size.min(frame.len() - LENGTHS));
            kept.extend_from_slice(body);
            put_answer(&mut out, opaque(header));
            at += frame.len();
        }
        bodies.keep(&kept)?;
        stream.write_all(&out)?;
        kept.clear();
        out.clear();
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
    }
}

/// The first frame, if it is all there.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let size = be32(bytes.get(..4)?) + 4;
    bytes.get(..size.max(LENGTHS))
}

fn be32(bytes: &[u8]) -> usize {
    let word = [bytes[0], bytes[1], bytes[2], bytes[3]];
    u32::from_be_bytes(word) as usize
}

/// Digits behind the name, in a header of JSON.
fn opaque(header: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"\"opaque\":";
    let Some(at) = memchr::memmem::find(header, NAME) else {
        return b"0";
    };
    let digits = &header[at + NAME.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    &digits[..end.unwrap_or(digits.len())]
}

fn put_answer(out: &mut Vec<u8>, opaque: &[u8]) {
    const BEFORE: &[u8] = br#"{"code":0,"extFields":{"queueId":"0","queueOffset":"0","msgId":"0"},"flag":1,"language":"JAVA","opaque":"#;
    const BEHIND: &[u8] = br#","serializeTypeCurrentRPC":"JSON","version":0}"#;
    let header = BEFORE.len() + opaque.len() + BEHIND.len();
    out.extend_from_slice(&(header as u32 + 4).to_be_bytes());
    out.extend_from_slice(&(header as u32).to_be_bytes());
    out.extend_from_slice(BEFORE);
    out.extend_from_slice(opaque);
    out.extend_from_slice(BEHIND);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_command_with_the_opaque_of_its_request() {
        let header = br#"{"code":310,"opaque":42,"flag":0}"#;
        let mut out = Vec::new();
        put_answer(&mut out, opaque(header));
        let whole = bytes::Bytes::from(out.clone());
        let answer = sluice_protocol::RemotingCommand::decode(&whole).unwrap();
        assert_eq!((answer.code, answer.opaque), (0, 42));
        assert_eq!(frame(&out).map(<[u8]>::len), Some(out.len()));
        assert_eq!(frame(&out[..out.len() - 1]), None);
    }
}
