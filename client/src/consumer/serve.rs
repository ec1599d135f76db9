//! What brokers ask of consumers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{ConsumeType, ResetOffsetBody};
use sluice_protocol::code::{request, response};
use sluice_protocol::version;
use sluice_remoting::Responder;

use super::group::{Group, Intake};
use super::listener::ConsumeResult;
use super::pull::decode;
use crate::body::{self, ConsumeStatus, ConsumerStatus, DirectResult, QueueInfo, RunningInfo};
use crate::instance::refuse_unknown;

/// A queue held for a reset goes on by itself after this, should the reset not end.
const RESET_DEADLINE: Duration = Duration::from_secs(30);

/// Answers a broker's request: at once, or from a task of its own.
pub(crate) fn serve(group: Arc<Group>, request: RemotingCommand, responder: Responder) {
    match request.code {
        request::RESET_CONSUMER_CLIENT_OFFSET => {
            responder.stay_silent();
            tokio::spawn(async move {
                let reset = tokio::time::timeout(RESET_DEADLINE, reset_offsets(&group, &request));
                if reset.await.is_err() {
                    tracing::warn!(group = group.name, "offset reset took too long");
                }
            });
        }
        request::GET_CONSUMER_STATUS_FROM_CLIENT => {
            let topic = request.ext.get("topic").unwrap_or_default();
            answer(responder, body::write(&status(&group, topic)));
        }
        request::GET_CONSUMER_RUNNING_INFO if is_ours(&group, &request) => {
            answer(responder, body::write(&running_info(&group)));
        }
        request::CONSUME_MESSAGE_DIRECTLY if is_ours(&group, &request) => {
            tokio::spawn(consume_directly(group, request, responder));
        }
        request::GET_CONSUMER_RUNNING_INFO | request::CONSUME_MESSAGE_DIRECTLY => {
            let wanted = request.ext.get("consumerGroup").unwrap_or_default();
            let remark = format!("The Consumer Group <{wanted}> not exist in this consumer");
            responder.refuse(response::SYSTEM_ERROR, remark);
        }
        _ => refuse_unknown(responder),
    }
}

fn is_ours(group: &Group, request: &RemotingCommand) -> bool {
    request.ext.get("consumerGroup") == Some(&group.name)
}

fn answer(responder: Responder, body: Vec<u8>) {
    let response = responder.response(response::SUCCESS).with_body(body);
    responder.answer(response);
}

/// RESET_CONSUMER_CLIENT_OFFSET: an operator moved the group. As in Java, lite pull consumers, which
/// seek themselves, take no notice.
async fn reset_offsets(group: &Arc<Group>, request: &RemotingCommand) {
    if request.ext.get("group") != Some(&group.name) || group.pull.lite {
        return;
    }
    let table = match body::read::<ResetOffsetBody>(&request.body) {
        Ok(body) => body.offset_table,
        Err(error) => {
            tracing::warn!(
                group = group.name,
                error,
                "offset reset does not parse, nothing is changed"
            );
            return;
        }
    };
    let topic = request.ext.get("topic");
    for (queue, offset) in table {
        if topic.is_some_and(|topic| topic != queue.topic) {
            continue;
        }
        if let Some(assigned) = group.assigned(&queue) {
            tracing::info!(group = group.name, %queue, offset, "offset reset by an operator");
            group.reset(&assigned, offset).await;
        }
    }
    group.rebalance_wanted.notify_one();
}

fn status(group: &Group, topic: &str) -> ConsumerStatus {
    let queues = group
        .assigned_queues()
        .into_iter()
        .filter(|queue| queue.topic == topic);
    let known = queues.filter_map(|queue| Some((group.offsets.known(&queue)?, queue)));
    ConsumerStatus {
        message_queue_table: known.map(|(offset, queue)| (queue, offset)).collect(),
        ..ConsumerStatus::default()
    }
}

