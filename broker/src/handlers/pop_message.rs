//! POP_MESSAGE (200050): takes messages for a while, from one queue or from all. POP_ROLLBACK (200056).

use std::sync::Arc;

use bytes::Bytes;
use sluice_filters::MessageFilter;
use sluice_plugins::filter::Thread;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;
use sluice_protocol::header::{PopMessageRequestHeader, PopMessageResponseHeader};
use sluice_protocol::topic::RETRY_PREFIX;
use sluice_remoting::Responder;
use sluice_store::{AppendError, Durability};

use crate::error::Refusal;
use crate::expressions::Passing;
use crate::filtering;
use crate::handlers::notification;
use crate::pop::take::{Taken, Taking};
use crate::{Answer, Broker};

/// Most messages of one pop: the map of what is acked has as many bits.
const MESSAGES_MAX: i32 = 32;
/// How late a pop may come, milliseconds.
const LATE_MS: i64 = 500;
/// Longest a pop is held, whatever it asks for; clients ask for 15 s.
const HOLD_MS_MAX: i64 = 60_000;
/// Longest a pop waits that a plugin or a disk holds; then it asks again.
const HELD_MS: i64 = 3_000;

/// A pop whose checks are done, or a notification of what a pop would find.
pub struct ParkedPop {
    /// Topic. Owned, not a slice of the frame: a parked pop must not keep a read buffer alive.
    pub topic: String,
    /// Group.
    pub group: String,
    /// Queue within the topic; below 0: all.
    pub queue_id: i32,
    /// When it looks again if nothing wakes it, Unix milliseconds.
    pub look_ms: i64,
    /// What may pass.
    pub filter: Arc<dyn MessageFilter>,
    /// Who asked.
    pub responder: Responder,
    /// Waits for a plugin, not for a message.
    pub held: bool,
    pub(crate) order: bool,
    pub(crate) attempt_id: Option<String>,
    /// Latest moment of the answer, Unix milliseconds.
    pub(crate) deadline_ms: i64,
    /// `None`: a notification, which takes nothing.
    pub(crate) take: Option<Take>,
}

/// What a pop takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Take {
    pub(crate) max_messages: usize,
    /// Milliseconds.
    pub(crate) invisible_time: i64,
    /// A new group begins at the queue's first message.
    pub(crate) from_min: bool,
}

impl ParkedPop {
    /// Whether it only asks whether there is something.
    pub fn is_notification(&self) -> bool {
        self.take.is_none()
    }
}

impl From<ParkedPop> for Responder {
    fn from(pop: ParkedPop) -> Responder {
        pop.responder
    }
}

impl std::fmt::Debug for ParkedPop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pop {}@{}:{}", self.group, self.topic, self.queue_id)
    }
}

/// Answers with messages, or parks the request until one comes.
pub fn pop_message(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let checked = PopMessageRequestHeader::decode(&request.ext)
        .map_err(Refusal::from)
        .and_then(|header| {
            let passing = check(broker, &header, &responder)?;
            Ok((header, passing))
        });
    let (header, passing) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    match passing {
        Passing::Filter(filter) => pop_or_wait(broker, to_pop(broker, header, filter, responder)),
        Passing::Uncompiled(expression) => {
            broker.compile_aside(expression, responder, |broker, responder, filter| {
                pop_or_wait(broker, to_pop(broker, header, filter, responder));
            });
        }
    }
}

/// Brings records of pops back into the revive topic from wherever else they are. Here they are nowhere else.
pub fn pop_rollback(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply(responder, || Ok(Answer::default()));
}

/// A woken pop takes, or parks again until its time is up.
pub fn resume(broker: &Arc<Broker>, mut pop: ParkedPop) {
    if pop.responder.connection().is_closed() {
        // Whoever else waits may have what woke this one.
        return wake_next(broker, &pop.topic, &pop.group);
    }
    pop.held = false;
    match pop.is_notification() {
        true => notification::look(broker, pop),
        false => pop_or_wait(broker, pop),
    }
}

