//! Topics: made, filled, read back.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    ConsumeType, ConsumerData, HeartbeatData, MessageModel, SubscriptionData,
};
use sluice_protocol::code::request;
use sluice_protocol::message::{Record, properties, view};
use sluice_tests::wire::{Wire, create_topic, pull};

use super::{Delivery, PATIENCE};
use crate::flight::{ask, fly, number};
pub use crate::load::end;
use crate::sends::{Sends, now_ms, series_and_number};

/// Queues of every topic.
pub const QUEUES: i32 = 8;
/// Pause between two looks at how far something is.
pub const LOOK: Duration = Duration::from_millis(10);

/// Messages that groups consume, one after the other.
pub struct Backlog {
    /// Where each queue ends.
    pub ends: Vec<i64>,
}

impl Backlog {
    /// Name of its topic.
    pub const TOPIC: &str = "backlog";

    /// Sends the messages of one round.
    pub fn fill(wanted: &Delivery, wire: &mut Wire) -> Result<Backlog> {
        create(wire, Self::TOPIC)?;
        let mut sends = Sends::new(Self::TOPIC, QUEUES, wanted.body, 0);
        let (count, in_flight) = (wanted.messages, wanted.in_flight);
        fly(wire, count, in_flight, || sends.next(), |_, _| Ok(()))?;
        wait_for(wire, Self::TOPIC, count)?;
        Ok(Backlog {
            ends: ends(wire, Self::TOPIC)?,
        })
    }
}

/// Makes a topic of [`QUEUES`] queues.
pub fn create(wire: &mut Wire, topic: &str) -> Result<()> {
    ask(wire, &create_topic(topic, QUEUES))?;
    Ok(())
}

/// Waits until so many messages are readable.
pub fn wait_for(wire: &mut Wire, topic: &str, messages: i32) -> Result<()> {
    let began = Instant::now();
    loop {
        let there: i64 = ends(wire, topic)?.iter().sum();
        if there == i64::from(messages) {
            return Ok(());
        }
        ensure!(
            there < i64::from(messages),
            "{there} messages in {topic}, of {messages}"
        );
        ensure!(
            began.elapsed() < PATIENCE,
            "{there} of {messages} messages in {topic} after {PATIENCE:?}"
        );
        thread::sleep(LOOK);
    }
}

fn ends(wire: &mut Wire, topic: &str) -> Result<Vec<i64>> {
    (0..QUEUES).map(|queue| end(wire, topic, queue)).collect()
}

/// Reads a whole topic, whose messages must be those that `sends` made, each of them once.
pub fn read_back(
    wire: &mut Wire,
    topic: &str,
    sends: &Sends,
    mut look: impl FnMut(&Record<'_>) -> Result<()>,
) -> Result<()> {
    let mut missing = vec![true; usize::try_from(sends.made())?];
    for (queue, end) in (0..).zip(ends(wire, topic)?) {
        let mut offset = 0;
        while offset < end {
            let answer = ask(wire, &pull("readers", topic, queue, offset))?;
            for record in view::records(&answer.body) {
                let record = record?;
                take(&mut missing, sends, &record)?;
                look(&record)?;
            }
            offset = number(&answer, "nextBeginOffset")?;
        }
    }
    let missing = missing.iter().filter(|missing| **missing).count();
    ensure!(missing == 0, "{missing} messages missing in {topic}");
    Ok(())
}

fn take(missing: &mut [bool], sends: &Sends, record: &Record<'_>) -> Result<()> {
    let number = number_of(record)?;
    let ours = record.property(properties::UNIQ_KEY) == Some(&*sends.unique_key(number));
    let place = usize::try_from(number)?;
    let place = missing.get_mut(place).filter(|missing| ours && **missing);
    *place.with_context(|| format!("message {number} comes twice, or is another's"))? = false;
    Ok(())
}

/// The number of a message that [`Sends`] has made.
pub fn number_of(record: &Record<'_>) -> Result<i32> {
    let key = record.property(properties::UNIQ_KEY).unwrap_or_default();
    let (_, number) = series_and_number(key).with_context(|| format!("unique key {key:?}"))?;
    Ok(number)
}

/// Makes a connection a member of a group that subscribes to all of a topic, as a push consumer does;
/// the version of its subscription.
pub fn join(wire: &mut Wire, group: &str, client_id: &str, topic: &str) -> Result<i64> {
    let sub_version = now_ms();
    let all_of = |topic: &str| SubscriptionData {
        topic: topic.to_owned(),
        sub_version,
        ..SubscriptionData::default()
    };
    let consumer = ConsumerData {
        consume_type: ConsumeType::Passively,
        group_name: group.to_owned(),
        message_model: MessageModel::Clustering,
        subscription_data_set: vec![all_of(topic), all_of(&format!("%RETRY%{group}"))],
        ..ConsumerData::default()
    };
    let heartbeat = HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![consumer],
        ..HeartbeatData::default()
    };
    let body = serde_json::to_vec(&heartbeat)?;
    let heartbeat = RemotingCommand::request(request::HEART_BEAT, 0).with_body(body);
    ask(wire, &heartbeat)?;
    Ok(sub_version)
}
