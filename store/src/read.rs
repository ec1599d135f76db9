//! Reading: by queue offset, time, key and physical offset.

mod batches;

use std::ops::{ControlFlow, Range};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sluice_protocol::message::Record;

use crate::commit_log::{Item, be64, is_filler};
use crate::consume_queue::{ConsumeQueue, ConsumeQueueUnit, UNIT};
use crate::error::StoreError;
use crate::files::Open;
use crate::index;
use crate::queue::Queue;
use crate::store::Store;

/// Which message of several that fit a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first at or after the time.
    Lower,
    /// The last at or before the time.
    Upper,
}

/// Visible offsets of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// Lowest readable offset.
    pub min: i64,
    /// Offset the next visible message will have.
    pub max: i64,
}

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue id.
    pub queue_id: i32,
    /// First queue offset.
    pub offset: i64,
    /// Messages at most.
    pub max_messages: usize,
    /// Bytes at most; the first message is given whatever its size.
    pub max_bytes: usize,
}

/// Decides which messages are given.
pub trait RecordFilter {
    /// First test, on the unit.
    fn matches_tags_code(&self, tags_code: i64) -> bool;
    /// Whether the second test matters.
    fn needs_record(&self) -> bool {
        false
    }
    /// Whether an inner batch is given as it lies in the log, if one of its messages passes. Otherwise
    /// those that pass are given, each as a record of its own.
    fn takes_batches(&self) -> bool {
        true
    }
    /// Second test, on a run of at most [`RUN_MAX`] stored records in offset order: marks those that
    /// are given, and says how many it judged. Fewer than all: the reader waits before the next one.
    fn judge(&self, records: &[Bytes], given: &mut [bool]) -> usize {
        given.fill(true);
        records.len()
    }
}

/// Most records that a filter is asked about at once.
pub const RUN_MAX: usize = 64;

/// How a read ended; names and meanings are Java's `GetMessageStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// At least one record.
    Found,
    /// All looked at were filtered out.
    NoMatchedMessage,
    /// The records are gone from the log.
    MessageWasRemoving,
    /// The unit could not be read.
    OffsetFoundNull,
    /// Beyond the end by more than one.
    OffsetOverflowBadly,
    /// Exactly at the end.
    OffsetOverflowOne,
    /// Below the lowest offset.
    OffsetTooSmall,
    /// No such queue.
    NoMatchedLogicQueue,
    /// The queue never had a message.
    NoMessageInQueue,
    /// The queue's file could not be read now; the offset stands. Java has no name for it.
    Unreadable,
    /// The filter makes the reader wait before the message at the next offset. Not in Java.
    Held,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct ReadResult {
    /// How it ended.
    pub status: ReadStatus,
    /// Where to go on.
    pub next_begin_offset: i64,
    /// Lowest offset of the queue.
    pub min_offset: i64,
    /// Next offset of the queue.
    pub max_offset: i64,
    /// Whole records.
    pub records: Vec<Bytes>,
    /// Whether the reader is so far behind that a slave should serve it.
    pub suggest_slave: bool,
}

/// What a key query found.
#[derive(Debug, Clone, Default)]
pub struct QueryResult {
    /// Records in log order; others with the same hash may be among them.
    pub records: Vec<Bytes>,
    /// Store time of the newest index entry.
    pub index_last_update_timestamp: i64,
    /// Physical offset of the newest index entry.
    pub index_last_update_physical_offset: i64,
}

/// A tags code at or below it is an address in the queue's extension.
pub(crate) const EXT_ADDRESS_MAX: i64 = i32::MIN as i64 - 1;
/// Bytes of an extension's unit without a bit map: size, tags code, store time, size of the map.
const EXT_UNIT_MIN: i16 = 20;

fn physical_memory() -> i64 {
    // SAFETY: sysconf only reads system values.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    pages.max(0).saturating_mul(size.max(0))
}

/// Records that passed the first test and wait for the second.
#[derive(Default)]
struct Run {
    records: Vec<Bytes>,
    offsets: Vec<i64>,
    bytes: usize,
}

/// Bytes at the log's end that are taken to be in memory without asking.
const RECENT: i64 = 256 << 20;

/// One walk along a queue.
pub(crate) struct Scan<'a> {
    store: &'a Store,
    request: &'a ReadRequest<'a>,
    filter: &'a dyn RecordFilter,
    /// Offset of the next unit.
    at: i64,
    /// Of the records given so far.
    bytes: usize,
    run: Run,
    memory: i64,
    log_start: i64,
    end: i64,
    last_physical: i64,
    result: &'a mut ReadResult,
}

