//! The strategies of `sluice-allocation` beside the classes of the official client: the same answer to
//! thousands of questions.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::Range;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sluice_allocation::{
    AllocateStrategy, Average, AverageByCircle, ByConfig, ByMachineRoom, ConsistentHash,
    MessageQueue, NearbyRoom, RoomOf, sort,
};
use sluice_tests::java::{CLIENT_VERSIONS, JavaPeer};

const SEED: u64 = 20;
const CASES: usize = 6_000;
/// Between the items of a list.
const UNIT: &str = "\u{1f}";
const NEARBY: &str = "MACHINE_ROOM_NEARBY-";

/// Names of brokers: rooms before `@` or `-`, missing rooms, empty parts, order that differs between
/// UTF-8 and UTF-16, and whatever else the syntax lets pass.
const BROKERS: &[&str] = &[
    "broker-a",
    "broker-b",
    "broker-10",
    "broker-2",
    "Broker-3",
    "idc1@b1",
    "idc1@b2",
    "idc2@b-1",
    "@b",
    "@",
    "idc1@",
    "idc1@b@",
    "idc2@b@@",
    "idc1@b@c",
    "r1-b",
    "r2-b@x",
    "r3-b:1",
    "-b",
    "plain",
    "[b], queueId=0",
    "комната-б",
    "\u{1f4a5}-b@1",
    "\u{ff5e}-b@1",
];

/// Ids of clients, IPv6 ones among them.
const CLIENTS: &[&str] = &[
    "10.0.0.1@100",
    "10.0.0.10@1",
    "10.0.0.9@1",
    "10.0.0.10@1#2",
    "2001:db8::1@DEFAULT",
    "::1@71#99887766",
    "fe80::1%eth-0@5",
    "idc1@c",
    "idc2@c-1",
    "r1-c0",
    "r1-c1",
    "r2-c0",
    "-c",
    "@c",
    "комната-в",
    "\u{1f4a5}-c@1",
    "\u{ff5e}-c@1",
    "c",
    "c-1",
];

/// One question: a strategy with its parameter, and what is to be shared.
struct Case {
    strategy: String,
    parameter: String,
    /// What ends the name of a room.
    room_end: &'static str,
    queues: Vec<MessageQueue>,
    clients: Vec<String>,
    askers: Vec<String>,
}

