//! What people come for, with clients that know nothing of it: a filter is uploaded, SQL calls
//! functions, hooks refuse and change messages.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sluice_tests::cluster::{Cluster, Kind, More, sluice_binary};
use sluice_tests::java::{CLIENT_VERSIONS, JavaPeer};
use sluice_tests::plugins::{redact_guest, verdict_guest};
use sluice_tests::process::{Running, wait_until};

const SOON: Duration = Duration::from_secs(45);
/// Time in which a message that must not come would have come.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// A stock client's plain consumer, see `Trial.java`.
struct Consumer(Running);

impl Consumer {
    /// Bodies that have come, as often as they came.
    fn bodies(&self) -> Vec<String> {
        let output = self.0.output();
        let got = |line: &str| {
            let ours = line.strip_prefix("GOT ");
            // `sluice recv` prints the message id before the body.
            let ours = ours.or_else(|| {
                line.strip_prefix("received  ")?
                    .split_once(' ')
                    .map(|p| p.1)
            });
            ours.map(str::to_owned)
        };
        output.lines().filter_map(got).collect()
    }

    /// Waits for exactly these bodies, each once.
    fn expect(&self, expected: &BTreeSet<String>) {
        wait_until(&format!("{} messages", expected.len()), SOON, || {
            let got: BTreeSet<String> = self.bodies().into_iter().collect();
            got.is_superset(expected).then_some(())
        });
        std::thread::sleep(AFTERWARDS);
        let mut got = self.bodies();
        got.sort();
        let expected: Vec<String> = expected.iter().cloned().collect();
        assert_eq!(got, expected);
    }
}

/// The clients that a consumer is tried with.
enum Client {
    Java(JavaPeer),
    Go(PathBuf),
    Rust,
}

impl Client {
    fn all(dir: &Path) -> Vec<(String, Client)> {
        let go = dir.join("goclient");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&go)
            .arg(".")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
            .status();
        assert!(built.expect("go").success());
        let mut all: Vec<(String, Client)> = CLIENT_VERSIONS
            .iter()
            .map(|version| {
                let name = format!("java{}", version.replace('.', ""));
                (name, Client::Java(JavaPeer::client(version)))
            })
            .collect();
        all.push(("go".to_owned(), Client::Go(go)));
        all.push(("rust".to_owned(), Client::Rust));
        all
    }

    fn consume(&self, cluster: &Cluster, topic: &str, group: &str, sql: Option<&str>) -> Consumer {
        let namesrv = cluster.namesrv.address();
        let mut command = match self {
            Client::Java(peer) => {
                let mut command = peer.program("sluice.interop.Trial", cluster.dir());
                command.args(["consume", namesrv, topic, group]);
                command
            }
            Client::Go(program) => {
                let mut command = Command::new(program);
                command.args(["consume", namesrv, topic, group]);
                command
            }
            Client::Rust => {
                let mut command = Command::new(sluice_binary());
                command.args(["recv", "-n", namesrv, topic, "--group", group]);
                command
            }
        };
        if let (Client::Rust, true) = (self, sql.is_some()) {
            command.args(["--filter-type", "SQL92", "--filter"]);
        }
        command.args(sql);
        Consumer(Running::start(group, cluster.dir(), &mut command))
    }
}

/// A stock Java producer that sends what it is told.
struct Producer {
    running: Running,
    input: std::process::ChildStdin,
    sent: usize,
}

impl Producer {
    fn start(cluster: &Cluster, version: &str, topic: &str) -> Producer {
        let mut command = JavaPeer::client(version).program("sluice.interop.Trial", cluster.dir());
        command.args(["produce", cluster.namesrv.address(), topic]);
        let name = format!("producer-{topic}");
        let mut running = Running::start(&name, cluster.dir(), &mut command);
        let input = running.input();
        Producer {
            running,
            input,
            sent: 0,
        }
    }

