//! Which queues are ours: computed by every member for itself, from the same facts, or asked of a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sluice_allocation::{MessageQueue, sort};
use sluice_protocol::body::{MessageModel, MessageRequestMode, TopicRouteData};
use sluice_protocol::code::response;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::assigned::Assigned;
use super::group::{Group, Intake, StartAt, unix_ms};
use super::offsets::Update;
use super::{ordered, pull};
use crate::error::ClientError;
use crate::route::{MASTER, subscribe_queues};
use crate::unique_id::now_ms;

/// Between two rounds when all is as it should be.
const INTERVAL: Duration = Duration::from_secs(20);
/// Between two rounds otherwise.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Rounds that others ask for are not closer than this: a storm of joins costs few of them.
const GAP_MIN: Duration = Duration::from_millis(250);
/// How long an ordered listener may keep a queue that is to be given back.
const CONSUMING_WAIT: Duration = Duration::from_millis(500);
/// After this long without renewal the lock is given back though the listener still runs.
const UNLOCK_ANYWAY_MS: u64 = 20_000;

/// How a round went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Balance {
    /// We have exactly the queues that are ours.
    Even,
    /// Some topic does not exist yet.
    TopicMissing,
    /// Not yet.
    Uneven,
}

/// Keeps the consumer's queues right; never ends.
pub(crate) async fn keep_balanced(group: Arc<Group>, mut last: Balance) {
    let mut missing_rounds = 0;
    loop {
        missing_rounds = if last == Balance::TopicMissing {
            missing_rounds + 1
        } else {
            0
        };
        let wait = match last {
            Balance::Even => INTERVAL,
            Balance::Uneven => INTERVAL_MIN,
            // A topic may appear any moment, or never.
            Balance::TopicMissing => {
                INTERVAL.min(INTERVAL_MIN * (1 << (missing_rounds - 1).min(5)))
            }
        };
        let _ = timeout(wait, group.rebalance_wanted.notified()).await;
        let start = Instant::now();
        last = group.rebalance().await;
        sleep_until(start + GAP_MIN).await;
    }
}

impl Group {
    /// One round over all topics.
    pub async fn rebalance(self: &Arc<Self>) -> Balance {
        let _one_at_a_time = self.rebalancing.lock().await;
        let topics: BTreeSet<String> = self.subscriptions.read().keys().cloned().collect();
        let mut balance = Balance::Even;
        for topic in &topics {
            if self.is_stopping() {
                return balance;
            }
            balance = balance.max(self.rebalance_topic(topic).await);
        }
        balance.max(self.drop_unsubscribed(&topics).await)
    }

    async fn rebalance_topic(self: &Arc<Self>, topic: &str) -> Balance {
        let is_retry = *topic == self.retry_topic();
        let route = match self.topic_route(topic).await {
            Ok(route) => route,
            Err(ClientError::NoRoute { .. }) if is_retry => return Balance::Even,
            Err(error) => {
                tracing::debug!(group = self.name, topic, %error, "topic can't be balanced yet");
                return Balance::TopicMissing;
            }
        };
        let mine = match self.queues_of_ours(topic, &route).await {
            Ok(mine) => mine,
            Err(error) => {
                tracing::warn!(group = self.name, topic, %error, "not rebalanced, queues are kept");
                return if is_retry {
                    Balance::Even
                } else {
                    Balance::Uneven
                };
            }
        };
        let balance = self.apply(topic, mine).await;
        if is_retry { Balance::Even } else { balance }
    }

    /// The route, asked for anew as long as the topic is missing.
    async fn topic_route(self: &Arc<Self>, topic: &str) -> Result<TopicRouteData, ClientError> {
        if let Some(known) = self.instance.known_route(topic) {
            return Ok(known.route.clone());
        }
        let known = self.instance.fetch_route(topic).await?;
        // Its brokers may be new to us, and we to them.
        self.instance.heartbeat().await;
        Ok(known.route.clone())
    }

    async fn queues_of_ours(
        &self,
        topic: &str,
        route: &TopicRouteData,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let mut queues = subscribe_queues(route, topic);
        if self.model == MessageModel::Broadcasting || queues.is_empty() {
            return Ok(queues);
        }
        let address = some_broker(route).ok_or_else(|| ClientError::NoRoute {
            topic: topic.to_owned(),
        })?;
        self.instance.ensure_registered(&address).await?;
        if self.allocated_by_broker
            && let Some(mine) = self.allocated_by(&address, topic).await?
        {
            if mine.iter().any(|queue| !queues.contains(queue)) {
                // The broker's route is newer than ours.
                self.instance.fetch_route(topic).await?;
            }
            return Ok(mine);
        }
        let mut members = self.instance.consumer_ids(&address, &self.name).await?;
        sort(&mut queues, &mut members);
        let client_id = &self.instance.client_id;
        if !members.contains(client_id) {
            return Err(ClientError::invalid(
                "member list",
                "does not hold this client yet",
            ));
        }
        let mine = self.strategy.allocate(client_id, &queues, &members);
        mine.map_err(|error| ClientError::invalid(self.strategy.name(), error.to_string()))
    }

