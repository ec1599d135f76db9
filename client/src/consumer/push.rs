//! The consumer that calls a listener.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::RwLock;
use sluice_allocation::{AllocateStrategy, Average, MessageQueue};
use sluice_protocol::body::MessageModel;
use sluice_protocol::topic::RETRY_PREFIX;
use sluice_remoting::tls::TlsClientOptions;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::concurrent;
use super::group::{ConsumeSettings, Group, Intake, PullSettings, StartAt, Tally};
use super::listener::{ConsumeResult, Listener};
use super::run::{Running, instance, offsets, subscriptions};
use crate::error::ClientError;
use crate::instance::Connect;
use crate::message::ReceivedMessage;
use crate::subscription::Filter;
use crate::unique_id::now_ms;
use crate::validate;

/// Settings of a [`PushConsumer`]; see [`PushConsumer::builder`].
#[must_use = "nothing is consumed before build"]
pub struct PushConsumerBuilder {
    group: String,
    connect: Connect,
    topics: Vec<(String, Filter)>,
    listener: Option<Listener>,
    ordered: bool,
    model: MessageModel,
    start_at: StartAt,
    strategy: Arc<dyn AllocateStrategy>,
    allocated_by_broker: bool,
    pull: PullSettings,
    consume: ConsumeSettings,
    offset_directory: Option<PathBuf>,
    shutdown_wait: Duration,
}

impl std::fmt::Debug for PushConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushConsumerBuilder")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("ordered", &self.ordered)
            .field("model", &self.model)
            .field("pull", &self.pull)
            .field("consume", &self.consume)
            .finish_non_exhaustive()
    }
}

impl PushConsumerBuilder {
    /// Name servers, `host:port`, several separated by `;`, or the `http://` address of a page that tells
    /// them. Without it the environment's `NAMESRV_ADDR` is used, or the address service at
    /// `ROCKETMQ_NAMESRV_DOMAIN`.
    pub fn name_server(mut self, addresses: impl Into<String>) -> Self {
        self.connect.name_servers = Some(addresses.into());
        self
    }

    /// Second half of the client id: unique in each consumer, `DEFAULT` when broadcasting, unless
    /// set. Two members of a group must not have the same.
    pub fn instance_name(mut self, name: impl Into<String>) -> Self {
        self.connect.instance_name = Some(name.into());
        self
    }

    /// Connects encrypted.
    pub fn tls(mut self, options: TlsClientOptions) -> Self {
        self.connect.tls = Some(options);
        self
    }

