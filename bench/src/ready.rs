//! How soon a broker is ready, and what it weighs when idle.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sluice_tests::plugins::Plugins;
use sluice_tests::ports::{free_broker_port, free_port};

use crate::load::{Load, run};
use crate::plugins::BIG_ORDERS;
use crate::process::resident;

const STARTS: usize = 11;
const PLUGINS: u8 = 100;
/// As many as may be in force.
const BINDINGS: u8 = 64;
/// From the broker's port to that of its HTTP side.
const HTTP_BEHIND: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(20);
/// After this long a broker that nobody uses has settled.
const IDLE: Duration = Duration::from_secs(5);

/// Starts `sluice dev` on empty directories: prints the times from exec to the first accepted send,
/// then the resident memory of the last one, idle.
///
/// # Errors
/// It does not start.
pub fn measure(binary: &Path) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let directory = tempfile::tempdir()?;
        let (began, mut child, address) = start(binary, directory.path())?;
        let first = first_send(&address);
        times.push(began.elapsed());
        stop(&mut child)?;
        first?;
    }
    times.sort();
    println!(
        "exec to first accepted send, empty store, {STARTS} starts: median {:.1} ms, slowest {:.1} ms",
        times[STARTS / 2].as_secs_f64() * 1e3,
        times[STARTS - 1].as_secs_f64() * 1e3
    );
    with_plugins(binary)?;
    let directory = tempfile::tempdir()?;
    let (_, mut child, address) = start(binary, directory.path())?;
    first_send(&address)?;
    std::thread::sleep(IDLE);
    let memory = resident(child.id())?;
    stop(&mut child)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "resident when idle: {:.1} MiB (anonymous {:.1}, program {:.1}); mapped store files beside it {:.1} MiB",
        mib(memory.anonymous + memory.program),
        mib(memory.anonymous),
        mib(memory.program),
        mib(memory.files)
    );
    Ok(())
}

/// The same with a store that has been used, and with [`PLUGINS`] compiled plugins in it.
fn with_plugins(binary: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let without = restarts(binary, directory.path())?;
    let (_, mut child, address) = start(binary, directory.path())?;
    first_send(&address)?;
    let plugins = Plugins::at(http_port(&address)?);
    for number in 0..PLUGINS {
        let name = format!("filter-{number}");
        // A custom section makes each module another one.
        let module = [BIG_ORDERS, &[0, 3, 1, b'n', number]].concat();
        plugins.put(&name, &module);
        if number < BINDINGS {
            plugins.bind(&name, "DefaultCluster", &name, serde_json::json!({}));
        }
    }
    stop(&mut child)?;
    let with = restarts(binary, directory.path())?;
    println!(
        "a used store: median {without:.1} ms; with {PLUGINS} compiled plugins, {BINDINGS} of them bound: median {with:.1} ms"
    );
    Ok(())
}

/// Median of the times from exec to the first accepted send, milliseconds.
fn restarts(binary: &Path, directory: &Path) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let (began, mut child, address) = start(binary, directory)?;
        let first = first_send(&address);
        times.push(began.elapsed());
        stop(&mut child)?;
        first?;
    }
    times.sort();
    Ok(times[STARTS / 2].as_secs_f64() * 1e3)
}

/// Where the broker at an address administers plugins, see [`start`].
pub(crate) fn http_port(address: &str) -> Result<u16> {
    let port = address.rsplit(':').next().unwrap_or_default();
    Ok(port.parse::<u16>()? + HTTP_BEHIND)
}

pub(crate) fn start(binary: &Path, directory: &Path) -> Result<(Instant, Child, String)> {
    let (namesrv, broker) = (free_port(), free_broker_port());
    let mut command = Command::new(binary);
    command
        .arg("dev")
        .arg("--data")
        .arg(directory)
        .args([
            "--namesrv-port",
            &namesrv.to_string(),
            "--broker-port",
            &broker.to_string(),
            "--http-port",
            &(broker + HTTP_BEHIND).to_string(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let began = Instant::now();
    let child = command
        .spawn()
        .with_context(|| binary.display().to_string())?;
    Ok((began, child, format!("127.0.0.1:{broker}")))
}

/// The topic named after the cluster exists from the start.
pub(crate) fn first_send(address: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            bail!("{address} does not listen within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let load = Load {
        broker: address.to_owned(),
        topic: "DefaultCluster".to_owned(),
        queues: 1,
        body: 100,
        in_flight: 1,
        seconds: 0,
        warm_up: 0,
        ..Load::default()
    };
    // A broker that listens but is not ready yet says so: ready is the first send it accepts.
    loop {
        match run(&load) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

pub(crate) fn stop(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}
