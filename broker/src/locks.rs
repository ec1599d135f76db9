//! Orderly consumption: which client may consume which queue of a group.
//!
//! A client that is refused a lock asks again with its next rebalance only, up to 20 s later. So a
//! lock remembers who was refused, and when it comes free they can be told.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use sluice_protocol::body::MessageQueue;

/// A lock not renewed for this long is free (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_LIVE_MS: i64 = 60_000;
/// Most refused clients that one lock remembers; a group has one or two members that want a queue.
const REFUSED_MAX: usize = 16;

/// Clients to be told that a queue of their group has come free.
pub type Refused = BTreeSet<String>;

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
    refused: Refused,
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
            let mut refused = Refused::new();
            if let Some(lock) = locks.get_mut(&queue) {
                if !lock.is_free_for(client_id, now_ms) {
                    if lock.refused.len() < REFUSED_MAX {
                        lock.refused.insert(client_id.to_owned());
                    }
                    continue;
                }
                refused = std::mem::take(&mut lock.refused);
                refused.remove(client_id);
            }
            let lock = Lock {
                client_id: client_id.to_owned(),
                renewed_ms: now_ms,
                refused,
            };
            locks.insert(queue.clone(), lock);
            held.push(queue);
        }
        held
    }

    /// What the client holds in one name it holds in another from now on, unless somebody else does.
    pub fn hand_over(&self, from: &str, to: &str, client_id: &str) {
        let mut groups = self.groups.lock();
        let Some(locks) = groups.get_mut(from) else {
            return;
        };
        let own = locks.extract_if(|_, lock| lock.client_id == client_id);
        let own: Vec<(MessageQueue, Lock)> = own.collect();
        if locks.is_empty() {
            groups.remove(from);
        }
        if own.is_empty() {
            return;
        }
        let locks = groups.entry(to.to_owned()).or_default();
        for (queue, lock) in own {
            locks.entry(queue).or_insert(lock);
        }
    }

    /// Whether a client of the group holds a queue now.
    pub fn holds_any(&self, group: &str, now_ms: i64) -> bool {
        let groups = self.groups.lock();
        let held = |lock: &Lock| now_ms - lock.renewed_ms <= LOCK_LIVE_MS;
        groups
            .get(group)
            .is_some_and(|locks| locks.values().any(held))
    }

    /// The client that holds a queue now.
    pub fn holder(&self, group: &str, queue: &MessageQueue, now_ms: i64) -> Option<String> {
        let groups = self.groups.lock();
        let lock = groups.get(group)?.get(queue)?;
        (now_ms - lock.renewed_ms <= LOCK_LIVE_MS).then(|| lock.client_id.clone())
    }

    /// Frees the queues that are this client's; answers who was refused one of them meanwhile.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) -> Refused {
        let mut groups = self.groups.lock();
        let mut refused = Refused::new();
        let Some(locks) = groups.get_mut(group) else {
            return refused;
        };
        for queue in queues {
            let owned = |lock: &Lock| lock.client_id == client_id;
            if locks.get(queue).is_some_and(owned)
                && let Some(freed) = locks.remove(queue)
            {
                refused.extend(freed.refused);
            }
        }
        if locks.is_empty() {
            groups.remove(group);
        }
        refused
    }

    /// Drops locks that nobody has renewed; answers who was refused one of them, by group.
    pub fn forget_expired(&self, now_ms: i64) -> HashMap<String, Refused> {
        let mut refused: HashMap<String, Refused> = HashMap::new();
        self.groups.lock().retain(|group, locks| {
            let expired =
                |_: &MessageQueue, lock: &mut Lock| now_ms - lock.renewed_ms > LOCK_LIVE_MS;
            for (_, lock) in locks.extract_if(expired) {
                if !lock.refused.is_empty() {
                    refused
                        .entry(group.clone())
                        .or_default()
                        .extend(lock.refused);
                }
            }
            !locks.is_empty()
        });
        refused
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
    #[test]
    fn who_goes_elsewhere_takes_its_locks_along() {
        let locks = QueueLocks::default();
        locks.lock("g", "a", vec![queue(0)], 0);
        locks.lock("g", "b", vec![queue(1)], 0);
        locks.hand_over("g", "g#1", "a");
        assert_eq!(
            locks.lock("g#1", "b", vec![queue(0), queue(1)], 0),
            [queue(1)]
        );
        assert_eq!(locks.lock("g", "b", vec![queue(0)], 0), [queue(0)]);
        locks.hand_over("g", "g#1", "b");
        assert_eq!(
            locks.holder("g#1", &queue(0), 0).as_deref(),
            Some("a"),
            "it was there before"
        );
        assert!(!locks.holds_any("g", 0));
    }

    #[test]
    fn who_was_refused_is_told_when_the_queue_comes_free() {
        let locks = QueueLocks::default();
        locks.lock("g", "a", vec![queue(0), queue(1)], 0);
        locks.lock("g", "b", vec![queue(0), queue(1)], 1);
        locks.lock("g", "c", vec![queue(1)], 1);
        let told = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Refused>()
        };
        assert_eq!(locks.unlock("g", "b", &[queue(0)]), told(&[]));
        assert_eq!(locks.unlock("g", "a", &[queue(0)]), told(&["b"]));
        assert_eq!(locks.forget_expired(LOCK_LIVE_MS), HashMap::new());
        assert_eq!(
            locks.forget_expired(LOCK_LIVE_MS + 1),
            [("g".to_owned(), told(&["b", "c"]))].into()
        );
        assert_eq!(locks.forget_expired(LOCK_LIVE_MS + 1), HashMap::new());
    }
}
