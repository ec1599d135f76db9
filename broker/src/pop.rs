//! POP: messages are taken from queues for a while, and come back unless they are acked.
//!
//! Who pops gets messages that nobody else of the group gets until their invisible time is over.
//! Before they leave, a check point in the revive topic says which they are; an ack goes there too.
//! [`revive`] puts together the two, and puts what is not acked in time into the group's retry topic
//! of that topic, from which pops take as well.
//!
//! What must hold: a message is always behind the group's offset or in a check point, on disk as in
//! memory. After a crash, check points in the log tell what the offsets do not yet: [`queues`].

pub(crate) mod consumer_order;
pub(crate) mod names;
mod progress;
pub(crate) mod queues;
pub(crate) mod receipt;
pub(crate) mod records;
pub(crate) mod revive;
pub(crate) mod take;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use sluice_protocol::body::TopicConfig;
use sluice_protocol::topic::{is_valid_group, perm};

use crate::Broker;
use crate::config_file::ConfigFile;
use crate::error::{BrokerError, Refusal};
use crate::pop::consumer_order::ConsumerOrder;
use crate::pop::progress::Progress;
use crate::pop::queues::Queues;
use crate::pop::revive::Revival;
use crate::topics::Topic;

/// Bytes that a start may have to read again although nothing was popped.
const READ_AGAIN_MAX: i64 = 16 << 20;
/// Retry topics whose waiting groups are remembered.
const RETRY_TOPICS_MAX: usize = 100_000;

/// What is known of pops.
#[derive(Debug)]
pub(crate) struct Pop {
    pub(crate) queues: Queues,
    pub(crate) orders: ConsumerOrder,
    revival: Mutex<Revival>,
    progress: Progress,
    next_revive_queue: AtomicU32,
    /// Held shared from before a check point is stored until its queue has advanced, so that whoever
    /// has it alone sees both or neither.
    taking: RwLock<()>,
    /// Check points that are not done, and how long the oldest that is due has waited, milliseconds.
    held: AtomicU64,
    lag_ms: AtomicU64,
    /// There is something to save.
    touched: AtomicBool,
    /// Topic and group by retry topic, for those that wait.
    retry_topics: RwLock<HashMap<String, (String, String)>>,
}

impl Pop {
    /// Reads the files.
    ///
    /// # Errors
    /// One is there but can't be read.
    pub(crate) fn load(
        file: impl Fn(&str) -> ConfigFile,
        files: Arc<dyn sluice_store::FileSystem>,
    ) -> Result<Pop, BrokerError> {
        Ok(Pop {
            queues: Queues::default(),
            orders: ConsumerOrder::load(file("consumerOrderInfo.json"), files)?,
            revival: Mutex::default(),
            progress: Progress::new(file("popProgress.json")),
            next_revive_queue: AtomicU32::new(0),
            taking: RwLock::default(),
            held: AtomicU64::new(0),
            lag_ms: AtomicU64::new(0),
            touched: AtomicBool::new(true),
            retry_topics: RwLock::default(),
        })
    }

    /// Held while a check point is stored and its queue advances.
    fn taking(&self) -> parking_lot::RwLockReadGuard<'_, ()> {
        let taking = self.taking.read();
        self.touch();
        taking
    }

    /// What is saved is no longer all.
    fn touch(&self) {
        self.touched.store(true, Ordering::Relaxed);
    }

    /// Remembers that the group's pops of the topic also wait for its retry topics.
    pub(crate) fn note_waiting(&self, topic: &str, group: &str) {
        for v2 in [false, true] {
            let name = names::retry_topic(topic, group, v2);
            if self.retry_topics.read().contains_key(&name) {
                continue;
            }
            let mut retry_topics = self.retry_topics.write();
            if retry_topics.len() >= RETRY_TOPICS_MAX {
                // Who waits is remembered again when it waits again.
                retry_topics.clear();
            }
            retry_topics.insert(name, (topic.to_owned(), group.to_owned()));
        }
    }

    /// Whose retry topic it is, if a pop has waited for it.
    pub(crate) fn waiting_for(&self, retry_topic: &str) -> Option<(String, String)> {
        self.retry_topics.read().get(retry_topic).cloned()
    }
}

