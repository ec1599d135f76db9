//! Reading a queue whose messages are kept by their last key: what a round has compared, and what the
//! commit log no longer has, from here, all else from the commit log.

use std::ops::ControlFlow;

use bytes::Bytes;
use sluice_protocol::message::Record;
use sluice_protocol::message::record::PHYSICAL_OFFSET_AT;

use super::look::Reading;
use super::queue::CompactedQueue;
use super::units::{UNIT, Unit};
use crate::consume_queue::ConsumeQueueUnit;
use crate::error::StoreError;
use crate::read::{Boundary, QueueBounds, ReadRequest, ReadResult, ReadStatus, RecordFilter, Scan};
use crate::store::Store;

/// Units read at once.
const RUN: usize = 64;

/// A compacted queue beside its consume queue.
pub(crate) struct Both {
    queue: std::sync::Arc<CompactedQueue>,
    /// Below it messages are read from the compaction log.
    until: i64,
    pub(crate) bounds: QueueBounds,
}

impl Store {
    /// The queue, if it is kept by key and has messages that are read from the compaction log.
    pub(crate) fn compacted(&self, topic: &str, queue_id: i32) -> Option<Both> {
        let queue = self.compaction.queue(topic, queue_id)?;
        let marks = queue.marks();
        let consume_queue = self.queue(topic, queue_id).map(|queue| queue.bounds());
        let (min, max) = consume_queue.unwrap_or((marks.next, marks.next));
        Some(Both {
            queue,
            until: min.max(marks.position + 1).min(marks.next),
            bounds: QueueBounds {
                min: marks.min.map_or(min, |first| first.min(min)),
                max: max.max(marks.next),
            },
        })
    }

    /// The store's part of [`Store::read`] for such a queue.
    pub(crate) fn read_compacted(
        &self,
        both: &Both,
        request: &ReadRequest<'_>,
        filter: &dyn RecordFilter,
    ) -> ReadResult {
        let mut request = *request;
        // As in Java: whoever comes from below begins with the first there is.
        request.offset = request.offset.max(both.bounds.min);
        if request.offset < both.until {
            let mut result = ReadResult {
                status: ReadStatus::NoMatchedMessage,
                next_begin_offset: request.offset,
                min_offset: both.bounds.min,
                max_offset: both.bounds.max,
                records: Vec::new(),
                suggest_slave: false,
            };
            match self.scan_compacted(both, &request, filter, &mut result) {
                Ok(ControlFlow::Break(())) => return result,
                Ok(ControlFlow::Continue(())) if !result.records.is_empty() => return result,
                Ok(ControlFlow::Continue(())) => {}
                Err(error) => {
                    tracing::warn!(%error, "a read failed");
                    result.records.clear();
                    result.status = ReadStatus::Unreadable;
                    result.next_begin_offset = request.offset;
                    return result;
                }
            }
            request.offset = result.next_begin_offset;
        }
        let mut result = self.read_queue(&request, filter);
        result.min_offset = both.bounds.min;
        result.max_offset = result.max_offset.max(both.bounds.max);
        if result.status == ReadStatus::NoMatchedLogicQueue {
            // All its messages have left the log: the queue ends where what is kept here ends, not at 0.
            let max = both.bounds.max;
            (result.status, result.next_begin_offset) = match request.offset {
                beyond if beyond > max => (ReadStatus::OffsetOverflowBadly, max),
                at => (ReadStatus::OffsetOverflowOne, at),
            };
        }
        result
    }