    /// Sends one message; what its program was told.
    fn send(&mut self, body: &str, properties: &[(&str, &str)]) -> String {
        let mut line = body.to_owned();
        for (name, value) in properties {
            line += &format!("\t{name}={value}");
        }
        writeln!(self.input, "{line}").expect("the producer reads");
        self.sent += 1;
        let sent = self.sent;
        wait_until("the producer's answer", SOON, || {
            let output = self.running.output();
            let mut answers = output
                .lines()
                .filter(|line| line.starts_with("SENT") || line.starts_with("REFUSED"));
            answers.nth(sent - 1).map(str::to_owned)
        })
    }
}

fn numbers(numbers: impl Iterator<Item = u32>) -> BTreeSet<String> {
    numbers.map(|number| format!("order {number}")).collect()
}

/// Journey 1: consumers of the group receive only what the filter passes, whatever client they are.
#[test]
fn an_uploaded_filter_decides_what_stock_consumers_receive() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put_shipped("sequence", "sequence");
    for (name, client) in Client::all(cluster.dir()) {
        let (topic, group) = (format!("orders-{name}"), format!("risk-{name}"));
        let mut producer = Producer::start(&cluster, "5.3.3", &topic);
        // The topic has to be there when the Go client starts.
        assert_eq!(
            producer.send("order 0", &[("SequenceId", "0")]),
            format!("SENT {topic}")
        );
        plugins.bind(
            "sequence",
            &topic,
            &group,
            json!({"params": {"above": "10", "multiple-of": "3"}}),
        );
        let consumer = client.consume(&cluster, &topic, &group, None);
        let unfiltered = client.consume(&cluster, &topic, &format!("all-{name}"), None);
        for number in 1..40 {
            producer.send(
                &format!("order {number}"),
                &[("SequenceId", &number.to_string())],
            );
        }
        consumer.expect(&numbers((0..40).filter(|n| *n > 10 && n % 3 == 0)));
        unfiltered.expect(&numbers(0..40));
        let stats = plugins.stats("sequence", &topic, 1);
        assert_eq!(stats["rows"], 40, "each message is judged once: {stats}");
    }
}

/// Journey 1, later: a new version is tried beside the old, given a part, made current and rolled
/// back while messages flow; none is lost or comes twice.
#[test]
fn versions_change_under_way_and_no_message_is_lost() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    let guest = std::fs::read_to_string(verdict_guest()).expect("the test guest");
    assert_eq!(plugins.put("verdict", guest.as_bytes()), 1);
    let topic = "orders";
    let mut producer = Producer::start(&cluster, "5.3.3", topic);
    producer.send("order 0", &[("verdict", "p")]);
    plugins.bind("verdict", topic, "risk", json!({}));
    let java = Client::Java(JavaPeer::client("5.3.3"));
    let consumer = java.consume(&cluster, topic, "risk", None);
    let second = guest.replace("(i32.const 4096)", "(i32.const 8192)");
    assert_eq!(plugins.put("verdict", second.as_bytes()), 2);
    let mut number = 1;
    // Each twenty are consumed before the next change: all versions get some to judge.
    let mut send_some = |producer: &mut Producer| {
        for _ in 0..20 {
            let verdict = if number % 2 == 0 { "p" } else { "d" };
            producer.send(&format!("order {number}"), &[("verdict", verdict)]);
            number += 1;
        }
        let passing = 1 + (number as usize - 1) / 2;
        wait_until("all that pass so far", SOON, || {
            (consumer.bodies().len() >= passing).then_some(())
        });
    };
    let change = |what: &str, more| plugins.change(what, "verdict", topic, "risk", more);
    send_some(&mut producer);
    change("shadow", json!({"version": 2}));
    send_some(&mut producer);
    change("canary", json!({"version": 2, "percent": 10}));
    send_some(&mut producer);
    change("promote", json!({}));
    send_some(&mut producer);
    change("rollback", json!({}));
    send_some(&mut producer);
    consumer.expect(&numbers((0..=100).filter(|n| n % 2 == 0)));
    assert_eq!(plugins.stats("verdict", topic, 2)["differing"], 0);
    assert!(plugins.stats("verdict", topic, 2)["rows"].as_u64() >= Some(20));
}

