//! Getting messages of one queue: one task per queue, at most one pull under way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{MessageModel, SubscriptionData};
use sluice_protocol::code::{request, response};
use sluice_protocol::message::sys_flag;
use tokio::time::sleep;

use super::assigned::Assigned;
use super::group::{Chunk, Group, Intake};
use super::offsets::Update;
use crate::calls::field;
use crate::error::ClientError;
use crate::message::ReceivedMessage;
use crate::route::MASTER;
use crate::subscription::wants;

/// Time for one pull, the broker's holding included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Pause when the broker is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What a pull brought.
#[derive(Debug)]
enum Pulled {
    Found(Vec<ReceivedMessage>),
    /// Nothing there, or nothing that matches.
    Nothing,
    /// The offset lies outside of the queue.
    Illegal,
    /// Flow control.
    Busy,
}

/// Pulls until the queue is dropped.
pub(crate) async fn pull(group: Arc<Group>, assigned: Arc<Assigned>) {
    while !assigned.is_dropped() {
        wait_until_allowed(&group, &assigned).await;
        if assigned.is_dropped() {
            return;
        }
        match once(&group, &assigned).await {
            Ok((Pulled::Found(messages), next)) => {
                assigned.next_offset.store(next, Ordering::Release);
                hand_on(&group, &assigned, messages);
            }
            Ok((Pulled::Nothing, next)) => {
                assigned.next_offset.store(next, Ordering::Release);
                note_progress(&group, &assigned, next);
            }
            Ok((Pulled::Illegal, next)) if group.pull.lite => {
                assigned.next_offset.store(next, Ordering::Release);
            }
            Ok((Pulled::Illegal, next)) => return correct(group, assigned, next),
            Ok((Pulled::Busy, _)) => sleep(BUSY_PAUSE).await,
            Err(error) => {
                tracing::warn!(group = group.name, queue = %assigned.queue, %error, "pull failed");
                sleep(FAILURE_PAUSE).await;
            }
        }
        if !group.pull.interval.is_zero() {
            sleep(group.pull.interval).await;
        }
    }
}

/// Waits while the queue is paused, full, or not locked; who changes that wakes us.
async fn wait_until_allowed(group: &Group, assigned: &Assigned) {
    loop {
        let paused = assigned.is_paused() || group.paused.load(Ordering::Acquire);
        let waits = paused || is_full(group, assigned);
        if assigned.is_dropped() || !(waits || lacks_lock(group, assigned)) {
            return;
        }
        // A queue that is held back on purpose is not stuck.
        assigned.note_pull();
        let _ =
            tokio::time::timeout(Duration::from_secs(30), assigned.pull_may_go_on.notified()).await;
    }
}

fn lacks_lock(group: &Group, assigned: &Assigned) -> bool {
    group.needs_locks() && !assigned.is_locked()
}

fn is_full(group: &Group, assigned: &Assigned) -> bool {
    if let Intake::Poll(backlog) = &group.intake
        && backlog.is_full()
    {
        return true;
    }
    let fill = assigned.process.fill();
    fill.count > group.pull.count_max
        || fill.size > group.pull.size_max
        || (!group.is_ordered() && fill.span > group.pull.span_max)
}

async fn once(group: &Group, assigned: &Assigned) -> Result<(Pulled, i64), ClientError> {
    let subscription = group.subscription(&assigned.queue.topic).ok_or_else(|| {
        ClientError::invalid(
            format!("topic {:?}", assigned.queue.topic),
            "is not subscribed",
        )
    })?;
    let wanted_id = assigned.broker_id.load(Ordering::Relaxed);
    let (broker_id, address) = group.instance.reader(&assigned.broker_name, wanted_id)?;
    // The broker answers only groups it knows, and forgets them with the connection.
    group.instance.ensure_registered(&address).await?;
    assigned.note_pull();
    let request = pull_request(group, assigned, &subscription, broker_id);
    let code = request.code;
    let response = group.instance.call_any(&address, request, TIMEOUT).await?;
    assigned.note_pull();
    read(assigned, &subscription, &address, code, response)
}

