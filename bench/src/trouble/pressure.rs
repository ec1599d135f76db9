//! Little memory left, and a file larger than it that is read and written: the kernel takes pages back all the
//! time, those of the broker's files among them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

const MIB: u64 = 1 << 20;
/// What is taken or given back at a time: so much is never kept by the allocator when it is freed.
const CHUNK: usize = 64 << 20;
const PAGE: usize = 4096;
/// Bytes that are read or written at a time.
const PIECE: usize = 1 << 20;
/// Pieces a second at most, so that the trouble is the memory and not a core that is taken.
const PER_SECOND: u32 = 400;
/// How often the balloon looks at what is left.
const LOOK: Duration = Duration::from_millis(20);
/// Who is killed first should memory run out.
const FIRST_TO_GO: &str = "1000";

/// Takes memory until `leave` MiB are left, streams through a file of `file` MiB until it is over; what it did.
///
/// # Errors
/// The file can't be written, or no page was taken back.
pub fn press(
    dir: &Path,
    leave: u64,
    file: u64,
    over: &AtomicBool,
    begun: impl FnOnce(),
) -> Result<String> {
    fs::write("/proc/self/oom_score_adj", FIRST_TO_GO).context("oom_score_adj")?;
    let mut balloon = Balloon {
        leave: leave * MIB,
        chunks: Vec::new(),
    };
    balloon.fill(over)?;
    let held = balloon.chunks.len() * (CHUNK >> 20);
    let before = taken_back()?;
    begun();
    let streamed = thread::scope(|scope| {
        let streaming = scope.spawn(|| stream(dir, file, over));
        while !over.load(Ordering::Relaxed) && !streaming.is_finished() {
            balloon.step()?;
            thread::sleep(LOOK);
        }
        let streamed = streaming.join();
        streamed.map_err(|_| anyhow!("the streaming thread panicked"))?
    })?;
    let taken = (taken_back()? - before) * PAGE as u64 / MIB;
    ensure!(
        taken > 0,
        "no page was taken back: {held} MiB held, {streamed} MiB streamed"
    );
    Ok(format!(
        "{held} MiB held, {streamed} MiB streamed, {taken} MiB taken back"
    ))
}

/// Memory that nobody else has; it shrinks when others want more.
struct Balloon {
    /// Bytes that others are left.
    leave: u64,
    chunks: Vec<Vec<u8>>,
}

impl Balloon {
    fn fill(&mut self, over: &AtomicBool) -> Result<()> {
        while self.step()? && !over.load(Ordering::Relaxed) {}
        Ok(())
    }

    /// Takes or gives back one chunk; whether it took one.
    fn step(&mut self) -> Result<bool> {
        let available = available()?;
        if available < self.leave {
            self.chunks.pop();
            return Ok(false);
        }
        let takes = available > self.leave + 2 * CHUNK as u64;
        if takes {
            self.chunks.push(touched());
        }
        Ok(takes)
    }
}

/// A chunk, all pages of which are there.
fn touched() -> Vec<u8> {
    let mut chunk = vec![0; CHUNK];
    chunk.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    std::hint::black_box(chunk)
}

/// Bytes that programs can have without others' being taken away.
fn available() -> Result<u64> {
    let memory = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = kib.context("MemAvailable in /proc/meminfo")?.parse()?;
    Ok(kib * 1024)
}

/// Pages that the kernel has taken back since it was started.
fn taken_back() -> Result<u64> {
    let counts = fs::read_to_string("/proc/vmstat").context("/proc/vmstat")?;
    let count = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        let counts = name.starts_with("pgsteal_kswapd") || name.starts_with("pgsteal_direct");
        counts.then(|| count.parse::<u64>().ok()).flatten()
    };
    Ok(counts.lines().filter_map(count).sum())
}

/// Writes the file, then reads and writes it in turn; MiB in all.
fn stream(dir: &Path, size: u64, over: &AtomicBool) -> Result<u64> {
    let file = tempfile::tempfile_in(dir)?;
    let mut bytes = vec![7; PIECE];
    let (began, mut done) = (Instant::now(), 0);
    while !over.load(Ordering::Relaxed) {
        pass(&file, done, size, &mut bytes)?;
        done += 1;
        let due = began + Duration::from_secs(1) / PER_SECOND * u32::try_from(done)?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(done)
}

/// One piece of the endless way through the file: every other time it is read.
fn pass(file: &File, number: u64, size: u64, bytes: &mut [u8]) -> Result<()> {
    let (round, piece) = (number / size, number % size);
    let at = piece * PIECE as u64;
    match round % 2 {
        0 => file.write_all_at(bytes, at)?,
        _ => file.read_exact_at(bytes, at)?,
    }
    Ok(())
}
