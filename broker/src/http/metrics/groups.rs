//! Who is connected, and how far groups are behind.

use std::collections::BTreeMap;

use sluice_protocol::body::ConsumeType;
use sluice_protocol::topic;
use sluice_protocol::version;

use super::exposition::{Exposition, Kind};
use super::truth;
use crate::Broker;
use crate::clients::Member;
use crate::group_lag::GroupLag;

pub(super) fn write(broker: &Broker, page: &mut Exposition) {
    producers(broker, page);
    consumers(broker, page);
    lags(&broker.group_lags(), page);
}

/// Language and version of a client's library.
fn library(member: &Member) -> [String; 2] {
    [
        member.language.name().to_lowercase(),
        version::name(member.version).to_lowercase(),
    ]
}

fn producers(broker: &Broker, page: &mut Exposition) {
    let mut counts: BTreeMap<[String; 2], u64> = BTreeMap::new();
    for member in broker.producers.all().into_values().flatten() {
        *counts.entry(library(&member)).or_default() += 1;
    }
    let mut family = page.java(
        "rocketmq_producer_connections",
        Kind::Gauge,
        "Connections of producers, once for each group.",
    );
    for ([language, version], count) in &counts {
        let labels = [
            ("language", &**language),
            ("version", version),
            ("protocol_type", "remoting"),
        ];
        family.sample(&labels, count);
    }
}

/// Java's word in labels.
fn mode(consume_type: ConsumeType) -> &'static str {
    match consume_type {
        ConsumeType::Actively => "pull",
        ConsumeType::Passively => "push",
        ConsumeType::Pop => "pop",
    }
}

fn consumers(broker: &Broker, page: &mut Exposition) {
    let mut family = page.java(
        "rocketmq_consumer_connections",
        Kind::Gauge,
        "Connections of consumers.",
    );
    for (name, group) in broker.consumers.all() {
        let mut counts: BTreeMap<[String; 2], u64> = BTreeMap::new();
        for member in group.members() {
            *counts.entry(library(&member)).or_default() += 1;
        }
        for ([language, version], count) in &counts {
            let labels = [
                ("consumer_group", &*name),
                ("language", language),
                ("version", version),
                ("consume_mode", mode(group.consume_type)),
                ("protocol_type", "remoting"),
                ("is_system", truth(topic::is_system_group(&name))),
            ];
            family.sample(&labels, count);
        }
    }
}

fn lags(all: &[GroupLag], page: &mut Exposition) {
    for (name, help, value) in [
        (
            "rocketmq_consumer_lag_messages",
            "Messages not consumed yet.",
            (|lag| lag.lag) as fn(&GroupLag) -> i64,
        ),
        (
            "rocketmq_consumer_inflight_messages",
            "Messages handed out and not consumed yet.",
            |lag| lag.in_flight,
        ),
        (
            "rocketmq_consumer_ready_messages",
            "Messages not handed out yet.",
            |lag| lag.ready,
        ),
        (
            "rocketmq_consumer_lag_latency_milliseconds",
            "How long the oldest message that is not consumed has been stored.",
            |lag| lag.lag_ms,
        ),
        (
            "rocketmq_consumer_queueing_latency_milliseconds",
            "How long the oldest message that is not handed out has been stored.",
            |lag| lag.queueing_ms,
        ),
    ] {
        let mut family = page.java(name, Kind::Gauge, help);
        for lag in all {
            let labels = [
                ("consumer_group", &*lag.group),
                ("topic", &lag.topic),
                ("is_retry", "false"),
                ("is_system", truth(topic::is_system_topic(&lag.topic))),
            ];
            family.sample(&labels, value(lag));
        }
    }
}
