//! Transactions with stock clients across what happens to a broker: crashes, another program on its
//! directory, plugins, an operator.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::audit::{AuditConsumer, AuditProducer};
use sluice_tests::cluster::{Cluster, Kind, More, sluice_binary};
use sluice_tests::java::JavaPeer;
use sluice_tests::plugins::redact_guest;
use sluice_tests::process::{Running, wait_until};

const TOPIC: &str = "orders";
const SOON: Duration = Duration::from_secs(60);
/// Time in which a message that must not come would have come.
const AFTERWARDS: Duration = Duration::from_secs(2);
const KILLS: usize = 3;
/// Acknowledged messages before each kill.
const LOAD: usize = 300;

/// A stock program of a client that sends transactional messages, see `Trial.java`.
struct Producer {
    running: Running,
    input: std::process::ChildStdin,
    sent: usize,
}

impl Producer {
    fn start(cluster: &Cluster, group: &str) -> Producer {
        let mut command = JavaPeer::client("5.3.3").program("sluice.interop.Trial", cluster.dir());
        command.args(["transact", cluster.namesrv.address(), TOPIC, group]);
        let mut running = Running::start(group, cluster.dir(), &mut command);
        let input = running.input();
        Producer {
            running,
            input,
            sent: 0,
        }
    }

    /// Sends one message; what its program was told.
    fn send(&mut self, body: &str, properties: &str) -> String {
        let line = format!("{body}\t{}", properties.replace(' ', "\t"));
        writeln!(self.input, "{line}").expect("the producer reads");
        self.sent += 1;
        let answers = |line: &&str| line.starts_with("SENT") || line.starts_with("REFUSED");
        let sent = self.sent;
        wait_until("the producer's answer", SOON, || {
            let output = self.running.output();
            let answer = output.lines().filter(answers).nth(sent - 1);
            answer.map(str::to_owned)
        })
    }

    fn must_send(&mut self, body: &str, properties: &str) {
        assert_eq!(
            self.send(body, properties),
            format!("SENT {TOPIC}"),
            "{body}"
        );
    }
}

fn counted(ids: Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn is_committed(id: &str) -> bool {
    let number = id.rsplit('-').next().and_then(|number| number.parse().ok());
    number.is_some_and(|number: u64| number.is_multiple_of(2))
}

/// Of a load of transactions that are committed and rolled back, at once and when asked, those that
/// were acknowledged end as they were decided, and none is in the log twice.
fn audit_kills(settings: &str) {
    let more = More {
        broker: settings,
        ..More::default()
    };
    let mut cluster = Cluster::start_with(Kind::Sluice, more);
    let namesrv = cluster.namesrv.address().to_owned();
    let producer = AuditProducer::transactional(&namesrv, TOPIC, "m", cluster.dir());
    let live = AuditConsumer::start(&namesrv, TOPIC, "audit-group", "live", cluster.dir());
    for _ in 0..KILLS {
        producer.wait_for_more(LOAD);
        cluster.broker.kill();
        cluster.broker.start_again(Kind::Sluice);
    }
    producer.wait_for_more(LOAD);
    let committed: HashSet<String> = producer
        .acked()
        .into_iter()
        .filter(|id| is_committed(id))
        .collect();
    live.wait_for_all(&committed);
    producer.stop();
    let later = AuditConsumer::start(&namesrv, TOPIC, "later-group", "later", cluster.dir());
    later.wait_for_all(&committed);
    let counts = counted(later.received());
    let rolled_back: Vec<&String> = counts.keys().filter(|id| !is_committed(id)).collect();
    assert!(
        rolled_back.is_empty(),
        "rolled back, and seen: {rolled_back:?}"
    );
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "committed twice: {twice:?}");
}

#[test]
fn kill_9_loses_and_doubles_no_transaction() {
    audit_kills("");
}

#[test]
fn kill_9_with_sync_flush_loses_and_doubles_no_transaction() {
    audit_kills("flushDiskType=SYNC_FLUSH\n");
}

