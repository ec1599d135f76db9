//! The Java proxy 5.3.3 in cluster mode, in front of the Java broker and in front of Sluice: the gRPC
//! client, and the remoting clients through its other port.
//!
//! `SLUICE_SCENARIOS=a,b` runs only these; `SLUICE_WRITE_COMPAT=1` writes the times into
//! `docs/compatibility.md`.

use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::compatibility::{Comparison, write_section};
use sluice_tests::java::{CLIENT_VERSIONS, JavaPeer};
use sluice_tests::proxy::Proxy;
use sluice_tests::scenarios::{Outcome, outcomes};

/// What the proxy relays for remoting clients. It is their name server and their broker, but serves no
/// administration and no QUERY_ASSIGNMENT, and takes from a topic's type which messages it is for.
const REMOTING: [&str; 7] = [
    "sync_send",
    "batch_send",
    "tags",
    "sql_push",
    "orderly",
    "broadcast",
    "retry_to_dead_letters",
];
/// Most scenarios wait for a time.
const AT_ONCE: &str = "interop.parallel=24";

#[test]
fn clients_find_the_broker_they_know_behind_the_java_proxy() {
    let comparison = Comparison {
        client: "behind the proxy".to_owned(),
        java: outcomes_of(Kind::Java),
        sluice: outcomes_of(Kind::Sluice),
    };
    write_section("Java proxy", std::slice::from_ref(&comparison));
    comparison.assert_alike();
}

/// One proxy in front of one cluster, all clients at once; what fails is repeated, for clients stall by
/// themselves now and then.
fn outcomes_of(kind: Kind) -> Vec<Outcome> {
    let chosen = std::env::var("SLUICE_SCENARIOS").unwrap_or_default();
    let names: Vec<&str> = chosen.split(',').filter(|name| !name.is_empty()).collect();
    let cluster = Cluster::start(kind);
    let proxy = Proxy::start(cluster.dir(), cluster.namesrv.address());
    let (mut outcomes, failed): (Vec<_>, Vec<_>) = by_all(&cluster, &proxy, &names)
        .into_iter()
        .partition(|outcome| outcome.failure.is_none());
    if !failed.is_empty() {
        eprintln!("behind the proxy on {kind:?}, repeated: {failed:?}");
        let names: Vec<&str> = failed.iter().map(|outcome| outcome.name.as_str()).collect();
        outcomes.extend(by_all(&cluster, &proxy, &names));
    }
    outcomes
}

fn by_all(cluster: &Cluster, proxy: &Proxy, names: &[&str]) -> Vec<Outcome> {
    std::thread::scope(|scope| {
        let remoting = CLIENT_VERSIONS
            .map(|version| scope.spawn(move || by_remoting(cluster, proxy, version, names)));
        let mut all = by_grpc(cluster, proxy, names);
        for outcomes in remoting {
            all.extend(outcomes.join().expect("verdicts of a remoting client"));
        }
        all
    })
}

fn by_grpc(cluster: &Cluster, proxy: &Proxy, names: &[&str]) -> Vec<Outcome> {
    let chosen: Vec<&str> = match names {
        [] => vec!["all"],
        names => names
            .iter()
            .filter_map(|name| name.strip_prefix("grpc_"))
            .collect(),
    };
    let peer = JavaPeer::grpc_client()
        .with_property(&format!("interop.proxy={}", proxy.grpc()))
        .with_property(&format!("interop.proxy.remoting={}", proxy.remoting()));
    let namesrv = cluster.namesrv.address();
    run(cluster, peer, "ProxyScenarios", (namesrv, &chosen), "grpc_")
}

fn by_remoting(cluster: &Cluster, proxy: &Proxy, version: &str, names: &[&str]) -> Vec<Outcome> {
    let prefix = format!("remoting_{version}_");
    let chosen: Vec<&str> = match names {
        [] => REMOTING.to_vec(),
        names => names
            .iter()
            .filter_map(|name| name.strip_prefix(&*prefix))
            .collect(),
    };
    let admin = format!("interop.admin={}", cluster.namesrv.address());
    let peer = JavaPeer::client(version).with_property(&admin);
    run(
        cluster,
        peer,
        "Scenarios",
        (proxy.remoting(), &chosen),
        &prefix,
    )
}

/// The verdicts of one program; none without scenarios. Their names begin with `prefix`.
fn run(
    cluster: &Cluster,
    peer: JavaPeer,
    program: &str,
    (address, names): (&str, &[&str]),
    prefix: &str,
) -> Vec<Outcome> {
    if names.is_empty() {
        return Vec::new();
    }
    let home = tempfile::tempdir_in(cluster.dir()).expect("home of a client");
    let mut command = peer
        .with_property(AT_ONCE)
        .program(&format!("sluice.interop.{program}"), home.path());
    let mut outcomes = outcomes(command.arg(address).args(names), home.path());
    for outcome in &mut outcomes {
        outcome.name.insert_str(0, prefix);
    }
    outcomes
}