fn to_pop(
    broker: &Broker,
    header: PopMessageRequestHeader,
    filter: Arc<dyn MessageFilter>,
    responder: Responder,
) -> ParkedPop {
    let deadline_ms = deadline(broker, header.born_time, header.poll_time);
    ParkedPop {
        topic: header.topic.to_string(),
        group: header.consumer_group.to_string(),
        queue_id: header.queue_id.max(-1),
        look_ms: deadline_ms,
        filter,
        responder,
        held: false,
        order: header.order,
        attempt_id: header.attempt_id.map(|id| id.to_string()),
        deadline_ms,
        take: Some(Take {
            max_messages: usize::try_from(header.max_msg_nums).unwrap_or(0).max(1),
            invisible_time: header.invisible_time,
            from_min: header.init_mode == 0,
        }),
    }
}

/// Until when a pop may wait, by when it was born and how long it would wait.
pub(crate) fn deadline(broker: &Broker, born_ms: i64, poll_ms: i64) -> i64 {
    let now = broker.now_ms();
    let born = if born_ms <= 0 { now } else { born_ms };
    let wished = born.saturating_add(poll_ms.max(0));
    wished.min(now + HOLD_MS_MAX)
}

fn check(
    broker: &Broker,
    header: &PopMessageRequestHeader,
    responder: &Responder,
) -> Result<Passing, Refusal> {
    let ip = broker.config().broker_ip1.clone();
    let born = match header.born_time {
        born if born <= 0 => broker.now_ms(),
        born => born,
    };
    let late = broker
        .now_ms()
        .saturating_sub(born)
        .saturating_sub(header.poll_time);
    if late > LATE_MS {
        return Err(Refusal::PollingTimeout(format!(
            "the broker[{ip}] pop message is timeout too much"
        )));
    }
    broker.may_pop("pop")?;
    if header.max_msg_nums > MESSAGES_MAX {
        return Err(Refusal::InvalidParameter(format!(
            "the broker[{ip}] pop message's num is greater than {MESSAGES_MAX}"
        )));
    }
    check_attempt(header.attempt_id.as_deref())?;
    check_invisible(header.invisible_time)?;
    let (topic, group) = (&*header.topic, &*header.consumer_group);
    broker.popped_topic(topic, group, header.queue_id, responder.connection().peer())?;
    broker.check_member(group, responder.connection().id())?;
    broker.check_pops(group)?;
    let text = header.exp.as_deref().unwrap_or_default();
    let (language, text) = match text {
        "" => (None, "*"),
        text => (header.exp_type.as_deref(), text),
    };
    broker.passing(topic, group, language, text)
}

/// Refuses the id of an attempt that is too long to be kept; clients send a UUID.
pub(crate) fn check_attempt(attempt_id: Option<&str>) -> Result<(), Refusal> {
    const ATTEMPT_ID_MAX: usize = 255;
    match attempt_id {
        Some(id) if id.len() > ATTEMPT_ID_MAX => Err(Refusal::InvalidParameter(format!(
            "the attemptId has {} bytes, at most {ATTEMPT_ID_MAX} are taken",
            id.len()
        ))),
        _ => Ok(()),
    }
}

/// Refuses to hide a message for longer than Java's timer would: what is hidden is held in memory.
pub(crate) fn check_invisible(millis: i64) -> Result<(), Refusal> {
    const INVISIBLE_MS_MAX: i64 = 3 * 24 * 3_600_000;
    match millis > INVISIBLE_MS_MAX {
        true => Err(Refusal::InvalidParameter(format!(
            "invisibleTime {millis} is more than {INVISIBLE_MS_MAX} milliseconds"
        ))),
        false => Ok(()),
    }
}

/// Takes at once what lies in memory and passes quick plugins; the rest is left to other threads.
fn pop_or_wait(broker: &Arc<Broker>, pop: ParkedPop) {
    if filtering::is_slow(broker, &*pop.filter, &pop.topic, &pop.group) {
        return broker.aside_for_plugins(pop, |broker, pop| take(broker, pop, Thread::Aside));
    }
    if broker.is_pop_hot(&pop) {
        return take(broker, pop, Thread::Serving);
    }
    broker.aside(pop, |broker, pop| take(broker, pop, Thread::Aside));
}

