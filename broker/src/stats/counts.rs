//! What is counted of one topic, and of each group that reads it. They live as long as the topic, and
//! no longer than the group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::flow::{Flow, Of};
use super::incoming::Incoming;

/// Counts of one topic.
#[derive(Debug)]
pub struct TopicCounts {
    /// The system's own topics are left out of a day's totals.
    pub(super) system: bool,
    /// Messages stored.
    pub(super) put: Flow,
    /// What clients sent; what is stored for others, retries among it, is not in here.
    pub incoming: Incoming,
    /// Transactions committed, and rolled back.
    pub decided: [AtomicU64; 2],
    groups: RwLock<HashMap<String, Arc<GroupCounts>>>,
}

/// Counts of one group on one topic.
#[derive(Debug)]
pub struct GroupCounts {
    pub(super) system: bool,
    /// Messages handed out.
    pub(super) got: Flow,
    /// Milliseconds that finding them took; Java has it by queue, too.
    pub(super) latency: Flow,
    /// Messages a consumer has sent back.
    pub(super) sent_back: Flow,
    /// Acks of pops.
    pub(super) acked: Flow,
    /// Check points of pops.
    pub(super) check_points: Flow,
    /// Dead letters.
    pub(super) dead: AtomicU64,
}

impl TopicCounts {
    /// Of a topic with nothing counted.
    pub fn new(system: bool) -> TopicCounts {
        TopicCounts {
            system,
            put: Flow::default(),
            incoming: Incoming::default(),
            decided: Default::default(),
            groups: RwLock::default(),
        }
    }

    /// Counts of a group that reads the topic; the caller has seen that there is such a group.
    pub fn of_group(&self, group: &str) -> Arc<GroupCounts> {
        if let Some(counts) = self.known(group) {
            return counts;
        }
        let mut groups = self.groups.write();
        let new = || {
            Arc::new(GroupCounts {
                system: self.system,
                got: Flow::default(),
                latency: Flow::default(),
                sent_back: Flow::default(),
                acked: Flow::default(),
                check_points: Flow::default(),
                dead: AtomicU64::new(0),
            })
        };
        groups.entry(group.to_owned()).or_insert_with(new).clone()
    }

    /// Counts of a group, if it has read the topic.
    pub(super) fn known(&self, group: &str) -> Option<Arc<GroupCounts>> {
        self.groups.read().get(group).cloned()
    }

    /// Of each group: messages handed out, their bytes, and dead letters.
    pub fn handed_out(&self) -> Vec<(String, u64, u64, u64)> {
        let groups = self.groups.read();
        let of = |(name, counts): (&String, &Arc<GroupCounts>)| {
            let got = &counts.got;
            let dead = counts.dead.load(Ordering::Relaxed);
            let (messages, bytes) = (got.total(Of::Number), got.total(Of::Size));
            (name.clone(), messages, bytes, dead)
        };
        groups.iter().map(of).collect()
    }

    /// Forgets groups that are gone.
    pub(super) fn retain_groups(&self, is_there: impl Fn(&str) -> bool) {
        let gone = self.groups.read().keys().any(|group| !is_there(group));
        if gone {
            self.groups.write().retain(|group, _| is_there(group));
        }
    }

    pub(super) fn sample(&self, second: u64, now_ms: i64) {
        self.put.sample(second, now_ms);
        for group in self.groups.read().values() {
            let flows = [
                &group.got,
                &group.latency,
                &group.sent_back,
                &group.acked,
                &group.check_points,
            ];
            flows.iter().for_each(|flow| flow.sample(second, now_ms));
        }
    }
}
