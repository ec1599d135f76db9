//! PULL_MESSAGE (11), LITE_PULL_MESSAGE (361).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_filters::{MessageFilter, TagFilter};
use sluice_plugins::Bound;
use sluice_plugins::filter::Thread;
use sluice_protocol::body::MessageModel;
use sluice_protocol::code::{request, response};
use sluice_protocol::header::{PullMessageRequestHeader, PullMessageResponseHeader};
use sluice_protocol::language::Language;
use sluice_protocol::message::{Record, inner_batch, sys_flag};
use sluice_protocol::topic::{RETRY_PREFIX, perm};
use sluice_protocol::{RemotingCommand, version};
use sluice_remoting::Responder;
use sluice_store::{ReadRequest, ReadResult, ReadStatus, RecordFilter};

use crate::Broker;
use crate::clients::{Seat, Share};
use crate::consume_hooks;
use crate::error::Refusal;
use crate::expressions::Passing;
use crate::filtering::{self, Filtering};
use crate::handlers::{class_filters, pop_message, sessions};
use crate::long_poll::Woken;
use crate::stats::TopicCounts;

/// Most bytes in one answer but for a first message that is larger; the store stops far below.
const READ_SIZE_MAX: usize = 4 * 1024 * 1024;
/// Longest a pull is held, whatever it asks for; clients ask for 20 s.
const HOLD_MS_MAX: i64 = 60_000;

/// Longest a pull waits that a plugin holds; then it asks the plugin again.
const HELD_MS: i64 = 3_000;

/// A pull whose checks are done: what is left is to read, and perhaps to wait.
pub struct ParkedPull {
    /// Topic. Owned, not a slice of the frame: a parked pull must not keep a read buffer alive.
    pub topic: String,
    /// Queue within the topic.
    pub queue_id: i32,
    /// Next message wanted.
    pub offset: i64,
    /// Latest moment of the answer, Unix milliseconds.
    pub deadline_ms: i64,
    /// What may pass.
    pub filter: Arc<dyn MessageFilter>,
    /// Who asked.
    pub responder: Responder,
    /// Waits for a plugin, not for a message.
    pub held: bool,
    group: String,
    /// Whose progress it is, of a split group.
    share: Option<Arc<Share>>,
    max_messages: usize,
    /// Its client unwraps inner batches itself.
    unwraps: bool,
    may_park: bool,
    /// It has waited, and a message woke it.
    woken: bool,
    /// When it came or was woken, Unix milliseconds.
    since_ms: i64,
    counts: Arc<TopicCounts>,
}

impl ParkedPull {
    /// Under which name its progress is kept.
    fn reader(&self) -> &str {
        self.share.as_ref().map_or(&self.group, |share| &share.name)
    }

    /// While it waited the group may have been split, or have got another share, whose retries it must not take.
    fn take_seat(&mut self, broker: &Broker) {
        let connection = self.responder.connection().id();
        let Seat::Share(share) = broker.seat(&self.group, connection) else {
            return;
        };
        if is_retry_topic_of(&self.topic, &self.group) {
            self.filter = broker.own_retries(&self.group, &share);
        }
        self.share = Some(share);
    }
}

impl From<ParkedPull> for Responder {
    fn from(pull: ParkedPull) -> Responder {
        pull.responder
    }
}

impl std::fmt::Debug for ParkedPull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}@{}:{}+{}",
            self.group, self.topic, self.queue_id, self.offset
        )
    }
}

/// Answers with messages, or parks the request until one comes.
pub fn pull_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let (admitted, passing) = match admit(broker, &request, &responder) {
        Ok(admitted) => admitted,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    match passing {
        Passing::Filter(filter) => read(broker, admitted.into_pull(broker, filter, responder)),
        Passing::Uncompiled(expression) => {
            broker.compile_aside(expression, responder, |broker, responder, filter| {
                read(broker, admitted.into_pull(broker, filter, responder));
            });
        }
    }
}

/// A woken pull reads again. It parks again only while its time lasts, when plugins passed none of what
/// has come: nobody can ask them before it is woken.
pub fn resume(broker: &Arc<Broker>, mut pull: ParkedPull) {
    pull.may_park = false;
    pull.since_ms = broker.now_ms();
    pull.woken = pull.since_ms < pull.deadline_ms;
    pull.take_seat(broker);
    read(broker, pull);
}

