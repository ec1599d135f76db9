//! Orderly consumption while consumers are killed and come: each key's messages in their order, and
//! never two owners of a queue at once.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::java::{JavaPeer, SERVER_VERSION};
use sluice_tests::process::{Running, wait_until};

const TOPIC: &str = "orderly-audit";
const GROUP: &str = "orderly-audit-group";
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(30);
/// A dead owner's lock ends after 60 s; then its heir has to ask for it.
const TAKE_OVER: Duration = Duration::from_secs(150);

/// A program of `OrderlyAudit.java`, and the file it writes.
struct Program {
    running: Running,
    file: PathBuf,
}

impl Program {
    fn start(cluster: &Cluster, mode: &str, name: &str, arguments: &[&str]) -> Program {
        let file = cluster.dir().join(format!("{name}.lines"));
        let mut command =
            JavaPeer::client(SERVER_VERSION).program("sluice.interop.OrderlyAudit", cluster.dir());
        command
            .args([mode, cluster.namesrv.address(), TOPIC])
            .args(arguments)
            .arg(&file);
        let mut running = Running::start(name, cluster.dir(), &mut command);
        running.wait_for("READY", START);
        Program { running, file }
    }

    fn consumer(cluster: &Cluster, name: &str) -> Program {
        Program::start(cluster, "consume", name, &[GROUP])
    }

    /// The whole lines so far; the last may have been cut by a kill.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    fn kill(&mut self) {
        self.running.kill();
    }

    fn finish(&mut self) {
        self.running.finish(END);
    }

    fn consumptions(&self) -> Vec<Consumption> {
        consumptions(&self.lines())
    }
}

/// One message in one consumer's hands.
#[derive(Debug, Clone)]
struct Consumption {
    queue: u32,
    key: u32,
    number: u64,
    begin: u64,
    /// When it began, too, if its consumer died over it.
    end: u64,
}

fn consumptions(lines: &[String]) -> Vec<Consumption> {
    let mut all: Vec<Consumption> = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [mark, at, queue, body] = words[..] else {
            panic!("{line:?}");
        };
        let (key, number) = body.split_once('-').expect("a key and a number");
        let begun = Consumption {
            queue: queue.parse().expect("a queue"),
            key: key.parse().expect("a key"),
            number: number.parse().expect("a number"),
            begin: at.parse().expect("a time"),
            end: at.parse().expect("a time"),
        };
        if mark == "B" {
            all.push(begun);
            continue;
        }
        let same = |known: &&mut Consumption| {
            (known.queue, known.key, known.number) == (begun.queue, begun.key, begun.number)
        };
        let known = all.iter_mut().rev().find(same).expect("an end has a begin");
        known.end = begun.begin;
    }
    all
}

/// All consumptions of each queue in time, with their owners.
fn by_queue(consumers: &[Program]) -> BTreeMap<u32, Vec<(usize, Consumption)>> {
    let mut queues: BTreeMap<u32, Vec<(usize, Consumption)>> = BTreeMap::new();
    for (owner, consumer) in consumers.iter().enumerate() {
        for consumption in consumer.consumptions() {
            let queue = queues.entry(consumption.queue).or_default();
            queue.push((owner, consumption));
        }
    }
    for queue in queues.values_mut() {
        queue.sort_by_key(|(_, consumption)| consumption.begin);
    }
    queues
}

fn assert_one_owner_at_a_time(queue: &[(usize, Consumption)]) {
    for pair in queue.windows(2) {
        let [(_, before), (_, after)] = pair else {
            unreachable!("windows of two");
        };
        assert!(
            before.end <= after.begin,
            "two at once: {:?} and {:?}",
            pair[0],
            pair[1]
        );
    }
}

/// Each key's numbers go up by one; a new owner may begin with what the one before did not commit.
fn assert_in_order(queue: &[(usize, Consumption)]) {
    let mut last: BTreeMap<u32, (usize, u64)> = BTreeMap::new();
    for (owner, consumption) in queue {
        let Consumption { key, number, .. } = *consumption;
        match last.get(&key) {
            None => assert_eq!(number, 0, "key {key} begins with {number}"),
            Some((before, at)) if before == owner => {
                assert_eq!(number, at + 1, "key {key} of one owner");
            }
            Some((_, at)) => assert!(number <= at + 1, "key {key}: {number} after {at}"),
        }
        last.insert(key, (*owner, number));
    }
}

fn queues_of(consumer: &Program) -> HashSet<u32> {
    consumer
        .consumptions()
        .iter()
        .map(|consumption| consumption.queue)
        .collect()
}

#[test]
fn consumers_die_and_come_and_each_queue_has_one_owner_and_each_key_its_order() {
    let cluster = Cluster::start(Kind::Sluice);
    let mut producer = Program::start(&cluster, "produce", "producer", &[]);
    let mut consumers: Vec<Program> = ["one", "two", "three"]
        .map(|name| Program::consumer(&cluster, name))
        .into();
    for consumer in &consumers {
        wait_until("a share of the queues", START, || {
            (!consumer.lines().is_empty()).then_some(())
        });
    }
    consumers[0].kill();
    // The second dies while the first one's locks still stand.
    let lines = consumers[1].lines().len();
    wait_until("further work", START, || {
        (consumers[1].lines().len() > lines + 50).then_some(())
    });
    consumers[1].kill();
    let all: HashSet<u32> = consumers.iter().flat_map(queues_of).collect();
    wait_until("the last one's hold of all queues", TAKE_OVER, || {
        (queues_of(&consumers[2]) == all).then_some(())
    });
    // One that comes is given a share in order, while work goes on.
    consumers.push(Program::consumer(&cluster, "four"));
    wait_until("a share for one that comes", TAKE_OVER, || {
        (!consumers[3].lines().is_empty()).then_some(())
    });
    producer.finish();
    let acked: HashSet<String> = producer.lines().into_iter().collect();
    wait_until(
        "consumption of all that was acknowledged",
        TAKE_OVER,
        || {
            let consumed: HashSet<String> = consumers
                .iter()
                .flat_map(Program::consumptions)
                .map(|consumption| format!("{}-{}", consumption.key, consumption.number))
                .collect();
            acked.is_subset(&consumed).then_some(())
        },
    );
    consumers[2].finish();
    consumers[3].finish();
    for queue in by_queue(&consumers).values() {
        assert_one_owner_at_a_time(queue);
        assert_in_order(queue);
    }
}
