//! Pulls and pops that found nothing and wait for a message.
//!
//! A message wakes all pulls that it is for, but of the pops of a group only one, which alone can have
//! it; who pops wakes the next when there is more.
//!
//! Dispatch marks a parked request as awake and hands it to the waker task; it never reads on its own
//! thread. One that waits in vain is answered by the sweep when its time is up.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::handlers::pop_message::ParkedPop;
use crate::handlers::pull_message::ParkedPull;

const SHARDS: usize = 64;

/// Topic, queue id (of pops -1 for all), and who waits there.
type Shard = HashMap<String, HashMap<i32, Waiting>>;

#[derive(Debug, Default)]
struct Waiting {
    pulls: Vec<ParkedPull>,
    lines: Vec<Line>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.pulls.is_empty() && self.lines.is_empty()
    }
}

/// Pops of one group, or its notifications, in the order in which they came.
#[derive(Debug)]
struct Line {
    group: String,
    /// They are notifications, which take nothing.
    notifications: bool,
    pops: VecDeque<ParkedPop>,
}

impl Line {
    fn is_of(&self, pop: &ParkedPop) -> bool {
        self.group == pop.group && self.notifications == pop.is_notification()
    }

    /// The first that may be woken by a message, or by anything.
    fn take(&mut self, message: Option<(i64, &[u8])>) -> Option<ParkedPop> {
        let wants = |pop: &ParkedPop| {
            let matches = |(code, properties)| pop.filter.may_wake(code, properties);
            !pop.held && message.is_none_or(matches)
        };
        let at = self.pops.iter().position(wants)?;
        self.pops.remove(at)
    }
}

/// Parked pulls and pops by topic and queue.
#[derive(Debug)]
pub struct LongPoll {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    awake: mpsc::UnboundedSender<Woken>,
    pops: AtomicUsize,
}

/// What is to be carried out again.
#[derive(Debug)]
pub enum Woken {
    /// For the last time.
    Pull(ParkedPull),
    /// It may park again.
    Pop(ParkedPop),
}

