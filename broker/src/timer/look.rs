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

impl Broker {
    /// How many messages wait, and how late the timer is, milliseconds.
    pub(crate) fn timer_backlog(&self) -> (i64, i64) {
        let Some(timer) = &self.timer else {
            return (0, 0);
        };
        let pending = timer.pending.by_topic().values().sum();
        (pending, timer.lag_ms(self))
    }

    /// For the metrics: name, meaning and number.
    pub(crate) fn timer_gauges(&self) -> [(&'static str, &'static str, u64); 2] {
        let (pending, lag_ms) = self.timer_backlog();
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        [
            (
                "pending",
                "Messages that wait for their delivery time.",
                number(pending),
            ),
            ("lag_milliseconds", "How late the timer is.", number(lag_ms)),
        ]
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
        let bounds = self.bounds(TIMER_TOPIC, QUEUE);
        let (unfiled, stuck) = {
            let state = timer.state.lock();
            (bounds.max - state.queue_offset, state.stuck.clone())
        };
        Ok(Some(Look {
            pending: counts.values().sum(),
            unfiled: unfiled.max(0),
            lag_ms: timer.lag_ms(self),
            stuck,
            topics: topics.collect(),
            more: counts.len() > TOPICS_MAX,
        }))
    }
}

impl Timer {
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