    /// Most time to connect to one peer; 3 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect.connect_timeout = timeout;
        self
    }

    /// Subscribes to a topic. All members of a group must subscribe alike.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<Filter>) -> Self {
        self.topics.push((topic.into(), filter.into()));
        self
    }

    /// What is called with each message: an async closure or function that returns a
    /// [`ConsumeResult`], or a `Result` whose error is logged and means later.
    pub fn on_message<F, Fut, R>(mut self, listener: F) -> Self
    where
        F: Fn(ReceivedMessage) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: Into<ConsumeResult>,
    {
        self.listener = Some(Listener::of_one(listener));
        self
    }

    /// As [`PushConsumerBuilder::on_message`], with up to `batch_size` messages of one queue per
    /// call, 1 to 1024; the result is that of all of them.
    pub fn on_batch<F, Fut, R>(mut self, batch_size: usize, listener: F) -> Self
    where
        F: Fn(Vec<ReceivedMessage>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: Into<ConsumeResult>,
    {
        self.consume.batch_size = batch_size;
        self.listener = Some(Listener::of_batch(listener));
        self
    }

    /// Messages of a queue one after the other, in order, by one member at a time; a message that
    /// fails holds its queue. Without it they are consumed beside each other.
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// Every member gets every message; offsets are kept in a local file, failed messages are not
    /// delivered again. Without it the members share the messages.
    pub fn broadcasting(mut self) -> Self {
        self.model = MessageModel::Broadcasting;
        self
    }

    /// Where the group begins on queues of which it has no offset; [`StartAt::Last`].
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.start_at = start_at;
        self
    }

    /// How queues are shared among the members; [`Average`]. All members must use the same.
    pub fn strategy(mut self, strategy: impl AllocateStrategy + 'static) -> Self {
        self.strategy = Arc::new(strategy);
        self
    }

    /// Asks brokers for this member's queues instead of computing them: they share the queues out by
    /// the strategy of that name, or by one that an operator has bound to the group. Where a broker
    /// does not serve that, or wants the group to pop, the strategy is used here. Java's
    /// `setClientRebalance(false)`; nothing when broadcasting.
    pub fn allocated_by_broker(mut self) -> Self {
        self.allocated_by_broker = true;
        self
    }

    /// Most calls of the listener at a time, 1 to 1000; 20.
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.consume.concurrency = calls;
        self
    }

    /// Most messages per pull, 1 to 1024; 32.
    pub fn pull_batch_size(mut self, messages: usize) -> Self {
        self.pull.batch_size = messages;
        self
    }

    /// Pause between two pulls of a queue, up to 65.535 s; none.
    pub fn pull_interval(mut self, interval: Duration) -> Self {
        self.pull.interval = interval;
        self
    }

    /// Pulling of a queue pauses while more than this many messages are kept, 1 to 65,535; 1000.
    pub fn cached_messages_max(mut self, messages: usize) -> Self {
        self.pull.count_max = messages;
        self
    }

    /// Pulling of a queue pauses while more than this many bytes are kept, 1 MiB to 1 GiB; 100 MiB.
    pub fn cached_bytes_max(mut self, bytes: usize) -> Self {
        self.pull.size_max = bytes;
        self
    }

    /// Pulling of a queue pauses while its first and last kept message are further apart than this,
    /// 1 to 65,535; 2000. Ordered consumers have no such limit.
    pub fn cached_span_max(mut self, messages: i64) -> Self {
        self.pull.span_max = messages;
        self
    }

    /// Deliveries of a message after the first before it goes to the dead-letter topic: 16, or no
    /// limit when ordered.
    pub fn max_reconsume_times(mut self, times: u16) -> Self {
        self.consume.max_reconsume_times = i32::from(times);
        self
    }

    /// Pause of an ordered queue before it delivers the same messages again, 10 ms to 30 s; 1 s.
    pub fn suspend(mut self, pause: Duration) -> Self {
        self.consume.suspend = pause;
        self
    }

    /// A concurrent listener that has a message for longer loses it: it is delivered again; 15
    /// minutes. The listener is not interrupted.
    pub fn consume_timeout(mut self, timeout: Duration) -> Self {
        self.consume.timeout = timeout;
        self
    }

    /// Where broadcasting consumers keep their offsets; `~/.rocketmq_offsets`.
    pub fn offset_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.offset_directory = Some(directory.into());
        self
    }

    /// How long [`PushConsumer::shutdown`] waits for listeners that run; 30 s.
    pub fn shutdown_wait(mut self, wait: Duration) -> Self {
        self.shutdown_wait = wait;
        self
    }

    /// Joins the group and begins to consume. When it returns, the consumer is known to the brokers
    /// and has the queues that are its own by then.
    ///
    /// # Errors
    /// A setting is out of bounds, no name server answers, or a broker refuses a SQL expression. A
    /// topic that does not exist yet is no error: it is waited for.
    pub async fn build(self) -> Result<PushConsumer, ClientError> {
        self.check()?;
        let instance = instance(&self.connect, self.model)?;
        let retry = (format!("{RETRY_PREFIX}{}", self.group), Filter::All);
        let mut wanted = self.topics;
        if self.model == MessageModel::Clustering {
            wanted.push(retry);
        }
        let listener = self.listener.ok_or_else(no_listener)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let intake = if self.ordered {
            Intake::Ordered(listener.clone(), Semaphore::new(self.consume.concurrency))
        } else {
            Intake::Concurrent(listener.clone(), sender)
        };
        let group = Arc::new(Group {
            offsets: offsets(self.model, &self.group, &instance, self.offset_directory)?,
            name: self.group,
            instance,
            model: self.model,
            start_at: self.start_at,
            strategy: self.strategy,
            allocated_by_broker: self.allocated_by_broker,
            pull: self.pull,
            consume: self.consume,
            intake,
            subscriptions: RwLock::new(subscriptions(&wanted)?.collect()),
            assigned_filters: RwLock::default(),
            assigned: RwLock::default(),
            consuming: parking_lot::Mutex::default(),
            paused: AtomicBool::new(false),
            rebalance_wanted: Notify::new(),
            rebalancing: Arc::default(),
            stop: watch::Sender::new(false),
            listeners: parking_lot::Mutex::default(),
            tally: Tally::default(),
            started_ms: now_ms(),
        });
        if !self.ordered {
            let chunks = Arc::new(tokio::sync::Mutex::new(receiver));
            for _ in 0..group.consume.concurrency {
                group.spawn_listener(concurrent::work(
                    group.clone(),
                    listener.clone(),
                    chunks.clone(),
                ));
            }
        }
        Ok(PushConsumer {
            running: Running::start(group).await?,
            shutdown_wait: self.shutdown_wait,
        })
    }

    fn check(&self) -> Result<(), ClientError> {
        validate::group(&self.group)?;
        if self.topics.is_empty() {
            return Err(ClientError::invalid("subscriptions", "must not be empty"));
        }
        if self.listener.is_none() {
            return Err(no_listener());
        }
        let seconds = Duration::from_secs;
        validate::setting("concurrency", self.consume.concurrency, 1..=1000)?;
        validate::setting("batch_size", self.consume.batch_size, 1..=1024)?;
        validate::setting("pull_batch_size", self.pull.batch_size, 1..=1024)?;
        validate::setting(
            "pull_interval",
            self.pull.interval,
            Duration::ZERO..=Duration::from_millis(65_535),
        )?;
        validate::setting("cached_messages_max", self.pull.count_max, 1..=65_535)?;
        validate::setting("cached_bytes_max", self.pull.size_max, 1 << 20..=1 << 30)?;
        validate::setting("cached_span_max", self.pull.span_max, 1..=65_535)?;
        validate::setting(
            "suspend",
            self.consume.suspend,
            Duration::from_millis(10)..=seconds(30),
        )?;
        validate::setting(
            "consume_timeout",
            self.consume.timeout,
            seconds(1)..=seconds(86_400),
        )
    }
}