/// A broker that is killed comes back with its plugins bound.
#[test]
fn bindings_survive_kill_9() {
    let mut cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put_shipped("sequence", "sequence");
    let mut producer = Producer::start(&cluster, "5.3.3", "orders");
    producer.send("order 0", &[("SequenceId", "0")]);
    plugins.bind("sequence", "orders", "risk", json!({}));
    cluster.broker.kill();
    cluster.broker.start_again(Kind::Sluice);
    let java = Client::Java(JavaPeer::client("5.3.3"));
    let consumer = java.consume(&cluster, "orders", "risk", None);
    for number in 1..20 {
        producer.send(
            &format!("order {number}"),
            &[("SequenceId", &number.to_string())],
        );
    }
    consumer.expect(&numbers([12, 15, 18].into_iter()));
}

/// Journey 2: SQL from any client, also calling an uploaded function and naming a bound filter.
#[test]
fn sql_calls_uploaded_functions() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put_shipped("geo_within", "geo-within");
    plugins.put_shipped("sequence", "sequence");
    let area = json!({"params": {"cn-east": "30.5,118.3 32.0,122.2 29.1,122.0"}});
    let sql = "geo_within(lat, lon, 'cn-east') AND amount > 10";
    let named = "WASM('sequence') AND amount > 10";
    for (name, client) in Client::all(cluster.dir()) {
        let topic = format!("rides-{name}");
        let mut producer = Producer::start(&cluster, "4.9.8", &topic);
        producer.send("order 0", &[]);
        plugins.bind("geo_within", &topic, "", area.clone());
        plugins.bind("sequence", &topic, &format!("named-{name}"), json!({}));
        let consumer = client.consume(&cluster, &topic, &format!("geo-{name}"), Some(sql));
        let by_name = client.consume(&cluster, &topic, &format!("named-{name}"), Some(named));
        for number in 1..30_u32 {
            let latitude = if number % 2 == 0 { "30.8" } else { "3.8" };
            let amount = number.to_string();
            let properties = [
                ("lat", latitude),
                ("lon", "121.0"),
                ("amount", &*amount),
                ("SequenceId", &*amount),
            ];
            producer.send(&format!("order {number}"), &properties);
        }
        consumer.expect(&numbers((1..30).filter(|n| n % 2 == 0 && *n > 10)));
        by_name.expect(&numbers((1..30).filter(|n| n % 3 == 0 && *n > 10)));
        // Rows that the amount decides are not asked about.
        let rows = plugins.stats("geo_within", &topic, 1)["rows"].clone();
        assert_eq!(rows, 19, "of 30 messages 19 have an amount over 10");
    }
}

/// A language that a plugin brings, named as the expression type by a client that knows how.
#[test]
fn a_plugin_brings_an_expression_language() {
    let cluster = Cluster::start(Kind::Sluice);
    cluster.broker.plugins().put_shipped("regex", "regex");
    let mut producer = Producer::start(&cluster, "5.3.3", "rides");
    producer.send("order 0", &[("region", "us-east")]);
    let namesrv = cluster.namesrv.address();
    let mut command = Command::new(sluice_binary());
    command
        .args(["recv", "-n", namesrv, "rides", "--group", "north"])
        .args(["--filter-type", "regex"])
        .args(["--filter", "region =~ ^eu-(west|north)$"]);
    let consumer = Consumer(Running::start("north", cluster.dir(), &mut command));
    for (number, region) in (1..).zip(["eu-west", "eu-south", "eu-north", "xeu-north"]) {
        producer.send(&format!("order {number}"), &[("region", region)]);
    }
    consumer.expect(&numbers([1, 3].into_iter()));
}

