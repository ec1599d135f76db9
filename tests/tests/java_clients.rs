//! The official Java clients, with the Java broker and with Sluice.
//!
//! `SLUICE_WRITE_COMPAT=1` writes the times into `docs/compatibility.md`; `SLUICE_SCENARIOS=a,b` runs
//! only these, and `SLUICE_CLIENT=5.3.3` this client alone: not every client has every scenario.

use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::compatibility::{Comparison, write_section};
use sluice_tests::java::{CLIENT_VERSIONS, JavaPeer};
use sluice_tests::scenarios::{assert_passed, outcomes, run_java};

#[test]
fn java_clients_find_the_broker_they_know() {
    let chosen = std::env::var("SLUICE_SCENARIOS").unwrap_or_default();
    let names: Vec<&str> = chosen.split(',').filter(|name| !name.is_empty()).collect();
    let wanted = std::env::var("SLUICE_CLIENT").unwrap_or_default();
    let versions = CLIENT_VERSIONS.into_iter();
    let versions = versions.filter(|version| wanted.is_empty() || *version == wanted);
    let compare = |version: &str| {
        let client = JavaPeer::client(version);
        Comparison::of(version, &names, &|cluster, names| {
            run_java(&client, cluster.namesrv.address(), names, cluster.dir())
        })
    };
    let comparisons: Vec<Comparison> = versions.map(compare).collect();
    write_section("Java clients", &comparisons);
    comparisons.iter().for_each(Comparison::assert_alike);
}

/// It sends to the port two below the broker's own, and so does Sluice serve it there.
#[test]
fn a_client_of_4_2_0_finds_the_broker_it_knows() {
    let client = JavaPeer::old_client();
    let comparison = Comparison::of("4.2.0", &[], &|cluster, names| {
        let mut command = client.program("sluice.interop.OldScenarios", cluster.dir());
        command.arg(cluster.namesrv.address()).args(names);
        outcomes(&mut command, cluster.dir())
    });
    write_section("Java client of 4.2.0", std::slice::from_ref(&comparison));
    comparison.assert_alike();
}

/// Name server and broker refuse plain text; the broker reaches the name server by TLS as well.
#[test]
fn java_clients_speak_tls_to_servers_that_insist_on_it() {
    const SCENARIOS: [&str; 4] = ["sync_send", "big_body", "clustering", "admin_topics"];
    let cluster = Cluster::start_with(
        Kind::Sluice,
        More {
            namesrv: "tls.server.mode=enforcing\n",
            broker: "tls.server.mode=enforcing\ntls.enable=true\n",
        },
    );
    for version in CLIENT_VERSIONS {
        let client = JavaPeer::client(version).with_property("tls.enable=true");
        let outcomes = run_java(
            &client,
            cluster.namesrv.address(),
            &SCENARIOS,
            cluster.dir(),
        );
        assert_passed(&format!("client {version} over TLS"), &SCENARIOS, &outcomes);
    }
}
