//! What clients send and get, by topic and group.

use std::sync::Arc;

use sluice_protocol::topic::{self, DLQ_PREFIX, RETRY_PREFIX};

use super::exposition::{Exposition, Kind};
use super::truth;
use crate::Broker;
use crate::stats::{SIZES, Sent};
use crate::topics::Topic;

/// One topic's sends of one message type.
struct In {
    topic: Arc<Topic>,
    sent: Sent,
}

impl In {
    fn labels(&self) -> [(&str, &str); 3] {
        let name = &*self.topic.topic_name;
        [
            ("topic", name),
            ("message_type", self.sent.message_type.name()),
            ("is_system", truth(topic::is_system_topic(name))),
        ]
    }
}

/// What one group got of one topic.
struct Out {
    topic: Arc<Topic>,
    group: String,
    messages: u64,
    bytes: u64,
    dead: u64,
}

impl Out {
    fn labels(&self) -> [(&str, &str); 3] {
        let name = &*self.topic.topic_name;
        let system = topic::is_system_topic(name) || topic::is_system_group(&self.group);
        [
            ("topic", name),
            ("consumer_group", &self.group),
            ("is_system", truth(system)),
        ]
    }
}

pub(super) fn write(broker: &Broker, page: &mut Exposition) {
    // Java leaves retries and dead letters out.
    let topics = broker.topics.all().into_values();
    let topics: Vec<Arc<Topic>> = topics
        .filter(|topic| {
            let name = &topic.topic_name;
            !name.starts_with(RETRY_PREFIX) && !name.starts_with(DLQ_PREFIX)
        })
        .collect();
    incoming(&topics, page);
    outgoing(&topics, page);
}

fn incoming(topics: &[Arc<Topic>], page: &mut Exposition) {
    let all: Vec<In> = topics
        .iter()
        .flat_map(|topic| {
            let sent = topic.counts.incoming.sent();
            sent.map(|sent| In {
                topic: topic.clone(),
                sent,
            })
        })
        .collect();
    let mut family = page.java(
        "rocketmq_messages_in_total",
        Kind::Counter,
        "Messages that clients sent.",
    );
    for one in &all {
        family.sample(&one.labels(), one.sent.messages);
    }
    let mut family = page.java(
        "rocketmq_throughput_in_total",
        Kind::Counter,
        "Bytes of their records.",
    );
    for one in &all {
        family.sample(&one.labels(), one.sent.bytes);
    }
    let bounds = SIZES.map(|bound| bound as f64);
    let mut family = page.java(
        "rocketmq_message_size",
        Kind::Histogram,
        "Bytes of a message's record, the mean of a batch.",
    );
    for one in &all {
        family.histogram(&one.labels(), &bounds, &one.sent.sizes, one.sent.size_sum);
    }
}

fn outgoing(topics: &[Arc<Topic>], page: &mut Exposition) {
    let all: Vec<Out> = topics
        .iter()
        .flat_map(|topic| {
            let of_group = |(group, messages, bytes, dead)| Out {
                topic: topic.clone(),
                group,
                messages,
                bytes,
                dead,
            };
            topic.counts.handed_out().into_iter().map(of_group)
        })
        .collect();
    for (name, help, value) in [
        (
            "rocketmq_messages_out_total",
            "Messages handed out.",
            (|one| one.messages) as fn(&Out) -> u64,
        ),
        (
            "rocketmq_throughput_out_total",
            "Bytes of their records.",
            |one| one.bytes,
        ),
        (
            "rocketmq_send_to_dlq_messages_total",
            "Messages that became dead letters.",
            |one| one.dead,
        ),
    ] {
        let mut family = page.java(name, Kind::Counter, help);
        for one in &all {
            family.sample(&one.labels(), value(one));
        }
    }
}
