//! Clients in other languages: Go (`rocketmq-client-go`) and Node (`ali-ons`), each against the Java
//! broker and against Sluice.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::compatibility::Comparison;
use sluice_tests::process::Running;
use sluice_tests::scenarios::{Outcome, assert_passed, parse};

const RUN: Duration = Duration::from_secs(300);

#[test]
fn the_go_client_finds_the_broker_it_knows() {
    let folder = folder("go");
    let program = tempfile::tempdir().expect("directory for the Go program");
    let program = program.path().join("goclient");
    prepare(
        Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(&folder),
    );
    compare("Go", |namesrv| {
        let mut command = Command::new(&program);
        command.arg(namesrv);
        command
    });
}

#[test]
fn the_node_client_finds_the_broker_it_knows() {
    let folder = folder("node");
    prepare(
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder),
    );
    compare("Node", |namesrv| {
        let mut command = Command::new("node");
        command.arg("index.js").arg(namesrv).current_dir(&folder);
        command
    });
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

fn compare(language: &str, command: impl Fn(&str) -> Command) {
    let run = |kind| {
        let cluster = Cluster::start(kind);
        let mut running = Running::start(
            "client",
            cluster.dir(),
            &mut command(cluster.namesrv.address()),
        );
        running.wait(RUN);
        let outcomes: Vec<Outcome> = running.output().lines().filter_map(parse).collect();
        assert!(
            !outcomes.is_empty(),
            "{language} gave no verdict: {}",
            running.tail()
        );
        assert_passed(&format!("{language} on {kind:?}"), &outcomes);
        outcomes
    };
    let comparison = Comparison {
        version: language.to_owned(),
        java: run(Kind::Java),
        sluice: run(Kind::Sluice),
    };
    assert!(
        comparison.late().is_empty(),
        "{language}: 5 s behind Java: {:?}",
        comparison.late()
    );
}
