//! Reading a batch consume queue. As in Java, an answer has all messages of a record or none, so the
//! first record is given whatever the limits.

use std::ops::ControlFlow;

use bytes::Bytes;
use sluice_protocol::message::{Record, batch, inner_batch, properties, tags_code};

use super::{RUN_MAX, ReadRequest, ReadResult, ReadStatus, RecordFilter, Scan};
use crate::batch_consume_queue::{BatchConsumeQueue, BatchUnit, UNIT};
use crate::store::Store;

/// Units read at once.
const UNITS: usize = 64;

impl Store {
    /// The visible message at a queue offset, alone though it lie in an inner batch; `None` when there is
    /// none.
    pub fn message_of(&self, topic: &str, queue_id: i32, offset: i64) -> Option<Bytes> {
        let unit = self.unit_at(topic, queue_id, offset)?;
        let bytes = self.record_at(unit.physical_offset)?;
        let record = Record::parse(&bytes).ok()?;
        if !inner_batch::is_packed(&record) {
            return Some(bytes);
        }
        let at = usize::try_from(offset - record.queue_offset()).ok()?;
        apart(&record).nth(at)
    }

    pub(super) fn scan_batches(
        &self,
        queue: &BatchConsumeQueue,
        request: &ReadRequest<'_>,
        filter: &dyn RecordFilter,
        result: &mut ReadResult,
    ) {
        let mut units = Vec::new();
        if let Err(error) = queue.units(request.offset, UNITS, &mut units) {
            tracing::warn!(%error, "a read failed");
            (result.status, result.next_begin_offset) = (ReadStatus::Unreadable, request.offset);
            return;
        }
        if units.is_empty() {
            (result.status, result.next_begin_offset) =
                (ReadStatus::OffsetFoundNull, queue.next_file(request.offset));
            return;
        }
        let scanned_max = self.scan_units(request.max_messages, UNIT);
        let mut scan = Scan::new(self, request, filter, self.log.written(), result);
        let mut scanned = 0;
        'all: loop {
            for unit in units.iter().take(scanned_max - scanned) {
                if scan.take_batch(unit).is_break() {
                    break 'all;
                }
                scanned += 1;
            }
            units.clear();
            let more = queue.units(scan.at, (scanned_max - scanned).min(UNITS), &mut units);
            if more.is_err() || units.is_empty() {
                // The next read begins there, and tells.
                break;
            }
        }
        scan.finish();
    }
}

impl Scan<'_> {
    /// Looks at the next unit; breaks before it when the answer is full or held.
    fn take_batch(&mut self, unit: &BatchUnit) -> ControlFlow<()> {
        while self.is_full_for(unit) {
            // What waits for its verdict may make room again.
            if self.run.records.is_empty() {
                return ControlFlow::Break(());
            }
            self.judge()?;
            if self.is_nearly_full() {
                return ControlFlow::Break(());
            }
        }
        self.at = unit.next();
        if unit.physical_offset < self.log_start {
            self.mark_removed();
            return ControlFlow::Continue(());
        }
        self.last_physical = unit.physical_offset;
        let Some(bytes) = self.store.log.record_of(unit.physical_offset, unit.size) else {
            self.mark_removed();
            return ControlFlow::Continue(());
        };
        let Ok(record) = Record::parse(&bytes) else {
            self.mark_removed();
            return ControlFlow::Continue(());
        };
        if !inner_batch::is_packed(&record) {
            return self.take_one(bytes);
        }
        if self.filter.takes_batches() {
            return self.take_whole(unit, &record, &bytes);
        }
        apart(&record).try_for_each(|message| self.take_one(message))
    }

    fn is_full_for(&self, unit: &BatchUnit) -> bool {
        let waiting = self.run.records.len();
        let count = self.result.records.len() + waiting;
        let more = usize::try_from(unit.count).unwrap_or(1);
        // Records are counted, of which a batch that is given whole is one: its messages count as well.
        let beyond = count > 0 && self.messages() + waiting + more > self.request.max_messages;
        beyond || self.is_full(&unit.simple())
    }

    /// Messages in what is given so far.
    fn messages(&self) -> usize {
        let held = |bytes: &Bytes| inner_batch::message_count(bytes) as usize;
        self.result.records.iter().map(held).sum()
    }

    /// Takes a message that is a record of its own, unless its offset is below the one asked for.
    fn take_one(&mut self, bytes: Bytes) -> ControlFlow<()> {
        let Ok(record) = Record::parse(&bytes) else {
            self.mark_removed();
            return ControlFlow::Continue(());
        };
        let offset = record.queue_offset();
        if offset < self.request.offset || !self.has_wanted_tags(&bytes) {
            return ControlFlow::Continue(());
        }
        if !self.filter.needs_record() {
            self.give(bytes);
            return ControlFlow::Continue(());
        }
        self.run.bytes += bytes.len();
        self.run.offsets.push(offset);
        self.run.records.push(bytes);
        match self.run.records.len() {
            RUN_MAX => self.judge(),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Gives a batch as it lies if one of its messages passes.
    fn take_whole(
        &mut self,
        unit: &BatchUnit,
        record: &Record<'_>,
        bytes: &Bytes,
    ) -> ControlFlow<()> {
        // The whole has no tags: whoever takes that takes all.
        let has_wanted_tags = self.filter.matches_tags_code(unit.tags_code)
            || batch::iter(record.body())
                .flatten()
                .any(|message| self.filter.matches_tags_code(message.tags_code()));
        if !has_wanted_tags {
            return ControlFlow::Continue(());
        }
        if self.filter.needs_record() {
            self.judge()?;
            match self.judge_whole(record) {
                Some(true) => {}
                Some(false) => return ControlFlow::Continue(()),
                None => return self.hold_at(unit.base),
            }
        }
        self.give(bytes.clone());
        ControlFlow::Continue(())
    }

    /// Whether one of a batch's messages passes the second test; `None` if it makes the reader wait.
    fn judge_whole(&self, record: &Record<'_>) -> Option<bool> {
        let messages = apart(record).filter(|message| self.has_wanted_tags(message));
        let messages: Vec<Bytes> = messages.collect();
        for run in messages.chunks(RUN_MAX) {
            let mut given = [false; RUN_MAX];
            let judged = self.filter.judge(run, &mut given[..run.len()]);
            if given[..judged.min(run.len())].contains(&true) {
                return Some(true);
            }
            if judged < run.len() {
                return None;
            }
        }
        Some(false)
    }

    /// Waits before an offset.
    fn hold_at(&mut self, offset: i64) -> ControlFlow<()> {
        self.at = offset;
        if self.result.records.is_empty() {
            self.result.status = ReadStatus::Held;
        }
        ControlFlow::Break(())
    }

    fn has_wanted_tags(&self, bytes: &Bytes) -> bool {
        Record::parse(bytes).is_ok_and(|record| {
            let code = tags_code(record.property(properties::TAGS));
            self.filter.matches_tags_code(code)
        })
    }
}

/// The messages of an inner batch; none when its body is no batch.
fn apart(record: &Record<'_>) -> impl Iterator<Item = Bytes> + use<> {
    let messages = inner_batch::unwrap(record).unwrap_or_default();
    messages.into_iter().map(Bytes::from)
}
