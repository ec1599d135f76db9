//! Who pulled from a queue last, and from where on: of a group whose members share queues out among
//! themselves, all that a broker can know of a queue's owner, and of what was handed out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

type Queues = HashMap<i32, Pull>;

/// The last pull from a queue.
#[derive(Debug)]
struct Pull {
    connection: AtomicU64,
    offset: AtomicI64,
}

/// Pulls by group, topic and queue id.
#[derive(Debug, Default)]
pub(crate) struct Pullers {
    groups: RwLock<HashMap<String, HashMap<String, Queues>>>,
}

impl Pullers {
    /// A member's connection pulls from the queue, which is one of the topic's, from an offset on.
    pub(crate) fn note(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        connection: u64,
        offset: i64,
    ) {
        let known = self.of(group, topic, queue_id, |last| {
            last.connection.store(connection, Ordering::Relaxed);
            last.offset.store(offset, Ordering::Relaxed);
        });
        if known.is_some() {
            return;
        }
        let mut groups = self.groups.write();
        let topics = groups.entry(group.to_owned()).or_default();
        let queues = topics.entry(topic.to_owned()).or_default();
        let pull = Pull {
            connection: AtomicU64::new(connection),
            offset: AtomicI64::new(offset),
        };
        queues.insert(queue_id, pull);
    }

    fn of<T>(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        look: impl FnOnce(&Pull) -> T,
    ) -> Option<T> {
        let groups = self.groups.read();
        let last = groups.get(group)?.get(topic)?.get(&queue_id)?;
        Some(look(last))
    }

    /// The connection that pulled from the queue last.
    pub(crate) fn last(&self, group: &str, topic: &str, queue_id: i32) -> Option<u64> {
        self.of(group, topic, queue_id, |last| {
            last.connection.load(Ordering::Relaxed)
        })
    }

    /// The offset that was asked for last: what lies before it was handed out.
    pub(crate) fn next(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.of(group, topic, queue_id, |last| {
            last.offset.load(Ordering::Relaxed)
        })
    }

    /// Forgets groups and topics that are gone.
    pub(crate) fn retain(
        &self,
        has_group: impl Fn(&str) -> bool,
        has_topic: impl Fn(&str) -> bool,
    ) {
        self.groups.write().retain(|group, topics| {
            topics.retain(|topic, _| has_topic(topic));
            has_group(group) && !topics.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_is_known_until_its_group_or_topic_is_gone() {
        let pullers = Pullers::default();
        pullers.note("g", "t", 2, 7, 0);
        pullers.note("g", "t", 2, 8, 32);
        assert_eq!(pullers.last("g", "t", 2), Some(8));
        assert_eq!(pullers.next("g", "t", 2), Some(32));
        assert_eq!(pullers.last("g", "t", 0), None);
        assert_eq!(pullers.last("h", "t", 2), None);
        pullers.note("g", "u", 0, 9, 0);
        pullers.retain(|_| true, |topic| topic != "u");
        assert_eq!(pullers.last("g", "u", 0), None);
        assert_eq!(pullers.last("g", "t", 2), Some(8));
        pullers.retain(|group| group != "g", |_| true);
        assert_eq!(pullers.last("g", "t", 2), None);
    }
}
