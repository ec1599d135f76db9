//! What one pop takes: from the queues one after the other, with a check point for each.

use std::sync::Arc;

use bytes::Bytes;
use sluice_plugins::filter::Thread;
use sluice_protocol::body::PopCheckPoint;
use sluice_protocol::message::record::assign;
use sluice_protocol::message::{Record, RecordFields, inner_batch, properties};
use sluice_store::{ReadRequest, ReadResult, ReadStatus};

use super::consumer_order;
use super::names;
use super::queues::Locked;
use super::receipt::{self, Receipt};
use crate::Broker;
use crate::consume_hooks;
use crate::error::Refusal;
use crate::filtering::Filtering;
use crate::handlers::pop_message::{ParkedPop, Take, is_retry, size_of};

/// Most bytes taken from one queue but for a first message that is larger.
const READ_SIZE_MAX: usize = 4 * 1024 * 1024;

/// What a pop has got, and what its answer says of it.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) records: Vec<Bytes>,
    /// Messages that were left where they are.
    pub(crate) rest: i64,
    pub(crate) pop_time: i64,
    pub(crate) invisible_time: i64,
    pub(crate) revive_queue: i32,
    pub(crate) order: bool,
    pub(crate) start_offsets: String,
    pub(crate) message_offsets: String,
    pub(crate) order_counts: String,
    /// Behind the last check point in the log.
    pub(crate) log_end: i64,
    /// A plugin wants to be asked on a thread that may wait.
    pub(crate) deferred: bool,
    /// A plugin or a disk makes the group wait.
    pub(crate) held: bool,
    /// When the first queue is free that is blocked by its order, Unix milliseconds.
    pub(crate) blocked_until: Option<i64>,
    /// Why a queue gave nothing though it should.
    pub(crate) failure: Option<Refusal>,
}

/// A pop at work.
pub(crate) struct Taking<'a> {
    broker: &'a Arc<Broker>,
    pop: &'a ParkedPop,
    take: Take,
    thread: Thread,
    taken: Taken,
}

impl<'a> Taking<'a> {
    pub(crate) fn new(
        broker: &'a Arc<Broker>,
        pop: &'a ParkedPop,
        take: Take,
        thread: Thread,
    ) -> Self {
        let revive_queue = match pop.order {
            true => names::ORDER_QUEUE,
            false => broker.next_revive_queue(),
        };
        let taken = Taken {
            pop_time: broker.now_ms(),
            invisible_time: take.invisible_time,
            revive_queue,
            order: pop.order,
            ..Taken::default()
        };
        Taking {
            broker,
            pop,
            take,
            thread,
            taken,
        }
    }

    /// Takes from the topic and, but in order, from one of its retry topics: now and then first, so that
    /// they get their turn, else last.
    pub(crate) fn all(mut self) -> Taken {
        let start = rand::random_range(0..100u8);
        let retry_first = start < self.broker.config().pop_from_retry_probability;
        let mut retry_topics = self
            .broker
            .pop_retry_topics(&self.pop.topic, &self.pop.group);
        // An answer can speak of only one of them.
        let retry_topic = retry_topics.swap_remove(usize::from(start) % retry_topics.len());
        if retry_first && !self.pop.order {
            self.topic(&retry_topic, i32::from(start));
        }
        match self.pop.queue_id {
            id if id < 0 => self.topic(&self.pop.topic, i32::from(start)),
            id => self.queue(&self.pop.topic, id),
        }
        if !retry_first && !self.pop.order && !self.is_full() {
            self.topic(&retry_topic, i32::from(start));
        }
        self.taken
    }

    fn topic(&mut self, topic: &str, start: i32) {
        let config = self.broker.topics.get(topic);
        let queues = config.map_or(0, |config| config.read_queue_nums);
        for at in 0..queues {
            self.queue(topic, start.wrapping_add(at).rem_euclid(queues));
        }
    }

    fn is_full(&self) -> bool {
        self.taken.records.len() >= self.take.max_messages
    }

