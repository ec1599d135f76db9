//! Messages with a delivery time of their own, a broker that is killed again and again, and a store
//! directory that goes between Java and Sluice: each that was acknowledged is delivered once, and none
//! before its time.

use std::collections::HashMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_tests::cluster::{Cluster, Kind, More, sluice_binary};
use sluice_tests::plugins::delay_guest;
use sluice_tests::process::wait_until;
use sluice_tests::wire::{Wire, command, delivered, send};

const TOPIC: &str = "later";
const ROUNDS: usize = 8;
const DELIVERED: Duration = Duration::from_secs(60);

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_millis() as i64
}

fn timed(body: &str, deliver_ms: i64) -> RemotingCommand {
    let properties = format!("TIMER_DELIVER_MS\u{1}{deliver_ms}\u{2}UNIQ_KEY\u{1}{body}\u{2}");
    send(TOPIC, &properties, body.as_bytes())
}

/// Sends until the broker is gone; what was acknowledged, and when it is to be delivered.
fn send_until_gone(address: &str, round: usize) -> Vec<(String, i64)> {
    let mut acknowledged = Vec::new();
    let Ok(mut wire) = Wire::connect(address) else {
        return acknowledged;
    };
    for number in 0..100_000 {
        let body = format!("{round}-{number}");
        let deliver_ms = now_ms() + 100 + 37 * (number % 100);
        match wire.ask(&timed(&body, deliver_ms)) {
            Ok(answer) if answer.code == response::SUCCESS => acknowledged.push((body, deliver_ms)),
            _ => break,
        }
        thread::sleep(Duration::from_millis(1));
    }
    acknowledged
}

fn has_all(all: &[(String, i64)], wanted: &HashMap<String, i64>) -> bool {
    let bodies: std::collections::HashSet<&String> = all.iter().map(|(body, _)| body).collect();
    wanted.keys().all(|body| bodies.contains(body))
}

/// Waits for all that is wanted; then it has come once, in time, and nothing else has.
fn each_came_once(address: &str, wanted: &HashMap<String, i64>) -> Vec<(String, i64)> {
    let all = wait_until("all delayed messages", DELIVERED, || {
        let all = delivered(address, TOPIC);
        has_all(&all, wanted).then_some(all)
    });
    // What the last moments would bring twice comes as well.
    thread::sleep(Duration::from_secs(4));
    assert_eq!(delivered(address, TOPIC).len(), all.len());
    let mut seen = HashMap::new();
    for (body, stored_ms) in &all {
        *seen.entry(body).or_insert(0) += 1;
        if let Some(deliver_ms) = wanted.get(body) {
            let early = deliver_ms - stored_ms;
            assert!(early <= 0, "{body} was delivered {early} ms early");
        }
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "delivered more than once: {twice:?}");
    all
}

fn kills(settings: &str) {
    let more = More {
        broker: settings,
        ..More::default()
    };
    let mut cluster = Cluster::start_with(Kind::Sluice, more);
    let mut acknowledged = HashMap::new();
    for round in 0..ROUNDS {
        let address = cluster.broker.address();
        let sending = thread::spawn(move || send_until_gone(&address, round));
        thread::sleep(Duration::from_millis(1_500 + 137 * round as u64));
        cluster.broker.kill();
        acknowledged.extend(sending.join().expect("the sending thread"));
        cluster.broker.start_again(Kind::Sluice);
    }
    assert!(acknowledged.len() > 50 * ROUNDS, "hardly anything was sent");
    each_came_once(&cluster.broker.address(), &acknowledged);
}

#[test]
fn kill_9_delivers_each_message_of_the_timer_once() {
    kills("");
}

#[test]
fn kill_9_with_sync_flush_delivers_each_message_of_the_timer_once() {
    kills("flushDiskType=SYNC_FLUSH\ntimerFlushIntervalMs=200\n");
}

struct Sender<'a> {
    cluster: &'a Cluster,
    wire: Wire,
}