/// A pull whose checks are done but for its expression.
struct Admitted {
    header: PullMessageRequestHeader,
    share: Option<Arc<Share>>,
    counts: Arc<TopicCounts>,
    unwraps: bool,
}

fn admit(
    broker: &Broker,
    request: &RemotingCommand,
    responder: &Responder,
) -> Result<(Admitted, Passing), Refusal> {
    let header = PullMessageRequestHeader::decode(&request.ext)?;
    let config = broker.config();
    if config.broker_permission & perm::READ == 0 {
        return Err(Refusal::NoPermission(format!(
            "the broker[{}] pulling message is forbidden",
            config.broker_ip1
        )));
    }
    let lite =
        request.code == request::LITE_PULL_MESSAGE || header.sys_flag & sys_flag::PULL_LITE != 0;
    if lite && !config.lite_pull_message_enable {
        return Err(Refusal::NoPermission(format!(
            "the broker[{}] for lite pull consumer is forbidden",
            config.broker_ip1
        )));
    }
    let group = broker
        .group_or_create(&header.consumer_group)
        .ok_or_else(|| Refusal::GroupNotExist(header.consumer_group.to_string()))?;
    if !group.consume_enable {
        return Err(Refusal::NoPermission(format!(
            "subscription group no permission, {}",
            header.consumer_group
        )));
    }
    let topic = broker
        .topics
        .get(&header.topic)
        .ok_or_else(|| Refusal::TopicNotExist(header.topic.to_string()))?;
    if topic.perm & perm::READ == 0 {
        return Err(Refusal::NoPermission(format!(
            "the topic[{}] pulling message is forbidden",
            header.topic
        )));
    }
    if header.queue_id < 0 || header.queue_id >= topic.read_queue_nums {
        return Err(Refusal::InvalidParameter(format!(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[{}]",
            header.queue_id,
            header.topic,
            topic.read_queue_nums,
            responder.connection().peer()
        )));
    }
    let connection = responder.connection().id();
    let share = match broker.seat(&header.consumer_group, connection) {
        Seat::Group => None,
        Seat::Share(share) => Some(share),
        Seat::Nowhere => {
            broker.check_member(&header.consumer_group, connection)?;
            return Err(unknown_member());
        }
    };
    let mut passing = passing(broker, &header, group.consume_broadcast_enable, connection)?;
    if let Some(share) = &share
        && is_retry_topic_of(&header.topic, &header.consumer_group)
    {
        passing = Passing::Filter(broker.own_retries(&header.consumer_group, share));
    }
    // Whoever invents groups is nobody's member, and nothing is kept of it.
    let member = broker
        .consumers
        .with(&header.consumer_group, |group| group.has(connection));
    if member == Some(true) {
        let reader = share
            .as_ref()
            .map_or(&*header.consumer_group, |own| &own.name);
        let (queue_id, offset) = (header.queue_id, header.queue_offset);
        broker
            .pullers
            .note(reader, &header.topic, queue_id, connection, offset);
    }
    let counts = topic.counts.clone();
    let admitted = Admitted {
        header,
        share,
        counts,
        unwraps: unwraps(request),
    };
    Ok((admitted, passing))
}

/// Whether the client takes inner batches apart: Java's from 5.0 on (`PullAPIWrapper.processPullResult`).
/// Others would show the packed messages as one.
fn unwraps(request: &RemotingCommand) -> bool {
    request.language == Language::Java && request.version >= version::V5_0_0
}

fn is_retry_topic_of(topic: &str, group: &str) -> bool {
    topic.strip_prefix(RETRY_PREFIX) == Some(group)
}

/// Consumers ask again after a while.
fn unknown_member() -> Refusal {
    Refusal::SubscriptionNotExist(
        "the consumer's group serves each member by its own subscription, and no heartbeat of this one has come yet".to_owned(),
    )
}

