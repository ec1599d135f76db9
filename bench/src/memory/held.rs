//! What a process holds of memory, and what the kernel holds for sockets.

use std::fs;
use std::ops::{Div, Sub};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_tests::cluster::Kind;

use crate::process::resident;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Two looks that differ by less are alike: threads that have nothing to do with it touch a page now and then.
const ALIKE: u64 = 64 * 1024;
/// Longest that a process is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of memory.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Of the process: what is resident and backed by no file, or what lives in Java's heap.
    pub own: f64,
    /// Of the kernel: its own objects (slab) and the buffers of TCP. They are counted for the whole machine, so
    /// both ends of a connection are in it, and whatever else the machine does.
    pub kernel: f64,
}

impl Held {
    /// Once the process has come to rest.
    ///
    /// # Errors
    /// It is gone.
    pub fn by(kind: Kind, pid: u32) -> Result<Held> {
        let own = match kind {
            Kind::Sluice => at_rest(pid)?,
            Kind::Java => live_heap(pid)?,
        };
        Ok(Held {
            own: own as f64,
            kernel: kernel()? as f64,
        })
    }
}

impl Sub for Held {
    type Output = Held;

    fn sub(self, before: Held) -> Held {
        Held {
            own: self.own - before.own,
            kernel: self.kernel - before.kernel,
        }
    }
}

impl Div<f64> for Held {
    type Output = Held;

    fn div(self, count: f64) -> Held {
        Held {
            own: self.own / count,
            kernel: self.kernel / count,
        }
    }
}

/// Anonymous bytes once two looks are alike.
fn at_rest(pid: u32) -> Result<u64> {
    let began = Instant::now();
    let mut last = resident(pid)?.anonymous;
    loop {
        thread::sleep(LOOK);
        let now = resident(pid)?.anonymous;
        if now.abs_diff(last) < ALIKE {
            return Ok(now);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "its memory does not come to rest"
        );
        last = now;
    }
}

/// What a full collection leaves, bytes.
fn live_heap(pid: u32) -> Result<u64> {
    thread::sleep(LOOK);
    let output = Command::new("jcmd")
        .args([&*pid.to_string(), "GC.class_histogram"])
        .output()
        .context("jcmd does not start; it comes with the JDK")?;
    let histogram = String::from_utf8_lossy(&output.stdout);
    let total = histogram
        .lines()
        .rev()
        .find(|line| line.starts_with("Total"));
    let bytes = total.and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
    bytes.with_context(|| format!("no total of jcmd: {histogram}"))
}

fn kernel() -> Result<u64> {
    // SAFETY: sysconf has no preconditions.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) })?;
    let slab = number_behind("/proc/meminfo", "Slab:", "")?;
    let pages = number_behind("/proc/net/sockstat", "TCP:", "mem")?;
    Ok(slab * 1024 + pages * page)
}

/// The number behind a word (or else the first) of the line that begins so.
fn number_behind(path: &str, line: &str, word: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let found = text.lines().find_map(|whole| {
        let mut words = whole.strip_prefix(line)?.split_whitespace();
        if !word.is_empty() {
            words.find(|one| *one == word)?;
        }
        words.next()?.parse().ok()
    });
    found.with_context(|| format!("{line} {word} in {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_holds_more_for_more_sockets() {
        assert!(kernel().unwrap() > 0);
        assert!(number_behind("/proc/net/sockstat", "TCP:", "no such word").is_err());
    }
}