fn take(broker: &Arc<Broker>, pop: ParkedPop, thread: Thread) {
    let Some(what) = pop.take else { return };
    let mut taken = Taking::new(broker, &pop, what, thread).all();
    if taken.records.is_empty() {
        if let Some(refusal) = taken.failure.take() {
            return broker.refuse(pop.responder, refusal);
        }
        if taken.deferred {
            return broker.aside_for_plugins(pop, |broker, pop| {
                take(broker, pop, Thread::Aside);
            });
        }
        return wait(broker, pop, taken);
    }
    let (topic, group) = (pop.topic.clone(), pop.group.clone());
    answer_when_durable(broker, pop, taken);
    wake_next(broker, &topic, &group);
}

/// Parks the pop, or answers when it can't wait. A message that came between its look and its parking
/// wakes it at once.
fn wait(broker: &Arc<Broker>, mut pop: ParkedPop, taken: Taken) {
    let now = broker.now_ms();
    if pop.deadline_ms <= now {
        let (topic, group) = (pop.topic.clone(), pop.group.clone());
        answer(broker, pop.responder, response::POLLING_TIMEOUT, &taken);
        return wake_next(broker, &topic, &group);
    }
    pop.look_ms = pop.deadline_ms;
    pop.held = taken.held;
    if taken.held {
        pop.look_ms = pop.look_ms.min(now + HELD_MS);
    }
    if let Some(until) = taken.blocked_until {
        pop.look_ms = pop.look_ms.min(until);
    }
    if let Err(pop) = park(broker, pop) {
        answer(broker, pop.responder, response::POLLING_FULL, &taken);
    }
}

pub(crate) fn park(broker: &Broker, mut pop: ParkedPop) -> Result<(), Box<ParkedPop>> {
    let config = broker.config();
    let limits = (config.pop_polling_size, config.max_pop_polling_size);
    broker.pop.note_waiting(&pop.topic, &pop.group);
    pop.responder.park();
    broker
        .long_poll
        .park_pop(pop, limits, |pop| !pop.held && broker.has_for(pop, false))
}

/// More may be there for the group than one pop has taken, or than it could look at while another was
/// taking.
pub(crate) fn wake_next(broker: &Broker, topic: &str, group: &str) {
    if broker.long_poll.has_waiting_pops(topic, group) && broker.has_backlog(topic, group) {
        broker.long_poll.wake_pop(topic, group);
    }
}

/// The messages leave when their check points are as safe as the flush mode promises.
fn answer_when_durable(broker: &Arc<Broker>, pop: ParkedPop, taken: Taken) {
    let log_end = taken.log_end;
    let answering = broker.clone();
    let done = move |durability: Durability| match durability {
        Durability::Durable => answer(&answering, pop.responder, response::SUCCESS, &taken),
        Durability::TimedOut => answering.refuse(
            pop.responder,
            Refusal::System("the check point is not durable in time".to_owned()),
        ),
        Durability::Failed(reason) => {
            answering.refuse(pop.responder, AppendError::LogStopped { reason });
        }
    };
    broker.store.when_durable(log_end, Box::new(done));
}

fn answer(broker: &Broker, responder: Responder, code: i32, taken: &Taken) {
    let mut response = responder.response(code);
    let found = code == response::SUCCESS;
    response.remark = Some(
        if found {
            "FOUND"
        } else {
            "NO_MESSAGE_IN_QUEUE"
        }
        .into(),
    );
    let header = PopMessageResponseHeader {
        pop_time: taken.pop_time,
        invisible_time: taken.invisible_time,
        revive_qid: taken.revive_queue,
        rest_num: taken.rest,
        start_offset_info: Some(taken.start_offsets.clone().into()),
        msg_offset_info: Some(taken.message_offsets.clone().into()),
        order_count_info: taken.order.then(|| taken.order_counts.clone().into()),
    };
    header.encode(&mut response.ext);
    if !found {
        broker.stats.missed();
    }
    responder.answer_with(response, &taken.records);
}

/// Bytes of all records.
pub(crate) fn size_of(records: &[Bytes]) -> usize {
    records.iter().map(Bytes::len).sum()
}

/// Whether a topic holds what came back.
pub(crate) fn is_retry(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}