    /// Breaks when the answer is full, when the filter holds it, or when enough was looked at; else all
    /// that the compaction log has was looked at.
    fn scan_compacted(
        &self,
        both: &Both,
        request: &ReadRequest<'_>,
        filter: &dyn RecordFilter,
        result: &mut ReadResult,
    ) -> Result<ControlFlow<()>, StoreError> {
        let count = self.scan_units(request.max_messages, UNIT as i64);
        let reading = both.queue.reading();
        // Where the compaction log ends says nothing about what is in memory.
        let mut scan = Scan::new(self, request, filter, 0, result);
        let mut scanned = 0;
        let mut at = request.offset;
        let mut full = false;
        while scanned < count && at < both.until && !full {
            let units = reading.units(at, RUN.min(count - scanned))?;
            if units.is_empty() {
                at = both.until;
                scan.pass_to(at);
            }
            for unit in units
                .iter()
                .take_while(|unit| unit.queue_offset < both.until)
            {
                if self
                    .take_compacted(&mut scan, &reading, unit, request)?
                    .is_break()
                {
                    full = true;
                    break;
                }
                scanned += 1;
            }
            if !full && let Some(last) = units.last() {
                at = (last.queue_offset + 1).min(both.until);
                scan.pass_to(at);
            }
        }
        let held = scan.finish();
        let ended = !full && !held && at >= both.until;
        Ok(match ended {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    }

    fn take_compacted(
        &self,
        scan: &mut Scan<'_>,
        reading: &Reading<'_>,
        unit: &Unit,
        request: &ReadRequest<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        if scan.make_room(&as_queued(unit)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        scan.pass_to(unit.queue_offset + 1);
        if !scan.matches(unit.tags_code) {
            return Ok(ControlFlow::Continue(()));
        }
        let record = self.compacted_record(reading, unit, request)?;
        Ok(scan.offer(record))
    }

    /// The record as it is handed out. Java writes into it where it lies in the compaction log: whoever
    /// sends it back would get another message of the commit log for it, so its old place is put there
    /// again, or none.
    fn compacted_record(
        &self,
        reading: &Reading<'_>,
        unit: &Unit,
        request: &ReadRequest<'_>,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(bytes) = reading.record(unit)? else {
            return Ok(None);
        };
        let physical = Record::parse(&bytes).map_or(-1, |record| record.physical_offset());
        if physical != unit.position {
            return Ok(Some(bytes));
        }
        let queue = self.queue(request.topic, request.queue_id);
        let place = match queue {
            Some(queue) => queue.unit(unit.queue_offset)?,
            None => None,
        };
        let place = place.filter(|place| !place.is_blank());
        let place = place.map_or(-1, |place| place.physical_offset);
        let mut own = bytes.to_vec();
        own[PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8].copy_from_slice(&place.to_be_bytes());
        Ok(Some(own.into()))
    }

    /// Whether a queue's message is still there to be read.
    ///
    /// # Errors
    /// When that can't be told now.
    pub fn is_kept(&self, topic: &str, queue_id: i32, offset: i64) -> Result<bool, StoreError> {
        if let Some(both) = self.compacted(topic, queue_id)
            && offset < both.until
        {
            return Ok(both.queue.reading().unit(offset)?.is_some());
        }
        let unit = self.read_unit(topic, queue_id, offset)?;
        Ok(unit.is_some_and(|unit| unit.physical_offset >= self.log_start()))
    }

    /// Store time of a message that only the compaction log may have.
    pub(crate) fn compacted_time(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let both = self.compacted(topic, queue_id)?;
        let unit = both.queue.reading().unit(offset).ok().flatten();
        unit.map(|unit| unit.store_time)
    }

    /// What only the compaction log has for a time: messages that the consume queue begins behind.
    pub(crate) fn compacted_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<Option<i64>, StoreError> {
        let Some(both) = self.compacted(topic, queue_id) else {
            return Ok(None);
        };
        let begin = self.queue(topic, queue_id).map(|queue| queue.bounds().0);
        let (first, last) = both.queue.reading().around(timestamp_ms)?;
        let found = match boundary {
            Boundary::Lower => first,
            Boundary::Upper => last,
        };
        let offset = found.map(|unit| unit.queue_offset);
        Ok(offset.filter(|offset| begin.is_none_or(|begin| *offset < begin)))
    }
}

fn as_queued(unit: &Unit) -> ConsumeQueueUnit {
    ConsumeQueueUnit {
        physical_offset: unit.position,
        size: unit.size,
        tags_code: unit.tags_code,
    }
}

impl Both {
    /// Whether a message is read from the compaction log.
    pub(crate) fn has(&self, offset: i64) -> bool {
        offset < self.until
    }
}