fn passing(
    broker: &Broker,
    header: &PullMessageRequestHeader,
    broadcast_enabled: bool,
    connection: u64,
) -> Result<Passing, Refusal> {
    if header.sys_flag & sys_flag::PULL_SUBSCRIPTION != 0 {
        broker.check_member(&header.consumer_group, connection)?;
        return broker.passing(
            &header.topic,
            &header.consumer_group,
            header.expression_type.as_deref(),
            header.subscription.as_deref().unwrap_or_default(),
        );
    }
    let group = &*header.consumer_group;
    if broker.groups.is_read_forbidden(group, &header.topic) {
        return Err(Refusal::NoPermission(format!(
            "the consumer group[{group}] is forbidden for topic[{}]",
            header.topic
        )));
    }
    let known = broker.consumers.with(group, |consumers| {
        if consumers.message_model == MessageModel::Broadcasting && !broadcast_enabled {
            return Err(Refusal::NoPermission(format!(
                "the consumer group[{group}] can not consume by broadcast way"
            )));
        }
        if let Some(unequal) = consumers.refusal(connection) {
            return Err(sessions::conflicting(group, &unequal.to_string()));
        }
        let subscription = consumers.subscription(connection, &header.topic);
        let subscription = subscription.ok_or_else(|| {
            Refusal::SubscriptionNotExist("the consumer's subscription not exist".to_owned())
        })?;
        if subscription.class_filter_mode || header.sys_flag & sys_flag::PULL_CLASS_FILTER != 0 {
            let filter = class_filters::subscription(broker, &header.topic, group);
            return filter.map(Passing::Filter);
        }
        if subscription.sub_version < header.sub_version {
            return while_unknown(header).map(Passing::Filter);
        }
        broker.passing(
            &header.topic,
            group,
            Some(&subscription.expression_type),
            &subscription.sub_string,
        )
    });
    known.unwrap_or_else(|| {
        Err(Refusal::SubscriptionNotExist(
            "the consumer's group info not exist".to_owned(),
        ))
    })
}

/// What passes while the client's newer subscription has not come with a heartbeat yet. Java clients
/// raise the version with every change of their queues and then may not get a heartbeat through for
/// 20 s, during which a Java broker gives them nothing. Consumers compare tags themselves, so with
/// tags everything may be handed out meanwhile; nobody but the broker can judge another expression.
fn while_unknown(header: &PullMessageRequestHeader) -> Result<Arc<dyn MessageFilter>, Refusal> {
    match header.expression_type.as_deref() {
        None | Some("" | "TAG") => Ok(Arc::new(TagFilter::all())),
        Some(_) => Err(Refusal::SubscriptionNotLatest),
    }
}

impl Admitted {
    fn into_pull(
        self,
        broker: &Broker,
        filter: Arc<dyn MessageFilter>,
        responder: Responder,
    ) -> ParkedPull {
        let header = self.header;
        if header.sys_flag & sys_flag::PULL_COMMIT_OFFSET != 0 && header.commit_offset >= 0 {
            let (group, topic) = (&*header.consumer_group, &*header.topic);
            let connection = responder.connection().id();
            if !broker.is_unled(group, connection, topic, header.queue_id) {
                broker.offsets.commit_unless_reset(
                    self.share.as_ref().map_or(group, |share| &share.name),
                    topic,
                    header.queue_id,
                    header.commit_offset,
                );
            }
        }
        let config = broker.config();
        let hold_ms = if config.long_polling_enable {
            header.suspend_timeout_millis
        } else {
            config.short_polling_time_mills
        };
        let since_ms = broker.now_ms();
        ParkedPull {
            topic: header.topic.to_string(),
            group: header.consumer_group.to_string(),
            share: self.share,
            queue_id: header.queue_id,
            offset: header.queue_offset,
            deadline_ms: since_ms + hold_ms.clamp(0, HOLD_MS_MAX),
            filter,
            unwraps: self.unwraps,
            counts: self.counts,
            since_ms,
            held: false,
            woken: false,
            max_messages: usize::try_from(header.max_msg_nums)
                .unwrap_or(0)
                .min(config.max_transfer_count_on_message_in_memory)
                .max(1),
            may_park: header.sys_flag & sys_flag::PULL_SUSPEND != 0,
            responder,
        }
    }
}

/// Reads at once what lies in memory and passes quick plugins; older data and slow plugins are left
/// to other threads, so that they hold nobody up.
fn read(broker: &Arc<Broker>, pull: ParkedPull) {
    if let Some(offset) = broker
        .offsets
        .take_reset(pull.reader(), &pull.topic, pull.queue_id)
    {
        return answer_reset(broker, pull, offset);
    }
    if let Some(share) = &pull.share {
        let connection = pull.responder.connection().id();
        let queue = (&*pull.topic, pull.queue_id);
        if let Some(place) = broker.lead(&pull.group, share, connection, queue, pull.offset) {
            return answer_reset(broker, pull, place);
        }
    }
    if filtering::is_slow(broker, &*pull.filter, &pull.topic, &pull.group) {
        return broker.aside_for_plugins(pull, read_aside);
    }
    if broker
        .store
        .is_hot(&pull.topic, pull.queue_id, pull.offset, pull.max_messages)
    {
        return read_now(broker, pull, Thread::Serving);
    }
    broker.aside(pull, read_aside);
}