impl<'a> Scan<'a> {
    /// Begins where the request does; `end` is where the log ends that units point into.
    pub(crate) fn new(
        store: &'a Store,
        request: &'a ReadRequest<'a>,
        filter: &'a dyn RecordFilter,
        end: i64,
        result: &'a mut ReadResult,
    ) -> Self {
        result.status = ReadStatus::NoMatchedMessage;
        Scan {
            store,
            request,
            filter,
            at: request.offset,
            bytes: 0,
            run: Run::default(),
            memory: store.memory_share(),
            log_start: store.log.min(),
            end,
            last_physical: 0,
            result,
        }
    }

    /// Breaks when the answer has no room for the unit's record, or is held before it.
    pub(crate) fn make_room(&mut self, unit: &ConsumeQueueUnit) -> ControlFlow<()> {
        while self.is_full(unit) {
            // What waits for its verdict may make room again.
            if self.run.records.is_empty() {
                return ControlFlow::Break(());
            }
            self.judge()?;
            if self.is_nearly_full() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Goes on at an offset.
    pub(crate) fn pass_to(&mut self, offset: i64) {
        self.at = offset;
    }

    /// The first test of the unit before.
    pub(crate) fn matches(&self, tags_code: i64) -> bool {
        self.filter.matches_tags_code(tags_code)
    }

    /// Looks at the next unit; breaks before it when the answer is full or held.
    fn take(&mut self, unit: &ConsumeQueueUnit) -> ControlFlow<()> {
        self.make_room(unit)?;
        self.at += 1;
        if unit.is_blank() || unit.physical_offset < self.log_start {
            self.mark_removed();
            return ControlFlow::Continue(());
        }
        self.last_physical = unit.physical_offset;
        let (topic, queue_id) = (self.request.topic, self.request.queue_id);
        let tags = self.store.resolve_tags(topic, queue_id, unit.tags_code);
        if tags.is_some_and(|code| !self.matches(code)) {
            return ControlFlow::Continue(());
        }
        let found = self.store.log.record_of(unit.physical_offset, unit.size);
        self.offer(found.filter(|record| !is_filler(record)))
    }

    /// The second test of the record before `at`, `None` when it is no more; breaks when held.
    pub(crate) fn offer(&mut self, record: Option<Bytes>) -> ControlFlow<()> {
        match record {
            None => self.mark_removed(),
            Some(record) if self.filter.needs_record() => {
                self.run.bytes += record.len();
                self.run.offsets.push(self.at - 1);
                self.run.records.push(record);
                if self.run.records.len() == RUN_MAX {
                    return self.judge();
                }
            }
            Some(record) => self.give(record),
        }
        ControlFlow::Continue(())
    }

    /// Asks the filter about the run; breaks when it makes the reader wait.
    fn judge(&mut self) -> ControlFlow<()> {
        let run = std::mem::take(&mut self.run);
        if run.records.is_empty() {
            return ControlFlow::Continue(());
        }
        let mut given = [false; RUN_MAX];
        let judged = self
            .filter
            .judge(&run.records, &mut given[..run.records.len()]);
        let held = run.offsets.get(judged).copied();
        for (record, given) in run.records.into_iter().zip(given).take(judged) {
            if given {
                self.give(record);
            }
        }
        let Some(held) = held else {
            return ControlFlow::Continue(());
        };
        self.at = held;
        if self.result.records.is_empty() {
            self.result.status = ReadStatus::Held;
        }
        ControlFlow::Break(())
    }

    fn give(&mut self, record: Bytes) {
        self.bytes += record.len();
        self.result.records.push(record);
        self.result.status = ReadStatus::Found;
    }

    fn mark_removed(&mut self) {
        if self.result.records.is_empty() {
            self.result.status = ReadStatus::MessageWasRemoving;
        }
    }

    /// Whether the unit has no room any more beside what is given and what may be.
    fn is_full(&self, unit: &ConsumeQueueUnit) -> bool {
        let count = self.result.records.len() + self.run.records.len();
        if count == 0 {
            return false;
        }
        let cold = self.end - unit.physical_offset > self.memory;
        let (byte_limit, count_limit) = if cold { (65_536, 7) } else { (262_144, 31) };
        let total = self.bytes + self.run.bytes + unit.size.max(0) as usize;
        count + 1 > self.request.max_messages
            || total > self.request.max_bytes.max(100)
            || total > byte_limit
            || count > count_limit
    }

    /// Whether asking a filter about ever shorter runs, only to fill the answer, is not worth it.
    fn is_nearly_full(&self) -> bool {
        self.result.records.len() * 4 >= self.request.max_messages * 3
    }

    /// Answers whether the reader has to wait before the next message.
    pub(crate) fn finish(mut self) -> bool {
        // A run that is held here has set `at` to where it waits.
        let held = self.judge().is_break();
        self.result.next_begin_offset = self.at;
        self.result.suggest_slave = self.end - self.last_physical > self.memory;
        held
    }
}

impl Store {
    /// Reads a queue from an offset on; may read from disk.
    pub fn read(&self, request: &ReadRequest<'_>, filter: &dyn RecordFilter) -> ReadResult {
        match self.compacted(request.topic, request.queue_id) {
            Some(both) => self.read_compacted(&both, request, filter),
            None => self.read_queue(request, filter),
        }
    }

    /// Reads what the consume queue has.
    pub(crate) fn read_queue(
        &self,
        request: &ReadRequest<'_>,
        filter: &dyn RecordFilter,
    ) -> ReadResult {
        let queue = self.queue(request.topic, request.queue_id);
        let (min, max) = queue.as_ref().map_or((0, 0), |queue| queue.bounds());
        let offset = request.offset;
        let mut result = ReadResult {
            status: ReadStatus::NoMatchedLogicQueue,
            next_begin_offset: 0,
            min_offset: min,
            max_offset: max,
            records: Vec::new(),
            suggest_slave: false,
        };
        let Some(queue) = queue else { return result };
        let early = if max == 0 {
            Some((ReadStatus::NoMessageInQueue, 0))
        } else if offset < min {
            Some((ReadStatus::OffsetTooSmall, min))
        } else if offset == max {
            Some((ReadStatus::OffsetOverflowOne, offset))
        } else if offset > max {
            Some((ReadStatus::OffsetOverflowBadly, max))
        } else {
            None
        };
        match early {
            Some((status, next)) => (result.status, result.next_begin_offset) = (status, next),
            None => match &*queue {
                Queue::Simple(queue) => self.scan_queue(queue, request, filter, &mut result),
                Queue::Batch(queue) => self.scan_batches(queue, request, filter, &mut result),
            },
        }
        result
    }

    fn scan_queue(
        &self,
        queue: &ConsumeQueue,
        request: &ReadRequest<'_>,
        filter: &dyn RecordFilter,
        result: &mut ReadResult,
    ) {
        let count = self.scan_units(request.max_messages, UNIT);
        let mut units = Vec::new();
        let first_read = if filter.needs_record() {
            count
        } else {
            request.max_messages.clamp(1, 64)
        };
        if let Err(error) = queue.units(request.offset, first_read.min(count), &mut units) {
            tracing::warn!(%error, "a read failed");
            (result.status, result.next_begin_offset) = (ReadStatus::Unreadable, request.offset);
            return;
        }
        if units.is_empty() {
            (result.status, result.next_begin_offset) =
                (ReadStatus::OffsetFoundNull, queue.next_file(request.offset));
            return;
        }
        let mut scan = Scan::new(self, request, filter, self.log.written(), result);
        let mut scanned = 0;
        'all: loop {
            for unit in units.iter().take(count - scanned) {
                if scan.take(unit).is_break() {
                    break 'all;
                }
                scanned += 1;
            }
            units.clear();
            let more = queue.units(scan.at, (count - scanned).min(256), &mut units);
            if more.is_err() || units.is_empty() {
                // The next read begins there, and tells.
                break;
            }
        }
        scan.finish();
    }

    /// Units of that size looked at for one read.
    pub(crate) fn scan_units(&self, max_messages: usize, unit_size: i64) -> usize {
        let unit_size = unit_size as usize;
        let bytes = self.config.max_filter_scan_bytes;
        bytes
            .max(max_messages.saturating_mul(unit_size))
            .div_ceil(unit_size)
    }

    fn memory_share(&self) -> i64 {
        physical_memory() / 100 * i64::from(self.config.access_in_memory_percent)
    }

    /// Tags code of a unit that may point into Java's `consumequeue_ext`. `None` when that cannot
    /// be told any more: the message then passes, and the client compares its tag itself.
    pub(crate) fn resolve_tags(&self, topic: &str, queue_id: i32, code: i64) -> Option<i64> {
        if code > EXT_ADDRESS_MAX {
            return Some(code);
        }
        let address = code.wrapping_sub(i64::MIN) as u64;
        let start = address - address % self.config.consume_queue_ext_file_size;
        let dir = self
            .config
            .root
            .join("consumequeue_ext")
            .join(topic)
            .join(queue_id.to_string());
        let mut bytes = [0; 10];
        let file = self
            .cache
            .get(&dir.join(format!("{start:020}")), Open::Existing);
        file.and_then(|file| file.read_at(address - start, &mut bytes))
            .ok()?;
        let size = i16::from_be_bytes([bytes[0], bytes[1]]);
        (size >= EXT_UNIT_MIN).then(|| be64(&bytes, 2))
    }

    /// Whether [`Store::read`] of so many messages will be answered without touching the disk, as far as can be
    /// told: the first and the last of them are looked at.
    pub fn is_hot(&self, topic: &str, queue_id: i32, offset: i64, messages: usize) -> bool {
        let compacted = self.compacted(topic, queue_id);
        if compacted.is_some_and(|both| both.has(offset)) {
            return false;
        }
        let Some(queue) = self.queue(topic, queue_id) else {
            return true;
        };
        let (min, max) = queue.bounds();
        if offset < min || offset >= max {
            return true;
        }
        let recent = self.log.written() - self.memory_share().min(RECENT);
        let is_cached = |unit: ConsumeQueueUnit| {
            unit.is_blank()
                || unit.physical_offset >= recent
                || self
                    .log
                    .is_cached(unit.physical_offset, unit.size.max(0) as usize)
        };
        let Some(first) = queue.cached_unit(offset) else {
            return false;
        };
        // Behind a recent one all are.
        first.physical_offset >= recent
            || is_cached(first) && {
                // A filter may look at so many.
                let looked_at = self.scan_units(messages, UNIT) as i64;
                let last = offset.saturating_add(looked_at).min(max) - 1;
                queue.cached_unit(last).is_some_and(is_cached)
            }
    }

    /// Visible offsets, `None` for an unknown queue.
    pub fn queue_bounds(&self, topic: &str, queue_id: i32) -> Option<QueueBounds> {
        if let Some(both) = self.compacted(topic, queue_id) {
            return Some(both.bounds);
        }
        let (min, max) = self.queue(topic, queue_id)?.bounds();
        Some(QueueBounds { min, max })
    }

    /// All queues.
    pub fn queues(&self) -> Vec<(String, i32)> {
        let queues = self.queues.read();
        queues
            .iter()
            .flat_map(|(topic, ids)| ids.keys().map(|id| (topic.clone(), *id)))
            .collect()
    }

    /// The unit at a queue offset; `None` too when it cannot be read.
    pub fn unit_at(&self, topic: &str, queue_id: i32, offset: i64) -> Option<ConsumeQueueUnit> {
        self.queue(topic, queue_id)?.unit(offset).ok().flatten()
    }

    /// The unit at a queue offset; `None` when the message was removed.
    ///
    /// # Errors
    /// When a file of the queue can't be read, which may pass.
    pub fn read_unit(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<Option<ConsumeQueueUnit>, StoreError> {
        match self.queue(topic, queue_id) {
            Some(queue) => queue.unit(offset),
            None => Ok(None),
        }
    }

    /// Where the log begins.
    pub fn log_start(&self) -> i64 {
        self.log.min()
    }

    /// The visible record that starts at a physical offset; `None` when none does.
    pub fn record_at(&self, physical_offset: i64) -> Option<Bytes> {
        if physical_offset >= self.visible_end() {
            return None;
        }
        self.log
            .record(physical_offset)
            .filter(|record| !is_filler(record))
    }

    /// The visible records that lie in the log from a physical offset on, which must be the start
    /// of one or lie below all that is kept. Ends at the first that can't be read.
    pub fn records_from(&self, physical_offset: i64) -> impl Iterator<Item = Bytes> {
        let mut at = physical_offset.max(self.log.min());
        std::iter::from_fn(move || {
            while at < self.visible_end() {
                match self.log.item(at).ok()? {
                    Item::Blank(next) => at = next,
                    Item::Record(bytes) => {
                        at += bytes.len() as i64;
                        if !is_filler(&bytes) {
                            return Some(bytes);
                        }
                    }
                }
            }
            None
        })
    }

    /// The visible message that starts at a physical offset; `None` when none does. A place that a
    /// client names is believed only if the message's queue points there: bytes within a body may look
    /// like a record, too.
    pub fn message_at(&self, physical_offset: i64) -> Option<Bytes> {
        let bytes = self.record_at(physical_offset)?;
        let record = Record::parse(&bytes).ok()?;
        let (topic, id, offset) = (record.topic(), record.queue_id(), record.queue_offset());
        let points_here = || {
            let unit = self.unit_at(topic, id, offset);
            unit.is_some_and(|unit| unit.physical_offset == physical_offset)
        };
        // It may be stored and answered, and not dispatched yet.
        let here = points_here() || (self.catch_up() && points_here());
        here.then(|| bytes.clone())
    }

    /// Store time of a queue's message, Unix milliseconds.
    pub fn store_timestamp(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let queue = self.queue(topic, queue_id);
        let time = queue.and_then(|queue| self.unit_time(&queue, offset).ok().flatten());
        time.or_else(|| self.compacted_time(topic, queue_id, offset))
    }

    /// `None` for a message that was removed.
    fn unit_time(&self, queue: &Queue, offset: i64) -> Result<Option<i64>, StoreError> {
        let unit = queue.unit(offset)?;
        let bytes = unit.and_then(|unit| self.log.record_of(unit.physical_offset, unit.size));
        let record = bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        Ok(record.map(|record| record.store_timestamp()))
    }

    /// The first offset of a range whose message is still there, and its store time.
    fn first_timed(
        &self,
        queue: &Queue,
        offsets: Range<i64>,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        for at in offsets {
            if let Some(time) = self.unit_time(queue, at)? {
                return Ok(Some((at, time)));
            }
        }
        Ok(None)
    }

    /// Store time of the first record of the log.
    pub fn earliest_timestamp(&self) -> Option<i64> {
        self.log
            .segments()
            .first()
            .and_then(|segment| self.log.first_time(segment))
    }

    /// Queue offset for a time: Lower = first message at or after it, or the queue's end; Upper =
    /// last message at or before it, or 0. 0 for an unknown queue.
    ///
    /// # Errors
    /// When a file of the queue cannot be read.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<i64, StoreError> {
        // Older than all that the commit log has, or nothing.
        let compacted = self.compacted_by_time(topic, queue_id, timestamp_ms, boundary)?;
        let Some(queue) = self.queue(topic, queue_id) else {
            return Ok(compacted.unwrap_or(0));
        };
        if let (Some(offset), Boundary::Lower) = (compacted, boundary) {
            return Ok(offset);
        }
        let (min, max) = queue.bounds();
        let before = |time: i64| match boundary {
            Boundary::Lower => time < timestamp_ms,
            Boundary::Upper => time <= timestamp_ms,
        };
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            // A removed message has no time: the next one that has decides.
            match self.first_timed(&queue, middle..high)? {
                Some((at, time)) if before(time) => low = at + 1,
                _ => high = middle,
            }
        }
        Ok(match boundary {
            Boundary::Lower => low,
            Boundary::Upper if low > min => low - 1,
            Boundary::Upper => compacted.unwrap_or(0),
        })
    }

