//! One consumer: what it subscribes to, which queues it has, and what it knows of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use sluice_allocation::{AllocateStrategy, MessageQueue};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, ProducerData,
    SubscriptionData,
};
use sluice_protocol::topic::RETRY_PREFIX;
use sluice_remoting::Responder;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::assigned::{Assigned, Consuming};
use super::backlog::Backlog;
use super::listener::Listener;
use super::offsets::Offsets;
use crate::instance::{Instance, Member};
use crate::message::ReceivedMessage;

/// Producer group under which consumers put messages back.
pub(crate) const INNER_PRODUCER: &str = "CLIENT_INNER_PRODUCER";

/// Where a group begins on a queue of which it has never committed an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// Behind the newest message; on a young queue that still has its first message brokers answer
    /// its beginning, so that the first messages of a new topic are not skipped.
    #[default]
    Last,
    /// At the oldest message.
    First,
    /// At the first message stored at or after a time.
    Time(SystemTime),
}

impl StartAt {
    pub(crate) fn name(self) -> ConsumeFromWhere {
        match self {
            StartAt::Last => ConsumeFromWhere::LastOffset,
            StartAt::First => ConsumeFromWhere::FirstOffset,
            StartAt::Time(_) => ConsumeFromWhere::Timestamp,
        }
    }
}

pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// When pulling pauses, and how it asks.
#[derive(Debug, Clone)]
pub(crate) struct PullSettings {
    /// LITE_PULL_MESSAGE instead of PULL_MESSAGE.
    pub lite: bool,
    pub batch_size: usize,
    /// How long the broker may hold a pull that finds nothing.
    pub suspend: Duration,
    /// Pause between two pulls of a queue.
    pub interval: Duration,
    /// Most messages kept per queue.
    pub count_max: usize,
    /// Most bytes kept per queue.
    pub size_max: usize,
    /// Most distance between first and last offset; not for ordered consumption.
    pub span_max: i64,
}

impl Default for PullSettings {
    fn default() -> Self {
        PullSettings {
            lite: false,
            batch_size: 32,
            suspend: Duration::from_secs(15),
            interval: Duration::ZERO,
            count_max: 1000,
            size_max: 100 * 1024 * 1024,
            span_max: 2000,
        }
    }
}

/// How a listener is called.
#[derive(Debug, Clone)]
pub(crate) struct ConsumeSettings {
    /// Most messages per call.
    pub batch_size: usize,
    /// Most calls at a time.
    pub concurrency: usize,
    /// Deliveries after the first, −1 for the default.
    pub max_reconsume_times: i32,
    /// Pause of an ordered queue before the same messages again.
    pub suspend: Duration,
    /// A message whose listener takes longer goes to somebody else.
    pub timeout: Duration,
}

/// Some messages of one queue.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub assigned: Arc<Assigned>,
    pub messages: Vec<ReceivedMessage>,
}

/// Where pulled messages go.
pub(crate) enum Intake {
    /// To listeners, any number at a time.
    Concurrent(Listener, mpsc::UnboundedSender<Chunk>),
    /// To one listener at a time per queue, in order.
    Ordered(Listener, Semaphore),
    /// To whoever polls.
    Poll(Backlog),
}

/// Counts of what listeners said, since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub succeeded: AtomicU64,
    pub failed: AtomicU64,
    pub took_ms: AtomicU64,
}

/// One consumer.
pub(crate) struct Group {
    pub name: String,
    pub instance: Arc<Instance>,
    pub model: MessageModel,
    pub start_at: StartAt,
    pub strategy: Arc<dyn AllocateStrategy>,
    /// Brokers that can share the queues out do, by the strategy's name.
    pub allocated_by_broker: bool,
    pub pull: PullSettings,
    pub consume: ConsumeSettings,
    pub intake: Intake,
    pub offsets: Arc<Offsets>,
    pub subscriptions: RwLock<BTreeMap<String, SubscriptionData>>,
    /// Filters of queues that the application assigns itself; never told to brokers.
    pub assigned_filters: RwLock<BTreeMap<String, SubscriptionData>>,
    pub assigned: RwLock<HashMap<MessageQueue, Arc<Assigned>>>,
    /// Outlived by what it names while an assignment or a listener has it.
    pub consuming: Mutex<HashMap<MessageQueue, Weak<tokio::sync::Mutex<()>>>>,
    pub rebalance_wanted: Notify,
    /// Nothing is pulled of any queue.
    pub paused: AtomicBool,
    /// One rebalance at a time, and none while queues are being reset.
    pub rebalancing: Arc<tokio::sync::Mutex<()>>,
    /// True once the consumer is to end.
    pub stop: watch::Sender<bool>,
    /// Tasks that run listeners.
    pub listeners: Mutex<JoinSet<()>>,
    pub tally: Tally,
    pub started_ms: u64,
}