fn read_aside(broker: &Arc<Broker>, pull: ParkedPull) {
    read_now(broker, pull, Thread::Aside);
}

fn read_now(broker: &Arc<Broker>, pull: ParkedPull, thread: Thread) {
    let request = ReadRequest {
        topic: &pull.topic,
        queue_id: pull.queue_id,
        offset: pull.offset,
        max_messages: pull.max_messages,
        max_bytes: READ_SIZE_MAX,
    };
    let bound = broker.plugins.filters(&pull.topic, &pull.group);
    let filtering = Filtering::new(&*pull.filter, &bound, thread);
    // Clients compare no more than tags, and hooks know single messages.
    let whole =
        pull.unwraps && !filtering.needs_record() && !consume_hooks::has_any(broker, &pull.topic);
    let filtering = filtering.taking_batches(whole);
    let mut result = broker.store.read(&request, &filtering);
    let left = filtering.into_left();
    if left.deferred {
        return broker.aside_for_plugins(pull, read_aside);
    }
    let buried = bury(broker, &pull, left.dead)
        .and_then(|()| pass_consume_hooks(broker, &pull, &mut result));
    if let Err(refusal) = buried {
        return broker.refuse(pull.responder, refusal);
    }
    match response_code(result.status, pull.offset) {
        response::PULL_NOT_FOUND if pull.may_park => {
            park(broker, pull, result.status == ReadStatus::Held);
        }
        response::PULL_RETRY_IMMEDIATELY if waits_on(&pull, &bound, &result) => {
            park(
                broker,
                ParkedPull {
                    offset: result.next_begin_offset,
                    ..pull
                },
                false,
            );
        }
        code => answer(broker, pull, code, &result),
    }
}

/// Whether a woken pull goes on waiting behind what plugins kept from it, instead of being asked anew
/// for each message that they drop. Its consumer learns the offset with the answer.
fn waits_on(pull: &ParkedPull, bound: &[Arc<Bound>], result: &ReadResult) -> bool {
    pull.woken
        && !bound.is_empty()
        && result.status == ReadStatus::NoMatchedMessage
        && result.next_begin_offset >= result.max_offset
}

/// The group goes on past a message only when its letter is stored.
fn bury(broker: &Broker, pull: &ParkedPull, dead: Vec<(Bytes, String)>) -> Result<(), Refusal> {
    for (bytes, cause) in dead {
        let record = Record::parse(&bytes).map_err(|error| Refusal::System(error.to_string()))?;
        broker.bury(&pull.group, &record, &cause)?;
    }
    Ok(())
}

fn pass_consume_hooks(
    broker: &Broker,
    pull: &ParkedPull,
    result: &mut ReadResult,
) -> Result<(), Refusal> {
    if result.records.is_empty() || !consume_hooks::has_any(broker, &pull.topic) {
        return Ok(());
    }
    let records = std::mem::take(&mut result.records);
    let delivered = consume_hooks::before(broker, &pull.group, records);
    bury(broker, pull, delivered.dead)?;
    result.records = delivered.records;
    if let Some(offset) = delivered.held_at {
        result.next_begin_offset = offset;
    }
    if result.records.is_empty() {
        result.status = match delivered.held_at {
            Some(_) => ReadStatus::Held,
            None => ReadStatus::NoMatchedMessage,
        };
    }
    Ok(())
}

/// A message or a reset that came between the pull's read and its parking wakes it at once.
fn park(broker: &Arc<Broker>, mut pull: ParkedPull, held: bool) {
    pull.responder.park();
    pull.held = held;
    if held {
        pull.deadline_ms = pull.deadline_ms.min(broker.now_ms() + HELD_MS);
    }
    broker.long_poll.park(pull, |pull| {
        (!held && broker.bounds(&pull.topic, pull.queue_id).max > pull.offset)
            || broker
                .offsets
                .has_reset(pull.reader(), &pull.topic, pull.queue_id)
    });
}

