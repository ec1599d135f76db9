//! The things that a broker knows of, and how each is made.

use anyhow::{Context, Result};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use sluice_protocol::code::request;
use sluice_protocol::message::sys_flag;
use sluice_tests::wire::{Wire, command, create_topic, send};

use super::scene::Scene;
use crate::flight::{answer, ask, succeeded};
use crate::peer::Peer;

/// Queues of a topic, where they are no things themselves.
pub const QUEUES: usize = 8;
/// Exists from the start: it is named after the cluster.
const TOPIC: &str = "DefaultCluster";
/// Groups that one heartbeat names.
const GROUPS: usize = 100;
/// How long a pull may be held, milliseconds: the longest that a broker grants.
const HOLD_MS: &str = "60000";

/// One kind of things.
pub struct Thing {
    pub name: &'static str,
    /// One of these is as many of others: they are large, or take long to make.
    pub one_in: usize,
    /// Makes so many more.
    pub make: fn(&mut Scene, usize) -> Result<()>,
    /// Whether they were there while they were counted.
    pub check: fn(&mut Scene) -> Result<()>,
}

/// All of them.
pub const THINGS: [Thing; 9] = [
    Thing {
        name: "connection, idle after one heartbeat",
        one_in: 5,
        make: connections,
        check: all_answer,
    },
    Thing {
        name: "pull, parked",
        one_in: 1,
        make: parked_pulls,
        check: all_are_answered,
    },
    Thing {
        name: "producer group, one client",
        one_in: 1,
        make: producer_groups,
        check: nothing,
    },
    Thing {
        name: "consumer group, one client, one subscription",
        one_in: 5,
        make: consumer_groups,
        check: nothing,
    },
    Thing {
        name: "subscription of a group",
        one_in: 1,
        make: subscriptions,
        check: nothing,
    },
    Thing {
        name: "offset of a group in a queue",
        one_in: 1,
        make: offsets,
        check: nothing,
    },
    Thing {
        name: "topic of 8 queues, nothing in them",
        one_in: 5,
        make: topics,
        check: nothing,
    },
    Thing {
        name: "topic of 8 queues, a message in each",
        one_in: 20,
        make: used_topics,
        check: nothing,
    },
    Thing {
        name: "queue of one topic, a message in it",
        one_in: 5,
        make: queues,
        check: nothing,
    },
];

/// Their requests were answered with success: there is no more to ask.
fn nothing(_: &mut Scene) -> Result<()> {
    Ok(())
}

fn client(number: usize) -> HeartbeatData {
    HeartbeatData {
        client_id: format!("10.0.0.1@{number}"),
        ..HeartbeatData::default()
    }
}

/// Says that a client is there, and with which groups.
fn heartbeat(of: &HeartbeatData) -> Result<RemotingCommand> {
    let body = serde_json::to_vec(of)?;
    Ok(RemotingCommand::request(request::HEART_BEAT, 0).with_body(body))
}

fn producer(group_name: String) -> ProducerData {
    ProducerData { group_name }
}

fn connections(scene: &mut Scene, count: usize) -> Result<()> {
    for number in scene.next(count) {
        let mut peer = Peer::connect(&scene.address)?;
        let producers = HeartbeatData {
            producer_data_set: vec![producer("shop".to_owned())],
            ..client(number)
        };
        succeeded(&peer.ask(&heartbeat(&producers)?)?)?;
        scene.peers.push(peer);
    }
    Ok(())
}

fn all_answer(scene: &mut Scene) -> Result<()> {
    for peer in &mut scene.peers {
        succeeded(&peer.ask(&send(TOPIC, "", b"still there"))?)?;
    }
    Ok(())
}

fn parked_pulls(scene: &mut Scene, count: usize) -> Result<()> {
    let flags = sys_flag::PULL_SUBSCRIPTION | sys_flag::PULL_SUSPEND;
    for number in scene.next(count) {
        let fields = [
            ("consumerGroup", "readers"),
            ("topic", TOPIC),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", &*flags.to_string()),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", HOLD_MS),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        let mut pull = command(request::PULL_MESSAGE, &fields, b"");
        pull.opaque = i32::try_from(number)?;
        scene.wire.out.extend_from_slice(&pull.encode());
    }
    Ok(scene.wire.flush()?)
}

