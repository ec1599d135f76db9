//! What the kernel knows of a process: CPU time and resident memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// User and system time that process `pid` has used so far, all threads, in steps of a clock tick.
///
/// # Errors
/// There is no such process.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold blanks and parentheses of its own.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks(11)
        .zip(ticks(12))
        .with_context(|| format!("{path}: {stat}"))?;
    // SAFETY: sysconf has no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
    Ok(Duration::from_secs_f64((user + system) as f64 / per_second))
}

/// Lets this process open as many files as the system allows.
///
/// # Errors
/// The system does not say, or does not do so.
pub fn raise_open_file_limit() -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a whole, living rlimit.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    ensure!(raised, "the limit of open files can't be raised");
    Ok(())
}

/// Resident memory of a process, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resident {
    /// Not backed by a file: heap and stacks.
    pub anonymous: u64,
    /// Pages of the program and its libraries.
    pub program: u64,
    /// Pages of other mapped files: the recent end of the log, which the kernel takes back when it
    /// needs them.
    pub files: u64,
}

/// Resident memory of process `pid` by what backs it.
///
/// # Errors
/// There is no such process.
pub fn resident(pid: u32) -> Result<Resident> {
    let path = format!("/proc/{pid}/smaps");
    let smaps = fs::read_to_string(&path).with_context(|| path.clone())?;
    let mut resident = Resident::default();
    let mut program = false;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if !first.ends_with(':') {
            let backing = words.nth(4).unwrap_or_default();
            program = backing == "[vdso]" || is_program(backing);
            continue;
        }
        let bytes = words
            .next()
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024;
        match first {
            "Rss:" if program => resident.program += bytes,
            "Rss:" => resident.files += bytes,
            "Anonymous:" if !program => {
                resident.anonymous += bytes;
                resident.files -= bytes;
            }
            _ => {}
        }
    }
    Ok(resident)
}

/// The store's files have neither an executable's place nor a library's name.
fn is_program(backing: &str) -> bool {
    backing.contains(".so") || backing.rsplit('/').next() == Some("sluice")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let mut sum = 0_u64;
        while cpu_time(std::process::id()).unwrap().is_zero() {
            sum = (0..1_000_000).fold(sum, |sum, n| sum.wrapping_mul(31) ^ n);
        }
        assert_ne!(sum, 1);
        let resident = resident(std::process::id()).unwrap();
        assert!(resident.anonymous > 0);
    }
}
