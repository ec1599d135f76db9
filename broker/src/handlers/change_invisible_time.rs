//! CHANGE_MESSAGE_INVISIBLETIME (200053): a popped message is to come back at another time.

use std::sync::Arc;

use sluice_protocol::body::PopCheckPoint;
use sluice_protocol::header::{
    ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader,
};
use sluice_protocol::{ExtFields, RemotingCommand};
use sluice_remoting::Responder;

use crate::Broker;
use crate::error::Refusal;
use crate::handlers::ack_message;
use crate::handlers::pop_message::check_invisible;
use crate::pop::receipt::Receipt;

/// Gives the message a check point of its own, then acks it at its old one: between the two, a crash
/// lets it come back at both times rather than never.
pub fn change_invisible_time(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let changed = change(broker, &request, &responder);
    ack_message::answer_when_durable(broker, responder, changed);
}

fn change(
    broker: &Broker,
    request: &RemotingCommand,
    responder: &Responder,
) -> Result<(i64, ExtFields), Refusal> {
    let header = ChangeInvisibleTimeRequestHeader::decode(&request.ext)?;
    check_invisible(header.invisible_time)?;
    let (topic, group) = (&*header.topic, &*header.consumer_group);
    let queue = (topic, group, header.queue_id);
    let bounds =
        broker.receipt_queue(topic, group, header.queue_id, responder.connection().peer())?;
    if !(bounds.min..bounds.max).contains(&header.offset) {
        return Err(Refusal::NoMessage(format!(
            "no message lies at offset {} of {topic}@{}",
            header.offset, header.queue_id
        )));
    }
    let receipt = Receipt::parse(&header.extra_info)?;
    if receipt.is_ordered() {
        return Ok((0, change_in_order(broker, queue, &header, &receipt)));
    }
    broker.check_revive_queue(receipt.revive_queue)?;
    let now = pop_time(broker.now_ms(), receipt.pop_time);
    let point = PopCheckPoint {
        broker_name: receipt.broker_name.clone(),
        group: group.to_owned(),
        diffs: vec![0],
        invisible_time: header.invisible_time,
        num: 1,
        pop_time: now,
        queue_id: header.queue_id,
        revive_time: now.saturating_add(header.invisible_time),
        start_offset: header.offset,
        topic: topic.to_owned(),
        ..PopCheckPoint::default()
    };
    broker.append_check_point(&point, receipt.revive_queue)?;
    let log_end = ack_message::append(broker, queue, header.offset, &receipt)?;
    // As Java counts it, this is an ack and a pop of its own.
    broker.stats.acked(topic, group, 1);
    broker.stats.check_point(topic, group);
    let answer = ChangeInvisibleTimeResponseHeader {
        pop_time: now,
        invisible_time: header.invisible_time,
        revive_qid: receipt.revive_queue,
    };
    let mut ext = ExtFields::new();
    answer.encode(&mut ext);
    Ok((log_end, ext))
}

/// The time of a message's next check point. Its check points are told apart by their time: with that of
/// another, one would take the ack of the other for its own, and the message would never come back.
fn pop_time(now: i64, before: i64) -> i64 {
    const SAME_MOMENT_MS: i64 = 1000;
    match (now..now + SAME_MOMENT_MS).contains(&before) {
        true => before + 1,
        false => now,
    }
}

/// Nothing is said of a message that the group has gone past.
fn change_in_order(
    broker: &Broker,
    (topic, group, queue_id): (&str, &str, i32),
    header: &ChangeInvisibleTimeRequestHeader,
    receipt: &Receipt,
) -> ExtFields {
    let mut ext = ExtFields::new();
    let stored = broker.offsets.get(group, topic, queue_id);
    if stored.is_some_and(|stored| header.offset < stored) {
        return ext;
    }
    let due = broker.now_ms().saturating_add(header.invisible_time);
    let queue = (topic, group, queue_id);
    broker
        .pop
        .orders
        .set_due(queue, header.offset, receipt.pop_time, due);
    // A pop that waits may have to look sooner.
    broker.long_poll.wake_pop(topic, group);
    let answer = ChangeInvisibleTimeResponseHeader {
        pop_time: receipt.pop_time,
        invisible_time: due.saturating_sub(receipt.pop_time),
        revive_qid: receipt.revive_queue,
    };
    answer.encode(&mut ext);
    ext
}
