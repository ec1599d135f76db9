//! A running server that is started, asked for its first send, and ended.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sluice_protocol::code::response;
use sluice_tests::plugins::Plugins;
use sluice_tests::ports::{free_broker_port, free_port};
use sluice_tests::wire::{Wire, send};

/// From the broker's port to that of its HTTP side.
const HTTP_BEHIND: u16 = 2;
/// How long a start may take, whatever lies in the store.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_micros(200);
/// Exists from the start: it is named after the cluster.
pub const TOPIC: &str = "DefaultCluster";

/// Where the broker at an address administers plugins, see [`start`], once it listens there: it takes its first
/// send a moment before.
///
/// # Errors
/// It does not listen within two minutes.
pub fn plugins(address: &str) -> Result<Plugins> {
    let port = address.rsplit(':').next().unwrap_or_default();
    let port = port.parse::<u16>()? + HTTP_BEHIND;
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = TcpStream::connect(("127.0.0.1", port)) {
        if Instant::now() > deadline {
            return Err(error).with_context(|| format!("no connection to 127.0.0.1:{port}"));
        }
        thread::sleep(LOOK);
    }
    Ok(Plugins::at(port))
}

/// Starts `sluice dev` with its files in `directory`: when, the process, and the broker's `host:port`.
///
/// # Errors
/// The program can't be run.
pub fn start(binary: &Path, directory: &Path) -> Result<(Instant, Child, String)> {
    let broker = free_broker_port();
    let mut command = dev(binary, directory, broker);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (began, child) = spawn(&mut command)?;
    Ok((began, child, format!("127.0.0.1:{broker}")))
}

/// `sluice dev` whose broker is on that port.
fn dev(binary: &Path, directory: &Path, broker: u16) -> Command {
    let mut command = Command::new(binary);
    command.arg("dev").arg("--data").arg(directory);
    let ports = [
        ("--namesrv-port", free_port()),
        ("--broker-port", broker),
        ("--http-port", broker + HTTP_BEHIND),
    ];
    for (option, port) in ports {
        command.args([option, &port.to_string()]);
    }
    command
}

/// Starts a command, and says when.
///
/// # Errors
/// It can't be run.
pub fn spawn(command: &mut Command) -> Result<(Instant, Child)> {
    let began = Instant::now();
    let child = command.spawn().with_context(|| format!("{command:?}"))?;
    Ok((began, child))
}

/// Asks until a send is accepted: a broker that listens but is not ready yet says so, or lets the peer wait.
///
/// # Errors
/// None is within two minutes.
pub fn first_send(address: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match sent(address) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

fn sent(address: &str) -> Result<()> {
    let mut wire = Wire::connect(address).with_context(|| format!("no connection to {address}"))?;
    let answer = wire.ask(&send(TOPIC, "", &[b'x'; 100]))?;
    ensure!(answer.code == response::SUCCESS, "{}", answer.remark());
    Ok(())
}

/// `kill -9`.
///
/// # Errors
/// The system does not let us.
pub fn stop(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// SIGTERM; how long it takes to end in order.
///
/// # Errors
/// It does not end, or not in order.
pub fn stop_in_order(child: &mut Child) -> Result<Duration> {
    let began = Instant::now();
    // SAFETY: kill has no memory preconditions; the child is not yet waited for, so the id is its own.
    let told = unsafe { libc::kill(libc::pid_t::try_from(child.id())?, libc::SIGTERM) };
    ensure!(told == 0, "SIGTERM can't be sent");
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{status}");
            return Ok(began.elapsed());
        }
        thread::sleep(LOOK);
    }
    bail!("it does not end within {PATIENCE:?}")
}
