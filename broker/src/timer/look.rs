//! What waits in the timer, for operators.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;
use sluice_protocol::message::java_hash;
use sluice_protocol::topic::TIMER_TOPIC;
use sluice_store::timer::magic;

use super::{QUEUE, Timer};
use crate::{Broker, BrokerError};

/// Entries that are looked at for the next delivery of each topic.
const LOOKED_AT_MAX: usize = 20_000;
/// Topics of one answer.
const TOPICS_MAX: usize = 1_000;

/// Messages that wait for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    pub(crate) topic: String,
    pub(crate) pending: i64,
    /// When the next is delivered, Unix milliseconds, unless that is later than what was looked at.
    pub(crate) next_ms: Option<i64>,
}

/// The timer at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Look {
    /// Messages that wait.
    pub(crate) pending: i64,
    /// Messages that wait and are not filed yet.
    pub(crate) unfiled: i64,
    /// How late the timer is, milliseconds.
    pub(crate) lag_ms: i64,
    /// What keeps it from going on, if something does.
    pub(crate) stuck: Option<String>,
    /// By topic.
    pub(crate) topics: Vec<Waiting>,
    /// There are more topics.
    pub(crate) more: bool,
}

/// What waits, in numbers.
pub(crate) struct Backlog {
    /// Messages that wait for their delivery time.
    pub(crate) by_topic: BTreeMap<String, i64>,
    /// Messages that have come and are not in the wheel yet.
    pub(crate) unfiled: i64,
    /// How late the timer is, milliseconds.
    pub(crate) lag_ms: i64,
}

impl Broker {
    /// What the metrics say; `None` when the timer is off.
    pub(crate) fn timer_backlog(&self) -> Option<Backlog> {
        let timer = self.timer.as_ref()?;
        Some(Backlog {
            by_topic: timer.pending.by_topic(),
            unfiled: timer.unfiled(self),
            lag_ms: timer.lag_ms(self),
        })
    }

    /// What waits; `None` when the timer is off. Reads a disk.
    ///
    /// # Errors
    /// The wheel or the timer log can't be read.
    pub(crate) fn look_at_timer(&self) -> Result<Option<Look>, BrokerError> {
        let Some(timer) = &self.timer else {
            return Ok(None);
        };
        let next = timer.next_by_hash()?;
        let counts = timer.pending.by_topic();
        let topics = counts
            .iter()
            .take(TOPICS_MAX)
            .map(|(topic, count)| Waiting {
                topic: topic.clone(),
                pending: *count,
                next_ms: next.get(&java_hash(topic)).copied(),
            });
        Ok(Some(Look {
            pending: counts.values().sum(),
            unfiled: timer.unfiled(self),
            lag_ms: timer.lag_ms(self),
            stuck: timer.state.lock().stuck.clone(),
            topics: topics.collect(),
            more: counts.len() > TOPICS_MAX,
        }))
    }
}

impl Timer {
    /// Messages that have come and are not in the wheel yet.
    fn unfiled(&self, broker: &Broker) -> i64 {
        let end = broker.bounds(TIMER_TOPIC, QUEUE).max;
        (end - self.state.lock().queue_offset).max(0)
    }

    /// How long the oldest slot that is not done has been over.
    fn lag_ms(&self, broker: &Broker) -> i64 {
        let end_ms = self.reached_ms.load(Ordering::Relaxed) + self.wheel.precision_ms();
        (broker.now_ms() - end_ms).max(0)
    }

    /// The first delivery of each topic by its hash, among the entries of the next slots.
    fn next_by_hash(&self) -> Result<BTreeMap<i32, i64>, BrokerError> {
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        let mut left = LOOKED_AT_MAX;
        let from_ms = self.state.lock().read_ms;
        for slot in self.wheel.slots_from(from_ms) {
            let slot = slot?;
            let mut position = slot.last;
            while position >= 0 && left > 0 {
                left -= 1;
                // One at a time: deliveries have a turn between.
                let entry = self.state.lock().log.entry(position)?;
                let Some((entry, _)) = entry else { break };
                if entry.magic == magic::DEFAULT {
                    let due_ms = match entry.exact {
                        true => entry.time_ms() + 1,
                        false => slot.time_ms + self.wheel.precision_ms(),
                    };
                    let first = next.entry(entry.topic_hash).or_insert(due_ms);
                    *first = due_ms.min(*first);
                }
                position = match entry.previous < position {
                    true => entry.previous,
                    false => -1,
                };
            }
            if left == 0 {
                break;
            }
        }
        Ok(next)
    }
}
