//! Programs that run scenarios and say how each ended.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::java::JavaPeer;
use crate::process::Running;

/// How long one program may take; each scenario has a deadline of its own.
const RUN: Duration = Duration::from_secs(600);

/// The end of one scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario.
    pub name: String,
    /// How long it took.
    pub millis: u64,
    /// Why it failed, or nothing.
    pub failure: Option<String>,
}

/// Runs scenarios (none means all) of the Java scenario file with `client` against `namesrv`.
///
/// # Panics
/// If the program dies without a verdict.
pub fn run_java(client: &JavaPeer, namesrv: &str, names: &[&str], dir: &Path) -> Vec<Outcome> {
    let home = tempfile::tempdir_in(dir).expect("home of the client");
    let mut command = client.program("sluice.interop.Scenarios", home.path());
    let names = if names.is_empty() { &["all"] } else { names };
    outcomes(command.arg(namesrv).args(names), home.path())
}

/// [`run_java`] against a Java broker, which is measured by and is no subject of ours: what fails there, as its
/// timer and its clients do on a busy machine, is run once more.
///
/// # Panics
/// As there.
pub fn run_java_on_java(
    client: &JavaPeer,
    namesrv: &str,
    names: &[&str],
    dir: &Path,
) -> Vec<Outcome> {
    let mut outcomes = run_java(client, namesrv, names, dir);
    let failed = outcomes.extract_if(.., |outcome| outcome.failure.is_some());
    let failed: Vec<Outcome> = failed.collect();
    if !failed.is_empty() {
        eprintln!("on Java, repeated: {failed:?}");
        let names: Vec<&str> = failed.iter().map(|outcome| &*outcome.name).collect();
        outcomes.extend(run_java(client, namesrv, &names, dir));
    }
    outcomes
}

/// Runs a program that prints a line `PASS <name> <millis>` or `FAIL <name> <millis> <reason>` for
/// each scenario.
///
/// # Panics
/// If it gives no verdict at all.
pub fn outcomes(command: &mut Command, dir: &Path) -> Vec<Outcome> {
    let mut running = Running::start("scenarios", dir, command);
    running.wait(RUN);
    let outcomes: Vec<Outcome> = running.output().lines().filter_map(parse).collect();
    assert!(
        !outcomes.is_empty(),
        "{command:?} gave no verdict: {}",
        running.tail()
    );
    outcomes
}

fn parse(line: &str) -> Option<Outcome> {
    let mut words = line.splitn(4, ' ');
    let passed = match words.next()? {
        "PASS" => true,
        "FAIL" => false,
        _ => return None,
    };
    let name = words.next()?.to_owned();
    let millis = words.next()?.parse().ok()?;
    let failure = (!passed).then(|| words.next().unwrap_or("no reason given").to_owned());
    Some(Outcome {
        name,
        millis,
        failure,
    })
}

/// Panics with every failed scenario, and with every one of `names` that has no verdict.
pub fn assert_passed(what: &str, names: &[&str], outcomes: &[Outcome]) {
    let mut failed: Vec<String> = outcomes
        .iter()
        .filter_map(|o| {
            o.failure
                .as_ref()
                .map(|reason| format!("{} ({} ms): {reason}", o.name, o.millis))
        })
        .collect();
    let silent = names
        .iter()
        .filter(|name| !outcomes.iter().any(|o| o.name == **name));
    failed.extend(silent.map(|name| format!("{name}: no verdict")));
    assert!(
        failed.is_empty(),
        "{what}: {} of {} scenarios failed:\n{}",
        failed.len(),
        outcomes.len().max(names.len()),
        failed.join("\n")
    );
}
