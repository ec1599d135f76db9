//! Finding units and records of a compacted queue by offset and time.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::RwLockReadGuard;

use super::queue::{CompactedQueue, State};
use super::units::Unit;
use crate::error::{At, StoreError};

/// A look at a queue during which no piece is replaced.
pub(crate) struct Reading<'a> {
    queue: &'a CompactedQueue,
    state: RwLockReadGuard<'a, State>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(queue: &'a CompactedQueue, state: RwLockReadGuard<'a, State>) -> Self {
        Reading { queue, state }
    }

    /// Up to `count` units of one piece, from the first at or behind a queue offset.
    ///
    /// # Errors
    /// Also while only a start can tell what a failed round has left.
    pub(crate) fn units(&self, from: i64, count: usize) -> Result<Vec<Unit>, StoreError> {
        if self.queue.unsettled.load(Ordering::Relaxed) {
            let what = "a round of compaction failed half-way, the next start settles it";
            return Err(std::io::Error::other(what)).at("read", &self.queue.log_dir);
        }
        let pieces = &self.state.pieces;
        let at = pieces.partition_point(|piece| piece.last < from);
        let Some(piece) = pieces.get(at) else {
            return Ok(Vec::new());
        };
        let first = self.queue.bisect(piece, |unit| unit.queue_offset < from)?;
        self.queue.units_of(piece, first, count as u64)
    }

    /// The unit of exactly this queue offset.
    pub(crate) fn unit(&self, offset: i64) -> Result<Option<Unit>, StoreError> {
        let found = self.units(offset, 1)?.pop();
        Ok(found.filter(|unit| unit.queue_offset == offset))
    }

    /// The last unit below a queue offset.
    pub(crate) fn last_below(&self, limit: i64) -> Result<Option<Unit>, StoreError> {
        for piece in self.state.pieces.iter().rev().filter(|p| p.units > 0) {
            let count = self.queue.bisect(piece, |unit| unit.queue_offset < limit)?;
            if count > 0 {
                return Ok(self.queue.units_of(piece, count - 1, 1)?.pop());
            }
        }
        Ok(None)
    }

    /// The first unit that was stored at or after a time, and the last at or before it.
    pub(crate) fn around(&self, time: i64) -> Result<(Option<Unit>, Option<Unit>), StoreError> {
        let (mut first, mut last) = (None, None);
        for piece in self.state.pieces.iter().filter(|piece| piece.units > 0) {
            let queue = self.queue;
            let from = queue.bisect(piece, |unit| unit.store_time < time)?;
            if first.is_none() {
                first = queue.units_of(piece, from, 1)?.pop();
            }
            let later = queue.bisect(piece, |unit| unit.store_time <= time)?;
            if later > 0 {
                last = queue.units_of(piece, later - 1, 1)?.pop();
            }
            if later < piece.units {
                break;
            }
        }
        Ok((first, last))
    }

    pub(crate) fn record(&self, unit: &Unit) -> Result<Option<Bytes>, StoreError> {
        let pieces = &self.state.pieces;
        let at = pieces.partition_point(|piece| piece.start <= unit.position);
        match at.checked_sub(1) {
            Some(at) => self.queue.record(&pieces[at], unit),
            None => Ok(None),
        }
    }
}