/// What can't work is refused when the client subscribes, in words that name the place.
#[test]
fn sql_that_cannot_work_is_refused_with_column_and_expectation() {
    let cluster = Cluster::start(Kind::Sluice);
    let mut producer = Producer::start(&cluster, "5.3.3", "orders");
    producer.send("order 0", &[]);
    let refused = |version: &str, sql: &str, group: &str| {
        let client = Client::Java(JavaPeer::client(version));
        let mut consumer = client.consume(&cluster, "orders", group, Some(sql));
        consumer.0.wait_for("REFUSED", SOON);
        consumer.0.output()
    };
    for version in CLIENT_VERSIONS {
        let group = format!("g{}", version.replace('.', ""));
        let told = refused(version, "amount > '5'", &group);
        assert!(told.contains("23"), "{told}");
        assert!(
            told.contains("column 10") && told.contains("`>` compares numbers"),
            "{told}"
        );
        let told = refused(version, "nowhere(lat) AND amount > 5", &format!("{group}f"));
        assert!(
            told.contains("function nowhere") && told.contains("is bound to topic"),
            "{told}"
        );
    }
}

/// Journey 3: a send hook refuses with a reason that the producer's exception shows, another masks
/// card numbers, and the broker's own dedup drops what comes twice.
#[test]
fn send_hooks_refuse_with_a_reason_and_change_messages() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put_shipped("require-fields", "require-fields");
    plugins.put_shipped("mask-pii", "mask-pii");
    for version in CLIENT_VERSIONS {
        let topic = format!("orders{}", version.replace('.', ""));
        plugins.bind(
            "require-fields",
            &topic,
            "",
            json!({"params": {"customer": "text"}, "order": 1}),
        );
        plugins.bind("mask-pii", &topic, "", json!({"order": 2}));
        let mut producer = Producer::start(&cluster, version, &topic);
        let refused = producer.send("no customer", &[]);
        assert!(
            refused.starts_with("REFUSED 13") && refused.contains("customer"),
            "{refused}"
        );
        let sent = producer.send("pay 4111-1111-1111-1111 now", &[("customer", "c7")]);
        assert_eq!(sent, format!("SENT {topic}"));
        let java = Client::Java(JavaPeer::client(version));
        let group = format!("g{topic}");
        let consumer = java.consume(&cluster, &topic, &group, None);
        consumer.expect(&BTreeSet::from(["pay ****-****-****-1111 now".to_owned()]));
    }
}

/// Journey 3: a consume hook redacts for one group; others get what was sent.
#[test]
fn a_consume_hook_redacts_for_one_group() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    let guest = std::fs::read(redact_guest()).expect("the test guest");
    plugins.put("redact", &guest);
    for (name, client) in Client::all(cluster.dir()) {
        let topic = format!("secrets-{name}");
        let mut producer = Producer::start(&cluster, "5.3.3", &topic);
        producer.send("order 1", &[]);
        plugins.bind("redact", &topic, &format!("auditors-{name}"), json!({}));
        let redacted = client.consume(&cluster, &topic, &format!("auditors-{name}"), None);
        let whole = client.consume(&cluster, &topic, &format!("owners-{name}"), None);
        redacted.expect(&BTreeSet::from(["***".to_owned()]));
        whole.expect(&numbers([1].into_iter()));
    }
}