/// All queues of a topic.
const ALL: i32 = -1;

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
                pops: AtomicUsize::new(0),
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
        queues.entry(pull.queue_id).or_default().pulls.push(pull);
    }

    /// Parks a pop, unless `is_due`, which is asked as in [`LongPoll::park`]. A pop comes back when
    /// `line_max` of its group wait where it would, or `max` in all.
    pub fn park_pop(
        &self,
        pop: ParkedPop,
        (line_max, max): (usize, usize),
        is_due: impl FnOnce(&ParkedPop) -> bool,
    ) -> Result<(), Box<ParkedPop>> {
        let mut shard = self.shard(&pop.topic).lock();
        if is_due(&pop) {
            let _ = self.awake.send(Woken::Pop(pop));
            return Ok(());
        }
        if self.pops.load(Ordering::Relaxed) >= max {
            return Err(Box::new(pop));
        }
        let queues = shard.entry(pop.topic.clone()).or_default();
        let lines = &mut queues.entry(pop.queue_id).or_default().lines;
        let at = lines.iter().position(|line| line.is_of(&pop));
        let line = match at {
            Some(at) => &mut lines[at],
            None => {
                lines.push(Line {
                    group: pop.group.clone(),
                    notifications: pop.is_notification(),
                    pops: VecDeque::new(),
                });
                lines.last_mut().expect("just pushed")
            }
        };
        if line.pops.len() > line_max {
            return Err(Box::new(pop));
        }
        self.pops.fetch_add(1, Ordering::Relaxed);
        line.pops.push_back(pop);
        Ok(())
    }

    /// Wakes one pop of the group that waits on the topic, whichever queue it waits for.
    pub fn wake_pop(&self, topic: &str, group: &str) {
        let mut shard = self.shard(topic).lock();
        let Some(queues) = shard.get_mut(topic) else {
            return;
        };
        for notifications in [false, true] {
            let lines = queues.values_mut().flat_map(|waiting| &mut waiting.lines);
            let woken = lines
                .filter(|line| line.group == group && line.notifications == notifications)
                .find_map(|line| line.take(None));
            if let Some(pop) = woken {
                self.wake_parked_pop(pop);
            }
        }
    }

    /// Pops of the group that wait for the queue; -1 is those that wait for all queues.
    pub fn waiting_pops(&self, topic: &str, group: &str, queue_id: i32) -> usize {
        let shard = self.shard(topic).lock();
        let waiting = shard.get(topic).and_then(|queues| queues.get(&queue_id));
        let lines = waiting.map_or(&[][..], |waiting| &waiting.lines);
        let of_group = |line: &&Line| line.group == group && !line.notifications;
        lines
            .iter()
            .find(of_group)
            .map_or(0, |line| line.pops.len())
    }

    /// Whether a pop of the group waits on the topic at all.
    pub fn has_waiting_pops(&self, topic: &str, group: &str) -> bool {
        self.pops.load(Ordering::Relaxed) > 0
            && self.shard(topic).lock().get(topic).is_some_and(|queues| {
                let mut lines = queues.values().flat_map(|waiting| &waiting.lines);
                lines.any(|line| line.group == group && !line.pops.is_empty())
            })
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
        let Some(queues) = shard.get_mut(topic) else {
            return;
        };
        for id in [queue_id, ALL] {
            let lines = queues.get_mut(&id).map(|waiting| &mut waiting.lines);
            for line in lines.into_iter().flatten() {
                if let Some(pop) = line.take(Some((tags_code, properties))) {
                    self.wake_parked_pop(pop);
                }
            }
        }
        let Some(Waiting { pulls, .. }) = queues.get_mut(&queue_id) else {
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
        queues.into_iter().flatten().for_each(|(_, waiting)| {
            waiting.pulls.into_iter().for_each(|pull| self.wake(pull));
            let pops = waiting.lines.into_iter().flat_map(|line| line.pops);
            pops.for_each(|pop| self.wake_parked_pop(pop));
        });
    }

    /// Wakes what has waited its time and drops what nobody waits for any more.
    pub fn sweep(&self, now_ms: i64) {
        for shard in &self.shards {
            shard.lock().retain(|_, queues| {
                queues.retain(|_, waiting| {
                    let pulls = &mut waiting.pulls;
                    pulls.retain(|pull| !pull.responder.connection().is_closed());
                    pulls
                        .extract_if(.., |pull| pull.deadline_ms <= now_ms)
                        .for_each(|pull| self.wake(pull));
                    waiting
                        .lines
                        .retain_mut(|line| self.sweep_line(line, now_ms));
                    !waiting.is_empty()
                });
                !queues.is_empty()
            });
        }
    }

    /// Whether pops are left in the line.
    fn sweep_line(&self, line: &mut Line, now_ms: i64) -> bool {
        let due = |pop: &ParkedPop| pop.responder.connection().is_closed() || pop.look_ms <= now_ms;
        if line.pops.iter().any(due) {
            let (gone, left): (VecDeque<_>, VecDeque<_>) = line.pops.drain(..).partition(due);
            line.pops = left;
            for pop in gone {
                self.wake_parked_pop(pop);
            }
        }
        !line.pops.is_empty()
    }

    /// Pops and notifications parked at this moment.
    pub fn parked_pops(&self) -> usize {
        self.pops.load(Ordering::Relaxed)
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
                    .map(|waiting| waiting.pulls.len())
                    .sum::<usize>()
            })
            .sum()
    }

    fn wake(&self, pull: ParkedPull) {
        // The receiver is gone only while the broker shuts down: dropping the pull answers it.
        let _ = self.awake.send(Woken::Pull(pull));
    }

    /// A pop that was parked is no longer.
    fn wake_parked_pop(&self, pop: ParkedPop) {
        self.pops.fetch_sub(1, Ordering::Relaxed);
        let _ = self.awake.send(Woken::Pop(pop));
    }

    fn shard(&self, topic: &str) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(topic) as usize % SHARDS]
    }
}
