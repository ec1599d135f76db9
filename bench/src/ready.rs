//! How soon a broker is ready, and what it weighs when idle.

mod dev;
mod full;
mod idle;
pub(crate) mod table;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_tests::plugins::Plugins;

use crate::plugins::BIG_ORDERS;

pub(crate) use dev::{first_send, plugins, start, stop};
use table::{Times, print, print_goal};

const PLUGINS: u8 = 100;
/// As many as may be in force.
const BINDINGS: u8 = 64;
const EMPTY_GOAL_MS: f64 = 50.0;
/// What plugins may add to a start, milliseconds.
const PLUGINS_GOAL_MS: f64 = 50.0;

/// Options of `sluice-bench ready`.
#[derive(Debug, clap::Args)]
pub struct Ready {
    /// The sluice binary
    #[arg(long, value_name = "PATH", default_value = "target/release/sluice")]
    binary: PathBuf,
    /// Starts of each kind; the middle one counts
    #[arg(long, default_value_t = 11)]
    starts: usize,
    /// Seconds without any client in which CPU time is counted
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    idle: u64,
    /// Log of a store that is full, 10^9 bytes; 0 leaves it out
    #[arg(long, value_name = "GB", default_value_t = 10.0)]
    size_gb: f64,
    /// Bytes of a body in it: the smaller, the more messages
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    body: usize,
    /// Where that store is made
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Measures and prints a table: starts of an empty store, of a used one, with plugins, of a full one; an idle
/// broker's CPU time and memory.
///
/// # Errors
/// It does not start, or a send is refused.
pub fn run(wanted: &Ready) -> Result<()> {
    ensure!(wanted.starts > 0, "nothing to measure");
    table::print_head();
    let empty = empty_stores(wanted)?;
    print_goal(
        "exec to first accepted send, empty store",
        &empty,
        format_args!("{EMPTY_GOAL_MS} ms"),
        empty.median_ms() <= EMPTY_GOAL_MS,
    );
    with_plugins(wanted)?;
    idle::measure(wanted)?;
    if wanted.size_gb > 0.0 {
        full::measure(wanted)?;
    }
    Ok(())
}

fn empty_stores(wanted: &Ready) -> Result<Times> {
    let times = (0..wanted.starts).map(|_| {
        let directory = tempfile::tempdir()?;
        ready_once(&wanted.binary, directory.path())
    });
    Ok(Times(times.collect::<Result<_>>()?))
}

/// From exec to the first accepted send; killed then.
fn ready_once(binary: &Path, directory: &Path) -> Result<Duration> {
    let (began, child, address) = start(binary, directory)?;
    Ended(child).after(|_| {
        first_send(&address)?;
        Ok(began.elapsed())
    })
}

/// A store that has been used, then with [`PLUGINS`] compiled plugins in it.
fn with_plugins(wanted: &Ready) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let restarts = || -> Result<Times> {
        let times = (0..wanted.starts).map(|_| ready_once(&wanted.binary, directory.path()));
        Ok(Times(times.collect::<Result<_>>()?))
    };
    let without = restarts()?;
    let (_, child, address) = start(&wanted.binary, directory.path())?;
    Ended(child).after(|_| {
        first_send(&address)?;
        bind_plugins(plugins(&address)?);
        Ok(())
    })?;
    let with = restarts()?;
    print("the same, a store that was used and killed", &without);
    print_goal(
        format_args!("the same with {PLUGINS} compiled plugins, {BINDINGS} of them bound"),
        &with,
        format_args!("+ {PLUGINS_GOAL_MS} ms"),
        with.median_ms() - without.median_ms() <= PLUGINS_GOAL_MS,
    );
    Ok(())
}

fn bind_plugins(plugins: Plugins) {
    for number in 0..PLUGINS {
        let name = format!("filter-{number}");
        // A custom section makes each module another one.
        let module = [BIG_ORDERS, &[0, 3, 1, b'n', number]].concat();
        plugins.put(&name, &module);
        if number < BINDINGS {
            plugins.bind(&name, dev::TOPIC, &name, serde_json::json!({}));
        }
    }
}

/// A server that does not outlive what is done with it.
struct Ended(Child);

impl Ended {
    fn after<T>(mut self, done: impl FnOnce(&mut Child) -> Result<T>) -> Result<T> {
        done(&mut self.0)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
