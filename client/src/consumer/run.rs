//! Starting, tending and stopping a consumer of any kind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_protocol::body::{MessageModel, SubscriptionData};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::concurrent;
use super::group::Group;
use super::offsets::Offsets;
use super::rebalance::keep_balanced;
use crate::ending::Ending;
use crate::error::ClientError;
use crate::instance::{Connect, Instance, Member};
use crate::subscription::Filter;
use crate::unique_id::now_ms;

/// Offsets are kept this often.
const PERSIST_INTERVAL: Duration = Duration::from_secs(5);
/// Order locks are renewed this often.
const LOCK_INTERVAL: Duration = Duration::from_secs(20);
const LOCK_FIRST: Duration = Duration::from_secs(1);
/// Time for the last commits of all queues together.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// A consumer at work. Dropped, it stops at once and leaves offsets as they were last kept.
pub(crate) struct Running {
    pub group: Arc<Group>,
    /// Housekeeping; listeners are the group's.
    tasks: Mutex<JoinSet<()>>,
    ending: Ending,
}

/// The client id's name half: a broadcasting consumer's must stay the same, its file is named so.
pub(crate) fn instance(
    connect: &Connect,
    model: MessageModel,
) -> Result<Arc<Instance>, ClientError> {
    let fixed = (model == MessageModel::Broadcasting).then_some("DEFAULT");
    Instance::new(connect, fixed)
}

pub(crate) fn offsets(
    model: MessageModel,
    group: &str,
    instance: &Arc<Instance>,
    directory: Option<PathBuf>,
) -> Result<Arc<Offsets>, ClientError> {
    if model == MessageModel::Clustering {
        return Ok(Offsets::at_broker(group, instance));
    }
    let default = || {
        std::env::home_dir()
            .unwrap_or_else(std::env::temp_dir)
            .join(".rocketmq_offsets")
    };
    Offsets::in_file(group, instance, directory.unwrap_or_else(default))
}

/// Subscriptions of a consumer about to start; all get the same version, the time.
pub(crate) fn subscriptions(
    wanted: &[(String, Filter)],
) -> Result<impl Iterator<Item = (String, SubscriptionData)> + use<>, ClientError> {
    let version = now_ms() as i64;
    let mut subscriptions = Vec::with_capacity(wanted.len());
    for (topic, filter) in wanted {
        crate::validate::topic(topic)?;
        subscriptions.push((topic.clone(), filter.subscription(topic, version)?));
    }
    Ok(subscriptions.into_iter())
}

impl Running {
    /// Makes the consumer known and gives it its queues.
    pub async fn start(group: Arc<Group>) -> Result<Self, ClientError> {
        let member: Arc<dyn Member> = group.clone();
        group.instance.serve(Arc::downgrade(&member));
        let running = Running {
            group: group.clone(),
            tasks: Mutex::default(),
            ending: Ending::default(),
        };
        find_routes(&group).await?;
        check_expressions(&group).await?;
        group.instance.heartbeat().await;
        let first = group.rebalance().await;
        let mut tasks = running.tasks.lock();
        tasks.spawn(group.instance.clone().keep());
        tasks.spawn(keep_balanced(group.clone(), first));
        tasks.spawn(tend(group.clone()));
        drop(tasks);
        tracing::info!(
            group = group.name,
            client_id = group.instance.client_id,
            "consumer started"
        );
        Ok(running)
    }

    /// Stops pulling, lets listeners that run come to their end for up to `wait`, keeps all
    /// offsets, gives locks back and takes leave of the brokers.
    ///
    /// That goes on when the caller stops waiting; whoever calls later waits for the same end.
    pub async fn shut_down(&self, wait: Duration) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        self.ending.run(end(self.group.clone(), tasks, wait)).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ending.has_begun() {
            return; // it comes to its end in order
        }
        self.group.stop.send_replace(true);
        for assigned in self.group.all_assigned() {
            assigned.drop_now();
        }
    }
}

async fn end(group: Arc<Group>, mut tasks: JoinSet<()>, wait: Duration) {
    group.stop.send_replace(true);
    // Nobody takes queues from here on.
    tasks.shutdown().await;
    group.pause(true);
    let mut listeners = std::mem::take(&mut *group.listeners.lock());
    let ended = async { while listeners.join_next().await.is_some() {} };
    if timeout(wait, ended).await.is_err() {
        tracing::warn!(
            group = group.name,
            ?wait,
            "listeners still run, their messages will be delivered again"
        );
    }
    let assigned = group.all_assigned();
    assigned.iter().for_each(|assigned| assigned.drop_now());
    let queues = group.assigned_queues();
    let committed = timeout(COMMIT_WAIT, group.offsets.persist_now(&queues)).await;
    if committed.is_err() {
        tracing::warn!(group = group.name, wait = ?COMMIT_WAIT, "not all offsets were committed");
    }
    if group.needs_locks() {
        group.unlock_all().await;
    }
    group
        .instance
        .unregister("consumerGroup", &group.name)
        .await;
    group.assigned.write().clear();
    tracing::info!(group = group.name, "consumer shut down");
}

/// Asks for every topic's route; one that does not exist yet is waited for later.
async fn find_routes(group: &Group) -> Result<(), ClientError> {
    let topics: Vec<String> = group.subscriptions.read().keys().cloned().collect();
    for topic in topics {
        match group.instance.route(&topic).await {
            Ok(_) => {}
            Err(ClientError::NoRoute { .. }) => {
                tracing::debug!(group = group.name, topic, "topic does not exist yet");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Has a broker of each topic compile what is no tag expression.
async fn check_expressions(group: &Group) -> Result<(), ClientError> {
    let subscriptions: Vec<SubscriptionData> =
        group.subscriptions.read().values().cloned().collect();
    for subscription in subscriptions.iter().filter(|s| s.expression_type != "TAG") {
        let Some(known) = group.instance.known_route(&subscription.topic) else {
            continue;
        };
        let address = known
            .route
            .broker_datas
            .iter()
            .find_map(|data| data.broker_addrs.values().next());
        if let Some(address) = address {
            group
                .instance
                .check_subscription(address, &group.name, subscription)
                .await?;
        }
    }
    Ok(())
}

/// What has to be done from time to time; never ends.
async fn tend(group: Arc<Group>) {
    let every = |first: Duration, period: Duration| {
        let mut interval = interval_at(Instant::now() + first, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    };
    let mut persist = every(PERSIST_INTERVAL, PERSIST_INTERVAL);
    let mut lock = every(LOCK_FIRST, LOCK_INTERVAL);
    let mut stuck = every(group.consume.timeout, group.consume.timeout);
    loop {
        tokio::select! {
            _ = persist.tick() => group.offsets.persist(&group.assigned_queues()).await,
            _ = lock.tick(), if group.needs_locks() => group.renew_locks().await,
            _ = stuck.tick(), if group.puts_stuck_back() => concurrent::put_stuck_back(&group).await,
        }
    }
}