    /// Our queues as the broker shares them out; `None` if it leaves that to its clients. Asked to
    /// pop, we pull what we compute, as a client that never asks does.
    async fn allocated_by(
        &self,
        address: &str,
        topic: &str,
    ) -> Result<Option<Vec<MessageQueue>>, ClientError> {
        let asked = self
            .instance
            .assignment(address, &self.name, topic, self.strategy.name())
            .await;
        let assignments = match asked {
            Err(ClientError::Refused {
                code: response::REQUEST_CODE_NOT_SUPPORTED,
                ..
            }) => return Ok(None),
            asked => asked?,
        };
        let assignments = assignments
            .ok_or_else(|| ClientError::invalid("assignment", "is not known to the broker yet"))?;
        if assignments
            .iter()
            .any(|assignment| assignment.mode == MessageRequestMode::Pop)
        {
            tracing::debug!(group = self.name, topic, "asked to pop");
            return Ok(None);
        }
        let mine = assignments.into_iter();
        Ok(Some(
            mine.filter_map(|assignment| assignment.message_queue)
                .collect(),
        ))
    }

    /// Gives up what is no longer ours and takes what is.
    async fn apply(self: &Arc<Self>, topic: &str, mine: Vec<MessageQueue>) -> Balance {
        let mut balance = Balance::Even;
        let of_topic = self.all_assigned();
        let of_topic = of_topic
            .iter()
            .filter(|assigned| assigned.queue.topic == topic);
        for assigned in of_topic {
            let is_stuck = !self.pull.lite && assigned.is_pull_stuck();
            if mine.contains(&assigned.queue) && !is_stuck && !assigned.is_dropped() {
                continue;
            }
            if !self.give_up(assigned).await {
                balance = Balance::Uneven;
            }
        }
        let new: Vec<_> = mine
            .into_iter()
            .filter(|queue| self.assigned(queue).is_none())
            .collect();
        let locked = self.lock_new(&new).await;
        for queue in new {
            if self.needs_locks() && !locked.contains(&queue) {
                balance = Balance::Uneven;
                continue;
            }
            if let Err(error) = self.take(queue.clone()).await {
                tracing::warn!(group = self.name, %queue, %error, "queue not taken yet");
                balance = Balance::Uneven;
            }
        }
        balance
    }

    async fn drop_unsubscribed(self: &Arc<Self>, topics: &BTreeSet<String>) -> Balance {
        if topics.is_empty() && self.pull.lite {
            return Balance::Even; // its queues are assigned by hand
        }
        let mut balance = Balance::Even;
        for assigned in self.all_assigned() {
            if !topics.contains(&assigned.queue.topic) && !self.give_up(&assigned).await {
                balance = Balance::Uneven;
            }
        }
        balance
    }

    async fn lock_new(&self, queues: &[MessageQueue]) -> BTreeSet<MessageQueue> {
        let mut locked = BTreeSet::new();
        if !self.needs_locks() {
            return locked;
        }
        for (broker, queues) in by_broker(queues) {
            match self.instance.lock(&broker, &self.name, &queues).await {
                Ok(granted) => locked.extend(granted),
                Err(error) => {
                    tracing::warn!(group = self.name, broker, %error, "queues not locked")
                }
            }
        }
        locked
    }

    /// Starts to work on a queue.
    async fn take(self: &Arc<Self>, queue: MessageQueue) -> Result<(), ClientError> {
        if self.model == MessageModel::Clustering {
            self.offsets.forget(&queue);
        }
        let start = self.start_offset(&queue).await?;
        tracing::info!(group = self.name, %queue, start, "queue taken");
        self.begin(queue, start);
        Ok(())
    }

    /// Works on a queue from `start` on.
    pub fn begin(self: &Arc<Self>, queue: MessageQueue, start: i64) -> Arc<Assigned> {
        let assigned = Assigned::new(queue.clone(), start, self.consuming(&queue));
        if self.needs_locks() {
            assigned.set_locked(true);
        }
        let replaced = self.assigned.write().insert(queue, assigned.clone());
        if let Some(replaced) = replaced {
            replaced.drop_now();
        }
        if let Intake::Ordered(listener, _) = &self.intake {
            self.spawn_listener(ordered::consume(
                self.clone(),
                assigned.clone(),
                listener.clone(),
            ));
        }
        let pull = tokio::spawn(pull::pull(self.clone(), assigned.clone()));
        assigned.pulled_by(pull.abort_handle());
        if self.is_stopping() {
            // Taken too late for the end to see it.
            assigned.drop_now();
        }
        assigned
    }

