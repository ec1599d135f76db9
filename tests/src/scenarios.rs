//! Runs the Java scenario file and reads its verdicts.

use std::path::Path;
use std::time::Duration;

use crate::java::JavaPeer;
use crate::process::Running;

/// How long one run of all scenarios may take; each has a deadline of its own in Java.
const RUN: Duration = Duration::from_secs(300);

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

/// Runs scenarios (`["all"]` for all) with client `version` against `namesrv`.
///
/// # Panics
/// If the program dies without a verdict.
pub fn run(version: &str, namesrv: &str, names: &[&str], dir: &Path) -> Vec<Outcome> {
    let home = tempfile::tempdir_in(dir).expect("home of the client");
    let mut command = JavaPeer::client(version).program("sluice.interop.Scenarios", home.path());
    let mut running = Running::start("scenarios", home.path(), command.arg(namesrv).args(names));
    running.wait(RUN);
    let outcomes: Vec<Outcome> = running.output().lines().filter_map(parse).collect();
    assert!(
        !outcomes.is_empty(),
        "client {version} gave no verdict: {}",
        running.tail()
    );
    let missing: Vec<_> = names
        .iter()
        .filter(|name| **name != "all" && !outcomes.iter().any(|o| o.name == **name))
        .collect();
    assert!(
        missing.is_empty(),
        "client {version} gave no verdict on {missing:?}: {}",
        running.tail()
    );
    outcomes
}

/// `PASS <name> <millis>` or `FAIL <name> <millis> <reason>`.
pub fn parse(line: &str) -> Option<Outcome> {
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

/// Panics with every failed scenario.
pub fn assert_passed(what: &str, outcomes: &[Outcome]) {
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|o| {
            o.failure
                .as_ref()
                .map(|reason| format!("{} ({} ms): {reason}", o.name, o.millis))
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{what}: {} of {} scenarios failed:\n{}",
        failed.len(),
        outcomes.len(),
        failed.join("\n")
    );
}