/// What one program left undecided the other asks about, and what is decided stays so.
#[test]
fn transactions_move_between_java_and_sluice() {
    // Java counts questions while no producer is connected, and clients come back after 30 s.
    let more = More {
        broker: "transactionCheckMax=15\n",
        ..More::default()
    };
    let mut cluster = Cluster::start_with(Kind::Java, more);
    let mut producer = Producer::start(&cluster, "shop");
    let mut expected = HashSet::new();
    for (turn, next) in [Kind::Sluice, Kind::Java].into_iter().enumerate() {
        for (what, fate) in [
            ("open", "first=- asked=commit"),
            ("dropped-later", "first=- asked=rollback"),
            ("done", "first=commit asked=rollback"),
            ("dropped", "first=rollback asked=commit"),
        ] {
            producer.must_send(&format!("{what}-{turn}"), fate);
        }
        expected.extend([format!("open-{turn}"), format!("done-{turn}")]);
        // Java's op records lie in memory for a second (transactionOpBatchInterval).
        std::thread::sleep(AFTERWARDS);
        cluster.broker.terminate();
        cluster.broker.start_again(next);
        let name = format!("turn-{turn}");
        let namesrv = cluster.namesrv.address();
        let consumer = AuditConsumer::start(namesrv, TOPIC, &name, &name, cluster.dir());
        consumer.wait_for_all(&expected);
        wait_until("the question about the other", SOON, || {
            let asked = format!("ASKED dropped-later-{turn}");
            producer.running.output().contains(&asked).then_some(())
        });
        std::thread::sleep(AFTERWARDS);
        let counts = counted(consumer.received());
        let seen: HashSet<String> = counts.keys().cloned().collect();
        assert_eq!(seen, expected);
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    }
}

/// A send hook has its say before a half message is stored, filters and consume hooks when it is
/// delivered.
#[test]
fn plugins_see_transactional_messages() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put_shipped("require-fields", "require-fields");
    plugins.put_shipped("sequence", "sequence");
    plugins.put(
        "redact",
        &std::fs::read(redact_guest()).expect("the test guest"),
    );
    let mut producer = Producer::start(&cluster, "shop");
    producer.must_send("before", "first=rollback SequenceId=1");
    plugins.bind(
        "require-fields",
        TOPIC,
        "",
        json!({"params": {"SequenceId": "text"}}),
    );
    plugins.bind(
        "sequence",
        TOPIC,
        "risk",
        json!({"params": {"above": "0", "multiple-of": "2"}}),
    );
    plugins.bind("redact", TOPIC, "masked", json!({}));
    let refused = producer.send("no sequence", "first=commit");
    assert!(refused.starts_with("REFUSED 13"), "{refused}");
    for number in 1..=4 {
        producer.must_send(
            &format!("order {number}"),
            &format!("first=commit SequenceId={number}"),
        );
    }
    let start = |group: &str| {
        let namesrv = cluster.namesrv.address();
        AuditConsumer::start(namesrv, TOPIC, group, group, cluster.dir())
    };
    let risk = start("risk");
    risk.wait_for_all(&["order 2", "order 4"].map(str::to_owned).into());
    let masked = start("masked");
    masked.wait_for_all(&["***".to_owned()].into());
    std::thread::sleep(AFTERWARDS);
    assert_eq!(counted(risk.received()).len(), 2);
    assert_eq!(masked.received(), ["***"; 4]);
}

/// `sluice tx` against a broker.
fn tx(cluster: &Cluster, arguments: &[&str]) -> Output {
    Command::new(sluice_binary())
        .arg("tx")
        .args(arguments)
        .env("SLUICE_BROKER", cluster.broker.http())
        .output()
        .expect("sluice")
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_operator_decides_what_nobody_decides() {
    let cluster = Cluster::start_with(
        Kind::Sluice,
        More {
            broker: "transactionTimeOut=600000\n",
            ..More::default()
        },
    );
    assert!(told(&tx(&cluster, &["list"])).contains("No transaction awaits a decision"));
    let mut producer = Producer::start(&cluster, "shop");
    producer.must_send("kept", "first=- colour=blue");
    producer.must_send("dropped", "first=- colour=red");
    let listed = told(&tx(&cluster, &["list", "--json", "--group", "shop"]));
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let ids: Vec<&str> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|transaction| transaction["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids.len(), 2, "{listed}");
    assert!(told(&tx(&cluster, &["list"])).contains(ids[1]));
    assert!(!told(&tx(&cluster, &["list", "--topic", "others"])).contains(ids[1]));
    let shown = told(&tx(&cluster, &["show", ids[0]]));
    assert!(
        shown.contains("colour = blue") && shown.contains("\nkept"),
        "{shown}"
    );

    assert!(told(&tx(&cluster, &["commit", ids[0]])).contains("is committed"));
    assert!(told(&tx(&cluster, &["rollback", ids[1]])).contains("is rolled back"));
    let again = tx(&cluster, &["rollback", ids[0]]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("no undecided transaction"));
    let namesrv = cluster.namesrv.address();
    let consumer = AuditConsumer::start(namesrv, TOPIC, "all", "all", cluster.dir());
    consumer.wait_for_all(&["kept".to_owned()].into());
    std::thread::sleep(AFTERWARDS);
    assert_eq!(consumer.received(), ["kept"]);
    let (_, metrics) = cluster
        .broker
        .plugins()
        .ask("GET", "/metrics", "text/plain", b"");
    let metrics = metrics.as_str().expect("text");
    assert!(
        metrics.contains("sluice_transactions_undecided 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("sluice_transactions_committed_total 1\n"),
        "{metrics}"
    );
}
