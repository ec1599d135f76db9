//! Who pulled from a queue last: of a group whose members share queues out among themselves, all that a
//! broker can know of a queue's owner.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

type Queues = HashMap<i32, AtomicU64>;

/// Connections by group, topic and queue id.
#[derive(Debug, Default)]
pub(crate) struct Pullers {
    groups: RwLock<HashMap<String, HashMap<String, Queues>>>,
}

impl Pullers {
    /// A member's connection pulls from the queue, which is one of the topic's.
    pub(crate) fn note(&self, group: &str, topic: &str, queue_id: i32, connection: u64) {
        let known = {
            let groups = self.groups.read();
            let queues = groups.get(group).and_then(|topics| topics.get(topic));
            let last = queues.and_then(|queues| queues.get(&queue_id));
            last.map(|last| last.store(connection, Ordering::Relaxed))
        };
        if known.is_some() {
            return;
        }
        let mut groups = self.groups.write();
        let topics = groups.entry(group.to_owned()).or_default();
        let queues = topics.entry(topic.to_owned()).or_default();
        queues.insert(queue_id, AtomicU64::new(connection));
    }

    /// The connection that pulled from the queue last.
    pub(crate) fn last(&self, group: &str, topic: &str, queue_id: i32) -> Option<u64> {
        let groups = self.groups.read();
        let last = groups.get(group)?.get(topic)?.get(&queue_id)?;
        Some(last.load(Ordering::Relaxed))
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
        pullers.note("g", "t", 2, 7);
        pullers.note("g", "t", 2, 8);
        assert_eq!(pullers.last("g", "t", 2), Some(8));
        assert_eq!(pullers.last("g", "t", 0), None);
        assert_eq!(pullers.last("h", "t", 2), None);
        pullers.note("g", "u", 0, 9);
        pullers.retain(|_| true, |topic| topic != "u");
        assert_eq!(pullers.last("g", "u", 0), None);
        assert_eq!(pullers.last("g", "t", 2), Some(8));
        pullers.retain(|group| group != "g", |_| true);
        assert_eq!(pullers.last("g", "t", 2), None);
    }
}
