//! What a broker takes while nobody uses it.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::table::{mib, print, print_goal};
use super::{Ended, Ready, first_send, start};
use crate::process::{cpu_time, resident};

/// After this long a broker that nobody uses has settled.
const SETTLED: Duration = Duration::from_secs(5);
/// Most of one core, per cent.
const CPU_GOAL: f64 = 0.2;
/// Most resident memory, bytes.
const MEMORY_GOAL: u64 = 30_000_000;

/// Starts `sluice dev`, sends once, and prints what it takes from then on.
pub fn measure(wanted: &Ready) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (_, child, address) = start(&wanted.binary, directory.path())?;
    Ended(child).after(|child| {
        first_send(&address)?;
        thread::sleep(SETTLED);
        print_cpu(child.id(), Duration::from_secs(wanted.idle))?;
        print_memory(child.id())
    })
}

fn print_cpu(pid: u32, time: Duration) -> Result<()> {
    let before = cpu_time(pid)?;
    thread::sleep(time);
    let used = cpu_time(pid)? - before;
    let share = 100.0 * used.as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE);
    print_goal(
        format_args!("share of a core when idle, over {} s", time.as_secs()),
        format_args!("{share:.2} %"),
        format_args!("{CPU_GOAL} %"),
        share < CPU_GOAL,
    );
    Ok(())
}

fn print_memory(pid: u32) -> Result<()> {
    let memory = resident(pid)?;
    let own = memory.anonymous + memory.program;
    print_goal(
        "resident when idle, anonymous and program",
        mib(own),
        format_args!("{} MB", MEMORY_GOAL / 1_000_000),
        own <= MEMORY_GOAL,
    );
    print("anonymous of it", mib(memory.anonymous));
    print("mapped store files beside it", mib(memory.files));
    Ok(())
}
