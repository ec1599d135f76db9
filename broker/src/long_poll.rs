//! Pulls that found nothing and wait for a message.
//!
//! Dispatch marks a parked pull as awake and hands it to the waker task; it never reads on the
//! dispatch thread. A pull that waits in vain is answered by the sweep when its time is up.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::handlers::pull_message::ParkedPull;

const SHARDS: usize = 64;

/// Topic, queue id, and who waits there.
type Shard = HashMap<String, HashMap<i32, Vec<ParkedPull>>>;

/// Parked pulls by topic and queue.
#[derive(Debug)]
pub struct LongPoll {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    awake: mpsc::UnboundedSender<Woken>,
}

/// A pull to be carried out again, for the last time.
#[derive(Debug)]
pub struct Woken(pub ParkedPull);

impl LongPoll {
    /// An empty one; woken pulls go to the receiver.
    pub fn new() -> (LongPoll, mpsc::UnboundedReceiver<Woken>) {
        // Unbounded, but never longer than the number of parked pulls: each is a request in flight,
        // of which a connection may have only so many.
        let (awake, woken) = mpsc::unbounded_channel();
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        (
            LongPoll {
                shards,
                hasher: RandomState::new(),
                awake,
            },
            woken,
        )
    }

    /// Parks a pull, unless `is_due`: asked when [`LongPoll::arrived`] and [`LongPoll::wake_topic`]
    /// can no longer miss the pull, so that nothing falls between its read and its parking.
    pub fn park(&self, pull: ParkedPull, is_due: impl FnOnce(&ParkedPull) -> bool) {
        let mut shard = self.shard(&pull.topic).lock();
        if is_due(&pull) {
            return self.wake(pull);
        }
        let queues = match shard.get_mut(&pull.topic) {
            Some(queues) => queues,
            None => shard.entry(pull.topic.clone()).or_default(),
        };
        queues.entry(pull.queue_id).or_default().push(pull);
    }

    /// A message became visible: whoever waits for it, by queue, offset and tags code, wakes.
    pub fn arrived(
        &self,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
        tags_code: i64,
        properties: &[u8],
    ) {
        let mut shard = self.shard(topic).lock();
        let Some(pulls) = shard
            .get_mut(topic)
            .and_then(|queues| queues.get_mut(&queue_id))
        else {
            return;
        };
        let wants = |pull: &mut ParkedPull| {
            !pull.held && pull.offset <= queue_offset && pull.filter.may_wake(tags_code, properties)
        };
        for pull in pulls.extract_if(.., wants) {
            self.wake(pull);
        }
    }

    /// Wakes what waits on a queue whatever it waits for: its offset was reset or its topic is gone.
    pub fn wake_topic(&self, topic: &str) {
        let queues = self.shard(topic).lock().remove(topic);
        queues
            .into_iter()
            .flatten()
            .flat_map(|(_, pulls)| pulls)
            .for_each(|pull| self.wake(pull));
    }

    /// Wakes what has waited its time and drops what nobody waits for any more.
    pub fn sweep(&self, now_ms: i64) {
        for shard in &self.shards {
            shard.lock().retain(|_, queues| {
                queues.retain(|_, pulls| {
                    pulls.retain(|pull| !pull.responder.connection().is_closed());
                    pulls
                        .extract_if(.., |pull| pull.deadline_ms <= now_ms)
                        .for_each(|pull| self.wake(pull));
                    !pulls.is_empty()
                });
                !queues.is_empty()
            });
        }
    }

    /// Pulls parked at this moment.
    pub fn parked(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                shard
                    .lock()
                    .values()
                    .flat_map(HashMap::values)
                    .map(Vec::len)
                    .sum::<usize>()
            })
            .sum()
    }

    fn wake(&self, pull: ParkedPull) {
        // The receiver is gone only while the broker shuts down: dropping the pull answers it.
        let _ = self.awake.send(Woken(pull));
    }

    fn shard(&self, topic: &str) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(topic) as usize % SHARDS]
    }
}
