//! ACK_MESSAGE (200051), BATCH_ACK_MESSAGE (200151): the group is done with popped messages.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sluice_plugins::World;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{BatchAck, BatchAckMessageRequestBody, PopAck};
use sluice_protocol::code::response;
use sluice_protocol::header::AckMessageRequestHeader;
use sluice_protocol::message::Record;
use sluice_protocol::topic::is_valid_group;
use sluice_remoting::Responder;
use sluice_store::{AppendError, Durability};

use crate::Broker;
use crate::consume_hooks;
use crate::error::Refusal;
use crate::handlers::pop_message;
use crate::pop::consumer_order::Acked;
use crate::pop::names;
use crate::pop::receipt::{self, Receipt};

/// Entries of one batch.
const ENTRIES_MAX: usize = 4096;
/// Messages of one entry: a pop takes 32 at most, and an ordered one goes on from what is in hand.
const OFFSETS_MAX: usize = 64;
/// Bytes of an entry's bit set: offsets of one pop lie no further apart than it has read.
const BITS_SIZE_MAX: usize = 16 * 1024;

/// Acks one message; answered when the ack is as safe as the flush mode promises.
pub fn ack_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let acked = ack(broker, &request, &responder);
    answer_when_durable(broker, responder, acked);
}

/// Acks messages of several pops. What can't be acked is passed over, as in Java.
pub fn batch_ack_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    // Thousands of acks in one request hold up nobody behind it.
    broker.aside(responder, move |broker, responder| {
        let acked = batch_ack(broker, &request);
        answer_when_durable(broker, responder, acked);
    });
}