impl Broker {
    /// The revive topic has so many queues.
    pub(crate) fn revive_queues(&self) -> i32 {
        let topic = names::revive_topic(&self.config().broker_cluster_name);
        self.topics
            .get(&topic)
            .map_or(1, |topic| topic.read_queue_nums.max(1))
    }

    /// The queue of the revive topic for the next pop: one after the other.
    pub(crate) fn next_revive_queue(&self) -> i32 {
        let next = self.pop.next_revive_queue.fetch_add(1, Ordering::Relaxed);
        (next % self.revive_queues() as u32) as i32
    }

    /// What requests of this family need first: the broker may be read.
    ///
    /// # Errors
    /// It may not; `what` is what is forbidden.
    pub(crate) fn may_pop(&self, what: &str) -> Result<(), Refusal> {
        let config = self.config();
        if config.broker_permission & perm::READ == 0 {
            return Err(Refusal::NoPermission(format!(
                "the broker[{}] {what} message is forbidden",
                config.broker_ip1
            )));
        }
        Ok(())
    }

    /// What requests of this family need then: topic, queue and group are there and may be read.
    /// A queue id below 0 stands for all.
    ///
    /// # Errors
    /// They are not, in Java's order and words.
    pub(crate) fn popped_topic(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        peer: impl std::fmt::Display,
    ) -> Result<Arc<Topic>, Refusal> {
        let config = self
            .topics
            .get(topic)
            .ok_or_else(|| Refusal::TopicNotExist(topic.to_owned()))?;
        if config.perm & perm::READ == 0 {
            return Err(Refusal::NoPermission(format!(
                "the topic[{topic}] peeking message is forbidden"
            )));
        }
        if queue_id >= config.read_queue_nums {
            return Err(Refusal::InvalidParameter(illegal_queue(
                &config, queue_id, peer,
            )));
        }
        if !names::is_possible(&names::retry_topic(topic, group, false)) {
            return Err(Refusal::InvalidParameter(format!(
                "the names {topic} and {group} are too long for a retry topic of both"
            )));
        }
        let group_config = self
            .group_or_create(group)
            .ok_or_else(|| Refusal::GroupNotExist(group.to_owned()))?;
        if !group_config.consume_enable {
            return Err(Refusal::NoPermission(format!(
                "subscription group no permission, {group}"
            )));
        }
        Ok(config)
    }

    /// Bounds of a queue to which a message with a receipt belongs.
    ///
    /// # Errors
    /// There is no such topic or queue, or the group can't be one.
    pub(crate) fn receipt_queue(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        peer: impl std::fmt::Display,
    ) -> Result<sluice_store::QueueBounds, Refusal> {
        if !is_valid_group(group) {
            return Err(Refusal::GroupNotExist(group.to_owned()));
        }
        let config = self
            .topics
            .get(topic)
            .ok_or_else(|| Refusal::TopicNotExist(topic.to_owned()))?;
        if !(0..config.read_queue_nums).contains(&queue_id) {
            return Err(Refusal::MessageIllegal(illegal_queue(
                &config, queue_id, peer,
            )));
        }
        Ok(self.bounds(topic, queue_id))
    }

    /// Whether a receipt's queue of the revive topic is one.
    ///
    /// # Errors
    /// It is not, so no pop of this broker has given the receipt.
    pub(crate) fn check_revive_queue(&self, revive_queue: i32) -> Result<(), Refusal> {
        if (0..self.revive_queues()).contains(&revive_queue) {
            return Ok(());
        }
        Err(Refusal::System(format!(
            "the revive topic has no queue {revive_queue}"
        )))
    }

    /// Retry topics of a topic that pops of a group take from: the one that new retries go to, and the
    /// other kind that may still hold some.
    pub(crate) fn pop_retry_topics(&self, topic: &str, group: &str) -> Vec<String> {
        let config = self.config();
        let mut kinds = vec![config.enable_retry_topic_v2];
        if config.enable_retry_topic_v2 && config.retrieve_message_from_pop_retry_topic_v1 {
            kinds.push(false);
        }
        let name = |v2| names::retry_topic(topic, group, v2);
        kinds.into_iter().map(name).collect()
    }