/// Source: `PullMessageProcessor`, `DefaultPullMessageResultHandler`.
fn response_code(status: ReadStatus, offset: i64) -> i32 {
    match status {
        ReadStatus::Found => response::SUCCESS,
        ReadStatus::MessageWasRemoving | ReadStatus::NoMatchedMessage => {
            response::PULL_RETRY_IMMEDIATELY
        }
        ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue if offset == 0 => {
            response::PULL_NOT_FOUND
        }
        ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue => {
            response::PULL_OFFSET_MOVED
        }
        ReadStatus::OffsetFoundNull | ReadStatus::OffsetOverflowOne => response::PULL_NOT_FOUND,
        ReadStatus::OffsetOverflowBadly | ReadStatus::OffsetTooSmall => response::PULL_OFFSET_MOVED,
        ReadStatus::Held => response::PULL_NOT_FOUND,
        ReadStatus::Unreadable => response::SYSTEM_ERROR,
    }
}

fn answer(broker: &Broker, pull: ParkedPull, code: i32, result: &ReadResult) {
    let mut response = pull.responder.response(code);
    if code != response::SUCCESS {
        response.remark = Some(status_name(result.status).into());
    }
    let min_offset = match result.status {
        ReadStatus::NoMatchedLogicQueue => broker.told_min(&pull.topic, pull.queue_id),
        _ => result.min_offset,
    };
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: 0,
        next_begin_offset: result.next_begin_offset,
        min_offset,
        max_offset: result.max_offset,
    };
    header.encode(&mut response.ext);
    if code == response::SUCCESS {
        let size = result.records.iter().map(|record| record.len()).sum();
        let held = |record: &Bytes| inner_batch::message_count(record) as usize;
        let messages = result.records.iter().map(held).sum();
        let counts = pull.counts.of_group(&pull.group);
        broker.stats.delivered(&counts, messages, size);
        broker
            .stats
            .found_in(&counts, broker.now_ms() - pull.since_ms);
    } else {
        broker.stats.missed();
    }
    pull.responder.answer_with(response, &result.records);
}

fn answer_reset(broker: &Broker, pull: ParkedPull, offset: i64) {
    let bounds = broker.bounds(&pull.topic, pull.queue_id);
    let mut response = pull.responder.response(response::PULL_OFFSET_MOVED);
    response.remark = Some("OFFSET_RESET".into());
    let header = PullMessageResponseHeader {
        suggest_which_broker_id: 0,
        next_begin_offset: offset,
        min_offset: bounds.min,
        max_offset: bounds.max,
    };
    header.encode(&mut response.ext);
    pull.responder.answer(response);
}

/// Java's name of the status, which it gives as the remark.
fn status_name(status: ReadStatus) -> &'static str {
    match status {
        ReadStatus::Found => "FOUND",
        ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
        ReadStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
        ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        ReadStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
        ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        ReadStatus::Unreadable => "the consume queue can't be read",
        ReadStatus::Held => "a plugin holds the queue",
    }
}

/// Carries out woken pulls until the broker stops, and sweeps those whose time is up.
pub async fn wake_parked(
    broker: std::sync::Weak<Broker>,
    mut woken: tokio::sync::mpsc::UnboundedReceiver<Woken>,
) {
    const SWEEP: Duration = Duration::from_millis(500);
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let woken = tokio::select! {
            woken = woken.recv() => woken,
            _ = sweep.tick() => {
                let Some(broker) = broker.upgrade() else { return };
                broker.long_poll.sweep(broker.now_ms());
                continue;
            }
        };
        let (Some(woken), Some(broker)) = (woken, broker.upgrade()) else {
            return;
        };
        // A panic costs the one request: its responder answers while the stack unwinds.
        let (topic, queue_id) = match &woken {
            Woken::Pull(pull) => (pull.topic.clone(), pull.queue_id),
            Woken::Pop(pop) => (pop.topic.clone(), pop.queue_id),
        };
        let again = || match woken {
            Woken::Pull(pull) => resume(&broker, pull),
            Woken::Pop(pop) => pop_message::resume(&broker, pop),
        };
        if catch_unwind(AssertUnwindSafe(again)).is_err() {
            tracing::error!(topic, queue_id, "a woken pull panicked");
        }
    }
}
