//! What an operator sees and does about dead letters, single messages and groups, with stock clients.

use std::io::Write;
use std::process::{ChildStdin, Command, Output};
use std::time::Duration;

use serde_json::Value;
use sluice_tests::cluster::{Cluster, Kind, More, sluice_binary};
use sluice_tests::java::{CLIENT_VERSIONS, JavaPeer};
use sluice_tests::plugins::{redact_guest, verdict_guest};
use sluice_tests::process::{Running, wait_until};

const TOPIC: &str = "orders";
const SOON: Duration = Duration::from_secs(60);
/// Time in which a message that must not come would have come.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// A stock program that sends what it is told, see `Trial.java`.
struct Producer {
    running: Running,
    input: ChildStdin,
    sent: usize,
}

impl Producer {
    fn start(cluster: &Cluster, how: &[&str]) -> Producer {
        let mut command = JavaPeer::client("5.3.3").program("sluice.interop.Trial", cluster.dir());
        command.args([how[0], cluster.namesrv.address(), TOPIC]);
        command.args(&how[1..]);
        let mut running = Running::start(how[0], cluster.dir(), &mut command);
        let input = running.input();
        Producer {
            running,
            input,
            sent: 0,
        }
    }

    fn send(&mut self, body: &str, properties: &[&str]) {
        let line: Vec<&str> = std::iter::once(body)
            .chain(properties.iter().copied())
            .collect();
        writeln!(self.input, "{}", line.join("\t")).expect("the producer reads");
        self.sent += 1;
        let wanted = format!("SENT {TOPIC}");
        wait_until("the producer's answer", SOON, || {
            let output = self.running.output();
            let sent = output.lines().filter(|line| *line == wanted).count();
            (sent == self.sent).then_some(())
        });
    }
}

/// A stock consumer, see `Trial.java`.
struct Consumer(Running);

impl Consumer {
    fn start(
        cluster: &Cluster,
        version: &str,
        name: &str,
        group: &str,
        filter: &[&str],
    ) -> Consumer {
        let home = cluster.dir().join(name);
        std::fs::create_dir_all(&home).expect("a consumer's directory");
        let mut command = JavaPeer::client(version).program("sluice.interop.Trial", &home);
        command.args(["consume", cluster.namesrv.address(), TOPIC, group]);
        command.args(filter);
        let mut running = Running::start(name, cluster.dir(), &mut command);
        running.wait_for("STARTED", SOON);
        Consumer(running)
    }

    fn times(&self, body: &str) -> usize {
        let line = format!("GOT {body}");
        self.0.output().lines().filter(|got| *got == line).count()
    }

    fn wait_for(&self, body: &str, times: usize) {
        wait_until(&format!("{body}, {times} times"), SOON, || {
            (self.times(body) >= times).then_some(())
        });
    }
}

fn run(cluster: &Cluster, arguments: &[&str]) -> Output {
    Command::new(sluice_binary())
        .args(arguments)
        .env("SLUICE_BROKER", cluster.broker.http())
        .output()
        .expect("sluice")
}