/// The first message is the answer to every one of them.
fn all_are_answered(scene: &mut Scene) -> Result<()> {
    let mut other = Wire::connect(&scene.address)?;
    ask(&mut other, &send(TOPIC, "", b"for all"))?;
    for _ in 0..scene.made {
        succeeded(&answer(&mut scene.wire)?).context("a pull that was not parked")?;
    }
    Ok(())
}

fn producer_groups(scene: &mut Scene, count: usize) -> Result<()> {
    for groups in in_parts(scene.next(count)) {
        let named = groups.map(|number| producer(format!("producers-of-shop-{number}")));
        let producers = HeartbeatData {
            producer_data_set: named.collect(),
            ..client(0)
        };
        ask(&mut scene.wire, &heartbeat(&producers)?)?;
    }
    Ok(())
}

fn consumer_groups(scene: &mut Scene, count: usize) -> Result<()> {
    for groups in in_parts(scene.next(count)) {
        let named = groups.map(|number| consumer(format!("consumers-of-shop-{number}"), &[TOPIC]));
        let consumers = HeartbeatData {
            consumer_data_set: named.collect(),
            ..client(0)
        };
        ask(&mut scene.wire, &heartbeat(&consumers)?)?;
    }
    Ok(())
}

/// All of a group's are in each heartbeat.
fn subscriptions(scene: &mut Scene, count: usize) -> Result<()> {
    scene.next(count);
    let topics: Vec<String> = (0..scene.made).map(|n| format!("orders-{n}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let consumers = HeartbeatData {
        consumer_data_set: vec![consumer("consumers-of-all".to_owned(), &topics)],
        ..client(0)
    };
    ask(&mut scene.wire, &heartbeat(&consumers)?)?;
    Ok(())
}

fn consumer(group_name: String, topics: &[&str]) -> ConsumerData {
    let subscriptions = topics.iter().map(|topic| SubscriptionData {
        topic: (*topic).to_owned(),
        sub_string: "*".to_owned(),
        sub_version: 1_700_000_000_000,
        ..SubscriptionData::default()
    });
    ConsumerData {
        group_name,
        subscription_data_set: subscriptions.collect(),
        ..ConsumerData::default()
    }
}

/// In queues of one topic that grows, of which none has a message.
fn offsets(scene: &mut Scene, count: usize) -> Result<()> {
    let numbers = scene.next(count);
    let grown = create_topic("wide", i32::try_from(scene.made)?);
    ask(&mut scene.wire, &grown)?;
    let group = HeartbeatData {
        consumer_data_set: vec![consumer("consumers-of-all".to_owned(), &["wide"])],
        ..client(0)
    };
    ask(&mut scene.wire, &heartbeat(&group)?)?;
    scene.ask_all(numbers.map(|queue| {
        let fields = [
            ("consumerGroup", "consumers-of-all"),
            ("topic", "wide"),
            ("queueId", &*queue.to_string()),
            ("commitOffset", "0"),
        ];
        command(request::UPDATE_CONSUMER_OFFSET, &fields, b"")
    }))
}

/// Makes topics of [`QUEUES`] queues.
pub fn topics(scene: &mut Scene, count: usize) -> Result<()> {
    let numbers = scene.next(count);
    scene.ask_all(numbers.map(|number| create_topic(&topic_name(number), QUEUES as i32)))
}

fn used_topics(scene: &mut Scene, count: usize) -> Result<()> {
    topics(scene, count)?;
    let first = (scene.made - count) * QUEUES;
    let all = first..scene.made * QUEUES;
    scene.ask_all(all.map(|number| send_to(&topic_name(number / QUEUES), number % QUEUES)))
}

/// One topic that grows.
fn queues(scene: &mut Scene, count: usize) -> Result<()> {
    let numbers = scene.next(count);
    let grown = create_topic("wide", i32::try_from(scene.made)?);
    ask(&mut scene.wire, &grown)?;
    scene.ask_all(numbers.map(|queue| send_to("wide", queue)))
}

/// Name of one of the topics.
pub fn topic_name(number: usize) -> String {
    format!("orders-of-shop-{number}")
}

fn send_to(topic: &str, queue: usize) -> RemotingCommand {
    let mut send = send(topic, "", &[b'x'; 100]);
    send.ext.put("e", queue.to_string());
    send
}

fn in_parts(numbers: std::ops::Range<usize>) -> impl Iterator<Item = std::ops::Range<usize>> {
    let end = numbers.end;
    let starts = numbers.step_by(GROUPS);
    starts.map(move |start| start..(start + GROUPS).min(end))
}
