//! Clients in other languages: Go (`rocketmq-client-go`), Node (`ali-ons`) and Rust (ours), each with
//! the Java broker and with Sluice.

use std::path::{Path, PathBuf};
use std::process::Command;

use sluice_tests::cluster::Cluster;
use sluice_tests::compatibility::{Comparison, write_section};
use sluice_tests::process::example;
use sluice_tests::scenarios::{Outcome, outcomes};

#[test]
fn the_go_client_finds_the_broker_it_knows() {
    let program = tempfile::tempdir().expect("directory for the Go program");
    let program = program.path().join("goclient");
    prepare(
        Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(folder("go")),
    );
    compare("Go client", &|| Command::new(&program));
}

#[test]
fn the_node_client_finds_the_broker_it_knows() {
    let folder = folder("node");
    prepare(
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder),
    );
    compare("Node client", &|| {
        let mut command = Command::new("node");
        command.arg("index.js").current_dir(&folder);
        command
    });
}

#[test]
fn the_rust_client_finds_the_broker_it_knows() {
    let program = example("scenarios");
    compare("Rust client", &|| Command::new(&program));
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn prepare(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn compare(client: &str, program: &dyn Fn() -> Command) {
    let run = |cluster: &Cluster, names: &[&str]| -> Vec<Outcome> {
        let mut command = program();
        command.arg(cluster.namesrv.address()).args(names);
        outcomes(&mut command, cluster.dir())
    };
    let comparison = Comparison::of(client, &[], &run);
    write_section(client, std::slice::from_ref(&comparison));
    comparison.assert_alike();
}
