//! The consumer that is polled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sluice_allocation::{AllocateStrategy, Average, MessageQueue};
use sluice_protocol::body::MessageModel;
use sluice_remoting::tls::TlsClientOptions;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::assigned::Assigned;
use super::backlog::Backlog;
use super::group::{Chunk, ConsumeSettings, Group, Intake, PullSettings, StartAt, Tally, unix_ms};
use super::offsets::Update;
use super::run::{Running, instance, offsets, subscriptions};
use crate::error::ClientError;
use crate::instance::Connect;
use crate::message::ReceivedMessage;
use crate::route::subscribe_queues;
use crate::subscription::Filter;
use crate::unique_id::now_ms;
use crate::validate;

/// How long brokers hold a pull that finds nothing.
const SUSPEND: Duration = Duration::from_secs(20);

/// Longest wait of one poll: `Duration::MAX` behind now is no moment.
const POLL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Settings of a [`LitePullConsumer`]; see [`LitePullConsumer::builder`].
#[must_use = "nothing is pulled before build"]
pub struct LitePullConsumerBuilder {
    group: String,
    connect: Connect,
    topics: Vec<(String, Filter)>,
    start_at: StartAt,
    strategy: Arc<dyn AllocateStrategy>,
    pull: PullSettings,
    count_total_max: usize,
    auto_commit: Option<Duration>,
}

impl std::fmt::Debug for LitePullConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LitePullConsumerBuilder")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("pull", &self.pull)
            .finish_non_exhaustive()
    }
}

impl LitePullConsumerBuilder {
    /// Name servers, `host:port`, several separated by `;`, or the `http://` address of a page that tells
    /// them. Without it the environment's `NAMESRV_ADDR` is used, or the address service at
    /// `ROCKETMQ_NAMESRV_DOMAIN`.
    pub fn name_server(mut self, addresses: impl Into<String>) -> Self {
        self.connect.name_servers = Some(addresses.into());
        self
    }

    /// Second half of the client id; unique in each consumer unless set.
    pub fn instance_name(mut self, name: impl Into<String>) -> Self {
        self.connect.instance_name = Some(name.into());
        self
    }

    /// Connects encrypted.
    pub fn tls(mut self, options: TlsClientOptions) -> Self {
        self.connect.tls = Some(options);
        self
    }