    fn queue(&mut self, topic: &str, queue_id: i32) {
        let (broker, group) = (self.broker, &*self.pop.group);
        let now = broker.now_ms();
        let Some(locked) = broker.pop.queues.try_lock(topic, group, queue_id, now) else {
            if !self.pop.order {
                let next = broker
                    .pop
                    .queues
                    .next(&broker.offsets, topic, group, queue_id);
                self.leave(topic, queue_id, next.unwrap_or(0));
            }
            return;
        };
        let offset = self.start(topic, queue_id, &locked);
        if self.pop.order {
            let attempt = self.pop.attempt_id.as_deref();
            let orders = &broker.pop.orders;
            if let Some(until) = orders.blocked_until(attempt, topic, group, queue_id, now) {
                let first = self.taken.blocked_until.unwrap_or(until);
                self.taken.blocked_until = Some(first.min(until));
                return;
            }
        }
        if self.is_full() {
            return self.leave(topic, queue_id, offset);
        }
        if let Err(refusal) = self.read(topic, queue_id, offset, &locked) {
            tracing::warn!(topic, group, queue_id, %refusal, "a queue can't be popped");
            self.taken.failure = Some(refusal);
        }
    }

    fn leave(&mut self, topic: &str, queue_id: i32, offset: i64) {
        self.taken.rest += (self.broker.bounds(topic, queue_id).max - offset).max(0);
    }

    /// Where the pop begins; a reset and a group's first pop are stored at once.
    fn start(&self, topic: &str, queue_id: i32, locked: &Locked<'_>) -> i64 {
        let (broker, group) = (self.broker, &*self.pop.group);
        if let Some(reset) = broker.offsets.take_reset(group, topic, queue_id) {
            broker.pop.orders.clear(topic, group, queue_id);
            locked.forget();
            broker.offsets.commit(group, topic, queue_id, reset);
            return reset;
        }
        let known = broker
            .pop
            .queues
            .next(&broker.offsets, topic, group, queue_id);
        known.unwrap_or_else(|| {
            let offset = self.first(topic, queue_id);
            broker.offsets.commit(group, topic, queue_id, offset);
            offset
        })
    }

    /// Where a new group begins: at the front, or, as Java has it, at the front while that is young, else
    /// at the last message.
    fn first(&self, topic: &str, queue_id: i32) -> i64 {
        let bounds = self.broker.bounds(topic, queue_id);
        if self.take.from_min || is_retry(topic) {
            return bounds.min.max(0);
        }
        if bounds.min <= 0 && self.broker.store.is_near_end(topic, queue_id, 0) {
            return 0;
        }
        (bounds.max - 1).max(0)
    }

    fn read(
        &mut self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        locked: &Locked<'_>,
    ) -> Result<(), Refusal> {
        let broker = self.broker;
        let group = &*self.pop.group;
        let bound = broker.plugins.filters(&self.pop.topic, group);
        let mut request = ReadRequest {
            topic,
            queue_id,
            offset,
            max_messages: self.take.max_messages - self.taken.records.len(),
            max_bytes: READ_SIZE_MAX,
        };
        let mut filtering = Filtering::new(&*self.pop.filter, &bound, self.thread);
        let mut result = broker.store.read(&request, &filtering);
        if is_misplaced(result.status) && result.next_begin_offset != offset {
            request.offset = result.next_begin_offset;
            locked.forget();
            broker
                .offsets
                .commit(group, topic, queue_id, request.offset);
            filtering = Filtering::new(&*self.pop.filter, &bound, self.thread);
            result = broker.store.read(&request, &filtering);
        }
        let left = filtering.into_left();
        if left.deferred {
            self.taken.deferred = true;
            self.leave(topic, queue_id, request.offset);
            return Ok(());
        }
        self.bury(left.dead)?;
        self.keep(topic, queue_id, request.offset, result, locked)
    }

    /// The group goes on past a message only when its letter is stored.
    fn bury(&self, dead: Vec<(Bytes, String)>) -> Result<(), Refusal> {
        for (bytes, cause) in dead {
            let record =
                Record::parse(&bytes).map_err(|error| Refusal::System(error.to_string()))?;
            let reason = format!("plugin: {cause}");
            self.broker.bury(&self.pop.group, &record, &reason)?;
        }
        Ok(())
    }

    fn keep(
        &mut self,
        topic: &str,
        queue_id: i32,
        start: i64,
        mut result: ReadResult,
        locked: &Locked<'_>,
    ) -> Result<(), Refusal> {
        self.taken.held |= matches!(result.status, ReadStatus::Held | ReadStatus::Unreadable);
        let mut records = std::mem::take(&mut result.records);
        if is_retry(topic) {
            records = records
                .iter()
                .filter_map(|bytes| self.as_sent(bytes, topic, queue_id, start))
                .collect();
        }
        if !records.is_empty() && consume_hooks::has_any(self.broker, &self.pop.topic) {
            let delivered = consume_hooks::before(self.broker, &self.pop.group, records);
            self.bury(delivered.dead)?;
            records = delivered.records;
            if let Some(offset) = delivered.held_at {
                result.next_begin_offset = offset;
                self.taken.held = true;
            }
        }
        let next = match result.status {
            ReadStatus::Unreadable
            | ReadStatus::NoMessageInQueue
            | ReadStatus::OffsetOverflowOne => start,
            _ => result.next_begin_offset.max(start),
        };
        if records.is_empty() {
            self.pass(topic, queue_id, (start, next), locked);
        } else {
            self.hand_out(topic, queue_id, (start, next), records, locked)?;
        }
        self.leave(topic, queue_id, next);
        Ok(())
    }

