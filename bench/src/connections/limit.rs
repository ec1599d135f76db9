//! A broker that may open few files: who comes when connections have had their part of them is turned away at
//! once and by name, at little cost, and is served as soon as others have left.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_tests::ports::{free_broker_port, free_port};
use sluice_tests::process::{Running, with_open_files};
use sluice_tests::wire::send;

use crate::flight::succeeded;
use crate::peer::Peer;
use crate::process::cpu_time;
use crate::ready::first_send;
use crate::ready::table::{self, print, print_goal};

const TOPIC: &str = "DefaultCluster";
/// Pause between two tries of one who was turned away.
const AGAIN: Duration = Duration::from_millis(1);
/// Within this time of others' leaving a newcomer is served, and a refusal is in the log.
const SOON: Duration = Duration::from_secs(10);
/// Files that a broker without load may close.
const CLOSED_MAX: usize = 16;
/// Most CPU time of the broker for one that it turns away.
const REFUSAL_GOAL: Duration = Duration::from_micros(500);

/// Prints a table.
///
/// # Errors
/// The broker turns nobody away, does not say why, or does not recover.
pub fn run(binary: &Path, files: u64, seconds: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let port = free_broker_port();
    let mut command = with_open_files(files, binary);
    command.args(["dev", "--http-port", "0", "--data"]);
    command.arg(dir.path().join("data"));
    command.args(["--broker-port", &port.to_string()]);
    command.args(["--namesrv-port", &free_port().to_string()]);
    let broker = Running::start("limited", dir.path(), &mut command);
    let address = format!("127.0.0.1:{port}");
    first_send(&address)?;

    println!("Sluice, {files} open files at most:\n");
    table::print_head();
    let mut peers = until_refused(&address, files)?;
    print("connections that are served", peers.len());
    print("what the log says of one more", reason(&broker, files)?);
    turned_away(
        &address,
        broker.id(),
        Duration::from_secs(seconds),
        &mut peers,
    )?;
    peers.iter_mut().try_for_each(message)?;
    print("of those that were served still are", peers.len());
    peers.truncate(peers.len() / 2);
    print(
        "half of them leave: the next is served after",
        format_args!("{:.1} ms", served_again(&address)?.as_secs_f64() * 1e3),
    );
    Ok(())
}

fn served(address: &str) -> Result<Peer> {
    let mut peer = Peer::connect(address)?;
    message(&mut peer)?;
    Ok(peer)
}

fn message(peer: &mut Peer) -> Result<()> {
    succeeded(&peer.ask(&send(TOPIC, "", b"one of many"))?)?;
    Ok(())
}

fn until_refused(address: &str, files: u64) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    while let Ok(peer) = served(address) {
        peers.push(peer);
        ensure!((peers.len() as u64) < files, "more than there are files");
    }
    Ok(peers)
}

/// The line of the log that names the limit.
fn reason(broker: &Running, files: u64) -> Result<String> {
    let named = format!("limit of {files} open files");
    let began = Instant::now();
    while began.elapsed() < SOON {
        let output = broker.output();
        let line = output.lines().find(|line| line.contains(&named));
        if let Some((_, reason)) = line.and_then(|line| line.split_once("reason=")) {
            return Ok(reason.to_owned());
        }
        thread::sleep(AGAIN);
    }
    Err(anyhow::anyhow!(
        "no {named:?} in the log: {}",
        broker.tail()
    ))
}

/// One who is turned away comes again and again; nothing is left of it, and the broker has not much to do. Whoever
/// gets the place of a file that the broker has closed meanwhile keeps it.
fn turned_away(address: &str, pid: u32, time: Duration, peers: &mut Vec<Peer>) -> Result<()> {
    let most = peers.len() + CLOSED_MAX;
    let (before, began, mut times) = (cpu_time(pid)?, Instant::now(), 0_u32);
    while began.elapsed() < time {
        match served(address) {
            Ok(peer) => peers.push(peer),
            Err(_) => times += 1,
        }
        ensure!(peers.len() <= most, "served beyond the limit");
        thread::sleep(AGAIN);
    }
    let used = cpu_time(pid)? - before;
    let each = used / times.max(1);
    print_goal(
        format_args!(
            "broker CPU for each of {times} that it turns away in {} s",
            time.as_secs()
        ),
        format_args!("{} us", each.as_micros()),
        format_args!("{} us", REFUSAL_GOAL.as_micros()),
        each <= REFUSAL_GOAL,
    );
    Ok(())
}

fn served_again(address: &str) -> Result<Duration> {
    let began = Instant::now();
    loop {
        match served(address) {
            Ok(_) => return Ok(began.elapsed()),
            Err(error) if began.elapsed() > SOON => return Err(error).context("not served again"),
            Err(_) => thread::sleep(AGAIN),
        }
    }
}