/// Answers when the log is safe up to what was appended.
pub(crate) fn answer_when_durable(
    broker: &Arc<Broker>,
    responder: Responder,
    done: Result<(i64, sluice_protocol::ExtFields), Refusal>,
) {
    let (log_end, ext) = match done {
        Ok(done) => done,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let refuser = broker.clone();
    let answer = move |durability: Durability| match durability {
        Durability::Durable => {
            let mut success = responder.response(response::SUCCESS);
            success.ext = ext;
            responder.answer(success);
        }
        Durability::TimedOut => refuser.refuse(
            responder,
            Refusal::System("the ack is not durable in time".to_owned()),
        ),
        Durability::Failed(reason) => {
            refuser.refuse(responder, AppendError::LogStopped { reason });
        }
    };
    broker.store.when_durable(log_end, Box::new(answer));
}

type Done = Result<(i64, sluice_protocol::ExtFields), Refusal>;

fn ack(broker: &Broker, request: &RemotingCommand, responder: &Responder) -> Done {
    let header = AckMessageRequestHeader::decode(&request.ext)?;
    let (topic, group) = (&*header.topic, &*header.consumer_group);
    let (queue_id, offset) = (header.queue_id, header.offset);
    let bounds = broker.receipt_queue(topic, group, queue_id, responder.connection().peer())?;
    if !(bounds.min..=bounds.max).contains(&offset) {
        return Err(Refusal::NoMessage(format!(
            "offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{}~{}",
            bounds.min, bounds.max
        )));
    }
    let receipt = Receipt::parse(&header.extra_info)?;
    let log_end = match receipt.is_ordered() {
        true => {
            let peer = responder.connection().peer();
            ack_in_order(
                broker,
                (topic, group, queue_id),
                offset,
                receipt.pop_time,
                peer,
            )?;
            0
        }
        false => append(broker, (topic, group, queue_id), offset, &receipt)?,
    };
    broker.stats.acked(topic, group, 1);
    observe(broker, (topic, group, queue_id), &[offset]);
    Ok((log_end, Default::default()))
}

/// Stores an ack; where the log then ends.
pub(crate) fn append(
    broker: &Broker,
    (topic, group, queue_id): (&str, &str, i32),
    offset: i64,
    receipt: &Receipt,
) -> Result<i64, Refusal> {
    broker.check_revive_queue(receipt.revive_queue)?;
    let ack = PopAck {
        ack_offset: offset,
        broker_name: receipt.broker_name.clone(),
        group: group.to_owned(),
        pop_time: receipt.pop_time,
        queue_id,
        start_offset: receipt.start_offset,
        topic: topic.to_owned(),
        ..PopAck::default()
    };
    let appended = broker.append_ack(&ack, receipt.revive_queue, receipt.revive_time())?;
    Ok(appended.end_offset)
}

fn ack_in_order(
    broker: &Broker,
    (topic, group, queue_id): (&str, &str, i32),
    offset: i64,
    pop_time: i64,
    peer: impl std::fmt::Display,
) -> Result<(), Refusal> {
    let stored = || broker.offsets.get(group, topic, queue_id).unwrap_or(-1);
    let old = stored();
    if offset < old {
        return Ok(());
    }
    match broker
        .pop
        .orders
        .ack((topic, group, queue_id), offset, pop_time)
    {
        Acked::Next(next) => {
            if next > stored() {
                broker
                    .offsets
                    .commit_unless_reset(group, topic, queue_id, next);
            }
            pop_message::wake_next(broker, topic, group);
            Ok(())
        }
        Acked::Late => Ok(()),
        Acked::Unknown => Err(Refusal::MessageIllegal(format!(
            "offset is illegal, key:{topic}@{group}@{queue_id}, old:{old}, commit:{offset}, next:-1, {peer}"
        ))),
    }
}

fn batch_ack(broker: &Broker, request: &RemotingCommand) -> Done {
    let body: BatchAckMessageRequestBody = match request.body.is_empty() {
        true => BatchAckMessageRequestBody::default(),
        false => broker.body(request)?,
    };
    if body.acks.is_empty() {
        return Err(Refusal::NoMessage("there is no ack".to_owned()));
    }
    if body.acks.len() > ENTRIES_MAX {
        return Err(Refusal::InvalidParameter(format!(
            "{} acks in one batch, {ENTRIES_MAX} are possible",
            body.acks.len()
        )));
    }
    // One that is refused keeps none of the others back.
    let (mut log_end, mut refused) = (0, None);
    for entry in &body.acks {
        match ack_entry(broker, entry, &body.broker_name) {
            Ok(end) => log_end = log_end.max(end),
            Err(refusal) => refused = Some(refusal),
        }
    }
    match refused {
        Some(refusal) => Err(refusal),
        None => Ok((log_end, Default::default())),
    }
}

/// Where the log ends behind the entry's ack; 0 if it has none.
fn ack_entry(broker: &Broker, entry: &BatchAck, broker_name: &str) -> Result<i64, Refusal> {
    let group = &*entry.consumer_group;
    if !is_valid_group(group) || !receipt::is_broker_name(broker_name) {
        return Ok(0);
    }
    let Some(topic) = names::of_kind(&entry.retry, &entry.topic, group) else {
        return Ok(0);
    };
    let Some(bounds) = broker.store.queue_bounds(&topic, entry.queue_id) else {
        return Ok(0);
    };
    let offsets: Vec<i64> = offsets(entry)
        .filter(|offset| (bounds.min..=bounds.max).contains(offset))
        .take(OFFSETS_MAX + 1)
        .collect();
    if offsets.is_empty() || offsets.len() > OFFSETS_MAX {
        return Ok(0);
    }
    let queue = (&*topic, group, entry.queue_id);
    if entry.revive_queue_id == names::ORDER_QUEUE {
        let mut refused = None;
        let mut acked = offsets;
        acked.retain(|offset| {
            match ack_in_order(broker, queue, *offset, entry.pop_time, "a batch") {
                Ok(_) => true,
                Err(refusal) => {
                    refused = Some(refusal);
                    false
                }
            }
        });
        broker.stats.acked(&topic, group, acked.len());
        observe(broker, queue, &acked);
        return refused.map_or(Ok(0), Err);
    }
    if broker.check_revive_queue(entry.revive_queue_id).is_err() {
        return Ok(0);
    }
    let ack = PopAck {
        ack_offset: -1,
        ack_offsets: offsets.clone(),
        broker_name: broker_name.to_owned(),
        group: group.to_owned(),
        pop_time: entry.pop_time,
        queue_id: entry.queue_id,
        start_offset: entry.start_offset,
        topic: topic.clone(),
    };
    let due = entry.pop_time.saturating_add(entry.invisible_time);
    let appended = broker.append_ack(&ack, entry.revive_queue_id, due)?;
    broker.stats.acked(&topic, group, offsets.len());
    observe(broker, queue, &offsets);
    Ok(appended.end_offset)
}

/// Offsets of an entry's bit set.
fn offsets(entry: &BatchAck) -> impl Iterator<Item = i64> {
    let mut bits = BASE64.decode(&entry.bit_set).unwrap_or_default();
    bits.truncate(BITS_SIZE_MAX);
    let start = entry.start_offset;
    (0..bits.len() * 8)
        .filter(move |at| bits[at / 8] & (1 << (at % 8)) != 0)
        .map(move |at| start.saturating_add(at as i64))
}

/// Consume hooks are told.
pub(crate) fn observe(
    broker: &Broker,
    (topic, group, queue_id): (&str, &str, i32),
    offsets: &[i64],
) {
    if !broker.plugins.has_any(World::ConsumeHook) {
        return;
    }
    for offset in offsets {
        let unit = broker.store.unit_at(topic, queue_id, *offset);
        let bytes = unit.and_then(|unit| broker.store.record_at(unit.physical_offset));
        if let Some(record) = bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok()) {
            consume_hooks::after(broker, group, &record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stand_for_offsets() {
        let entry = BatchAck {
            bit_set: "BQE=".to_owned(),
            start_offset: 100,
            ..BatchAck::default()
        };
        assert_eq!(offsets(&entry).collect::<Vec<_>>(), [100, 102, 108]);
    }
}