impl Sender<'_> {
    fn to(cluster: &Cluster) -> Sender<'_> {
        let wire = Wire::connect(&cluster.broker.address()).expect("the broker");
        Sender { cluster, wire }
    }

    /// Sends ten of a name; answers their recall handles.
    fn ten(&mut self, name: &str, after_ms: i64, wanted: &mut HashMap<String, i64>) -> Vec<String> {
        (0..10)
            .map(|number| {
                let body = format!("{name}-{number}");
                let deliver_ms = now_ms() + after_ms + 111 * number;
                let answer = self.wire.ask(&timed(&body, deliver_ms)).expect("an answer");
                assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
                wanted.insert(body, deliver_ms);
                answer
                    .ext
                    .get("recallHandle")
                    .expect("a handle")
                    .to_string()
            })
            .collect()
    }

    fn recall(&mut self, handle: &str) {
        let fields = [
            ("topic", TOPIC),
            ("recallHandle", handle),
            ("producerGroup", "p"),
        ];
        let asked = command(request::RECALL_MESSAGE, &fields, b"");
        let answer = self.wire.ask(&asked).expect("an answer");
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }

    fn wait_for(&self, wanted: &HashMap<String, i64>, name: &str) {
        let some: HashMap<String, i64> = wanted
            .iter()
            .filter(|(body, _)| body.starts_with(name))
            .map(|(body, at)| (body.clone(), *at))
            .collect();
        wait_until("delayed messages", DELIVERED, || {
            has_all(&delivered(&self.cluster.broker.address(), TOPIC), &some).then_some(())
        });
    }
}

/// Messages wait across each move, and are delivered by the broker that is there when they are due.
#[test]
fn a_directory_moves_between_java_and_sluice_with_messages_that_wait() {
    let mut cluster = Cluster::start(Kind::Java);
    let mut wanted = HashMap::new();
    let mut java = Sender::to(&cluster);
    java.ten("at-java", 1_000, &mut wanted);
    java.ten("from-java-to-sluice", 14_000, &mut wanted);
    java.ten("java-again", 45_000, &mut wanted);
    let handle = java.ten("recalled-at-sluice", 30_000, &mut wanted)[0].clone();
    java.wait_for(&wanted, "at-java");
    drop(java);
    cluster.broker.terminate();
    cluster.broker.start_again(Kind::Sluice);
    let mut sluice = Sender::to(&cluster);
    sluice.recall(&handle);
    wanted.remove("recalled-at-sluice-0");
    sluice.ten("at-sluice", 1_500, &mut wanted);
    sluice.ten("from-sluice-to-java", 40_000, &mut wanted);
    let handle = sluice.ten("recalled-at-java", 40_000, &mut wanted)[0].clone();
    sluice.wait_for(&wanted, "from-java-to-sluice");
    sluice.wait_for(&wanted, "at-sluice");
    drop(sluice);
    cluster.broker.terminate();
    cluster.broker.start_again(Kind::Java);
    let mut java = Sender::to(&cluster);
    java.recall(&handle);
    wanted.remove("recalled-at-java-0");
    drop(java);
    let all = each_came_once(&cluster.broker.address(), &wanted);
    assert_eq!(all.len(), wanted.len());
}

/// What a send hook delays waits like any other message, and can be seen.
#[test]
fn a_send_hook_delays_and_an_operator_sees_what_waits() {
    let cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    let guest = std::fs::read(delay_guest()).expect("the test guest");
    plugins.put("delay", &guest);
    plugins.bind("delay", TOPIC, "", json!({}));
    let address = cluster.broker.address();
    let mut wire = Wire::connect(&address).expect("the broker");
    let mut wanted = HashMap::new();
    let sent_ms = now_ms();
    for body in ["a", "b"] {
        let answer = wire
            .ask(&send(TOPIC, "", body.as_bytes()))
            .expect("an answer");
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        assert!(answer.ext.get("recallHandle").is_some());
        wanted.insert(body.to_owned(), sent_ms + 3_000);
    }
    let listed = wait_until("both in the list", DELIVERED, || {
        let listed = timer_list(&cluster, &["--json"]);
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        (listed["pending"] == 2).then_some(listed)
    });
    let topic = &listed["topics"][0];
    assert_eq!(
        (&topic["topic"], &topic["pending"]),
        (&json!(TOPIC), &json!(2))
    );
    let next_ms = topic["nextMs"].as_i64().expect("a time");
    assert!((sent_ms + 3_000..=now_ms() + 3_000).contains(&next_ms));
    let all = each_came_once(&address, &wanted);
    assert_eq!(all.len(), 2);
    assert!(timer_list(&cluster, &[]).starts_with("0 messages wait, 0 more"));
    let (_, metrics) = plugins.ask("GET", "/metrics", "text/plain", b"");
    let metrics = metrics.as_str().expect("text");
    assert!(metrics.contains("sluice_timer_pending 0\n"), "{metrics}");
}

fn timer_list(cluster: &Cluster, more: &[&str]) -> String {
    let output = Command::new(sluice_binary())
        .args(["timer", "list"])
        .args(more)
        .env("SLUICE_BROKER", cluster.broker.http())
        .output()
        .expect("sluice");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