struct RoomBefore(&'static str);

impl RoomOf for RoomBefore {
    fn queue(&self, queue: &MessageQueue) -> String {
        self.client(&queue.broker_name)
    }

    fn client(&self, client: &str) -> String {
        let room = client.split_once(self.0).map(|(room, _)| room);
        room.unwrap_or_default().to_owned()
    }
}

#[test]
fn every_strategy_answers_as_the_java_class() {
    let cases = cases();
    let asked: String = cases.iter().map(|case| case.line() + "\n").collect();
    for version in CLIENT_VERSIONS {
        let said = java(version, &asked);
        assert_eq!(said.lines().count(), CASES, "answers of client {version}");
        let mut given = 0;
        for (case, expected) in cases.iter().zip(said.lines()) {
            assert_eq!(case.answer(), expected, "{version}: {:?}", case.line());
            given += expected.matches(UNIT).count();
        }
        assert!(given > CASES, "the cases of seed {SEED} share out little");
    }
}

/// What the classes of one client version say, a line per case.
fn java(version: &str, asked: &str) -> String {
    let home = tempfile::tempdir().expect("home of the program");
    let input = home.path().join("cases");
    fs::write(&input, asked).expect("cases");
    let output = JavaPeer::client(version)
        .program("sluice.interop.Allocations", home.path())
        .stdin(File::open(&input).expect("cases"))
        .output()
        .expect("java starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "client {version}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn cases() -> Vec<Case> {
    let mut random = StdRng::seed_from_u64(SEED);
    (0..CASES).map(|_| Case::random(&mut random)).collect()
}

impl Case {
    fn random(random: &mut StdRng) -> Case {
        let (strategy, parameter) = strategy(random);
        let room_end = if random.random() { "@" } else { "-" };
        // Names without a room end most cases of MACHINE_ROOM_NEARBY in a refusal: mostly left out.
        let with_rooms = random.random_bool(0.8);
        let usable = |name: &&&str| !with_rooms || name.find(room_end).is_some_and(|at| at > 0);
        let brokers: Vec<_> = BROKERS.iter().filter(usable).copied().collect();
        let ids: Vec<_> = CLIENTS.iter().filter(usable).copied().collect();
        let mut queues = queues(random, &brokers, 0..40);
        let mut clients = some(random, &ids, 0..14);
        if random.random_bool(0.7) {
            // As members ask; the rest keeps its order and its duplicates.
            sort(&mut queues, &mut clients);
        }
        let strangers = ["stranger".to_owned(), "r1-stranger@1".to_owned()];
        Case {
            strategy,
            parameter,
            room_end,
            askers: clients.iter().cloned().chain(strangers).collect(),
            queues,
            clients,
        }
    }

    fn line(&self) -> String {
        [
            &self.strategy,
            &self.parameter,
            self.room_end,
            "T",
            &text(&self.queues),
            &self.clients.join(UNIT),
            &self.askers.join(UNIT),
        ]
        .join("\t")
    }

    fn answer(&self) -> String {
        let strategy = of(&self.strategy, &self.parameter, self.room_end);
        let (mut queues, mut clients) = (self.queues.clone(), self.clients.clone());
        sort(&mut queues, &mut clients);
        let mut answers = vec![strategy.name(), text(&queues), clients.join(UNIT)];
        for client in &self.askers {
            let mine = strategy.allocate(client, &self.queues, &self.clients);
            answers.push(mine.map_or_else(|_| "!".to_owned(), |mine| text(&mine)));
        }
        answers.join("\t")
    }
}

/// A strategy's name and its parameter.
fn strategy(random: &mut StdRng) -> (String, String) {
    let plain = match random.random_range(0..5) {
        0 => ("AVG", String::new()),
        1 => ("AVG_BY_CIRCLE", String::new()),
        2 => ("CONFIG", text(&queues(random, BROKERS, 0..6))),
        3 => {
            let rooms = some(random, &["idc1", "idc2", "idc3", "r2-b"], 0..4);
            ("MACHINE_ROOM", rooms.join(UNIT))
        }
        _ => {
            let nodes = [0, 1, 10, 50].choose(random).expect("four of them");
            ("CONSISTENT_HASH", nodes.to_string())
        }
    };
    let nearby = if random.random_bool(0.4) { NEARBY } else { "" };
    (format!("{nearby}{}", plain.0), plain.1)
}

/// The strategy of that name.
fn of(name: &str, parameter: &str, room_end: &'static str) -> Box<dyn AllocateStrategy> {
    fn maybe_nearby(
        inner: impl AllocateStrategy + 'static,
        nearby: Option<&'static str>,
    ) -> Box<dyn AllocateStrategy> {
        match nearby.map(RoomBefore) {
            Some(rooms) => Box::new(NearbyRoom { inner, rooms }),
            None => Box::new(inner),
        }
    }
    let nearby = name.starts_with(NEARBY).then_some(room_end);
    match name.trim_start_matches(NEARBY) {
        "AVG" => maybe_nearby(Average, nearby),
        "AVG_BY_CIRCLE" => maybe_nearby(AverageByCircle, nearby),
        "CONFIG" => {
            let queues = items(parameter).map(queue).collect();
            maybe_nearby(ByConfig { queues }, nearby)
        }
        "MACHINE_ROOM" => {
            let rooms: BTreeSet<_> = items(parameter).map(str::to_owned).collect();
            maybe_nearby(ByMachineRoom { rooms }, nearby)
        }
        "CONSISTENT_HASH" => {
            let virtual_nodes = parameter.parse().expect("a number");
            maybe_nearby(ConsistentHash { virtual_nodes }, nearby)
        }
        other => panic!("no strategy {other}"),
    }
}

/// Queues of several brokers, with gaps and repetitions.
fn queues(random: &mut StdRng, brokers: &[&str], count: Range<usize>) -> Vec<MessageQueue> {
    let few = some(random, brokers, 1..6);
    let count = random.random_range(count);
    let one = |_| MessageQueue {
        topic: "T".to_owned(),
        broker_name: few.choose(random).expect("brokers").clone(),
        queue_id: random.random_range(0..12),
    };
    (0..count).map(one).collect()
}

/// So many of them, with repetitions.
fn some(random: &mut StdRng, of: &[&str], count: Range<usize>) -> Vec<String> {
    let count = random.random_range(count);
    let one = |_| of.choose(random).expect("something to choose").to_string();
    (0..count).map(one).collect()
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(UNIT).filter(|item| !item.is_empty())
}

fn queue(item: &str) -> MessageQueue {
    let (broker_name, queue_id) = item.rsplit_once(':').expect("broker:id");
    MessageQueue {
        topic: "T".to_owned(),
        broker_name: broker_name.to_owned(),
        queue_id: queue_id.parse().expect("a queue id"),
    }
}

fn text(queues: &[MessageQueue]) -> String {
    let items: Vec<_> = queues
        .iter()
        .map(|queue| format!("{}:{}", queue.broker_name, queue.queue_id))
        .collect();
    items.join(UNIT)
}