impl Group {
    /// Topic that messages come back on.
    pub fn retry_topic(&self) -> String {
        format!("{RETRY_PREFIX}{}", self.name)
    }

    pub fn is_ordered(&self) -> bool {
        matches!(self.intake, Intake::Ordered(..))
    }

    /// Whether queues must be locked before they are consumed.
    pub fn needs_locks(&self) -> bool {
        self.is_ordered() && self.model == MessageModel::Clustering
    }

    /// Whether messages whose listener takes too long are put back.
    pub fn puts_stuck_back(&self) -> bool {
        matches!(self.intake, Intake::Concurrent(..)) && self.model == MessageModel::Clustering
    }

    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Stops pulling of all queues, those taken later included, or goes on with it.
    pub fn pause(&self, pause: bool) {
        self.paused.store(pause, Ordering::Release);
        self.pulls_may_go_on();
    }

    /// What held pulls back may be gone: each of them looks again.
    pub fn pulls_may_go_on(&self) {
        for assigned in self.assigned.read().values() {
            assigned.pull_may_go_on.notify_one();
        }
    }

    pub fn assigned(&self, queue: &MessageQueue) -> Option<Arc<Assigned>> {
        self.assigned.read().get(queue).cloned()
    }

    pub fn all_assigned(&self) -> Vec<Arc<Assigned>> {
        self.assigned.read().values().cloned().collect()
    }

    pub fn assigned_queues(&self) -> Vec<MessageQueue> {
        self.assigned.read().keys().cloned().collect()
    }

    /// The queue's own, shared by all its assignments.
    pub fn consuming(&self, queue: &MessageQueue) -> Consuming {
        let mut table = self.consuming.lock();
        if let Some(consuming) = table.get(queue).and_then(Weak::upgrade) {
            return consuming;
        }
        table.retain(|_, consuming| consuming.strong_count() > 0);
        let consuming = Consuming::default();
        table.insert(queue.clone(), Arc::downgrade(&consuming));
        consuming
    }

    pub fn subscription(&self, topic: &str) -> Option<SubscriptionData> {
        let subscribed = self.subscriptions.read().get(topic).cloned();
        subscribed.or_else(|| self.assigned_filters.read().get(topic).cloned())
    }

    /// Deliveries after the first, as brokers are told.
    pub fn max_reconsume_times(&self) -> i32 {
        match self.consume.max_reconsume_times {
            -1 if self.is_ordered() => i32::MAX,
            -1 => 16,
            set => set,
        }
    }

    /// Runs a listener task; it ends by itself when the consumer stops.
    pub fn spawn_listener(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut listeners = self.listeners.lock();
        while listeners.try_join_next().is_some() {}
        listeners.spawn(task);
    }

    /// Resolves when the consumer is to end.
    pub async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as the group.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    pub fn tally(&self, succeeded: bool, messages: usize, took: Duration) {
        let count = if succeeded {
            &self.tally.succeeded
        } else {
            &self.tally.failed
        };
        count.fetch_add(messages as u64, Ordering::Relaxed);
        self.tally
            .took_ms
            .fetch_add(took.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Member for Group {
    fn heartbeat(&self, client_id: &str) -> Option<HeartbeatData> {
        Some(HeartbeatData {
            client_id: client_id.to_owned(),
            consumer_data_set: vec![ConsumerData {
                consume_from_where: self.start_at.name(),
                consume_type: if self.pull.lite {
                    ConsumeType::Actively
                } else {
                    ConsumeType::Passively
                },
                group_name: self.name.clone(),
                message_model: self.model,
                subscription_data_set: self.subscriptions.read().values().cloned().collect(),
                unit_mode: false,
            }],
            heartbeat_fingerprint: 0,
            producer_data_set: vec![ProducerData {
                group_name: INNER_PRODUCER.to_owned(),
            }],
            without_sub: false,
        })
    }

    fn topics(&self) -> Vec<String> {
        let mut topics = self.instance.topics();
        topics.extend(self.subscriptions.read().keys().cloned());
        topics.sort();
        topics.dedup();
        topics
    }

    fn masters_only(&self) -> bool {
        false
    }

    fn group_changed(&self) {
        self.rebalance_wanted.notify_one();
    }

    fn serve(self: Arc<Self>, request: RemotingCommand, responder: Responder) {
        super::serve::serve(self, request, responder);
    }
}
