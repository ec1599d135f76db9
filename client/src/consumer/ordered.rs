//! Listeners that get the messages of a queue one after the other, in order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::assigned::Assigned;
use super::group::{Group, Intake};
use super::listener::{ConsumeResult, Listener};
use super::offsets::Update;
use super::send_back;
use crate::message::ReceivedMessage;
use crate::unique_id::now_ms;

/// Before a lock that was refused is asked for again.
const LOCK_PAUSE: Duration = Duration::from_secs(3);

/// Consumes one queue until it is dropped or the consumer stops.
pub(crate) async fn consume(group: Arc<Group>, assigned: Arc<Assigned>, listener: Listener) {
    let stopped = group.stopped();
    tokio::pin!(stopped);
    loop {
        if assigned.is_dropped() || group.is_stopping() {
            return;
        }
        let pause = match step(&group, &assigned, &listener).await {
            Step::Done => continue,
            Step::Empty => Duration::MAX,
            Step::Again(pause) => pause,
        };
        tokio::select! {
            () = &mut stopped => return,
            () = assigned.listener_may_go_on.notified(), if pause == Duration::MAX => {}
            () = dropped_or(&assigned, pause), if pause != Duration::MAX => {}
        }
    }
}

/// What comes after a step.
enum Step {
    /// The next messages.
    Done,
    /// Nothing until messages arrive.
    Empty,
    /// The same after a pause.
    Again(Duration),
}

async fn dropped_or(assigned: &Assigned, pause: Duration) {
    if !assigned.is_dropped() {
        sleep(pause).await;
    }
}

async fn step(group: &Arc<Group>, assigned: &Arc<Assigned>, listener: &Listener) -> Step {
    if group.needs_locks() && !assigned.is_locked() && !lock_again(group, assigned).await {
        return Step::Again(LOCK_PAUSE);
    }
    if assigned.process.fill().count == 0 {
        return Step::Empty;
    }
    let Intake::Ordered(_, permits) = &group.intake else {
        return Step::Empty;
    };
    // A listener left over from before a reset is waited for without taking others their turn.
    drop(assigned.consuming.lock().await);
    let Ok(_permit) = permits.acquire().await else {
        return Step::Empty;
    };
    // Whoever gives the lock back waits for this.
    let _consuming = assigned.consuming.lock().await;
    if assigned.is_dropped() || group.is_stopping() {
        return Step::Done;
    }
    let messages = assigned.process.take(group.consume.batch_size);
    if messages.is_empty() {
        return Step::Empty;
    }
    let consumed = listener.call(messages.clone()).await;
    assigned.last_consume_ms.store(now_ms(), Ordering::Relaxed);
    let succeeded = consumed.result == ConsumeResult::Success;
    group.tally(succeeded, messages.len(), consumed.took);
    let over = match consumed.result {
        ConsumeResult::Success => true,
        ConsumeResult::Later => are_over(group, &messages).await,
    };
    // Even a queue dropped meanwhile: its lock is still ours, and the offset is kept once more
    // before it is given back.
    if over {
        assigned.settle(|| {
            if let Some(offset) = assigned.process.finish_taken() {
                group.offsets.update(&assigned.queue, offset, Update::Set);
            }
        });
        assigned.pull_may_go_on.notify_one();
        return Step::Done;
    }
    assigned.process.give_taken_back();
    Step::Again(group.consume.suspend)
}

async fn lock_again(group: &Arc<Group>, assigned: &Assigned) -> bool {
    let queue = std::slice::from_ref(&assigned.queue);
    match group
        .instance
        .lock(&assigned.broker_name, &group.name, queue)
        .await
    {
        Ok(granted) => {
            assigned.set_locked(granted.contains(&assigned.queue));
            assigned.is_locked()
        }
        Err(error) => {
            tracing::warn!(group = group.name, queue = %assigned.queue, %error, "queue not locked");
            false
        }
    }
}

/// Whether failed messages were delivered often enough and went to the dead letters: then the queue
/// goes on. If one of them did not, all are delivered again.
async fn are_over(group: &Arc<Group>, messages: &[ReceivedMessage]) -> bool {
    let max = group.max_reconsume_times();
    let mut over = true;
    for message in messages {
        if message.reconsume_times() < max {
            over = false;
            continue;
        }
        if let Err(error) = send_back::send_as_retry(group, message).await {
            tracing::warn!(group = group.name, message_id = message.message_id(), %error, "message not put away");
            over = false;
        }
    }
    over
}