    /// Subscribes to a topic: its queues are shared with the other members of the group. Without
    /// any subscription queues are assigned by [`LitePullConsumer::assign`].
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<Filter>) -> Self {
        self.topics.push((topic.into(), filter.into()));
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

    /// Most messages per pull and per poll, 1 to 1024; 10.
    pub fn pull_batch_size(mut self, messages: usize) -> Self {
        self.pull.batch_size = messages;
        self
    }

    /// Pulling of a queue pauses while more than this many messages are kept, 1 to 65,535; 1000.
    pub fn cached_messages_max(mut self, messages: usize) -> Self {
        self.pull.count_max = messages;
        self
    }

    /// Pulling of all queues pauses while more than this many messages wait to be polled, 1 to
    /// 10,000,000; 10,000 (`pullThresholdForAll`).
    pub fn cached_messages_total_max(mut self, messages: usize) -> Self {
        self.count_total_max = messages;
        self
    }

    /// How often [`LitePullConsumer::poll`] commits what earlier polls returned, at least 1 s; 5 s.
    /// With `None` only [`LitePullConsumer::commit`] does.
    pub fn auto_commit(mut self, interval: Option<Duration>) -> Self {
        self.auto_commit = interval;
        self
    }

    /// Connects, and joins the group if there are subscriptions.
    ///
    /// # Errors
    /// A setting is out of bounds, no name server answers, or a broker refuses a SQL expression. A
    /// topic that does not exist yet is no error: it is waited for.
    pub async fn build(self) -> Result<LitePullConsumer, ClientError> {
        validate::group(&self.group)?;
        validate::setting("pull_batch_size", self.pull.batch_size, 1..=1024)?;
        validate::setting("cached_messages_max", self.pull.count_max, 1..=65_535)?;
        validate::setting(
            "cached_messages_total_max",
            self.count_total_max,
            1..=10_000_000,
        )?;
        if let Some(interval) = self.auto_commit {
            validate::setting(
                "auto_commit",
                interval,
                Duration::from_secs(1)..=Duration::from_secs(3600),
            )?;
        }
        let model = MessageModel::Clustering;
        let instance = instance(&self.connect, model)?;
        let (backlog, receiver) = Backlog::new(self.count_total_max);
        let group = Arc::new(Group {
            offsets: offsets(model, &self.group, &instance, None)?,
            name: self.group,
            instance,
            model,
            start_at: self.start_at,
            strategy: self.strategy,
            allocated_by_broker: false,
            pull: self.pull,
            consume: ConsumeSettings {
                batch_size: 1,
                concurrency: 1,
                max_reconsume_times: -1,
                suspend: Duration::from_secs(1),
                timeout: Duration::from_secs(15 * 60),
            },
            intake: Intake::Poll(backlog),
            subscriptions: RwLock::new(subscriptions(&self.topics)?.collect()),
            assigned_filters: RwLock::default(),
            assigned: RwLock::default(),
            consuming: Mutex::default(),
            paused: AtomicBool::new(false),
            rebalance_wanted: Notify::new(),
            rebalancing: Arc::default(),
            stop: watch::Sender::new(false),
            listeners: Mutex::default(),
            tally: Tally::default(),
            started_ms: now_ms(),
        });
        Ok(LitePullConsumer {
            assigns: self.topics.is_empty(),
            running: Running::start(group).await?,
            chunks: tokio::sync::Mutex::new(receiver),
            auto_commit: self.auto_commit,
            next_commit: Mutex::new(Instant::now()),
        })
    }
}

/// Hands out messages when it is polled, and lets the application decide on offsets.
///
/// Messages are pulled ahead in the background. What a poll returns counts as consumed: its offset
/// is committed by a later poll, by [`LitePullConsumer::commit`], or at
/// [`LitePullConsumer::shutdown`]. Nothing is ever put back; failed messages are the application's
/// business. Dropping it ends the consumer at once, without a commit.
pub struct LitePullConsumer {
    running: Running,
    chunks: tokio::sync::Mutex<mpsc::UnboundedReceiver<Chunk>>,
    /// Queues are assigned by hand.
    assigns: bool,
    auto_commit: Option<Duration>,
    next_commit: Mutex<Instant>,
}

impl std::fmt::Debug for LitePullConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LitePullConsumer")
            .field("group", &self.group().name)
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

impl LitePullConsumer {
    /// Begins with Java's default settings.
    pub fn builder(group: impl Into<String>) -> LitePullConsumerBuilder {
        LitePullConsumerBuilder {
            group: group.into(),
            connect: Connect::default(),
            topics: Vec::new(),
            start_at: StartAt::default(),
            strategy: Arc::new(Average),
            pull: PullSettings {
                lite: true,
                batch_size: 10,
                suspend: SUSPEND,
                ..PullSettings::default()
            },
            count_total_max: 10_000,
            auto_commit: Some(Duration::from_secs(5)),
        }
    }

    fn group(&self) -> &Arc<Group> {
        &self.running.group
    }

    /// This consumer's id, as brokers and other members know it.
    pub fn client_id(&self) -> &str {
        &self.group().instance.client_id
    }

    /// The next messages, all of one queue; none when `timeout` is over first.
    ///
    /// The future may be dropped: no message is lost then.
    ///
    /// # Errors
    /// [`ClientError::ShutDown`].
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<ReceivedMessage>, ClientError> {
        if self.group().is_stopping() {
            return Err(ClientError::ShutDown);
        }
        let deadline = Instant::now() + timeout.min(POLL_MAX);
        self.commit_if_due().await;
        let mut chunks = tokio::select! {
            chunks = self.chunks.lock() => chunks,
            () = tokio::time::sleep_until(deadline) => return Ok(Vec::new()),
        };
        loop {
            let chunk = tokio::select! {
                chunk = timeout_at(deadline, chunks.recv()) => chunk,
                () = self.group().stopped() => return Err(ClientError::ShutDown),
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Err(ClientError::ShutDown),
                Err(_) => return Ok(Vec::new()),
            };
            self.note_taken(&chunk);
            // Else it was sought or given up since.
            if !chunk.assigned.is_dropped() {
                return Ok(consume(chunk));
            }
        }
    }

