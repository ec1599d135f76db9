//! Counting: this program's own probes, run by valgrind's callgrind.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sluice_instructions::HotFunction;

/// Calls of the shorter run: the first ones make what later ones find made.
const FIRST_CALLS: u32 = 100;

/// What was counted before it is forgotten: while a set-up waits for others, it counts differently each time.
const BEGIN: &str = "sluice_instructions::call_often";

/// What the C library is told, so that counts do not depend on the machine and on what other threads do meanwhile.
/// A large copy can be one instruction, which valgrind counts once for each byte: it is never used. And what is
/// freed is kept for the next allocation of its size: else it joins the heap, whose state is another in each run.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=268435456:glibc.malloc.tcache_count=4096";

/// Instructions of one call: a longer run less a shorter one, so that what is done once vanishes.
///
/// # Errors
/// There is no valgrind, or the probe fails under it.
pub fn per_call(function: &HotFunction) -> Result<f64> {
    let short = total(function, FIRST_CALLS)?;
    let long = total(function, FIRST_CALLS + function.calls)?;
    ensure!(long > short, "nothing was counted: {short}, then {long}");
    Ok((long - short) as f64 / f64::from(function.calls))
}

/// Instructions of a whole run.
fn total(function: &HotFunction, calls: u32) -> Result<u64> {
    let counted = tempfile::NamedTempFile::new()?;
    let mut valgrind = Command::new("valgrind");
    valgrind.env("GLIBC_TUNABLES", TUNABLES);
    valgrind.args(["--tool=callgrind", "--quiet"]);
    valgrind.arg(format!("--zero-before={BEGIN}"));
    valgrind.arg(format!("--callgrind-out-file={}", counted.path().display()));
    if let Some(inside) = function.inside {
        valgrind.arg(format!("--toggle-collect={inside}"));
    }
    valgrind.arg(env::current_exe()?);
    valgrind.args(["probe", function.name, &calls.to_string()]);
    let ran = valgrind.output();
    let ran =
        ran.context("valgrind can't be run; on Debian: apt-get install valgrind libc6-dbg")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{valgrind:?}: {said}");
    total_of(&fs::read_to_string(counted.path())?)
}

fn total_of(counted: &str) -> Result<u64> {
    let total = counted
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let total = total.context("callgrind tells no total")?;
    total
        .trim()
        .parse()
        .with_context(|| format!("total {total}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_behind_the_costs() {
        let counted = "events: Ir\nsummary: 7\n\nfn=(0)\n0 7\n\ntotals: 1234\n";
        assert_eq!(total_of(counted).expect("a total"), 1234);
        assert!(total_of("events: Ir\n").is_err());
    }
}
