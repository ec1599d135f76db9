//! Queues on which a member has been led to where its share is.
//!
//! A client that changes its subscription while it runs goes on at its own position on each queue that it
//! keeps. When it comes into a share that was there before, that position is another share's: what lies
//! between would be missed, and a commit of it would move the share on.

use std::collections::HashSet;

use parking_lot::Mutex;

/// By topic and queue id.
#[derive(Debug, Default)]
pub struct Led(Mutex<HashSet<(String, i32)>>);

impl Led {
    /// True the first time.
    pub fn begin(&self, topic: &str, queue_id: i32) -> bool {
        self.0.lock().insert((topic.to_owned(), queue_id))
    }

    /// Whether the member is where its share is.
    pub fn has(&self, topic: &str, queue_id: i32) -> bool {
        self.0.lock().contains(&(topic.to_owned(), queue_id))
    }
}