fn told(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = run(cluster, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let text = told(cluster, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Ids of a group's letters, once there are so many.
fn letters(cluster: &Cluster, count: usize, options: &[&str]) -> Vec<String> {
    let command = [&["dlq", "list", "--group", "billing"], options].concat();
    wait_until(&format!("{count} letters"), SOON, || {
        let listed = json(cluster, &command);
        let letters = listed["letters"].as_array().expect("letters");
        let id = |letter: &Value| letter["id"].as_str().expect("an id").to_owned();
        (letters.len() == count).then(|| letters.iter().map(id).collect())
    })
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn dead_letters_are_seen_sent_again_and_dropped() {
    let mut cluster = Cluster::start(Kind::Sluice);
    let mut producer = Producer::start(&cluster, &["produce"]);
    has(
        &told(&cluster, &["dlq", "list"]),
        &["No group has dead letters"],
    );
    producer.send("first", &["fate=die", "keys=order-1 red", "colour=blue"]);
    producer.send("second", &["fate=die", "keys=order-2"]);
    let billing = Consumer::start(&cluster, "4.9.8", "billing", "billing", &[]);
    let ids = letters(&cluster, 2, &[]);
    let of_first = letters(&cluster, 1, &["--key", "order-1"]);
    assert!(ids.contains(&of_first[0]));
    let first = &of_first[0];
    let second = ids.iter().find(|id| *id != first).expect("the second");

    has(
        &told(&cluster, &["dlq", "list"]),
        &["GROUP", "billing", "2"],
    );
    let listed = told(
        &cluster,
        &["dlq", "list", "--group", "billing", "--from", "1h"],
    );
    has(
        &listed,
        &[first, second, "order-2", "the consumer gave it up"],
    );
    assert_eq!(letters(&cluster, 0, &["--to", "1h"]).len(), 0);
    let page = told(
        &cluster,
        &["dlq", "list", "--group", "billing", "--count", "1"],
    );
    has(&page, &["There may be more: --start 1"]);
    assert_eq!(letters(&cluster, 1, &["--start", "1"]).len(), 1);
    let shown = told(&cluster, &["dlq", "show", first]);
    has(
        &shown,
        &[
            "of group billing",
            "tried once: the consumer gave it up",
            "first in orders queue",
            "colour = blue",
            "\nfirst",
        ],
    );

    // Another group has had it already, and gets it again only when the topic does.
    let audit = Consumer::start(&cluster, "5.3.3", "audit", "audit", &[]);
    let audited = letters_of(&cluster, "audit", 2);
    let resent = told(
        &cluster,
        &[
            "dlq",
            "resend",
            first,
            "--set",
            "fate=live",
            "--set",
            "by=hand",
            "--unset",
            "colour",
        ],
    );
    has(
        &resent,
        &[first, "to %RETRY%billing as", "1 sent again, 0 not"],
    );
    billing.wait_for("first", 2);
    let output = billing.0.output();
    has(&output, &["PROPERTY by=hand", "PROPERTY fate=live"]);
    assert_eq!(
        output.matches("PROPERTY colour=blue").count(),
        1,
        "{output}"
    );
    std::thread::sleep(AFTERWARDS);
    assert_eq!((billing.times("first"), audit.times("first")), (2, 1));

    let again = run(&cluster, &["dlq", "resend", first, "--set", "fate=live"]);
    assert_eq!(again.status.code(), Some(1));
    has(
        &String::from_utf8_lossy(&again.stdout),
        &["not sent: it was sent again to %RETRY%billing"],
    );
    let own = run(
        &cluster,
        &["dlq", "resend", first, "--again", "--set", "DELAY=3"],
    );
    has(
        &String::from_utf8_lossy(&own.stderr),
        &["DELAY is the broker's"],
    );
    told(
        &cluster,
        &[
            "dlq",
            "resend",
            first,
            "--again",
            "--topic",
            "--set",
            "fate=live",
        ],
    );
    billing.wait_for("first", 3);
    audit.wait_for("first", 2);

    // Consume hooks see it as any delivery.
    let plugins = cluster.broker.plugins();
    plugins.put(
        "redact",
        &std::fs::read(redact_guest()).expect("the test guest"),
    );
    plugins.bind("redact", TOPIC, "billing", serde_json::json!({}));
    told(
        &cluster,
        &["dlq", "resend", first, "--again", "--set", "fate=live"],
    );
    billing.wait_for("***", 1);
    has(
        &told(&cluster, &["message", "show", "order-1"]),
        &["sent again", "message", "dead letter"],
    );

    // Dropped ones are out of sight, also after a crash, until that is taken back.
    has(&told(&cluster, &["dlq", "drop", second]), &["1 dropped"]);
    assert_eq!(letters(&cluster, 1, &[]), of_first);
    cluster.broker.kill();
    cluster.broker.start_again(Kind::Sluice);
    assert_eq!(letters(&cluster, 1, &[]), of_first);
    assert_eq!(letters(&cluster, 2, &["--all"]), ids);
    let listed = told(&cluster, &["dlq", "list", "--group", "billing", "--all"]);
    has(&listed, &["dropped 2", "resent 2"]);
    let refused = run(&cluster, &["dlq", "resend", second]);
    has(
        &String::from_utf8_lossy(&refused.stdout),
        &["it is dropped"],
    );
    told(&cluster, &["dlq", "drop", "--group", "billing", "--undo"]);
    assert_eq!(letters(&cluster, 2, &[]), ids);
    has(
        &told(&cluster, &["dlq", "drop", "--group", "audit"]),
        &[&format!("{} dropped", audited.len())],
    );
}

fn letters_of(cluster: &Cluster, group: &str, count: usize) -> Vec<Value> {
    wait_until(&format!("{count} letters of {group}"), SOON, || {
        let listed = json(cluster, &["dlq", "list", "--group", group]);
        let letters = listed["letters"].as_array().expect("letters").clone();
        (letters.len() == count).then_some(letters)
    })
}

/// A directory that a Java broker has written comes with its letters, and goes back to it.
#[test]
fn letters_of_a_java_broker_are_sent_again() {
    let mut cluster = Cluster::start(Kind::Java);
    let mut producer = Producer::start(&cluster, &["produce"]);
    let billing = Consumer::start(&cluster, "5.3.3", "billing", "billing", &[]);
    producer.send("order", &["fate=die", "keys=order-1"]);
    billing.wait_for("order", 1);
    let queue = cluster.broker.store().join("consumequeue/%DLQ%billing/0");
    wait_until("the letter", SOON, || queue.exists().then_some(()));
    cluster.broker.terminate();
    cluster.broker.start_again(Kind::Sluice);
    let ids = letters(&cluster, 1, &[]);
    let shown = told(&cluster, &["dlq", "show", &ids[0]]);
    has(&shown, &["nothing says why", "first in orders queue"]);
    assert!(!shown.contains('?'), "{shown}");
    told(&cluster, &["dlq", "resend", &ids[0], "--set", "fate=live"]);
    billing.wait_for("order", 2);
    cluster.broker.terminate();
    cluster.broker.start_again(Kind::Java);
    cluster.broker.terminate();
    cluster.broker.start_again(Kind::Sluice);
    let again = run(&cluster, &["dlq", "resend", &ids[0]]);
    has(
        &String::from_utf8_lossy(&again.stdout),
        &["it was sent again"],
    );
}

#[test]
fn a_message_s_way_is_seen() {
    let cluster = Cluster::start_with(
        Kind::Sluice,
        More {
            broker: "transactionTimeOut=600000\n",
            ..More::default()
        },
    );
    let mut producer = Producer::start(&cluster, &["produce"]);
    producer.send("taken", &["keys=taken"]);
    producer.send("buried", &["fate=die", "keys=buried"]);
    producer.send("returned", &["fate=retry", "keys=returned"]);
    producer.send("other", &["tags=other", "keys=other"]);
    let billing = Consumer::start(&cluster, "5.3.3", "billing", "billing", &["tag:T"]);
    for body in ["taken", "buried", "returned"] {
        billing.wait_for(body, 1);
    }
    let ids = letters(&cluster, 1, &[]);
    let show = |key: &str| told(&cluster, &["message", "show", key, "--topic", TOPIC]);
    // Offsets are committed every five seconds.
    let settled = |key: &str, state: &str| {
        wait_until(&format!("{key}: {state}"), SOON, || {
            let shown = show(key);
            shown.contains(state).then_some(shown)
        })
    };
    let taken = settled("taken", "went past it");
    has(
        &taken,
        &[
            "consumers can read it",
            "in orders queue",
            "KEYS = taken",
            "\ntaken\n",
            "Not known here",
        ],
    );
    let life = json(&cluster, &["message", "show", "taken"]);
    let life = &life["messages"][0];
    for id in [&life["id"], &life["uniqueKey"]] {
        let same = json(&cluster, &["message", "show", id.as_str().expect("an id")]);
        assert_eq!(same["messages"][0]["id"], life["id"], "{id}");
    }
    let buried = show("buried");
    has(
        &buried,
        &[
            "dead letter",
            "the consumer gave it up",
            &format!("has it among its dead letters: {}", ids[0]),
        ],
    );
    assert_eq!(
        show("buried"),
        told(&cluster, &["message", "show", "buried"])
    );
    let returned = settled("returned", "gave it back, gets it again at");
    has(
        &returned,
        &[
            "for %RETRY%billing",
            "SCHEDULE_TOPIC_XXXX",
            "waits, of billing",
        ],
    );
    settled("other", "its subscription does not want it");

    let mut undecided = Producer::start(&cluster, &["transact", "shop"]);
    undecided.send("half", &["first=-", "keys=half"]);
    let half = told(&cluster, &["message", "show", "half"]);
    has(
        &half,
        &[
            "its producer has not committed it",
            "undecided",
            "for orders",
        ],
    );
    undecided.send("whole", &["first=commit", "keys=whole"]);
    undecided.send("gone", &["first=rollback", "keys=gone"]);
    // A decision is sent one-way.
    let decided = |key: &str, state: &str| {
        wait_until(&format!("{key}: {state}"), SOON, || {
            told(&cluster, &["message", "show", key])
                .contains(state)
                .then_some(())
        });
    };
    decided("whole", "committed transaction");
    decided("gone", "rolled it back");

    let plugins = cluster.broker.plugins();
    plugins.put(
        "verdict",
        &std::fs::read(verdict_guest()).expect("the test guest"),
    );
    plugins.bind("verdict", TOPIC, "risk", serde_json::json!({}));
    producer.send("kept back", &["verdict=drop", "keys=kept"]);
    let _risk = Consumer::start(&cluster, "5.3.3", "risk", "risk", &[]);
    settled("kept", "the plugin verdict keeps it back");

    let none = run(&cluster, &["message", "show", "nothing"]);
    assert_eq!(none.status.code(), Some(1));
    has(
        &String::from_utf8_lossy(&none.stderr),
        &["no message has the id or key"],
    );
}

#[test]
fn a_group_is_seen_and_who_disagrees_in_it() {
    let cluster = Cluster::start(Kind::Sluice);
    let mut producer = Producer::start(&cluster, &["produce"]);
    producer.send("one", &[]);
    let none = run(&cluster, &["group", "show", "billing"]);
    has(
        &String::from_utf8_lossy(&none.stderr),
        &["there is no group \"billing\""],
    );
    let first = Consumer::start(&cluster, "4.9.8", "first", "billing", &["tag:T || U"]);
    first.wait_for("one", 1);
    let same = Consumer::start(&cluster, "5.3.3", "same", "billing", &["tag:U||T"]);
    let seen = |parts: &[&str]| {
        wait_until(&format!("{parts:?}"), SOON, || {
            let shown = told(&cluster, &["group", "show", "billing"]);
            parts
                .iter()
                .all(|part| shown.contains(part))
                .then_some(shown)
        })
    };
    let shown = seen(&["V4_9_8", "V5_3_3", "(by pull)"]);
    has(
        &shown,
        &[
            "group billing: CLUSTERING, CONSUME_PASSIVELY",
            "127.0.0.1:",
            "JAVA",
            "orders",
            "%RETRY%billing",
        ],
    );
    assert!(!shown.contains("TROUBLE"), "{shown}");
    drop(same);
    let other = Consumer::start(&cluster, "5.3.3", "other", "billing", &["tag:V"]);
    let shown = seen(&[
        "TROUBLE: members disagree about orders",
        "want TAG \"V\"",
        "T || U\"",
    ]);
    has(
        &told(&cluster, &["group", "list"]),
        &["billing", "members disagree"],
    );
    let view = json(&cluster, &["group", "show", "billing"]);
    let sides = view["conflicts"][0]["sides"]
        .as_array()
        .expect("sides")
        .clone();
    assert_eq!(sides.len(), 2, "{shown}");
    for side in &sides {
        let client = &side["clients"][0];
        has(
            client["address"].as_str().expect("an address"),
            &["127.0.0.1:"],
        );
        assert!(
            shown.contains(client["clientId"].as_str().expect("a client")),
            "{shown}"
        );
    }
    let warned = || {
        let output = cluster.broker.output();
        output
            .matches("members of one group subscribe differently")
            .count()
    };
    assert_eq!(warned(), 1, "{}", cluster.broker.output());
    drop(other);
    wait_until("they agree again", SOON, || {
        let shown = told(&cluster, &["group", "show", "billing"]);
        (!shown.contains("TROUBLE")).then_some(())
    });
}

/// Who comes later and wants something else gets nothing, and takes nothing from the others.
#[test]
fn a_group_keeps_out_who_disagrees() {
    for version in CLIENT_VERSIONS {
        let cluster = Cluster::start_with(
            Kind::Sluice,
            More {
                broker: "subscriptionConflict=REFUSE\n",
                ..More::default()
            },
        );
        let mut producer = Producer::start(&cluster, &["produce"]);
        let first = Consumer::start(&cluster, version, "first", "billing", &["tag:T"]);
        producer.send("one", &[]);
        first.wait_for("one", 1);
        let later = Consumer::start(&cluster, version, "later", "billing", &["TRUE"]);
        wait_until("the broker's word", SOON, || {
            cluster
                .broker
                .output()
                .contains("refused=true")
                .then_some(())
        });
        has(
            &cluster.broker.output(),
            &["wants SQL92 \"TRUE\"", "wants TAG \"T\"", "refused=true"],
        );
        for number in 0..8 {
            producer.send(&format!("more {number}"), &[]);
        }
        for number in 0..8 {
            first.wait_for(&format!("more {number}"), 1);
        }
        let output = later.0.output();
        assert!(!output.contains("GOT"), "{output}");
        let view = json(&cluster, &["group", "show", "billing"]);
        assert_eq!(view["members"].as_array().map(Vec::len), Some(1), "{view}");
    }
}