    /// Where a queue begins: at what the group has committed, else at what its settings say.
    pub async fn start_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        if let Some(stored) = self.offsets.stored(queue).await? {
            return Ok(stored);
        }
        let is_retry = queue.topic == self.retry_topic();
        match self.start_at {
            StartAt::Last if is_retry => Ok(0),
            StartAt::Last => self.instance.max_offset(queue).await,
            StartAt::First => Ok(0),
            StartAt::Time(_) if is_retry => self.instance.max_offset(queue).await,
            StartAt::Time(time) => self.instance.offset_at(queue, unix_ms(time)).await,
        }
    }

    /// Stops work on a queue and keeps its offset. False when a listener still has it: it is then
    /// tried again in the next round.
    pub async fn give_up(self: &Arc<Self>, assigned: &Arc<Assigned>) -> bool {
        assigned.drop_now();
        let queue = &assigned.queue;
        self.offsets.persist(std::slice::from_ref(queue)).await;
        if self.needs_locks() {
            let consuming = timeout(CONSUMING_WAIT, assigned.consuming.lock()).await;
            if consuming.is_err() && now_ms() < assigned.locked_ms() + UNLOCK_ANYWAY_MS {
                tracing::debug!(group = self.name, %queue, "queue is still being consumed");
                return false;
            }
            self.offsets.persist(std::slice::from_ref(queue)).await;
            let unlocked = self
                .instance
                .unlock(&queue.broker_name, &self.name, std::slice::from_ref(queue))
                .await;
            if let Err(error) = unlocked {
                tracing::debug!(group = self.name, %queue, %error, "queue not unlocked");
            }
        }
        self.offsets.forget(queue);
        self.assigned.write().remove(queue);
        tracing::info!(group = self.name, %queue, "queue given up");
        true
    }

    /// Makes `offset` the group's position on the queue and drops it; the next round takes it anew.
    /// An ordered listener that still runs holds the new one up.
    pub async fn reset(self: &Arc<Self>, assigned: &Arc<Assigned>, offset: i64) {
        let _no_rebalance = self.rebalancing.lock().await;
        assigned.drop_and_clear();
        let queue = &assigned.queue;
        self.offsets.update(queue, offset, Update::Set);
        // A failure is logged, and repaired when offsets are next kept.
        let _ = self.offsets.persist_now(std::slice::from_ref(queue)).await;
        let mut table = self.assigned.write();
        if table
            .get(queue)
            .is_some_and(|current| Arc::ptr_eq(current, assigned))
        {
            table.remove(queue);
        }
    }

    /// Gives all locks back.
    pub async fn unlock_all(self: &Arc<Self>) {
        let mut calls = JoinSet::new();
        for (broker, queues) in by_broker(&self.assigned_queues()) {
            let group = self.clone();
            calls.spawn(async move {
                if let Err(error) = group.instance.unlock(&broker, &group.name, &queues).await {
                    tracing::debug!(group = group.name, broker, %error, "queues not unlocked");
                }
            });
        }
        while calls.join_next().await.is_some() {}
    }

    /// Renews the locks of all queues that are not given up; what is not granted may no longer be
    /// consumed.
    pub async fn renew_locks(&self) {
        let mut held = self.all_assigned();
        held.retain(|assigned| !assigned.is_dropped());
        let held: Vec<_> = held.iter().map(|assigned| assigned.queue.clone()).collect();
        for (broker, queues) in by_broker(&held) {
            let granted = match self.instance.lock(&broker, &self.name, &queues).await {
                Ok(granted) => granted,
                Err(error) => {
                    tracing::warn!(group = self.name, broker, %error, "locks not renewed");
                    continue;
                }
            };
            for queue in queues {
                if let Some(assigned) = self.assigned(&queue) {
                    assigned.set_locked(granted.contains(&queue));
                }
            }
        }
    }
}

/// A random broker's address, its master's if it has one.
fn some_broker(route: &TopicRouteData) -> Option<String> {
    let with_address = || {
        route
            .broker_datas
            .iter()
            .filter(|data| !data.broker_addrs.is_empty())
    };
    let count = with_address().count();
    let data = with_address().nth(rand::random_range(0..count.max(1)))?;
    let master = data.broker_addrs.get(&MASTER);
    master
        .or_else(|| data.broker_addrs.values().next())
        .cloned()
}

fn by_broker(queues: &[MessageQueue]) -> BTreeMap<String, Vec<MessageQueue>> {
    let mut brokers: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        brokers
            .entry(queue.broker_name.clone())
            .or_default()
            .push(queue.clone());
    }
    brokers
}
