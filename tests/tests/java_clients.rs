//! The official Java clients, with the Java broker and with Sluice.
//!
//! `SLUICE_WRITE_COMPAT=1` writes `docs/compatibility.md`; `SLUICE_PEERS=java` runs only against the
//! Java broker, to develop scenarios; `SLUICE_SCENARIOS=a,b` runs only these.

use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::compatibility::{Comparison, table};
use sluice_tests::java::CLIENT_VERSIONS;
use sluice_tests::scenarios::{Outcome, assert_passed, run};

/// How often a late scenario is repeated before it counts as late.
const REPEATS: usize = 2;

#[test]
fn java_clients_find_the_broker_they_know() {
    let chosen = std::env::var("SLUICE_SCENARIOS").unwrap_or_else(|_| "all".to_owned());
    let names: Vec<&str> = chosen.split(',').collect();
    let java = run_on_java(&names);
    for (version, outcomes) in CLIENT_VERSIONS.iter().zip(&java) {
        assert!(
            !outcomes.is_empty(),
            "client {version} passes nothing on the Java broker"
        );
    }
    if std::env::var("SLUICE_PEERS").is_ok_and(|peers| peers == "java") {
        return;
    }
    let comparisons = compare(java, &names);
    if std::env::var_os("SLUICE_WRITE_COMPAT").is_some() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
        std::fs::write(page, table(&comparisons)).expect("docs/compatibility.md");
    }
    let all: Vec<Outcome> = comparisons.iter().flat_map(named_by_version).collect();
    assert_passed("Java clients on Sluice", &all);
    for comparison in &comparisons {
        assert!(
            comparison.late().is_empty(),
            "client {}: 5 s behind Java: {:?}",
            comparison.version,
            comparison.late()
        );
    }
}

/// Runs all scenarios; a failure is named and repeated once, with both brokers alike: clients stall
/// by themselves now and then, a broker's fault comes again.
fn run_twice_if_failed(
    kind: Kind,
    version: &str,
    names: &[&str],
    cluster: &Cluster,
) -> Vec<Outcome> {
    let namesrv = cluster.namesrv.address();
    let mut outcomes = run(version, namesrv, names, cluster.dir());
    let failed: Vec<Outcome> = outcomes
        .iter()
        .filter(|o| o.failure.is_some())
        .cloned()
        .collect();
    if !failed.is_empty() {
        eprintln!("client {version} on {kind:?}, repeated: {failed:?}");
        outcomes.retain(|o| o.failure.is_none());
        let failed: Vec<&str> = failed.iter().map(|o| o.name.as_str()).collect();
        outcomes.extend(run(version, namesrv, &failed, cluster.dir()));
    }
    outcomes
}

/// The measure for everything else. What fails here even when repeated is the client's or the
/// machine's: it is named, and has no time to compare ours with.
fn run_on_java(names: &[&str]) -> Vec<Vec<Outcome>> {
    let cluster = Cluster::start(Kind::Java);
    let run_version = |version: &&str| {
        let (failed, passed): (Vec<_>, Vec<_>) =
            run_twice_if_failed(Kind::Java, version, names, &cluster)
                .into_iter()
                .partition(|o| o.failure.is_some());
        if !failed.is_empty() {
            eprintln!("client {version} fails on the Java broker itself: {failed:?}");
        }
        passed
    };
    CLIENT_VERSIONS.iter().map(run_version).collect()
}

fn compare(java: Vec<Vec<Outcome>>, names: &[&str]) -> Vec<Comparison> {
    let cluster = Cluster::start(Kind::Sluice);
    let namesrv = cluster.namesrv.address();
    let compare_version = |(version, java): (&&str, Vec<Outcome>)| {
        let sluice = run_twice_if_failed(Kind::Sluice, version, names, &cluster);
        let mut comparison = Comparison {
            version: (*version).to_owned(),
            java,
            sluice,
        };
        for _ in 0..REPEATS {
            let late: Vec<String> = comparison.late().into_iter().map(str::to_owned).collect();
            if late.is_empty() {
                break;
            }
            let late: Vec<&str> = late.iter().map(String::as_str).collect();
            comparison.take_repeated(run(version, namesrv, &late, cluster.dir()));
        }
        comparison
    };
    CLIENT_VERSIONS
        .iter()
        .zip(java)
        .map(compare_version)
        .collect()
}

fn named_by_version(comparison: &Comparison) -> Vec<Outcome> {
    let named = |o: &Outcome| Outcome {
        name: format!("{} {}", comparison.version, o.name),
        ..o.clone()
    };
    comparison.sluice.iter().map(named).collect()
}
