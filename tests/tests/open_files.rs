//! More connections than the system has files for.

use std::io;
use std::time::Duration;

use sluice_protocol::code::response;
use sluice_tests::cluster::sluice_binary;
use sluice_tests::ports::{free_broker_port, free_port};
use sluice_tests::process::{Running, wait_until, with_open_files};
use sluice_tests::wire::{Wire, send};
use tempfile::TempDir;

const BOOT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
/// Hard limit of open files, of which 64 are not for connections.
const FILES: u64 = 256;
/// As many of those are free while nobody needs them.
const FREE: usize = 32;
const TOPIC: &str = "DefaultCluster";

struct Dev {
    running: Running,
    address: String,
    dir: TempDir,
}

fn start() -> Dev {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (broker, namesrv) = (free_broker_port(), free_port());
    let mut command = with_open_files(FILES, &sluice_binary());
    command.args(["dev", "--http-port", "0", "--data"]);
    command.arg(dir.path().join("data"));
    command.args(["--broker-port", &broker.to_string()]);
    command.args(["--namesrv-port", &namesrv.to_string()]);
    let mut running = Running::start("dev", dir.path(), &mut command);
    running.wait_for("Messages are kept in", BOOT);
    Dev {
        running,
        address: format!("127.0.0.1:{broker}"),
        dir,
    }
}

/// A connection over which a message was sent.
fn served(address: &str) -> io::Result<Wire> {
    let mut wire = Wire::connect(address)?;
    sends(&mut wire)?;
    Ok(wire)
}

fn sends(wire: &mut Wire) -> io::Result<()> {
    let answer = wire.ask(&send(TOPIC, "", b"one of many"))?;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
    Ok(())
}

#[test]
fn connections_beyond_the_open_files_are_refused_by_name_and_leave_the_store_its_own() {
    let dev = start();
    let mut wires = Vec::new();
    let refused = loop {
        match served(&dev.address) {
            Ok(wire) => wires.push(wire),
            Err(error) => break error,
        }
        assert!(wires.len() < FILES as usize, "more than there are files");
    };
    // At once, not when a client's patience is over.
    assert_ne!(refused.kind(), io::ErrorKind::WouldBlock, "{refused}");
    wait_until("the limit in the log", SOON, || {
        let output = dev.running.output();
        output.contains("limit of 256 open files").then_some(())
    });
    // Who is refused and comes again and again takes nothing from the others.
    for _ in 0..FILES {
        assert!(served(&dev.address).is_err());
    }
    wires
        .iter_mut()
        .for_each(|wire| sends(wire).expect("a send"));
    let open = std::fs::read_dir(format!("/proc/{}/fd", dev.running.id()));
    let open = open.expect("files of the broker").count();
    assert!(open <= FILES as usize - FREE, "{open} files are open");

    wires.truncate(10);
    wait_until("a new connection", SOON, || served(&dev.address).ok());
    drop(dev.dir);
}