fn no_listener() -> ClientError {
    ClientError::invalid("listener", "must be set by on_message or on_batch")
}

/// Calls a listener with the messages of a group.
///
/// Dropping it ends the consumer at once; messages whose listener had not finished, and offsets of
/// the last five seconds, are then delivered again to other members. [`PushConsumer::shutdown`]
/// ends it in order.
pub struct PushConsumer {
    running: Running,
    shutdown_wait: Duration,
}

impl std::fmt::Debug for PushConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushConsumer")
            .field("group", &self.running.group.name)
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

impl PushConsumer {
    /// Begins with Java's default settings.
    pub fn builder(group: impl Into<String>) -> PushConsumerBuilder {
        PushConsumerBuilder {
            group: group.into(),
            connect: Connect::default(),
            topics: Vec::new(),
            listener: None,
            ordered: false,
            model: MessageModel::Clustering,
            start_at: StartAt::default(),
            strategy: Arc::new(Average),
            allocated_by_broker: false,
            pull: PullSettings::default(),
            consume: ConsumeSettings {
                batch_size: 1,
                concurrency: 20,
                max_reconsume_times: -1,
                suspend: Duration::from_secs(1),
                timeout: Duration::from_secs(15 * 60),
            },
            offset_directory: None,
            shutdown_wait: Duration::from_secs(30),
        }
    }

    /// This consumer's id, as brokers and other members know it.
    pub fn client_id(&self) -> &str {
        &self.running.group.instance.client_id
    }

    /// The queues this consumer works on now, the group's retry queues included.
    pub fn assigned_queues(&self) -> Vec<MessageQueue> {
        let mut queues = self.running.group.assigned_queues();
        queues.sort();
        queues
    }

    /// Stops pulling until [`PushConsumer::resume`], of queues taken meanwhile too; what was pulled
    /// already is still consumed.
    pub fn pause(&self) {
        self.running.group.pause(true);
    }

    /// Pulls again.
    pub fn resume(&self) {
        self.running.group.pause(false);
    }

    /// Ends in order: pulling stops, listeners that run come to their end, offsets are committed,
    /// locks are given back, and the brokers and with them the other members are told.
    ///
    /// It goes on when the future is dropped, as long as the runtime lives; a second call waits for
    /// the same end.
    pub async fn shutdown(&self) {
        self.running.shut_down(self.shutdown_wait).await;
    }
}
