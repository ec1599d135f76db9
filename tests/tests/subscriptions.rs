//! `subscriptionConflict=EACH`: two programs of one group, with stock clients, want different messages, and each
//! gets just those: across a restart of the broker, with retries, in order and not.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use serde_json::Value;
use sluice_tests::cluster::{Cluster, Kind, More, sluice_binary};
use sluice_tests::java::JavaPeer;
use sluice_tests::process::{Running, wait_until};

const GROUP: &str = "billing";
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
    fn start(cluster: &Cluster, topic: &str) -> Producer {
        let mut command = JavaPeer::client("5.3.3").program("sluice.interop.Trial", cluster.dir());
        command.args(["produce", cluster.namesrv.address(), topic]);
        let name = format!("producer of {topic}");
        let mut running = Running::start(&name, cluster.dir(), &mut command);
        let input = running.input();
        Producer {
            running,
            input,
            sent: 0,
        }
    }

    fn send(&mut self, body: &str, properties: &[&str]) {
        let line = [&[body], properties].concat().join("\t");
        writeln!(self.input, "{line}").expect("the producer reads");
        self.sent += 1;
        wait_until("the producer's answer", SOON, || {
            let output = self.running.output();
            let sent = output.lines().filter(|line| line.starts_with("SENT "));
            (sent.count() == self.sent).then_some(())
        });
    }

    fn send_both(&mut self, a: &[String], b: &[String]) {
        for (a, b) in a.iter().zip(b) {
            self.send(a, &["tags=A"]);
            self.send(b, &["tags=B"]);
        }
    }
}

/// A stock consumer of the group, see `Trial.java` and `trial.go`.
struct Consumer(Running);

impl Consumer {
    fn start(cluster: &Cluster, name: &str, command: &mut Command, what: &[&str]) -> Consumer {
        command.args(["consume", cluster.namesrv.address(), what[0], GROUP]);
        command.args(&what[1..]);
        let mut running = Running::start(name, cluster.dir(), command);
        running.wait_for("STARTED", SOON);
        Consumer(running)
    }

    fn java(cluster: &Cluster, version: &str, name: &str, what: &[&str]) -> Consumer {
        Consumer::program(cluster, JavaPeer::client(version), name, what)
    }

    fn program(cluster: &Cluster, peer: JavaPeer, name: &str, what: &[&str]) -> Consumer {
        let home = cluster.dir().join(name);
        std::fs::create_dir_all(&home).expect("a consumer's directory");
        let mut command = peer.program("sluice.interop.Trial", &home);
        Consumer::start(cluster, name, &mut command, what)
    }

    /// What has come, as often as it came.
    fn bodies(&self) -> Vec<String> {
        let output = self.0.output();
        let got = output.lines().filter_map(|line| line.strip_prefix("GOT "));
        let mut bodies: Vec<String> = got.map(str::to_owned).collect();
        bodies.sort();
        bodies
    }

    fn wait_for(&self, bodies: &[&str]) {
        wait_until(&format!("{bodies:?}"), SOON, || {
            let got = self.bodies();
            let has = |body: &&str| got.iter().any(|one| one == body);
            bodies.iter().all(has).then_some(())
        });
    }

    /// Waits for these and sees that there are no others, and none twice.
    fn gets_just(&self, bodies: &[&str]) {
        self.wait_for(bodies);
        std::thread::sleep(AFTERWARDS);
        let mut wanted = bodies.to_vec();
        wanted.sort();
        assert_eq!(self.bodies(), wanted);
    }
}

fn splitting() -> Cluster {
    Cluster::start_with(
        Kind::Sluice,
        More {
            broker: "subscriptionConflict=EACH\nmessageDelayLevel=1s 1s 1s 1s 1s\n",
            ..More::default()
        },
    )
}

