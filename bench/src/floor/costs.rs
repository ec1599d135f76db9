//! What the machine takes for each thing that a send cannot do without.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::disk;
use crate::latency::Latencies;

const BODY: usize = 1024;
const ROUND_TRIPS: usize = 20_000;
const PIECES: usize = 65_536;
/// Of the file that is written.
const FILE_SIZE: u64 = 256 << 20;

/// Prints a table of them; files are made in `dir`.
///
/// # Errors
/// Sockets or files can't be had.
pub fn print(dir: &Path) -> Result<()> {
    println!("| raw cost | |");
    println!("|---|---:|");
    println!("| loopback round trip of 1 KB | {} |", round_trips()?);
    row(
        "memcpy of 1 KB",
        memory(|from, to| to.copy_from_slice(from)),
    );
    row(
        "crc32 of 1 KB",
        memory(|from, to| {
            let crc = sluice_protocol::message::crc32(from);
            to[..4].copy_from_slice(&crc.to_be_bytes());
        }),
    );
    row(
        "write of 1 KB to the page cache, in order",
        writes(dir, |piece| piece)?,
    );
    // An odd step visits every piece once.
    row(
        "the same, all over the file",
        writes(dir, |piece| {
            piece.wrapping_mul(40_503) % (FILE_SIZE / BODY as u64)
        })?,
    );
    println!("| fdatasync of 4 KiB | {} |\n", disk::sync_times(dir)?);
    Ok(())
}

fn row(name: &str, each: Duration) {
    println!("| {name} | {:.0} ns |", each.as_secs_f64() * 1e9);
}

fn round_trips() -> Result<Latencies> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut piece = [0; BODY];
        for _ in 0..ROUND_TRIPS {
            stream.read_exact(&mut piece)?;
            stream.write_all(&piece)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut times, mut piece) = (Latencies::default(), [7; BODY]);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        stream.write_all(&piece)?;
        stream.read_exact(&mut piece)?;
        times.note(began.elapsed());
    }
    echo.join().expect("the echo ends")?;
    Ok(times)
}

/// Of one piece, from and to places that no cache has.
fn memory(work: impl Fn(&[u8], &mut [u8])) -> Duration {
    let from = vec![7_u8; PIECES * BODY];
    let mut to = vec![0_u8; PIECES * BODY];
    let began = Instant::now();
    for (from, to) in from.chunks(BODY).zip(to.chunks_mut(BODY)) {
        work(from, to);
    }
    std::hint::black_box(&to);
    began.elapsed() / PIECES as u32
}

fn writes(dir: &Path, place: impl Fn(u64) -> u64) -> Result<Duration> {
    let file: File = tempfile::tempfile_in(dir)?;
    file.set_len(FILE_SIZE)?;
    let zeroes = vec![0; 1 << 20];
    for piece in 0..FILE_SIZE >> 20 {
        file.write_all_at(&zeroes, piece << 20)?;
    }
    let (body, pieces) = ([7; BODY], FILE_SIZE / BODY as u64);
    let began = Instant::now();
    for piece in 0..pieces {
        file.write_all_at(&body, place(piece) * BODY as u64)?;
    }
    Ok(began.elapsed() / pieces as u32)
}
