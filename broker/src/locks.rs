//! Orderly consumption: which client may consume which queue of a group.

use std::collections::HashMap;

use parking_lot::Mutex;
use sluice_protocol::body::MessageQueue;

/// A lock not renewed for this long is free (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_LIVE_MS: i64 = 60_000;

/// Locks by group and queue. They live in memory only, are not tied to a connection, and survive a
/// client's reconnect; after a restart of the broker clients take them anew.
#[derive(Debug, Default)]
pub struct QueueLocks {
    groups: Mutex<HashMap<String, HashMap<MessageQueue, Lock>>>,
}

#[derive(Debug)]
struct Lock {
    client_id: String,
    renewed_ms: i64,
}

impl Lock {
    fn is_free_for(&self, client_id: &str, now_ms: i64) -> bool {
        self.client_id == client_id || now_ms - self.renewed_ms > LOCK_LIVE_MS
    }
}

impl QueueLocks {
    /// Takes or renews every lock that is free, the client's own, or expired; answers those queues
    /// which the client holds now.
    pub fn lock(
        &self,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
        now_ms: i64,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups.lock();
        let locks = groups.entry(group.to_owned()).or_default();
        let mut held = Vec::with_capacity(queues.len());
        for queue in queues {
            if locks
                .get(&queue)
                .is_some_and(|lock| !lock.is_free_for(client_id, now_ms))
            {
                continue;
            }
            locks.insert(
                queue.clone(),
                Lock {
                    client_id: client_id.to_owned(),
                    renewed_ms: now_ms,
                },
            );
            held.push(queue);
        }
        held
    }

    /// Frees the queues that are this client's.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        let Some(locks) = groups.get_mut(group) else {
            return;
        };
        for queue in queues {
            if locks
                .get(queue)
                .is_some_and(|lock| lock.client_id == client_id)
            {
                locks.remove(queue);
            }
        }
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Drops locks that nobody has renewed, so that groups which are gone take no room.
    pub fn forget_expired(&self, now_ms: i64) {
        self.groups.lock().retain(|_, locks| {
            locks.retain(|_, lock| now_ms - lock.renewed_ms <= LOCK_LIVE_MS);
            !locks.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue {
            broker_name: "b".into(),
            queue_id: id,
            topic: "t".into(),
        }
    }

    #[test]
    fn one_owner_at_a_time_until_it_lets_go_or_expires() {
        let locks = QueueLocks::default();
        assert_eq!(locks.lock("g", "a", vec![queue(0), queue(1)], 0).len(), 2);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], LOCK_LIVE_MS), []);
        assert_eq!(
            locks.lock("g2", "b", vec![queue(0)], 0),
            [queue(0)],
            "another group has its own locks"
        );
        locks.unlock("g", "b", &[queue(0)]);
        assert_eq!(
            locks.lock("g", "b", vec![queue(0)], 0),
            [],
            "only the owner unlocks"
        );
        locks.unlock("g", "a", &[queue(0)]);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], 0), [queue(0)]);
        assert_eq!(
            locks.lock("g", "b", vec![queue(1)], LOCK_LIVE_MS + 1),
            [queue(1)],
            "expired"
        );
    }
}