fn shown(cluster: &Cluster, more: &[&str]) -> String {
    let output = Command::new(sluice_binary())
        .args(["group", "show", GROUP])
        .args(more)
        .env("SLUICE_BROKER", cluster.broker.http())
        .output()
        .expect("sluice");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn mqadmin(cluster: &Cluster, arguments: &[&str]) -> String {
    let home = cluster.dir().join("mqadmin");
    std::fs::create_dir_all(&home).expect("home of mqadmin");
    let mut command =
        JavaPeer::server().program("org.apache.rocketmq.tools.command.MQAdminStartup", &home);
    command.env("ROCKETMQ_HOME", &home).args(arguments);
    command.args(["-n", cluster.namesrv.address()]);
    let mut running = Running::start("mqadmin", &home, &mut command);
    running.wait(SOON);
    running.output()
}

/// Waits until all that any share of the group had to consume is committed.
fn settle(cluster: &Cluster, shares: usize) {
    wait_until("shares that have consumed all", SOON, || {
        let view: Value = serde_json::from_str(&shown(cluster, &["--json"])).expect("JSON");
        let seen = view["shares"].as_array().expect("shares");
        let done = seen.iter().all(|share| share["lag"] == 0);
        (seen.len() == shares && done).then_some(())
    });
}

/// Two programs of the group, of which one wants a tag and the other everything: together, and after the broker
/// was killed and the first one started again.
fn two_expressions(tagged: JavaPeer, of_all: impl FnOnce(&Cluster) -> Consumer) {
    let mut cluster = splitting();
    let mut producer = Producer::start(&cluster, "orders");
    producer.send("before", &["tags=A"]);
    let what = ["orders", "tag:A"];
    let first = Consumer::program(&cluster, tagged.clone(), "tagged", &what);
    first.wait_for(&["before"]);
    let of_all = of_all(&cluster);
    // More than one for each of the topic's queues.
    let (a, b) = (names("a", 0), names("b", 0));
    producer.send_both(&a, &b);
    first.wait_for(&refs(&a));
    of_all.wait_for(&[refs(&a), refs(&b)].concat());
    settle(&cluster, 2);
    let text = shown(&cluster, &[]);
    for part in ["SHARE", "orders: TAG \"A\"", "each its own"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("TROUBLE"), "{text}");
    let said = cluster.broker.output();
    let said = said.matches("members of one group subscribe differently");
    assert_eq!(said.count(), 1);

    drop(first);
    cluster.broker.kill();
    cluster.broker.start_again(Kind::Sluice);
    let mut producer = Producer::start(&cluster, "orders");
    let (later_a, later_b) = (names("a", 8), names("b", 8));
    producer.send_both(&later_a, &later_b);
    of_all.wait_for(&[refs(&later_a), refs(&later_b)].concat());
    let again = Consumer::program(&cluster, tagged, "tagged again", &what);
    again.gets_just(&refs(&later_a));
    let mut got = of_all.bodies();
    // Whether the group had come past it when it came is a matter of moments.
    got.retain(|body| body != "before");
    let mut all = [a, b, later_a, later_b].concat();
    all.sort();
    assert_eq!(got, all);
}

fn names(tag: &str, from: usize) -> Vec<String> {
    (from..from + 8).map(|n| format!("{tag}{n}")).collect()
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[test]
fn a_tag_and_everything_of_java() {
    two_expressions(JavaPeer::client("4.9.8"), |cluster| {
        Consumer::java(cluster, "5.3.3", "everything", &["orders"])
    });
}

#[test]
fn a_tag_of_java_and_sql_of_go() {
    let directory = tempfile::tempdir().expect("a directory for the Go program");
    let go = directory.path().join("goclient");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&go)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
        .status();
    assert!(built.expect("go").success());
    two_expressions(JavaPeer::client("5.3.3"), |cluster| {
        let what = ["orders", "TAGS IS NOT NULL"];
        Consumer::start(cluster, "everything", &mut Command::new(&go), &what)
    });
}

/// In order: each program locks the queues for itself.
#[test]
fn a_tag_and_everything_in_order() {
    let orderly = || JavaPeer::client("5.3.3").with_property("trial.orderly=true");
    two_expressions(orderly(), |cluster| {
        Consumer::program(cluster, orderly(), "everything", &["orders"])
    });
}

#[test]
fn two_topics_of_one_group() {
    let cluster = splitting();
    let (mut orders, mut bills) = (
        Producer::start(&cluster, "orders"),
        Producer::start(&cluster, "bills"),
    );
    orders.send("order first", &[]);
    bills.send("bill first", &[]);
    let of_orders = Consumer::java(&cluster, "5.3.3", "orders", &["orders"]);
    of_orders.wait_for(&["order first"]);
    let of_bills = Consumer::java(&cluster, "4.9.8", "bills", &["bills"]);
    of_bills.wait_for(&["bill first"]);
    let (more_orders, more_bills) = (names("order ", 0), names("bill ", 0));
    for (order, bill) in more_orders.iter().zip(&more_bills) {
        orders.send(order, &[]);
        bills.send(bill, &[]);
    }
    of_orders.gets_just(&[refs(&more_orders), vec!["order first"]].concat());
    of_bills.gets_just(&[refs(&more_bills), vec!["bill first"]].concat());
}

/// What one program gives back, that program gets again, and the other does not, though it wants the message too.
#[test]
fn retries_come_back_to_who_gave_them_back() {
    let cluster = splitting();
    let mut producer = Producer::start(&cluster, "orders");
    producer.send("first", &["tags=A"]);
    let content = JavaPeer::client("4.9.8").with_property("trial.keep=true");
    let keeps = Consumer::program(&cluster, content, "keeps", &["orders"]);
    keeps.wait_for(&["first"]);
    let choosy = Consumer::java(&cluster, "5.3.3", "choosy", &["orders", "amount > 10"]);
    producer.send("again", &["amount=11", "fate=retry"]);
    producer.send("never", &["amount=9", "fate=retry"]);
    wait_until("a third delivery", SOON, || {
        let times = choosy
            .bodies()
            .iter()
            .filter(|body| *body == "again")
            .count();
        (times >= 3).then_some(())
    });
    keeps.gets_just(&["again", "first", "never"]);
    let connections = mqadmin(&cluster, &["consumerConnection", "-g", GROUP]);
    for wish in ["TAG \"*\" of ", "SQL92 \"amount > 10\" of "] {
        assert!(connections.contains(wish), "{wish}: {connections}");
    }
    assert!(choosy.bodies().iter().all(|body| body == "again"));
}
