//! The worked examples were obtained by running the Java strategies of 5.3.3.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::consistent_hash::hash;

fn queue(broker: &str, queue_id: i32) -> MessageQueue {
    MessageQueue {
        topic: "T".to_owned(),
        broker_name: broker.to_owned(),
        queue_id,
    }
}

fn queues(brokers: &[(&str, i32)]) -> Vec<MessageQueue> {
    let of = |&(broker, count): &(&'static str, i32)| (0..count).map(move |id| queue(broker, id));
    let brokers: Vec<(&'static str, i32)> = brokers
        .iter()
        .map(|(broker, count)| (&*broker.to_string().leak(), *count))
        .collect();
    brokers.iter().flat_map(of).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The whole allocation as text, e.g. `c0=b0:0,b0:1 c1=b0:2`.
fn picture(strategy: &dyn AllocateStrategy, queues: &[MessageQueue], clients: &[String]) -> String {
    let of = |client: &String| {
        let mine = strategy.allocate(client, queues, clients).unwrap();
        let mine: Vec<_> = mine
            .iter()
            .map(|queue| format!("{}:{}", queue.broker_name, queue.queue_id))
            .collect();
        format!("{client}={}", mine.join(","))
    };
    clients.iter().map(of).collect::<Vec<_>>().join(" ")
}

#[test]
fn eight_queues_three_clients() {
    let (queues, clients) = (queues(&[("b", 8)]), names(&["c0", "c1", "c2"]));
    assert_eq!(
        picture(&Average, &queues, &clients),
        "c0=b:0,b:1,b:2 c1=b:3,b:4,b:5 c2=b:6,b:7"
    );
    assert_eq!(
        picture(&AverageByCircle, &queues, &clients),
        "c0=b:0,b:3,b:6 c1=b:1,b:4,b:7 c2=b:2,b:5"
    );
}

#[test]
fn more_clients_than_queues_leaves_some_without() {
    let clients: Vec<_> = (0..10).map(|c| format!("c{c}")).collect();
    let queues = queues(&[("b", 8)]);
    let expected = "c0=b:0 c1=b:1 c2=b:2 c3=b:3 c4=b:4 c5=b:5 c6=b:6 c7=b:7 c8= c9=";
    assert_eq!(picture(&Average, &queues, &clients), expected);
    assert_eq!(picture(&AverageByCircle, &queues, &clients), expected);
}

#[test]
fn consistent_hash_is_javas() {
    assert_eq!(hash("c0-0"), 2_316_876_094);
    assert_eq!(hash("c0-1"), 4_137_623_405);
    assert_eq!(
        hash("MessageQueue [topic=T, brokerName=b0, queueId=0]"),
        3_520_181_902
    );
    assert_eq!(
        picture(
            &ConsistentHash::default(),
            &queues(&[("b0", 8)]),
            &names(&["c0", "c1", "c2"])
        ),
        "c0=b0:3,b0:4,b0:6,b0:7 c1=b0:0,b0:1,b0:2 c2=b0:5"
    );
}

#[test]
fn consistent_hash_over_two_brokers() {
    let queues = queues(&[("broker-a", 4), ("broker-b", 4)]);
    let clients = names(&["10.0.0.1@100", "10.0.0.2@100", "10.0.0.3@100"]);
    let shorten = |text: String| text.replace("broker-", "").replace("@100", "");
    assert_eq!(
        shorten(picture(&ConsistentHash::default(), &queues, &clients)),
        "10.0.0.1=a:1,b:0 10.0.0.2=a:2,a:3,b:2,b:3 10.0.0.3=a:0,b:1"
    );
    assert_eq!(
        shorten(picture(
            &ConsistentHash { virtual_nodes: 20 },
            &queues,
            &clients
        )),
        "10.0.0.1=a:1,b:0,b:3 10.0.0.2=b:1,b:2 10.0.0.3=a:0,a:2,a:3"
    );
    assert_eq!(
        shorten(picture(
            &ConsistentHash { virtual_nodes: 0 },
            &queues,
            &clients
        )),
        "10.0.0.1= 10.0.0.2= 10.0.0.3="
    );
}

#[test]
fn a_machine_room_keeps_to_its_brokers() {
    let mut queues = queues(&[("idc1@b1", 4), ("idc2@b2", 4), ("plain", 1)]);
    queues.push(queue("idc1@b1@x", 0));
    queues.push(queue("idc1@", 0));
    let strategy = ByMachineRoom {
        rooms: BTreeSet::from(["idc1".to_owned()]),
    };
    assert_eq!(
        picture(&strategy, &queues, &names(&["c0", "c1", "c2"])),
        "c0=idc1@b1:0,idc1@b1:3 c1=idc1@b1:1 c2=idc1@b1:2"
    );
    queues.push(queue("idc1@b9@", 0));
    assert_eq!(
        picture(&strategy, &queues, &names(&["c0"])),
        "c0=idc1@b1:0,idc1@b1:1,idc1@b1:2,idc1@b1:3,idc1@b9@:0"
    );
}

#[derive(Debug)]
struct Prefix;

impl RoomOf for Prefix {
    fn queue(&self, queue: &MessageQueue) -> String {
        self.client(&queue.broker_name)
    }
    fn client(&self, client: &str) -> String {
        client
            .split_once('-')
            .map_or("", |(room, _)| room)
            .to_owned()
    }
}

#[test]
fn the_nearby_room_first_then_rooms_without_members() {
    let strategy = NearbyRoom {
        inner: Average,
        rooms: Prefix,
    };
    let queues = queues(&[("r1-b", 3), ("r2-b", 3), ("r3-b", 3)]);
    assert_eq!(strategy.name(), "MACHINE_ROOM_NEARBY-AVG");
    assert_eq!(
        picture(&strategy, &queues, &names(&["r1-c0", "r1-c1", "r2-c0"])),
        "r1-c0=r1-b:0,r1-b:1,r3-b:0 r1-c1=r1-b:2,r3-b:1 r2-c0=r2-b:0,r2-b:1,r2-b:2,r3-b:2"
    );
    let nowhere = names(&["nowhere"]);
    assert_eq!(
        strategy.allocate("nowhere", &queues, &nowhere),
        Err(AllocateError::NoRoom("nowhere".to_owned()))
    );
}

#[test]
fn configured_queues_are_not_checked() {
    let queues = vec![queue("gone", 7)];
    let strategy = ByConfig {
        queues: queues.clone(),
    };
    assert_eq!(strategy.allocate("", &[], &[]), Ok(queues));
}

#[test]
fn nothing_to_share_is_an_error_and_a_stranger_gets_nothing() {
    let some = queues(&[("b", 2)]);
    let clients = names(&["c"]);
    assert_eq!(
        Average.allocate("", &some, &clients),
        Err(AllocateError::Empty("client id"))
    );
    assert_eq!(
        Average.allocate("c", &[], &clients),
        Err(AllocateError::Empty("queues"))
    );
    assert_eq!(
        Average.allocate("c", &some, &[]),
        Err(AllocateError::Empty("clients"))
    );
    assert_eq!(Average.allocate("stranger", &some, &clients), Ok(vec![]));
}

#[test]
fn sorting_is_javas() {
    let mut queues = vec![
        queue("broker-2", 0),
        queue("broker-10", 2),
        queue("broker-10", 10),
        queue("Broker-3", 1),
        queue("broker-2", 0),
    ];
    let mut clients = names(&["10.0.0.9@1", "10.0.0.10@1#2", "10.0.0.10@1", "10.0.0.9@1"]);
    sort(&mut queues, &mut clients);
    let order: Vec<_> = queues
        .iter()
        .map(|queue| (queue.broker_name.as_str(), queue.queue_id))
        .collect();
    assert_eq!(
        order,
        [
            ("Broker-3", 1),
            ("broker-10", 2),
            ("broker-10", 10),
            ("broker-2", 0)
        ]
    );
    assert_eq!(clients, ["10.0.0.10@1", "10.0.0.10@1#2", "10.0.0.9@1"]);
}

proptest! {
    #[test]
    fn every_queue_goes_to_exactly_one_client(queue_count in 1..40i32, client_count in 1..12usize) {
        let all = queues(&[("b", queue_count)]);
        let clients: Vec<_> = (0..client_count).map(|c| format!("c{c:02}")).collect();
        let strategies: [&dyn AllocateStrategy; 3] =
            [&Average, &AverageByCircle, &ConsistentHash::default()];
        for strategy in strategies {
            let shares = clients.iter().map(|client| strategy.allocate(client, &all, &clients).unwrap());
            let mut given: Vec<_> = shares.flatten().collect();
            given.sort_by(compare_queues);
            prop_assert_eq!(&given, &all, "{}", strategy.name());
        }
    }
}