    fn note_taken(&self, chunk: &Chunk) {
        if let Intake::Poll(backlog) = &self.group().intake
            && backlog.note_taken(chunk)
        {
            self.group().pulls_may_go_on();
        }
    }

    async fn commit_if_due(&self) {
        let Some(interval) = self.auto_commit else {
            return;
        };
        let now = Instant::now();
        {
            let mut next = self.next_commit.lock();
            if now < *next {
                return;
            }
            *next = now + interval;
        }
        self.note_consumed();
        // The regular keeping of offsets sends them off.
    }

    fn note_consumed(&self) {
        for assigned in self.group().all_assigned() {
            let consumed = assigned.consumed.load(Ordering::Acquire);
            if consumed >= 0 {
                self.group()
                    .offsets
                    .update(&assigned.queue, consumed, Update::Set);
            }
        }
    }

    /// Commits what the polls so far returned, and waits for the brokers.
    ///
    /// # Errors
    /// The first queue's that was not committed; the others are tried all the same.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.note_consumed();
        let queues = self.group().assigned_queues();
        self.group().offsets.persist_now(&queues).await
    }

    /// What the group has committed on a queue, if anything.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        self.group().instance.route(&queue.topic).await?;
        self.group().offsets.stored(queue).await
    }

    /// The queues of a topic.
    ///
    /// # Errors
    /// The topic has no route, or no name server answers.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let known = self.group().instance.route(topic).await?;
        Ok(subscribe_queues(&known.route, topic))
    }

    /// Works on exactly these queues, all messages of them. Only for a consumer without
    /// subscriptions.
    ///
    /// # Errors
    /// There are subscriptions, or a queue's start can't be found; the others are assigned all the
    /// same.
    pub async fn assign(&self, queues: &[MessageQueue]) -> Result<(), ClientError> {
        self.assign_filtered(queues, Filter::All).await
    }

    /// As [`LitePullConsumer::assign`], but only messages that pass the filter.
    ///
    /// # Errors
    /// As [`LitePullConsumer::assign`]; or the filter is none.
    pub async fn assign_filtered(
        &self,
        queues: &[MessageQueue],
        filter: Filter,
    ) -> Result<(), ClientError> {
        if !self.assigns {
            return Err(ClientError::invalid(
                "assign",
                "needs a consumer without subscriptions",
            ));
        }
        let version = now_ms() as i64;
        let mut filters = BTreeMap::new();
        for queue in queues {
            let subscription = filter.subscription(&queue.topic, version)?;
            filters.insert(queue.topic.clone(), subscription);
        }
        let (group, queues) = (self.group().clone(), queues.to_vec());
        let no_rebalance = group.rebalancing.clone().lock_owned().await;
        if group.is_stopping() {
            return Err(ClientError::ShutDown);
        }
        // What has begun is done, even if the caller stops waiting: no queue is left half given up.
        let assigned = tokio::spawn(async move {
            group.assigned_filters.write().append(&mut filters);
            let assigned = assign(&group, &queues).await;
            drop(no_rebalance);
            assigned
        });
        // Else the runtime ends.
        assigned.await.unwrap_or(Err(ClientError::ShutDown))
    }

    /// The queues this consumer works on now.
    pub fn assigned_queues(&self) -> Vec<MessageQueue> {
        let mut queues = self.group().assigned_queues();
        queues.sort();
        queues
    }

    /// Goes on from `offset` of a queue; what was pulled of it already is forgotten.
    ///
    /// # Errors
    /// The queue is not assigned to this consumer, or has no such offset.
    pub async fn seek(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        let group = self.group();
        let _no_rebalance = group.rebalancing.lock().await;
        let assigned = self.assigned(queue)?;
        let (min, max) = (
            group.instance.min_offset(queue).await?,
            group.instance.max_offset(queue).await?,
        );
        validate::setting("offset", offset, min..=max)?;
        assigned.drop_and_clear();
        let paused = assigned.is_paused();
        let anew = group.begin(queue.clone(), offset);
        anew.pause(paused);
        anew.consumed.store(offset, Ordering::Release);
        Ok(())
    }

    /// Goes on from the oldest message of a queue.
    ///
    /// # Errors
    /// As [`LitePullConsumer::seek`].
    pub async fn seek_to_begin(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        self.assigned(queue)?;
        let offset = self.group().instance.min_offset(queue).await?;
        self.seek(queue, offset).await
    }

    /// Goes on behind the newest message of a queue.
    ///
    /// # Errors
    /// As [`LitePullConsumer::seek`].
    pub async fn seek_to_end(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        self.assigned(queue)?;
        let offset = self.group().instance.max_offset(queue).await?;
        self.seek(queue, offset).await
    }

    /// Position of the first message of a queue stored at or after a time.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn offset_at(
        &self,
        queue: &MessageQueue,
        time: std::time::SystemTime,
    ) -> Result<i64, ClientError> {
        self.group().instance.route(&queue.topic).await?;
        self.group().instance.offset_at(queue, unix_ms(time)).await
    }

    /// Stops pulling of these queues until [`LitePullConsumer::resume`] or until they are given up;
    /// what was pulled already is still returned.
    pub fn pause(&self, queues: &[MessageQueue]) {
        self.set_paused(queues, true);
    }

    /// Pulls these queues again.
    pub fn resume(&self, queues: &[MessageQueue]) {
        self.set_paused(queues, false);
    }

    fn set_paused(&self, queues: &[MessageQueue], paused: bool) {
        for assigned in queues
            .iter()
            .filter_map(|queue| self.group().assigned(queue))
        {
            assigned.pause(paused);
        }
    }

    fn assigned(&self, queue: &MessageQueue) -> Result<Arc<Assigned>, ClientError> {
        let assigned = self.group().assigned(queue);
        assigned.ok_or_else(|| ClientError::NotAssigned(queue.clone()))
    }

    /// Ends in order: with auto-commit what the polls returned is committed, and the brokers and
    /// with them the other members are told.
    ///
    /// It goes on when the future is dropped, as long as the runtime lives; a second call waits for
    /// the same end.
    pub async fn shutdown(&self) {
        if self.auto_commit.is_some() {
            self.note_consumed();
        }
        self.running.shut_down(Duration::ZERO).await;
    }
}

/// Gives up what is not among `queues`, and takes what is.
async fn assign(group: &Arc<Group>, queues: &[MessageQueue]) -> Result<(), ClientError> {
    for assigned in group.all_assigned() {
        if !queues.contains(&assigned.queue) {
            group.give_up(&assigned).await;
        }
    }
    let mut first = Ok(());
    for queue in queues {
        if group.assigned(queue).is_none() {
            first = first.and(take(group, queue).await);
        }
    }
    first
}

async fn take(group: &Arc<Group>, queue: &MessageQueue) -> Result<(), ClientError> {
    group.instance.route(&queue.topic).await?;
    let start = group.start_offset(queue).await?;
    group.begin(queue.clone(), start);
    Ok(())
}

/// What a poll returns counts as consumed.
fn consume(chunk: Chunk) -> Vec<ReceivedMessage> {
    let offsets = chunk.messages.iter().map(ReceivedMessage::queue_offset);
    if let Some(offset) = chunk.assigned.process.remove(offsets) {
        chunk.assigned.consumed.store(offset, Ordering::Release);
    }
    chunk.assigned.pull_may_go_on.notify_one();
    chunk.messages
}