    /// Nothing between the offsets is for the group.
    fn pass(&self, topic: &str, queue_id: i32, (start, next): (i64, i64), locked: &Locked<'_>) {
        if next == start {
            return;
        }
        if self.pop.order {
            let group = &*self.pop.group;
            self.broker.offsets.commit(group, topic, queue_id, next);
        } else {
            locked.advance(next, 0);
            self.broker.pop.touch();
        }
    }

    fn hand_out(
        &mut self,
        topic: &str,
        queue_id: i32,
        (start, next): (i64, i64),
        records: Vec<Bytes>,
        locked: &Locked<'_>,
    ) -> Result<(), Refusal> {
        let offset = |bytes: &Bytes| Record::parse(bytes).map(|record| record.queue_offset());
        let offsets: Vec<i64> = records.iter().flat_map(offset).collect();
        if self.pop.order {
            self.take_in_order(topic, queue_id, start, &offsets);
        } else {
            self.take_behind_check_point(topic, queue_id, (start, next), &offsets, locked)?;
        }
        receipt::put_start(&mut self.taken.start_offsets, topic, queue_id, start);
        receipt::put_offsets(&mut self.taken.message_offsets, topic, queue_id, &offsets);
        let size = size_of(&records);
        let held = |record: &Bytes| inner_batch::message_count(record) as usize;
        self.count(topic, records.iter().map(held).sum(), size);
        self.taken.records.extend(records);
        Ok(())
    }

    fn count(&self, topic: &str, messages: usize, bytes: usize) {
        let (broker, group) = (self.broker, &*self.pop.group);
        let Some(counts) = broker.topics.get(topic) else {
            return;
        };
        let counts = counts.counts.of_group(group);
        broker.stats.delivered(&counts, messages, bytes);
        broker
            .stats
            .found_in(&counts, broker.now_ms() - self.taken.pop_time);
        if !self.pop.order {
            broker.stats.check_point(topic, group);
        }
    }

    fn take_in_order(&mut self, topic: &str, queue_id: i32, start: i64, offsets: &[i64]) {
        let taken = consumer_order::Taken {
            attempt_id: self.pop.attempt_id.as_deref(),
            topic,
            group: &self.pop.group,
            queue_id,
            pop_time: self.taken.pop_time,
            invisible_time: self.take.invisible_time,
            offsets,
        };
        let now = self.broker.now_ms();
        let counts = &mut self.taken.order_counts;
        self.broker.pop.orders.take(taken, now, counts);
        let group = &*self.pop.group;
        self.broker.offsets.commit(group, topic, queue_id, start);
    }

    fn take_behind_check_point(
        &mut self,
        topic: &str,
        queue_id: i32,
        (start, next): (i64, i64),
        offsets: &[i64],
        locked: &Locked<'_>,
    ) -> Result<(), Refusal> {
        let taken = &mut self.taken;
        let point = PopCheckPoint {
            broker_name: self.broker.config().broker_name.clone(),
            group: self.pop.group.clone(),
            diffs: offsets
                .iter()
                .map(|offset| (offset - start) as i32)
                .collect(),
            invisible_time: taken.invisible_time,
            num: offsets.len() as u8,
            pop_time: taken.pop_time,
            queue_id,
            revive_time: taken.pop_time.saturating_add(taken.invisible_time),
            start_offset: start,
            topic: topic.to_owned(),
            ..PopCheckPoint::default()
        };
        let _seen_whole = self.broker.pop.taking();
        let appended = self.broker.append_check_point(&point, taken.revive_queue)?;
        locked.advance(next, appended.end_offset);
        taken.log_end = appended.end_offset;
        Ok(())
    }

