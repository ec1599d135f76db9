//! How far groups are behind on the topics that they read, all of them at once: what alerts ask for.

use sluice_protocol::topic::{self, RETRY_PREFIX};

use crate::Broker;

/// How far a group is on a topic. Retries of a pulling group are another topic, and not in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupLag {
    pub(crate) group: String,
    pub(crate) topic: String,
    /// Messages that the group has not consumed, those in flight among them.
    pub(crate) lag: i64,
    /// Handed out, and not consumed.
    pub(crate) in_flight: i64,
    /// Not handed out.
    pub(crate) ready: i64,
    /// How long the oldest message that is not consumed has been there, milliseconds.
    pub(crate) lag_ms: i64,
    /// How long the oldest message that is not handed out has been there, milliseconds.
    pub(crate) queueing_ms: i64,
}

/// Of one queue.
struct QueueLag {
    lag: i64,
    in_flight: i64,
    ready: i64,
    /// Store times of the oldest message that is not consumed, and not handed out.
    oldest_ms: [Option<i64>; 2],
}

impl Broker {
    /// Of each group but the broker's own, on each topic it has an offset for. Reads a disk.
    pub(crate) fn group_lags(&self) -> Vec<GroupLag> {
        let popped = self.popped_counts();
        let mut all = Vec::new();
        for (group, mut topics) in self.offsets.topics_by_group() {
            if topic::is_system_group(&group) || self.groups.get(&group).is_none() {
                continue;
            }
            topics.sort();
            for topic in topics {
                if topic.starts_with(RETRY_PREFIX) {
                    continue;
                }
                let place = (group.clone(), topic);
                let popped = popped.get(&place).copied().unwrap_or(0);
                all.extend(self.group_lag(place, popped));
            }
        }
        all
    }

    fn group_lag(&self, (group, topic): (String, String), popped: i64) -> Option<GroupLag> {
        let queues = self.topics.get(&topic)?.read_queue_nums;
        let queues: Vec<QueueLag> = (0..queues)
            .filter_map(|id| self.queue_lag(&group, &topic, id))
            .collect();
        let now = self.now_ms();
        let age = |which: usize| {
            let times = queues.iter().filter_map(|queue| queue.oldest_ms[which]);
            times.min().map_or(0, |oldest| (now - oldest).max(0))
        };
        Some(GroupLag {
            // What is popped counts as consumed in the offsets.
            lag: queues.iter().map(|queue| queue.lag).sum::<i64>() + popped,
            in_flight: queues.iter().map(|queue| queue.in_flight).sum::<i64>() + popped,
            ready: queues.iter().map(|queue| queue.ready).sum(),
            lag_ms: age(0),
            queueing_ms: age(1),
            group,
            topic,
        })
    }

    /// `None` when the group has no offset there.
    fn queue_lag(&self, group: &str, topic: &str, queue_id: i32) -> Option<QueueLag> {
        let bounds = self.bounds(topic, queue_id);
        let consumed = self.group_offset(group, topic, queue_id)?;
        // Bounds of a queue that is changing may cross, and `clamp` panics at that.
        let consumed = consumed.clamp(bounds.min.min(bounds.max), bounds.max);
        let handed_out = self.pullers.next(group, topic, queue_id);
        let handed_out = handed_out.unwrap_or(consumed).clamp(consumed, bounds.max);
        let stored_at = |offset| {
            let waits = offset < bounds.max;
            waits.then(|| self.store.store_timestamp(topic, queue_id, offset))?
        };
        Some(QueueLag {
            lag: bounds.max - consumed,
            in_flight: handed_out - consumed,
            ready: bounds.max - handed_out,
            oldest_ms: [stored_at(consumed), stored_at(handed_out)],
        })
    }
}
