//! Orderly consumption: queues are locked, and one pull is in flight on each.

use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{LockBatchRequestBody, LockBatchResponseBody, MessageQueue};
use sluice_protocol::code::request;
use sluice_protocol::command::FLAG_ONE_WAY;
use sluice_protocol::header::{
    PullMessageRequestHeader, QueryConsumerOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use sluice_protocol::message::{sys_flag, view};
use sluice_tests::wire::Wire;

use super::topics::{Backlog, LOOK, QUEUES, join};
use super::{Figures, Meter, PATIENCE, Subject, figures};
use crate::flight::{answer, ask, number, succeeded};

const CLIENT: &str = "bench@orderly";
/// How long a pull waits for messages, milliseconds; here all find some.
const SUSPEND_MS: i64 = 15_000;
/// Groups that consume the backlog in a round: it is over fast.
const GROUPS: i32 = 4;

/// Groups consume the whole backlog, one after the other.
pub fn consumed(subject: &mut Subject<'_>, round: usize) -> Result<Vec<Figures>> {
    let (wire, ends) = (&mut subject.wire, &subject.backlog.ends);
    let groups = (0..GROUPS).map(|group| format!("orderly-{round}-{group}"));
    let groups: Vec<String> = groups.collect();
    let meter = Meter::start(subject.pid)?;
    for group in &groups {
        consume(wire, group, ends)?;
    }
    let done = figures(&meter, GROUPS * subject.wanted.messages)?;
    for group in &groups {
        wait_for_commits(wire, group, ends)?;
    }
    Ok(vec![done])
}

fn consume(wire: &mut Wire, group: &str, ends: &[i64]) -> Result<()> {
    let version = join(wire, group, CLIENT, Backlog::TOPIC)?;
    let held = locking(wire, request::LOCK_BATCH_MQ, group)?;
    let held: LockBatchResponseBody = serde_json::from_slice(&held.body)?;
    ensure!(
        held.lock_ok_mq_set.len() == ends.len(),
        "not all are locked: {held:?}"
    );
    // Where the group is in each queue.
    let mut offsets = vec![0; ends.len()];
    let mut open = 0;
    for (queue, end) in (0..).zip(ends) {
        if *end > 0 {
            wire.out.extend_from_slice(&pull(group, queue, 0, version));
            open += 1;
        }
    }
    while open > 0 {
        wire.flush()?;
        let answer = answer(wire)?;
        let at = usize::try_from(answer.opaque)?;
        let offset = &mut offsets[at];
        *offset = check_order(succeeded(&answer)?, *offset)?;
        let next = if *offset < ends[at] {
            pull(group, answer.opaque, *offset, version)
        } else {
            open -= 1;
            commit(group, answer.opaque, *offset)
        };
        wire.out.extend_from_slice(&next);
    }
    locking(wire, request::UNLOCK_BATCH_MQ, group)?;
    Ok(())
}

fn locking(wire: &mut Wire, code: i32, group: &str) -> Result<RemotingCommand> {
    let queue = |queue_id: i32| MessageQueue {
        topic: Backlog::TOPIC.to_owned(),
        broker_name: "broker-a".to_owned(),
        queue_id,
    };
    let body = LockBatchRequestBody {
        client_id: CLIENT.to_owned(),
        consumer_group: group.to_owned(),
        mq_set: (0..QUEUES).map(queue).collect(),
        only_this_broker: false,
    };
    let request = RemotingCommand::request(code, 0).with_body(serde_json::to_vec(&body)?);
    ask(wire, &request)
}

/// The next messages of a queue, and the commit of those before them; its opaque is the queue.
fn pull(group: &str, queue_id: i32, offset: i64, sub_version: i64) -> Vec<u8> {
    let commit = match offset {
        0 => 0,
        _ => sys_flag::PULL_COMMIT_OFFSET,
    };
    let header = PullMessageRequestHeader {
        consumer_group: group.into(),
        topic: Backlog::TOPIC.into(),
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: sys_flag::PULL_SUSPEND | commit,
        commit_offset: offset,
        suspend_timeout_millis: SUSPEND_MS,
        subscription: None,
        sub_version,
        expression_type: Some("TAG".into()),
    };
    let mut pull = RemotingCommand::request(request::PULL_MESSAGE, queue_id);
    header.encode(&mut pull.ext);
    pull.ext.put("maxMsgBytes", i32::MAX.to_string());
    pull.ext.put("bname", "broker-a");
    pull.encode().into()
}

/// The offset behind the messages of an answer, which must be those from `offset` on.
fn check_order(answer: &RemotingCommand, offset: i64) -> Result<i64> {
    let mut next = offset;
    for record in view::records(&answer.body) {
        let at = record?.queue_offset();
        ensure!(at == next, "a message at {at}, not at {next}");
        next += 1;
    }
    let promised = number(answer, "nextBeginOffset")?;
    ensure!(
        next > offset && next == promised,
        "messages from {offset} to {next}, but {promised} is next"
    );
    Ok(next)
}

/// One-way, as clients commit when they end.
fn commit(group: &str, queue_id: i32, commit_offset: i64) -> Vec<u8> {
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: group.into(),
        topic: Backlog::TOPIC.into(),
        queue_id,
        commit_offset,
    };
    let mut commit = RemotingCommand::request(request::UPDATE_CONSUMER_OFFSET, queue_id);
    commit.flag = FLAG_ONE_WAY;
    header.encode(&mut commit.ext);
    commit.ext.put("bname", "broker-a");
    commit.encode().into()
}

/// One-way requests may be overtaken.
fn wait_for_commits(wire: &mut Wire, group: &str, ends: &[i64]) -> Result<()> {
    let began = Instant::now();
    for (queue, end) in (0..).zip(ends).filter(|(_, end)| **end > 0) {
        loop {
            let committed = committed(wire, group, queue)?;
            if committed == *end {
                break;
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "{group} has committed {committed} of {end} in queue {queue}"
            );
            thread::sleep(LOOK);
        }
    }
    Ok(())
}

fn committed(wire: &mut Wire, group: &str, queue_id: i32) -> Result<i64> {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: group.into(),
        topic: Backlog::TOPIC.into(),
        queue_id,
        set_zero_if_not_found: None,
    };
    let mut query = RemotingCommand::request(request::QUERY_CONSUMER_OFFSET, 0);
    header.encode(&mut query.ext);
    number(&ask(wire, &query)?, "offset")
}