    /// A message that came back, as it was sent, with the receipt that its client could not put together.
    fn as_sent(&self, bytes: &Bytes, topic: &str, queue_id: i32, start: i64) -> Option<Bytes> {
        let record = Record::parse(bytes).ok()?;
        let receipt = Receipt {
            start_offset: start,
            pop_time: self.taken.pop_time,
            invisible_time: self.taken.invisible_time,
            revive_queue: self.taken.revive_queue,
            broker_name: self.broker.config().broker_name.clone(),
        };
        let mut text = properties::without(record.properties(), &[properties::POP_CK]);
        let receipt = receipt.text(topic, queue_id, record.queue_offset());
        properties::put(&mut text, properties::POP_CK, &receipt);
        let fields = RecordFields {
            topic: &self.pop.topic,
            queue_id,
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            born_timestamp: record.born_timestamp(),
            born_host: record.born_host(),
            store_host: record.store_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: 0,
            body: record.body(),
            properties: &text,
        };
        let mut out = Vec::with_capacity(fields.encoded_size());
        if fields.encode(&mut out).is_err() {
            // No room for the receipt: it can't be acked, and is a dead letter in the end.
            let as_stored = RecordFields {
                properties: record.properties(),
                ..fields
            };
            out.clear();
            as_stored.encode(&mut out).ok()?;
        }
        let (queue, physical) = (record.queue_offset(), record.physical_offset());
        assign(&mut out, queue, physical, record.store_timestamp());
        Some(out.into())
    }
}

/// Whether the stored offset is none of the queue's.
fn is_misplaced(status: ReadStatus) -> bool {
    matches!(
        status,
        ReadStatus::OffsetTooSmall | ReadStatus::OffsetOverflowBadly | ReadStatus::OffsetFoundNull
    )
}

impl Broker {
    /// Whether a pop would find something now. A notification asks of a queue that another pop takes
    /// from as well.
    pub(crate) fn has_for(&self, pop: &ParkedPop, locked_too: bool) -> bool {
        let attempt = pop.attempt_id.as_deref();
        let has = |topic: &str, id: i32| {
            let blocked = || {
                let (orders, now) = (&self.pop.orders, self.now_ms());
                pop.order
                    && orders
                        .blocked_until(attempt, topic, &pop.group, id, now)
                        .is_some()
            };
            self.is_behind(topic, &pop.group, id, locked_too) && !blocked()
        };
        let own = match pop.queue_id {
            id if id < 0 => self.queue_ids(&pop.topic).any(|id| has(&pop.topic, id)),
            id => has(&pop.topic, id),
        };
        own || (!pop.order && self.has_retries(&pop.topic, &pop.group, locked_too))
    }

    /// Whether the group has something to pop on the topic.
    pub(crate) fn has_backlog(&self, topic: &str, group: &str) -> bool {
        self.queue_ids(topic)
            .any(|id| self.is_behind(topic, group, id, false))
            || self.has_retries(topic, group, false)
    }

    fn has_retries(&self, topic: &str, group: &str, locked_too: bool) -> bool {
        self.pop_retry_topics(topic, group).iter().any(|retry| {
            self.queue_ids(retry)
                .any(|id| self.is_behind(retry, group, id, locked_too))
        })
    }

    fn queue_ids(&self, topic: &str) -> std::ops::Range<i32> {
        0..self
            .topics
            .get(topic)
            .map_or(0, |topic| topic.read_queue_nums)
    }

    fn is_behind(&self, topic: &str, group: &str, queue_id: i32, locked_too: bool) -> bool {
        let queues = &self.pop.queues;
        if !locked_too && queues.is_locked(topic, group, queue_id) {
            return false;
        }
        let bounds = self.bounds(topic, queue_id);
        let next = queues.next(&self.offsets, topic, group, queue_id);
        bounds.max > next.unwrap_or(bounds.min)
    }

    /// Whether a pop can be served without a disk, as far as can be told.
    pub(crate) fn is_pop_hot(&self, pop: &ParkedPop) -> bool {
        let messages = pop.take.map_or(1, |take| take.max_messages);
        let hot = |topic: &str, id: i32| {
            let next = self.pop.queues.next(&self.offsets, topic, &pop.group, id);
            self.store.is_hot(topic, id, next.unwrap_or(0), messages)
        };
        let own = match pop.queue_id {
            id if id < 0 => self.queue_ids(&pop.topic).all(|id| hot(&pop.topic, id)),
            id => hot(&pop.topic, id),
        };
        own && self
            .pop_retry_topics(&pop.topic, &pop.group)
            .iter()
            .all(|retry| self.queue_ids(retry).all(|id| hot(retry, id)))
    }
}
