//! Starts of a store with many gigabytes of log: after a stop in order, with its files in memory and not, and
//! after `kill -9` under load.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sluice_tests::cluster::{Kind, NameServer};
use sluice_tests::ports::free_broker_port;
use sluice_tests::wire::Wire;
use tempfile::TempDir;

use super::dev::{TOPIC, first_send, spawn, stop, stop_in_order};
use super::table::{Times, print, print_goal};
use super::{Ended, Ready};
use crate::flight::fly;
use crate::sends::Sends;

const IN_FLIGHT: i32 = 256;
const QUEUES: i32 = 4;
/// Starts of each kind: these take longer than those of an empty store.
const STARTS: usize = 5;
const GOAL_MS: f64 = 200.0;
/// What is sent before a `kill -9`.
const LOAD: Duration = Duration::from_secs(2);

/// A broker as nobody has tuned it, whose store stays where it is.
struct Store<'a> {
    wanted: &'a Ready,
    dir: TempDir,
    namesrv: NameServer,
    address: String,
    series: u64,
}

/// Fills a store, and prints its starts.
pub fn measure(wanted: &Ready) -> Result<()> {
    let mut store = Store::new(wanted)?;
    let stopped = store.fill()?;
    print(format_args!("a stop in order, {}", store.size()?), stopped);
    let warm = store.starts(Store::in_order)?;
    print_goal(
        "exec to first accepted send after it",
        &warm,
        format_args!("{GOAL_MS} ms"),
        warm.median_ms() <= GOAL_MS,
    );
    let cold = store.starts(Store::in_order_and_forgotten)?;
    print("the same, none of its files in memory", &cold);
    let killed = store.starts(Store::killed)?;
    print(
        format_args!(
            "the same after kill -9, {} s of load before",
            LOAD.as_secs()
        ),
        &killed,
    );
    Ok(())
}

impl Store<'_> {
    fn new(wanted: &Ready) -> Result<Store<'_>> {
        let dir = match &wanted.dir {
            Some(dir) => tempfile::tempdir_in(dir)?,
            None => tempfile::tempdir()?,
        };
        let port = free_broker_port();
        let settings = format!(
            "listenPort={port}\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nhttpAddress=\n\
             storePathRootDir={}\n",
            dir.path().join("store").display()
        );
        fs::write(dir.path().join("broker.conf"), settings)?;
        Ok(Store {
            wanted,
            namesrv: NameServer::start(Kind::Sluice, dir.path(), ""),
            dir,
            address: format!("127.0.0.1:{port}"),
            series: 0,
        })
    }

    fn start(&self) -> Result<(Instant, Ended)> {
        let mut command = Command::new(&self.wanted.binary);
        command.args(["broker", "-n", self.namesrv.address(), "-c"]);
        command.arg(self.dir.path().join("broker.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (began, child) = spawn(&mut command)?;
        Ok((began, Ended(child)))
    }

    /// Sends until the log is as long as wanted; how long the stop takes, milliseconds.
    fn fill(&mut self) -> Result<String> {
        let (_, broker) = self.start()?;
        first_send(&self.address)?;
        let bytes = self.wanted.size_gb * 1e9;
        let mut left = (bytes / self.wanted.body.max(1) as f64) as i64;
        while left > 0 {
            let burst = left.min(1_000_000);
            self.send(i32::try_from(burst)?)?;
            left -= burst;
        }
        let stopped = broker.after(stop_in_order)?;
        Ok(format!("{:.0} ms", super::table::millis(stopped)))
    }

    /// Each of them is answered with success.
    fn send(&mut self, count: i32) -> Result<()> {
        self.series += 1;
        let mut wire = Wire::connect(&self.address)?;
        let mut sends = Sends::new(TOPIC, QUEUES, self.wanted.body, self.series);
        fly(&mut wire, count, IN_FLIGHT, || sends.next(), |_, _| Ok(()))
    }

    /// As it lies on the disk.
    fn size(&self) -> Result<String> {
        let files = files_below(&self.dir.path().join("store/commitlog"))?;
        let sizes = files.iter().map(|file| Ok(fs::metadata(file)?.len()));
        let bytes: u64 = sizes.sum::<Result<u64>>()?;
        let (files, gigabytes) = (files.len(), bytes as f64 / 1e9);
        Ok(format!(
            "{gigabytes:.1} GB of log in {files} files, bodies of {} B",
            self.wanted.body
        ))
    }

    /// Times of some starts; before the next, each is ended in that way.
    fn starts(&mut self, end: fn(&mut Self, Ended) -> Result<()>) -> Result<Times> {
        let mut times = Vec::new();
        // The first start only makes the state that the others are measured in.
        for _ in 0..=STARTS {
            let (began, broker) = self.start()?;
            first_send(&self.address)?;
            times.push(began.elapsed());
            end(self, broker)?;
        }
        times.remove(0);
        Ok(Times(times))
    }

    fn in_order(&mut self, broker: Ended) -> Result<()> {
        broker.after(stop_in_order).map(drop)
    }

    fn in_order_and_forgotten(&mut self, broker: Ended) -> Result<()> {
        self.in_order(broker)?;
        let files = files_below(self.dir.path())?;
        files.iter().try_for_each(|file| forget(file))
    }

    /// In the middle of a load, whose last sends nobody answers.
    fn killed(&mut self, broker: Ended) -> Result<()> {
        self.series += 1;
        let (address, body, series) = (self.address.clone(), self.wanted.body, self.series);
        let load = thread::spawn(move || {
            let mut wire = Wire::connect(&address)?;
            let mut sends = Sends::new(TOPIC, QUEUES, body, series);
            fly(
                &mut wire,
                i32::MAX,
                IN_FLIGHT,
                || sends.next(),
                |_, _| Ok(()),
            )
        });
        thread::sleep(LOAD);
        anyhow::ensure!(!load.is_finished(), "the load has ended before the broker");
        broker.after(stop)?;
        let _ = load.join();
        Ok(())
    }
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

/// Has the kernel drop what it holds of a file in memory.
fn forget(path: &Path) -> Result<()> {
    let file = fs::File::open(path)?;
    file.sync_all()?;
    // SAFETY: the descriptor is open; nothing in memory is touched.
    let told = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    anyhow::ensure!(told == 0, "posix_fadvise of {}: {told}", path.display());
    Ok(())
}