fn running_info(group: &Group) -> RunningInfo {
    let (succeeded, failed) = (&group.tally.succeeded, &group.tally.failed);
    let total = succeeded.load(Ordering::Relaxed) + failed.load(Ordering::Relaxed);
    let seconds =
        (crate::unique_id::now_ms().saturating_sub(group.started_ms) as f64 / 1000.0).max(1.0);
    let status = ConsumeStatus {
        consume_failed_msgs: failed.load(Ordering::Relaxed),
        consume_failed_tps: failed.load(Ordering::Relaxed) as f64 / seconds,
        consume_ok_tps: succeeded.load(Ordering::Relaxed) as f64 / seconds,
        consume_rt: group.tally.took_ms.load(Ordering::Relaxed) as f64 / (total.max(1)) as f64,
        ..ConsumeStatus::default()
    };
    let topics: Vec<String> = group.subscriptions.read().keys().cloned().collect();
    // The tally is the group's; it is shown at the first topic so that sums stay right.
    let first = topics
        .iter()
        .find(|topic| **topic != group.retry_topic())
        .cloned();
    RunningInfo {
        mq_table: group
            .all_assigned()
            .iter()
            .map(|assigned| (assigned.queue.clone(), queue_info(group, assigned)))
            .collect(),
        properties: properties(group),
        status_table: first.map(|topic| (topic, status)).into_iter().collect(),
        subscription_set: group.subscriptions.read().values().cloned().collect(),
        ..RunningInfo::default()
    }
}

fn properties(group: &Group) -> BTreeMap<&'static str, String> {
    let consume_type = if group.pull.lite {
        ConsumeType::Actively
    } else {
        ConsumeType::Passively
    };
    BTreeMap::from([
        ("PROP_NAMESERVER_ADDR", group.instance.name_servers.text()),
        ("PROP_CONSUME_TYPE", consume_type.name().to_owned()),
        ("PROP_CLIENT_VERSION", version::name(version::CURRENT)),
        ("PROP_CONSUMEORDERLY", group.is_ordered().to_string()),
        (
            "PROP_THREADPOOL_CORE_SIZE",
            group.consume.concurrency.to_string(),
        ),
        (
            "PROP_CONSUMER_START_TIMESTAMP",
            group.started_ms.to_string(),
        ),
        ("messageModel", group.model.name().to_owned()),
        ("consumeFromWhere", group.start_at.name().name().to_owned()),
        ("pullBatchSize", group.pull.batch_size.to_string()),
        (
            "consumeMessageBatchMaxSize",
            group.consume.batch_size.to_string(),
        ),
    ])
}

fn queue_info(group: &Group, assigned: &super::assigned::Assigned) -> QueueInfo {
    let fill = assigned.process.fill();
    QueueInfo {
        cached_msg_count: fill.count,
        cached_msg_max_offset: fill.last,
        cached_msg_min_offset: fill.first,
        cached_msg_size_in_mi_b: fill.size >> 20,
        commit_offset: group.offsets.known(&assigned.queue).unwrap_or(-1),
        droped: assigned.is_dropped(),
        last_consume_timestamp: assigned.last_consume_ms.load(Ordering::Relaxed),
        last_lock_timestamp: assigned.locked_ms(),
        last_pull_timestamp: assigned.last_pull_ms(),
        locked: group.needs_locks() && assigned.is_locked(),
        ..QueueInfo::default()
    }
}

/// CONSUME_MESSAGE_DIRECTLY: an operator hands one message to the listener.
async fn consume_directly(group: Arc<Group>, request: RemotingCommand, responder: Responder) {
    let listener = match &group.intake {
        Intake::Concurrent(listener, _) | Intake::Ordered(listener, _) => listener.clone(),
        Intake::Poll(_) => {
            return responder.refuse(
                response::SYSTEM_ERROR,
                "this consumer polls, it has no listener",
            );
        }
    };
    let broker: Arc<str> = request.ext.get("brokerName").unwrap_or_default().into();
    let mut messages = match decode(&Bytes::clone(&request.body), &broker, 0) {
        Ok(messages) if messages.len() == 1 => messages,
        Ok(messages) => {
            let remark = format!("one message is expected, {} came", messages.len());
            return responder.refuse(response::SYSTEM_ERROR, remark);
        }
        Err(error) => return responder.refuse(response::SYSTEM_ERROR, error),
    };
    let retry_topic = group.retry_topic();
    messages
        .iter_mut()
        .for_each(|message| message.show_original_topic(&retry_topic));
    let consumed = listener.call(messages).await;
    let result = DirectResult {
        auto_commit: true,
        consume_result: match consumed.result {
            _ if consumed.panicked => "CR_THROW_EXCEPTION",
            ConsumeResult::Success => "CR_SUCCESS",
            ConsumeResult::Later => "CR_LATER",
        },
        order: group.is_ordered(),
        spent_time_mills: consumed.took.as_millis() as u64,
    };
    answer(responder, body::write(&result));
}
