//! Tells connections that are no longer worth keeping: idle, stalled, or too slow for what they hold.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::connection::Connection;
use crate::error::CloseReason;

/// Slowest that a started frame may come and that what waits may be taken, bytes per second, once
/// the patience is used up.
const RATE_MIN: u64 = 64 * 1024;

/// What a connection has to do by when. Only the sweep looks, so that moving bytes costs no clock.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    frame: Deadline,
    answers: Deadline,
}

/// A count of bytes that has to be reached in time.
#[derive(Debug, Default)]
struct Deadline {
    /// Bytes that must have moved, and until when; none while nothing is due.
    goal: Option<(u64, Duration)>,
}

impl Deadline {
    /// Whether `left` bytes, due since some earlier look, still have not moved. `done` counts all
    /// bytes that have; time is `now`.
    fn is_missed(&mut self, done: u64, left: u64, now: Duration, patience: Duration) -> bool {
        match self.goal {
            _ if left == 0 => self.goal = None,
            Some((goal, due)) if done < goal => return now > due,
            _ => {
                let allowed = patience + Duration::from_millis(left * 1000 / RATE_MIN);
                self.goal = Some((done + left, now + allowed));
            }
        }
        false
    }
}

impl Connection {
    /// Ends the connection if nothing has moved for `idle`, nothing of what waits for `stall`, or
    /// if a started frame or what waits takes longer than `stall` and 64 KiB a second allow.
    pub(crate) fn close_if_unused(&self, idle: Duration, stall: Duration) {
        if let Some(reason) = self.uselessness(idle, stall) {
            self.close(reason);
        }
    }

    fn uselessness(&self, idle: Duration, stall: Duration) -> Option<CloseReason> {
        // Locked first: what is put in afterwards must not meet a write time from before.
        let outbox = self.outbox.lock();
        let now = self.age();
        let since =
            |last_ms: u64| Duration::from_millis((now.as_millis() as u64).saturating_sub(last_ms));
        let read = since(self.last_read_ms.load(Ordering::Relaxed));
        let written = since(self.last_write_ms.load(Ordering::Relaxed));
        let (taken, pending) = (outbox.taken(), outbox.pending() as u64);
        drop(outbox);

        let came = self.bytes_read();
        let missing = self.frame_missing.load(Ordering::Relaxed);
        let mut watch = self.watch.lock();
        let slow_frame = watch.frame.is_missed(came, missing, now, stall);
        let slow_reader = watch.answers.is_missed(taken, pending, now, stall);
        if read.min(written) > idle {
            Some(CloseReason::Idle(idle))
        } else if written > stall && pending > 0 {
            Some(CloseReason::Stalled(stall))
        } else if slow_reader {
            Some(CloseReason::SlowReader { pending })
        } else if slow_frame {
            Some(CloseReason::SlowFrame { missing })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_protocol::RemotingCommand;
    use tokio::time::advance;

    use super::*;

    const IDLE: Duration = Duration::from_secs(120);
    const STALL: Duration = Duration::from_secs(60);

    fn connection() -> Arc<Connection> {
        let address = ([127, 0, 0, 1], 1).into();
        Connection::new(1, address, address, false, 0, 1 << 24)
    }

    /// Moves with `step` every half minute until the connection is closed, at most an hour.
    async fn closed_after(connection: &Connection, step: impl Fn()) -> (u64, Option<CloseReason>) {
        for seconds in 0..3600 {
            connection.close_if_unused(IDLE, STALL);
            if let Some(reason) = connection.closing() {
                return (seconds, Some(reason.clone()));
            }
            if seconds % 30 == 0 {
                step();
            }
            advance(Duration::from_secs(1)).await;
        }
        (3600, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_must_come_within_the_patience_and_its_size() {
        let connection = connection();
        let trickle = || {
            connection.note_read(1);
            connection.note_missing(128 * 1024);
        };
        trickle();
        let (seconds, reason) = closed_after(&connection, trickle).await;
        assert!(
            matches!(reason, Some(CloseReason::SlowFrame { .. })),
            "{reason:?}"
        );
        // The patience, and two seconds for 128 KiB.
        assert!((62..=64).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_do_end_may_come_for_ever() {
        let connection = connection();
        let steady = || {
            connection.note_read(300);
            connection.note_missing(200);
        };
        steady();
        assert_eq!(closed_after(&connection, steady).await.0, 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_must_be_taken_within_the_patience_and_its_size() {
        let connection = connection();
        let answer = RemotingCommand::request(10, 1).with_body(vec![0; 640 * 1024]);
        connection.send(&answer, &[]).expect("it fits");
        let take = |size| {
            connection.outbox.lock().written(size);
            connection.note_write();
        };
        let (seconds, reason) = closed_after(&connection, || take(1)).await;
        assert!(
            matches!(reason, Some(CloseReason::SlowReader { .. })),
            "{reason:?}"
        );
        assert!((70..=72).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_reader_is_kept_though_something_always_waits() {
        let connection = connection();
        let answer = RemotingCommand::request(10, 1).with_body(vec![0; 100_000]);
        connection.send(&answer, &[]).expect("it fits");
        let steady = || {
            connection.send(&answer, &[]).expect("it fits");
            connection.outbox.lock().written(100_000);
            connection.note_write();
        };
        assert_eq!(closed_after(&connection, steady).await.0, 3600);
    }
}
