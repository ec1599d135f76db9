//! PEEK_MESSAGE (200052): what a pop would find, without taking it. No filter is asked, as in Java.

use std::sync::Arc;

use bytes::Bytes;
use sluice_filters::TagFilter;
use sluice_plugins::filter::Thread;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;
use sluice_protocol::header::{PeekMessageRequestHeader, PopMessageResponseHeader};
use sluice_remoting::Responder;
use sluice_store::{ReadRequest, ReadStatus};

use crate::Broker;
use crate::error::Refusal;
use crate::filtering::Filtering;

/// Most messages of one answer; Java has no bound.
const MESSAGES_MAX: usize = 32;
const READ_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Answers with messages, or 19.
pub fn peek_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.aside(responder, move |broker, responder| {
        match look(broker, &request, &responder) {
            Ok((records, rest)) => answer(responder, &records, rest),
            Err(refusal) => broker.refuse(responder, refusal),
        }
    });
}

fn look(
    broker: &Broker,
    request: &RemotingCommand,
    responder: &Responder,
) -> Result<(Vec<Bytes>, i64), Refusal> {
    let header = PeekMessageRequestHeader::decode(&request.ext)?;
    broker.may_pop("peeking")?;
    let (topic, group) = (&*header.topic, &*header.consumer_group);
    let peer = responder.connection().peer();
    let config = broker.popped_topic(topic, group, header.queue_id, peer)?;
    let max = usize::try_from(header.max_msg_nums).unwrap_or(0);
    let max = max.clamp(1, MESSAGES_MAX);
    let own = match header.queue_id {
        id if id < 0 => 0..config.read_queue_nums,
        id => id..id + 1,
    };
    let mut queues: Vec<(String, i32)> = own.map(|id| (topic.to_owned(), id)).collect();
    let start = rand::random_range(0..queues.len().max(1));
    queues.rotate_left(start);
    for retry in broker.pop_retry_topics(topic, group) {
        let count = broker
            .topics
            .get(&retry)
            .map_or(0, |topic| topic.read_queue_nums);
        queues.extend((0..count).map(|id| (retry.clone(), id)));
    }
    let (mut records, mut rest) = (Vec::new(), 0);
    for (topic, queue_id) in queues {
        rest += peek(broker, group, (&topic, queue_id), max, &mut records);
    }
    Ok((records, rest))
}

/// Adds messages of a queue; how many it has.
fn peek(
    broker: &Broker,
    group: &str,
    (topic, queue_id): (&str, i32),
    max: usize,
    records: &mut Vec<Bytes>,
) -> i64 {
    let bounds = broker.bounds(topic, queue_id);
    let next = broker
        .pop
        .queues
        .next(&broker.offsets, topic, group, queue_id);
    let offset = next.unwrap_or(bounds.min).max(0);
    if records.len() < max {
        let all = TagFilter::all();
        let filtering = Filtering::new(&all, &[], Thread::Aside);
        let mut request = ReadRequest {
            topic,
            queue_id,
            offset,
            max_messages: max - records.len(),
            max_bytes: READ_SIZE_MAX,
        };
        let mut read = broker.store.read(&request, &filtering);
        let misplaced = [ReadStatus::OffsetTooSmall, ReadStatus::OffsetOverflowBadly];
        if misplaced.contains(&read.status) {
            request.offset = read.next_begin_offset;
            read = broker.store.read(&request, &filtering);
        }
        records.extend(read.records);
    }
    (bounds.max - offset).max(0)
}

fn answer(responder: Responder, records: &[Bytes], rest_num: i64) {
    let (code, remark) = match records.is_empty() {
        true => (response::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE"),
        false => (response::SUCCESS, "FOUND"),
    };
    let mut response = responder.response(code);
    response.remark = Some(remark.into());
    // Java leaves what speaks of a taking at 0.
    let header = PopMessageResponseHeader {
        pop_time: 0,
        invisible_time: 0,
        revive_qid: 0,
        rest_num,
        start_offset_info: None,
        msg_offset_info: None,
        order_count_info: None,
    };
    header.encode(&mut response.ext);
    responder.answer_with(response, records);
}