    /// Whether a message lies so near the log's end that a new group may start at it.
    pub fn is_near_end(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        match self.unit_at(topic, queue_id, offset) {
            Some(unit) => self.log.written() - unit.physical_offset <= self.memory_share(),
            None => true,
        }
    }

    /// Records with a key, stored within a span of time (Unix milliseconds, both ends included).
    /// Everything appended before the call is seen, unless dispatch lags more than 3 s.
    pub fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> QueryResult {
        self.wait_dispatched(self.log.written());
        let (time, offset) = self.index.lock().last_update();
        let found = index::query(&self.index, (topic, key), max.min(64), (begin_ms, end_ms));
        let mut offsets = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "index query failed");
            Vec::new()
        });
        offsets.sort_unstable();
        offsets.dedup();
        QueryResult {
            records: offsets
                .into_iter()
                .filter_map(|offset| self.record_at(offset))
                .collect(),
            index_last_update_timestamp: time,
            index_last_update_physical_offset: offset,
        }
    }

    fn wait_dispatched(&self, end: i64) {
        let deadline = Instant::now() + Duration::from_secs(3);
        while self.dispatched.load(Ordering::Acquire) < end && Instant::now() < deadline {
            if self.threads.lock().is_empty() {
                return;
            }
            self.wake_flush.wake();
            self.wake_dispatch.wake();
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
