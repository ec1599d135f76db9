//! Transactions, pops and delays.

use std::sync::atomic::Ordering;

use super::exposition::{Exposition, Kind};
use super::store::LABELS;
use crate::Broker;

pub(super) fn write(broker: &Broker, page: &mut Exposition) {
    transactions(broker, page);
    decided(broker, page);
    timing(broker, page);
    for (name, help, value) in broker.pop_gauges() {
        page.own(&format!("pop_{name}"), Kind::Gauge, help)
            .sample(&[], value);
    }
}

fn transactions(broker: &Broker, page: &mut Exposition) {
    let counts = &broker.transactions.counts;
    page.own(
        "transactions_undecided",
        Kind::Gauge,
        "Half messages that await a decision.",
    )
    .sample(&[], broker.transactions.undecided());
    for (name, help, value) in [
        (
            "transactions_committed_total",
            "Transactions committed.",
            &counts.committed,
        ),
        (
            "transactions_rolled_back_total",
            "Transactions rolled back.",
            &counts.rolled_back,
        ),
        (
            "transactions_checks_total",
            "Questions to producers.",
            &counts.checks,
        ),
        (
            "transactions_given_up_total",
            "Transactions that nobody decided.",
            &counts.given_up,
        ),
    ] {
        page.own(name, Kind::Counter, help)
            .sample(&[], value.load(Ordering::Relaxed));
    }
}

/// Java counts decisions by topic.
fn decided(broker: &Broker, page: &mut Exposition) {
    let topics = broker.topics.all();
    for (name, help, which) in [
        (
            "rocketmq_commit_messages_total",
            "Transactions committed.",
            0,
        ),
        (
            "rocketmq_rollback_messages_total",
            "Transactions rolled back.",
            1,
        ),
    ] {
        let mut family = page.java(name, Kind::Counter, help);
        for (name, topic) in &topics {
            let decided = topic.counts.decided[which].load(Ordering::Relaxed);
            if decided > 0 {
                family.sample(&[("topic", name)], decided);
            }
        }
    }
}

fn timing(broker: &Broker, page: &mut Exposition) {
    let Some(backlog) = broker.timer_backlog() else {
        return;
    };
    let mut family = page.java(
        "rocketmq_timing_messages",
        Kind::Gauge,
        "Messages that wait for their delivery time.",
    );
    for (topic, messages) in &backlog.by_topic {
        let labels = [LABELS[0], LABELS[1], ("topic", topic)];
        family.sample(&labels, messages);
    }
    for (name, help, value) in [
        (
            "rocketmq_timer_enqueue_lag",
            "Messages that the timer has not taken up.",
            backlog.unfiled,
        ),
        (
            "rocketmq_timer_dequeue_latency_milliseconds",
            "How late the timer is.",
            backlog.lag_ms,
        ),
    ] {
        page.java(name, Kind::Gauge, help).sample(&LABELS, value);
    }
    let pending: i64 = backlog.by_topic.values().sum();
    page.own(
        "timer_pending",
        Kind::Gauge,
        "Messages that wait for their delivery time.",
    )
    .sample(&[], pending);
    page.own(
        "timer_lag_milliseconds",
        Kind::Gauge,
        "How late the timer is.",
    )
    .sample(&[], backlog.lag_ms);
}
