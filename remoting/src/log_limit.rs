//! What strangers can cause without end is logged once, then counted.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long one line stands for all of its kind.
const WINDOW: Duration = Duration::from_secs(60);

/// Lets the first event of a kind through and counts the others of the next minute.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    began: Instant,
    held_back: u64,
}

impl LogLimit {
    /// Whether this event is to be logged.
    pub(crate) fn admits(&self) -> bool {
        let mut window = self.0.lock();
        match window.as_mut() {
            Some(window) => {
                window.held_back += 1;
                false
            }
            None => {
                *window = Some(Window {
                    began: Instant::now(),
                    held_back: 0,
                });
                true
            }
        }
    }

    /// Events held back in a minute that has passed, if there were any. Asked once a second.
    pub(crate) fn held_back(&self) -> Option<u64> {
        let mut window = self.0.lock();
        let over = window.take_if(|window| window.began.elapsed() >= WINDOW)?;
        (over.held_back > 0).then_some(over.held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_let_through_and_the_others_are_counted_a_minute_later() {
        let limit = LogLimit::default();
        for _ in 0..2 {
            assert_eq!(
                [limit.admits(), limit.admits(), limit.admits()],
                [true, false, false]
            );
            assert_eq!(limit.held_back(), None);
            tokio::time::advance(WINDOW).await;
            assert_eq!(limit.held_back(), Some(2));
        }
        assert!(limit.admits());
        tokio::time::advance(WINDOW).await;
        assert_eq!(limit.held_back(), None);
    }
}
