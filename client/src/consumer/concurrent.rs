//! Listeners that run beside each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluice_protocol::body::MessageModel;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::assigned::Assigned;
use super::group::{Chunk, Group, Intake};
use super::listener::{ConsumeResult, Listener};
use super::offsets::Update;
use super::send_back;
use crate::message::ReceivedMessage;
use crate::unique_id::now_ms;

/// Before messages that could not be put back are tried again here.
const LOCAL_RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Most stuck messages of one queue that are put back at a time.
const STUCK_MAX: usize = 16;
/// Delay level of stuck messages: 10 s.
const STUCK_DELAY_LEVEL: i32 = 3;

pub(crate) type Chunks = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Chunk>>>;

/// One of the consumer's workers: takes messages and calls the listener until the consumer stops.
pub(crate) async fn work(group: Arc<Group>, listener: Listener, chunks: Chunks) {
    let stopped = group.stopped();
    tokio::pin!(stopped);
    loop {
        let next = async { chunks.lock().await.recv().await };
        tokio::select! {
            biased;
            () = &mut stopped => return,
            chunk = next => match chunk {
                Some(chunk) => consume(&group, &listener, chunk).await,
                None => return,
            },
        }
    }
}

async fn consume(group: &Arc<Group>, listener: &Listener, chunk: Chunk) {
    let Chunk { assigned, messages } = chunk;
    if assigned.is_dropped() {
        return;
    }
    let offsets = || messages.iter().map(ReceivedMessage::queue_offset);
    if assigned.process.start(offsets(), now_ms()) == 0 {
        return; // put back meanwhile
    }
    let consumed = listener.call(messages.clone()).await;
    assigned.last_consume_ms.store(now_ms(), Ordering::Relaxed);
    let succeeded = consumed.result == ConsumeResult::Success;
    group.tally(succeeded, messages.len(), consumed.took);
    if assigned.is_dropped() {
        tracing::debug!(group = group.name, queue = %assigned.queue, "queue is somebody else's by now, the result is dropped");
        return;
    }
    let kept = match consumed.result {
        ConsumeResult::Success => Vec::new(),
        ConsumeResult::Later => fail(group, &assigned, &messages).await,
    };
    let is_kept = |offset: &i64| kept.iter().any(|message| message.queue_offset() == *offset);
    finish(
        group,
        &assigned,
        offsets().filter(|offset| !is_kept(offset)),
    );
    if !kept.is_empty() {
        retry_here(
            group,
            Chunk {
                assigned,
                messages: kept,
            },
        );
    }
}

/// These messages are dealt with: the group's offset moves up to the first that is not.
fn finish(group: &Group, assigned: &Assigned, offsets: impl Iterator<Item = i64>) {
    assigned.settle(|| {
        let offset = assigned.process.remove(offsets);
        if let Some(offset) = offset.filter(|_| !assigned.is_dropped()) {
            group
                .offsets
                .update(&assigned.queue, offset, Update::Increase);
        }
    });
    assigned.pull_may_go_on.notify_one();
}

/// Puts failed messages back; those that can't be are to be tried again here.
async fn fail(
    group: &Arc<Group>,
    assigned: &Arc<Assigned>,
    messages: &[ReceivedMessage],
) -> Vec<ReceivedMessage> {
    if group.model == MessageModel::Broadcasting {
        for message in messages {
            tracing::warn!(
                group = group.name,
                message_id = message.message_id(),
                "broadcast message failed and is dropped"
            );
        }
        return Vec::new();
    }
    let mut kept = Vec::new();
    for message in messages {
        if !assigned.process.contains(message.queue_offset()) {
            continue; // put back as stuck
        }
        if let Err(error) = send_back::send_back(group, message, 0).await {
            tracing::warn!(group = group.name, message_id = message.message_id(), %error, "message not put back, it is tried again here");
            let mut message = message.clone();
            message.count_local_retry();
            assigned.process.count_local_retry(message.queue_offset());
            kept.push(message);
        }
    }
    kept
}

fn retry_here(group: &Arc<Group>, chunk: Chunk) {
    let again = group.clone();
    group.spawn_listener(async move {
        tokio::select! {
            () = sleep(LOCAL_RETRY_PAUSE) => {}
            () = again.stopped() => return,
        }
        if let Intake::Concurrent(_, chunks) = &again.intake {
            let _ = chunks.send(chunk);
        }
    });
}

/// Puts messages back whose listener takes longer than it may; its result will count for nothing.
pub(crate) async fn put_stuck_back(group: &Arc<Group>) {
    let since = now_ms().saturating_sub(group.consume.timeout.as_millis() as u64);
    for assigned in group.all_assigned() {
        for message in assigned.process.stuck(since, STUCK_MAX) {
            let message_id = message.message_id();
            match send_back::send_back(group, &message, STUCK_DELAY_LEVEL).await {
                Ok(()) => {
                    tracing::warn!(
                        group = group.name,
                        message_id,
                        "listener takes too long, message was put back"
                    );
                    finish(group, &assigned, [message.queue_offset()].into_iter());
                }
                Err(error) => {
                    tracing::warn!(group = group.name, message_id, %error, "stuck message not put back")
                }
            }
        }
    }
}