fn pull_request(
    group: &Group,
    assigned: &Assigned,
    subscription: &SubscriptionData,
    broker_id: i64,
) -> RemotingCommand {
    let lite = group.pull.lite;
    let committed = match group.model {
        MessageModel::Clustering if !lite && broker_id == MASTER => {
            group.offsets.known(&assigned.queue)
        }
        _ => None,
    };
    // Offset 0 is never sent along: old brokers took it for "none".
    let committed = committed.filter(|offset| *offset > 0);
    let mut flags = sys_flag::PULL_SUSPEND;
    if committed.is_some() {
        flags |= sys_flag::PULL_COMMIT_OFFSET;
    }
    if lite {
        flags |= sys_flag::PULL_SUBSCRIPTION | sys_flag::PULL_LITE;
    }
    let is_tag = subscription.expression_type == "TAG";
    let sub_version = if lite && is_tag {
        0
    } else {
        subscription.sub_version
    };
    let queue = &assigned.queue;
    let fields: [(&'static str, ByteString); 12] = [
        ("consumerGroup", group.name.as_str().into()),
        ("topic", queue.topic.as_str().into()),
        ("queueId", queue.queue_id.to_string().into()),
        (
            "queueOffset",
            assigned
                .next_offset
                .load(Ordering::Acquire)
                .to_string()
                .into(),
        ),
        ("maxMsgNums", group.pull.batch_size.to_string().into()),
        ("sysFlag", flags.to_string().into()),
        ("commitOffset", committed.unwrap_or(0).to_string().into()),
        (
            "suspendTimeoutMillis",
            group.pull.suspend.as_millis().to_string().into(),
        ),
        ("subVersion", sub_version.to_string().into()),
        (
            "expressionType",
            subscription.expression_type.as_str().into(),
        ),
        ("maxMsgBytes", ByteString::from_static("262144")),
        ("bname", queue.broker_name.as_str().into()),
    ];
    let code = if lite {
        request::LITE_PULL_MESSAGE
    } else {
        request::PULL_MESSAGE
    };
    let mut request = RemotingCommand::request(code, 0);
    for (name, value) in fields {
        request.ext.put(name, value);
    }
    if lite {
        request
            .ext
            .put("subscription", subscription.sub_string.as_str());
    }
    request
}

fn read(
    assigned: &Assigned,
    subscription: &SubscriptionData,
    address: &str,
    code: i32,
    response: RemotingCommand,
) -> Result<(Pulled, i64), ClientError> {
    let kind = match response.code {
        response::SUCCESS => None,
        response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => Some(Pulled::Nothing),
        response::PULL_OFFSET_MOVED => Some(Pulled::Illegal),
        response::FLOW_CONTROL => return Ok((Pulled::Busy, 0)),
        refused => {
            return Err(ClientError::Refused {
                address: address.to_owned(),
                code: refused,
                remark: response.remark().to_owned(),
            });
        }
    };
    let next: i64 = field(address, code, &response, "nextBeginOffset")?;
    if let Ok(suggested) = field(address, code, &response, "suggestWhichBrokerId") {
        assigned.broker_id.store(suggested, Ordering::Relaxed);
    }
    if let Some(kind) = kind {
        return Ok((kind, next));
    }
    let delta = field(address, code, &response, "offsetDelta").unwrap_or(0);
    let messages = decode(&response.body, &assigned.broker_name, delta);
    let messages = messages.map_err(|what| ClientError::Response {
        address: address.to_owned(),
        code,
        what,
    })?;
    let wanted = messages
        .into_iter()
        .filter(|message| wants(subscription, message))
        .collect();
    Ok((Pulled::Found(wanted), next))
}

/// The messages of a response body.
pub(crate) fn decode(
    body: &Bytes,
    broker_name: &Arc<str>,
    offset_delta: i64,
) -> Result<Vec<ReceivedMessage>, String> {
    let mut messages = Vec::new();
    let mut rest = body.clone();
    while !rest.is_empty() {
        let at = body.len() - rest.len();
        let read = ReceivedMessage::read(&rest, broker_name, offset_delta);
        let (message, size) = read.map_err(|error| format!("message at byte {at}: {error}"))?;
        messages.push(message);
        rest = rest.slice(size..);
    }
    Ok(messages)
}

/// Puts messages where they are consumed. An empty list changes nothing, as in Java.
fn hand_on(group: &Arc<Group>, assigned: &Arc<Assigned>, mut messages: Vec<ReceivedMessage>) {
    if messages.is_empty() || assigned.is_dropped() {
        return;
    }
    let retry_topic = group.retry_topic();
    messages
        .iter_mut()
        .for_each(|message| message.show_original_topic(&retry_topic));
    assigned.process.put(&messages);
    let chunk = |messages| Chunk {
        assigned: assigned.clone(),
        messages,
    };
    match &group.intake {
        Intake::Ordered(..) => assigned.listener_may_go_on.notify_one(),
        Intake::Poll(backlog) => backlog.put(chunk(messages)),
        Intake::Concurrent(_, chunks) => {
            while !messages.is_empty() {
                let rest = messages.split_off(group.consume.batch_size.min(messages.len()));
                // The receiver is gone only when the consumer is.
                let _ = chunks.send(chunk(std::mem::replace(&mut messages, rest)));
            }
        }
    }
}

/// Nothing matched up to `next`: with nothing else under way that is how far the group is.
fn note_progress(group: &Group, assigned: &Assigned, next: i64) {
    if !group.pull.lite && assigned.process.fill().count == 0 {
        group
            .offsets
            .update(&assigned.queue, next, Update::Increase);
    }
}

/// The broker says where the queue goes on: it is dropped and taken anew from there. That outlives
/// the pull task, which ends with the queue.
fn correct(group: Arc<Group>, assigned: Arc<Assigned>, offset: i64) {
    tracing::warn!(group = group.name, queue = %assigned.queue, offset, "offset corrected by the broker");
    tokio::spawn(async move {
        group.reset(&assigned, offset).await;
        group.rebalance_wanted.notify_one();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::message::tests::received;

    #[test]
    fn bodies_are_cut_into_messages() {
        let one = received("T", 5, &Message::new("T", "x"));
        let broker: Arc<str> = "b".into();
        let record = one.record_bytes();
        let two: Bytes = [&record[..], &record[..]].concat().into();
        let messages = decode(&two, &broker, 100).unwrap();
        assert_eq!(
            messages
                .iter()
                .map(ReceivedMessage::queue_offset)
                .collect::<Vec<_>>(),
            [105, 105]
        );
        let cut = decode(&two.slice(..two.len() - 1), &broker, 0).unwrap_err();
        assert!(cut.contains(&format!("byte {}", record.len())), "{cut}");
    }
}