/// Journeys 1 and 3 with a stock client that pops: filter and consume hook are asked as for pulls.
#[test]
fn plugins_decide_what_pops_receive() {
    let more = More {
        broker: "defaultMessageRequestMode=POP\n",
        ..More::default()
    };
    let cluster = Cluster::start_with(Kind::Sluice, more);
    let plugins = cluster.broker.plugins();
    plugins.put_shipped("sequence", "sequence");
    let guest = std::fs::read(redact_guest()).expect("the test guest");
    plugins.put("redact", &guest);
    let mut producer = Producer::start(&cluster, "5.3.3", "popped");
    producer.send("order 0", &[("SequenceId", "0")]);
    let params = json!({"params": {"above": "10", "multiple-of": "3"}});
    plugins.bind("sequence", "popped", "filtered", params.clone());
    plugins.bind("sequence", "popped", "redacted", params);
    plugins.bind("redact", "popped", "redacted", json!({}));
    let consume = |group: &str| {
        let peer = JavaPeer::client("5.3.3").with_property(&format!("trial.instance={group}"));
        Client::Java(peer).consume(&cluster, "popped", group, None)
    };
    let (filtered, redacted) = (consume("filtered"), consume("redacted"));
    for number in 1..14 {
        let sequence = number.to_string();
        producer.send(&format!("order {number}"), &[("SequenceId", &sequence)]);
    }
    filtered.expect(&numbers([12].into_iter()));
    redacted.expect(&BTreeSet::from(["***".to_owned()]));
}

/// Journey 3: canary consumers get one queue, the others share the rest.
#[test]
fn an_allocation_strategy_gives_canaries_their_part() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put_shipped("canary", "canary");
    let mut producer = Producer::start(&cluster, "5.3.3", "orders");
    producer.send("order 0", &[]);
    plugins.bind("canary", "orders", "risk", json!({}));
    let consume = |instance: &str| {
        let peer = JavaPeer::client("5.3.3").with_property(&format!("trial.instance={instance}"));
        let mut command = peer.program("sluice.interop.Trial", cluster.dir());
        command.args(["consume", cluster.namesrv.address(), "orders", "risk"]);
        Consumer(Running::start(instance, cluster.dir(), &mut command))
    };
    let (canary, plain) = (consume("canary-1"), consume("plain-1"));
    // The topic has four queues, and the producer goes round: of twenty messages a queue gets five.
    let mut number = 1;
    wait_until("one queue for the canary", SOON, || {
        let (before, others) = (canary.bodies().len(), plain.bodies().len());
        for _ in 0..20 {
            producer.send(&format!("order {number}"), &[]);
            number += 1;
        }
        wait_until("the twenty", SOON, || {
            let came = canary.bodies().len() + plain.bodies().len() - before - others;
            (came >= 20).then_some(())
        });
        (canary.bodies().len() - before == 5 && plain.bodies().len() - others == 15).then_some(())
    });
}

/// The old FilterServer's way: the 4.x client's three-argument `subscribe` uploads base64 of a WASM
/// module, and the 5.x client, which never uploads, finds the filter that was bound.
#[test]
fn class_filters_of_4_x_clients_are_wasm() {
    let more = More {
        broker: "filterServerNums=1\n",
        ..More::default()
    };
    let cluster = Cluster::start_with(Kind::Sluice, more);
    let plugins = cluster.broker.plugins();
    let mut producer = Producer::start(&cluster, "4.9.8", "orders");
    producer.send("order 0", &[("SequenceId", "0")]);
    let source = cluster.dir().join("source");
    let module = std::fs::read(sluice_tests::plugins::shipped("sequence")).expect("a module");
    std::fs::write(&source, STANDARD.encode(module)).expect("a file");
    let class = format!("class:{}", source.display());
    let old = Client::Java(JavaPeer::client("4.9.8"));
    let consumer = old.consume(&cluster, "orders", "old", Some(&class));
    plugins.put_shipped("sequence", "sequence");
    plugins.bind("sequence", "orders", "new", json!({}));
    let new = Client::Java(JavaPeer::client("5.3.3"));
    let redirected = new.consume(&cluster, "orders", "new", Some(&class));
    for number in 1..30 {
        producer.send(
            &format!("order {number}"),
            &[("SequenceId", &number.to_string())],
        );
    }
    let expected = numbers((11..30).filter(|n| n % 3 == 0));
    consumer.expect(&expected);
    redirected.expect(&expected);
}