    /// Takes up again what the log tells of pops. Call before anything is popped.
    pub(crate) fn recover_pops(&self) -> Result<(), BrokerError> {
        let since = self.pop.progress.load()?;
        let copies = since.map(|since| since.revived);
        self.pop.revival.lock().recover(self, copies);
        let Some(since) = since else { return Ok(()) };
        let revive_topic = names::revive_topic(&self.config().broker_cluster_name);
        for bytes in self.store.records_from(since.popped) {
            let Ok(record) = sluice_protocol::message::Record::parse(&bytes) else {
                continue;
            };
            let real = record.property(sluice_protocol::message::properties::REAL_TOPIC);
            if record.topic() != revive_topic && real != Some(&revive_topic) {
                continue;
            }
            if let Some(records::Entry::CheckPoint(point)) = records::read(&record)
                && let Some(last) = records::count(&point).checked_sub(1)
            {
                let max = self.bounds(&point.topic, point.queue_id).max;
                let next = records::offset_at(&point, last).saturating_add(1).min(max);
                self.pop
                    .queues
                    .recover(&point.topic, &point.group, point.queue_id, next);
            }
        }
        Ok(())
    }

    /// One round: what is due comes back, what is safe is stored.
    pub(crate) fn revive_once(&self) {
        let mut revival = self.pop.revival.lock();
        revival.round(self);
        let (held, lag_ms) = revival.backlog(self.now_ms());
        self.pop.held.store(held, Ordering::Relaxed);
        self.pop.lag_ms.store(lag_ms, Ordering::Relaxed);
    }

    /// What a group has popped and not acked, as of the last round.
    pub(crate) fn in_flight(&self, group: &str) -> Vec<revive::InFlight> {
        self.pop.revival.lock().in_flight(group)
    }

    /// How many messages each group has popped of each topic that are neither acked nor back, as of the
    /// last round.
    pub(crate) fn popped_counts(&self) -> HashMap<(String, String), i64> {
        let mut counts = HashMap::new();
        for (group, topic, messages) in self.pop.revival.lock().all_in_flight() {
            let place = (group.to_owned(), topic.to_owned());
            *counts.entry(place).or_default() += messages;
        }
        counts
    }

    /// Gauges of pops: name, meaning, value.
    pub(crate) fn pop_gauges(&self) -> [(&'static str, &'static str, u64); 3] {
        [
            (
                "waiting",
                "Pops that wait for a message.",
                self.long_poll.parked_pops() as u64,
            ),
            (
                "check_points",
                "Pops whose messages are not all acked or back, as far as the revive topic has them.",
                self.pop.held.load(Ordering::Relaxed),
            ),
            (
                "revive_lag_milliseconds",
                "How long the oldest message has been due that is not back.",
                self.pop.lag_ms.load(Ordering::Relaxed),
            ),
        ]
    }

    /// Writes how far pops and revival are, behind a synced log.
    ///
    /// # Errors
    /// Something can't be written; it is as it was.
    pub(crate) fn save_pops(&self) -> Result<(), BrokerError> {
        let now = self.now_ms();
        self.pop.orders.save(now, |topic, group, queue_id| {
            let topic = self.topics.get(topic);
            topic.is_some_and(|topic| queue_id < topic.read_queue_nums)
                && self.groups.get(group).is_some()
        })?;
        let grown = self.store.log_end() - self.pop.progress.popped();
        if !self.pop.touched.swap(false, Ordering::Relaxed) && grown < READ_AGAIN_MAX {
            return Ok(());
        }
        let saved = self.save_touched(now);
        if saved.is_err() {
            self.pop.touch();
        }
        saved
    }

    fn save_touched(&self, now: i64) -> Result<(), BrokerError> {
        let mut revival = self.pop.revival.lock();
        revival.save_topics(self)?;
        let log_end = {
            let _nobody_takes = self.pop.taking.write();
            self.store.log_end()
        };
        if !self.store.flush_once() {
            // The log has stopped, and has said so.
            return Ok(());
        }
        self.pop.queues.settle(&self.offsets, log_end, now);
        let revived = revival.commit(self, log_end);
        self.offsets.save(now)?;
        self.pop.progress.save(revived, log_end)
    }
}

fn illegal_queue(topic: &TopicConfig, queue_id: i32, peer: impl std::fmt::Display) -> String {
    format!(
        "queueId[{queue_id}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[{peer}]",
        topic.topic_name, topic.read_queue_nums
    )
}
