//! Time, CPU time and disk reads of a broker since a moment.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::cpu_time;

/// A broker's use of the machine since [`Meter::start`].
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    pid: u32,
    cpu: Duration,
    disk: u64,
    began: Instant,
}

impl Meter {
    /// From now on, of this process.
    ///
    /// # Errors
    /// There is no such process, or it is another user's.
    pub fn start(pid: u32) -> Result<Meter> {
        Ok(Meter {
            pid,
            cpu: cpu_time(pid)?,
            disk: read_bytes(pid)?,
            began: Instant::now(),
        })
    }

    /// When it was started.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Time since.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// CPU time since.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(cpu_time(self.pid)? - self.cpu)
    }

    /// CPU time for each of so many messages, microseconds.
    ///
    /// # Errors
    /// As [`Meter::cpu`].
    pub fn cpu_micros(&self, messages: u64) -> Result<f64> {
        Ok(self.cpu()?.as_secs_f64() * 1e6 / messages.max(1) as f64)
    }

    /// Bytes that were fetched from the disk for the process since, by its reads and its page faults.
    ///
    /// # Errors
    /// As [`Meter::cpu`].
    pub fn read_from_disk(&self) -> Result<u64> {
        Ok(read_bytes(self.pid)? - self.disk)
    }
}

fn read_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/io");
    let io = fs::read_to_string(&path).with_context(|| path.clone())?;
    let bytes = io
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    let bytes = bytes.and_then(|bytes| bytes.trim().parse().ok());
    bytes.with_context(|| format!("{path}: {io}"))
}
