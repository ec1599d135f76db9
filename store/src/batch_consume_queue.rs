//! A batch consume queue, which topics with `queue.type=BatchCQ` have: one 46-byte unit for each record,
//! whose messages take as many queue offsets as the unit says.
//!
//! Units lie back to back in files named by their first byte, so a unit's place says nothing of offsets:
//! they are searched for. As with [`crate::consume_queue`], new units live in memory until the queue
//! flush writes them, and are built again from the log after a crash.
//!
//! Source: `BatchConsumeQueue`.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use sluice_protocol::message::{Record, inner_batch};

use crate::commit_log::{be32, be64, file_name, file_start};
use crate::consume_queue::ConsumeQueueUnit;
use crate::consume_queue::forget_written;
use crate::error::{At, StoreError};
use crate::file_cache::FileCache;
use crate::files::Open;

/// Bytes of a unit.
pub(crate) const UNIT: i64 = 46;
/// `compactedOffset` of a unit: Java never sets another here.
const NOT_COMPACTED: i32 = -1;

/// One entry: a record and the offsets of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchUnit {
    pub(crate) physical_offset: i64,
    pub(crate) size: i32,
    pub(crate) tags_code: i64,
    pub(crate) store_timestamp: i64,
    /// Queue offset of the first message.
    pub(crate) base: i64,
    /// How many messages, at least 1.
    pub(crate) count: i16,
}

impl BatchUnit {
    pub(crate) fn of(record: &Record<'_>, tags_code: i64) -> Self {
        BatchUnit {
            physical_offset: record.physical_offset(),
            size: record.size() as i32,
            tags_code,
            store_timestamp: record.store_timestamp(),
            base: record.queue_offset(),
            count: inner_batch::message_count(record.as_bytes()) as i16,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.physical_offset.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.tags_code.to_be_bytes());
        out.extend_from_slice(&self.store_timestamp.to_be_bytes());
        out.extend_from_slice(&self.base.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&NOT_COMPACTED.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    fn decode(bytes: &[u8]) -> Self {
        BatchUnit {
            physical_offset: be64(bytes, 0),
            size: be32(bytes, 8),
            tags_code: be64(bytes, 12),
            store_timestamp: be64(bytes, 20),
            base: be64(bytes, 28),
            count: i16::from_be_bytes([bytes[36], bytes[37]]),
        }
    }

    /// Behind its last message.
    pub(crate) fn next(&self) -> i64 {
        self.base.saturating_add(i64::from(self.count))
    }

    /// What an ordinary queue would say of its record.
    pub(crate) fn simple(&self) -> ConsumeQueueUnit {
        ConsumeQueueUnit {
            physical_offset: self.physical_offset,
            size: self.size,
            tags_code: self.tags_code,
        }
    }

    fn is_unit(&self) -> bool {
        self.physical_offset >= 0 && self.size > 0 && self.base >= 0 && self.count > 0
    }

    /// Whether it may follow `last`: units whose end was lost in a power failure point back.
    fn follows(&self, last: Option<&BatchUnit>) -> bool {
        last.is_none_or(|last| {
            self.physical_offset > last.physical_offset && self.base >= last.next()
        })
    }
}

struct State {
    /// Place of the first unit that has not expired, counted in units.
    first: i64,
    /// Its base, or the queue's end.
    min: i64,
    /// Offset of the next message.
    max: i64,
    /// The newest unit.
    last: Option<BatchUnit>,
    /// Units before this place are in files (perhaps unsynced).
    written: i64,
    /// Place of `tail`'s first unit; `tail` reaches the queue's end.
    tail_start: i64,
    tail: VecDeque<BatchUnit>,
    dirty: BTreeSet<i64>,
}

impl State {
    fn end(&self) -> i64 {
        self.tail_start + self.tail.len() as i64
    }
    fn forget_written(&mut self) {
        self.tail_start += forget_written(&mut self.tail, self.written - self.tail_start);
    }
}

pub(crate) struct BatchConsumeQueue {
    pub(crate) dir: PathBuf,
    file_size: i64,
    /// Offset of its first message, should it have none yet.
    begin: i64,
    cache: Arc<FileCache>,
    state: Mutex<State>,
}

impl BatchConsumeQueue {
    /// An empty queue whose first message will have offset `begin`.
    pub(crate) fn new(dir: PathBuf, file_size: u64, begin: i64, cache: Arc<FileCache>) -> Self {
        let state = State {
            first: 0,
            min: begin,
            max: begin,
            last: None,
            written: 0,
            tail_start: 0,
            tail: VecDeque::new(),
            dirty: BTreeSet::new(),
        };
        BatchConsumeQueue {
            dir,
            file_size: file_size as i64,
            begin,
            cache,
            state: Mutex::new(state),
        }
    }

    fn path(&self, start: i64) -> PathBuf {
        self.dir.join(file_name(start))
    }

    /// Starts of the files that are there, the oldest first; removes one that was being made when the
    /// process died, if it may.
    fn starts(&self, may_remove: bool) -> Result<Vec<i64>, StoreError> {
        let mut starts = Vec::new();
        for entry in self.cache.files.list(&self.dir).at("list", &self.dir)? {
            let path = self.dir.join(&entry.name);
            match file_start(&entry.name).filter(|_| !entry.is_dir) {
                None => {
                    tracing::warn!(path = %path.display(), "not a batch consume queue file, ignored");
                }
                Some(_) if entry.size == 0 && may_remove => {
                    let removed = self.cache.files.remove_file(&path);
                    removed.at("remove empty", &path)?;
                }
                Some(_) if entry.size == 0 => {}
                Some(_) if entry.size != self.file_size as u64 => {
                    return Err(StoreError::FileSize {
                        path,
                        size: entry.size,
                        expected: self.file_size as u64,
                    });
                }
                Some(start) => starts.push(start),
            }
        }
        Ok(starts)
    }

    /// Units of a file from one place in it on, as they lie there.
    fn read(&self, start: i64, at: i64, count: i64) -> Result<Vec<BatchUnit>, StoreError> {
        let path = self.path(start);
        let file = self.cache.get(&path, Open::Existing).at("open", &path)?;
        let mut bytes = vec![0; (count * UNIT) as usize];
        file.read_at((at * UNIT) as u64, &mut bytes)
            .at("read", &path)?;
        let units = bytes.chunks_exact(UNIT as usize).map(BatchUnit::decode);
        Ok(units.collect())
    }

    fn units_per_file(&self) -> i64 {
        self.file_size / UNIT
    }

    /// Finds the valid end: the first unit that is empty or torn, or whose record ends behind `limit`.
    pub(crate) fn load(&self, limit: i64) -> Result<(), StoreError> {
        let starts = self.starts(true)?;
        let Some(&oldest) = starts.first() else {
            return Ok(());
        };
        let (mut end, mut last) = (oldest / UNIT, None);
        // Backwards to the newest file that begins with a good unit.
        for (at, &start) in starts.iter().enumerate().rev() {
            let before = match at.checked_sub(1) {
                Some(before) => self
                    .read(starts[before], self.units_per_file() - 1, 1)?
                    .pop(),
                None => None,
            };
            let before = before.filter(BatchUnit::is_unit);
            let (count, newest) = self.valid_units(start, before, limit)?;
            if count > 0 || at == 0 {
                (end, last) = (start / UNIT + count, newest);
                break;
            }
        }
        // The newest first: whatever a crash leaves then begins where the queue begins.
        for &start in starts.iter().rev() {
            if start / UNIT >= end {
                let path = self.path(start);
                self.cache.remove_file(&path)?;
                // Its units must not come back once the log has grown past them.
                self.cache.files.sync_dir(&self.dir).at("sync", &self.dir)?;
            }
        }
        self.begin_at(oldest, end, last)?;
        self.zero_behind(end)
    }

    /// After a clean stop units are dense and everything behind them is zero: the end is found by
    /// bisection.
    pub(crate) fn load_clean(&self) -> Result<(), StoreError> {
        self.starts(true)?;
        self.load_as_it_is()
    }

    /// [`BatchConsumeQueue::load_clean`] without changing anything.
    pub(crate) fn load_as_it_is(&self) -> Result<(), StoreError> {
        let starts = self.starts(false)?;
        let (Some(&oldest), Some(&newest)) = (starts.first(), starts.last()) else {
            return Ok(());
        };
        let (mut low, mut high) = (0, self.units_per_file());
        while low < high {
            let middle = (low + high) / 2;
            let unit = self.read(newest, middle, 1)?.pop();
            if unit.is_some_and(|unit| unit.is_unit()) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let last = match (low, starts.len().checked_sub(2)) {
            (0, None) => None,
            (0, Some(before)) => self
                .read(starts[before], self.units_per_file() - 1, 1)?
                .pop(),
            (end, _) => self.read(newest, end - 1, 1)?.pop(),
        };
        self.begin_at(oldest, newest / UNIT + low, last)
    }

    /// The queue has the units from the file `oldest` up to the place `end`.
    fn begin_at(&self, oldest: i64, end: i64, last: Option<BatchUnit>) -> Result<(), StoreError> {
        let first = match oldest / UNIT < end {
            true => self.read(oldest, 0, 1)?.pop(),
            false => None,
        };
        let mut state = self.state.lock();
        let dirty = std::mem::take(&mut state.dirty);
        let max = last.map_or(self.begin, |unit| unit.next());
        *state = State {
            first: oldest / UNIT,
            min: first.map_or(max, |unit| unit.base),
            max,
            last,
            written: end,
            tail_start: end,
            tail: VecDeque::new(),
            dirty,
        };
        if first.is_none() {
            // A queue without units begins in a file of its own.
            state.first = 0;
            (state.written, state.tail_start) = (0, 0);
        }
        Ok(())
    }

    /// How many units of a file are good, and the last of them.
    fn valid_units(
        &self,
        start: i64,
        mut last: Option<BatchUnit>,
        limit: i64,
    ) -> Result<(i64, Option<BatchUnit>), StoreError> {
        let mut count = 0;
        for unit in self.read(start, 0, self.units_per_file())? {
            let end = unit.simple().end();
            if !unit.is_unit() || !unit.follows(last.as_ref()) || end > limit {
                break;
            }
            last = Some(unit);
            count += 1;
        }
        Ok((count, last.filter(|_| count > 0)))
    }

    /// Clears the stale units behind the place `end`, so that no later start takes them for its own.
    fn zero_behind(&self, end: i64) -> Result<(), StoreError> {
        let start = end * UNIT - (end * UNIT) % self.file_size;
        let path = self.path(start);
        if !self.cache.files.exists(&path) {
            return Ok(());
        }
        let file = self.cache.get(&path, Open::Existing).at("open", &path)?;
        let at = end * UNIT - start;
        let mut rest = vec![0; (self.file_size - at) as usize];
        file.read_at(at as u64, &mut rest).at("read", &path)?;
        let Some(last) = rest.iter().rposition(|&byte| byte != 0) else {
            return Ok(());
        };
        rest.fill(0);
        file.write_at(at as u64, &rest[..=last])
            .at("clear", &path)?;
        file.sync().at("sync", &path)
    }

    /// Puts a unit at the queue's end; false if its record is in the queue already, or would have to lie
    /// before what is.
    pub(crate) fn push(&self, unit: BatchUnit) -> bool {
        let mut state = self.state.lock();
        if unit.base < state.max || !unit.follows(state.last.as_ref()) {
            return false;
        }
        if state.min == state.max {
            state.min = unit.base;
        }
        (state.max, state.last) = (unit.next(), Some(unit));
        state.tail.push_back(unit);
        true
    }

    /// Lowest and next offset.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let state = self.state.lock();
        (state.min, state.max)
    }

    /// The unit at a place; `None` outside the queue, or when its file is gone.
    fn at(&self, place: i64) -> Result<Option<BatchUnit>, StoreError> {
        let mut units = Vec::new();
        self.units_at(place, 1, &mut units)?;
        Ok(units.pop())
    }

    /// Up to `count` units from a place on, of one file or of memory.
    fn units_at(
        &self,
        place: i64,
        count: usize,
        out: &mut Vec<BatchUnit>,
    ) -> Result<(), StoreError> {
        let on_disk = {
            let state = self.state.lock();
            if place < state.first || place >= state.end() {
                return Ok(());
            }
            if place >= state.tail_start {
                let at = (place - state.tail_start) as usize;
                out.extend(state.tail.range(at..).take(count));
                return Ok(());
            }
            state.tail_start - place
        };
        let start = place * UNIT - (place * UNIT) % self.file_size;
        let in_file = (start + self.file_size) / UNIT - place;
        let count = on_disk.min(in_file).min(count as i64);
        match self.read(start, place - start / UNIT, count) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            read => out.extend(read?),
        }
        Ok(())
    }

    /// The place of the unit that holds an offset, or of the next one where none does.
    fn place_of(&self, offset: i64) -> Result<Option<i64>, StoreError> {
        let (mut low, mut high) = {
            let state = self.state.lock();
            if offset < state.min || offset >= state.max {
                return Ok(None);
            }
            let before = state.tail.partition_point(|unit| unit.next() <= offset);
            if before > 0 || state.tail_start <= state.first {
                return Ok(Some(state.tail_start + before as i64));
            }
            (state.first, state.tail_start)
        };
        // The first that ends behind the offset.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle)? {
                // Files that are gone have expired: they were below.
                None => low = middle + 1,
                Some(unit) if unit.next() <= offset => low = middle + 1,
                Some(_) => high = middle,
            }
        }
        Ok(Some(low))
    }

    /// The unit of an offset; `None` outside the queue, or when its file is gone.
    pub(crate) fn unit(&self, offset: i64) -> Result<Option<BatchUnit>, StoreError> {
        let mut units = Vec::new();
        self.units(offset, 1, &mut units)?;
        Ok(units.pop())
    }

    /// Up to `count` units, of one file or of memory, from that of an offset on.
    pub(crate) fn units(
        &self,
        offset: i64,
        count: usize,
        out: &mut Vec<BatchUnit>,
    ) -> Result<(), StoreError> {
        match self.place_of(offset)? {
            Some(place) => self.units_at(place, count, out),
            None => Ok(()),
        }
    }

    /// Whether the unit is answered from memory.
    pub(crate) fn in_memory(&self, offset: i64) -> bool {
        let state = self.state.lock();
        state.tail.front().is_some_and(|unit| offset >= unit.base)
    }

    /// First offset of the file behind the one that holds `offset`, or the queue's end.
    pub(crate) fn next_file(&self, offset: i64) -> i64 {
        let (min, max) = self.bounds();
        if offset < min {
            return min;
        }
        let Ok(Some(place)) = self.place_of(offset) else {
            return max;
        };
        let next = (place / self.units_per_file() + 1) * self.units_per_file();
        self.at(next).ok().flatten().map_or(max, |unit| unit.base)
    }

    /// Writes what is only in memory and syncs every file that is dirty.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let (from, units): (i64, Vec<BatchUnit>) = {
            let state = self.state.lock();
            if state.written >= state.end() && state.dirty.is_empty() {
                return Ok(());
            }
            let at = (state.written - state.tail_start) as usize;
            (state.written, state.tail.range(at..).copied().collect())
        };
        let end = from + units.len() as i64;
        let mut at = from;
        while at < end {
            let start = at * UNIT - (at * UNIT) % self.file_size;
            let stop = end.min((start + self.file_size) / UNIT);
            let now = &units[(at - from) as usize..(stop - from) as usize];
            self.write(start, at, now)?;
            at = stop;
        }
        let dirty = {
            let mut state = self.state.lock();
            state.written = end;
            std::mem::take(&mut state.dirty)
        };
        let paths = dirty.iter().map(|start| self.path(*start));
        if let Err(error) = self.cache.sync(paths) {
            // They are as unsynced as before: the next round must not take them for durable.
            self.state.lock().dirty.extend(dirty);
            return Err(error);
        }
        self.state.lock().forget_written();
        Ok(())
    }

    fn write(&self, start: i64, from: i64, units: &[BatchUnit]) -> Result<(), StoreError> {
        let files = &self.cache.files;
        files.create_dir_all(&self.dir).at("create", &self.dir)?;
        if from == 0 {
            self.remove_leftovers()?;
        }
        let path = self.path(start);
        let whole = Open::Sparse(self.file_size as u64);
        let file = self.cache.get(&path, whole).at("create", &path)?;
        let mut bytes = Vec::with_capacity(units.len() * UNIT as usize);
        units.iter().for_each(|unit| unit.encode(&mut bytes));
        file.write_at((from * UNIT - start) as u64, &bytes)
            .at("write", &path)?;
        self.state.lock().dirty.insert(start);
        Ok(())
    }

    /// A removal that failed may have left files, whose units must not be taken for those of the queue that
    /// now begins.
    fn remove_leftovers(&self) -> Result<(), StoreError> {
        let entries = self.cache.files.list(&self.dir).at("list", &self.dir)?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries.iter().rev().filter(|entry| !entry.is_dir) {
            self.cache.remove_file(&self.dir.join(&entry.name))?;
        }
        self.cache.files.sync_dir(&self.dir).at("sync", &self.dir)
    }

    /// Raises the lowest offset to the first unit at or behind `log_min` and removes files that lie
    /// wholly before it; the last file stays.
    pub(crate) fn expire(&self, log_min: i64) -> Result<(), StoreError> {
        let (mut low, end, max) = {
            let state = self.state.lock();
            (state.first, state.end(), state.max)
        };
        let mut high = end;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle)? {
                None => return Ok(()),
                Some(unit) if unit.physical_offset < log_min => low = middle + 1,
                Some(_) => high = middle,
            }
        }
        let first = self.at(low)?;
        {
            let mut state = self.state.lock();
            (state.first, state.min) = (low, first.map_or(max, |unit| unit.base));
        }
        for start in self.starts(false)? {
            let next = (start + self.file_size) / UNIT;
            if next <= low && next < end {
                let path = self.path(start);
                self.cache.remove_file(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{FileSystem, SimulatedFiles};

    const PER_FILE: i64 = 4;

    fn queue(files: &SimulatedFiles) -> BatchConsumeQueue {
        let cache = Arc::new(FileCache::new(Arc::new(files.clone()), 8));
        let size = (UNIT * PER_FILE) as u64;
        BatchConsumeQueue::new(PathBuf::from("/q"), size, 0, cache)
    }

    fn unit(physical_offset: i64, base: i64, count: i16) -> BatchUnit {
        BatchUnit {
            physical_offset,
            size: 10,
            tags_code: 0,
            store_timestamp: 5,
            base,
            count,
        }
    }

    /// `count` units of three messages each.
    fn filled(files: &SimulatedFiles, count: i64) -> BatchConsumeQueue {
        let queue = queue(files);
        (0..count).for_each(|at| assert!(queue.push(unit(at * 10, at * 3, 3))));
        queue.flush().unwrap();
        queue
    }

    /// The layout of Java's `putBatchMessagePositionInfo`.
    #[test]
    fn a_unit_is_what_java_writes() {
        let unit = BatchUnit {
            physical_offset: 1 << 30,
            size: 300,
            tags_code: -1,
            store_timestamp: 0x0102_0304_0506,
            base: 7,
            count: 3,
        };
        let mut bytes = Vec::new();
        unit.encode(&mut bytes);
        let java = [
            0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 1, 0x2c, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0,
            1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 255, 255, 255, 255, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, java);
        assert_eq!(BatchUnit::decode(&java), unit);
    }

    #[test]
    fn every_offset_leads_to_its_unit() {
        for count in 1..14 {
            let files = SimulatedFiles::new();
            let first = filled(&files, count);
            let clean = queue(&files);
            clean.load_clean().unwrap();
            let crashed = queue(&files);
            crashed.load(i64::MAX).unwrap();
            for queue in [first, clean, crashed] {
                assert_eq!(queue.bounds(), (0, count * 3));
                for offset in 0..count * 3 {
                    let expected = unit(offset / 3 * 10, offset / 3 * 3, 3);
                    assert_eq!(queue.unit(offset).unwrap(), Some(expected), "{offset}");
                }
                assert_eq!(queue.unit(count * 3).unwrap(), None);
                assert!(queue.push(unit(count * 10, count * 3, 1)));
                assert!(!queue.push(unit(count * 10, count * 3, 1)));
            }
        }
    }

    /// Java leaves holes: messages that came alone have offsets, but no unit.
    #[test]
    fn an_offset_in_a_hole_leads_to_the_next_unit() {
        let queue = queue(&SimulatedFiles::new());
        assert!(queue.push(unit(0, 0, 2)));
        assert!(queue.push(unit(10, 5, 2)));
        assert_eq!(queue.unit(3).unwrap(), Some(unit(10, 5, 2)));
        assert_eq!(queue.bounds(), (0, 7));
    }

    #[test]
    fn a_torn_unit_and_one_behind_the_limit_end_the_queue() {
        for (damage, limit) in [(true, i64::MAX), (false, 50)] {
            let files = SimulatedFiles::new();
            filled(&files, 6);
            if damage {
                // The sixth has lost its end.
                let path = PathBuf::from("/q").join(file_name(UNIT * PER_FILE));
                let file = files.open(&path, Open::Existing).unwrap();
                file.write_at((UNIT + 28) as u64, &[0; 18]).unwrap();
            }
            let again = queue(&files);
            again.load(limit).unwrap();
            assert_eq!(again.bounds(), (0, 15));
            assert!(again.push(unit(50, 15, 4)));
            again.flush().unwrap();
            let clean = queue(&files);
            clean.load_clean().unwrap();
            assert_eq!(clean.bounds(), (0, 19));
        }
    }

    #[test]
    fn what_the_log_has_lost_expires() {
        let files = SimulatedFiles::new();
        let queue = filled(&files, 10);
        queue.expire(45).unwrap();
        assert_eq!(queue.bounds(), (15, 30));
        assert_eq!(queue.starts(false).unwrap().len(), 2);
        queue.expire(i64::MAX).unwrap();
        assert_eq!(queue.bounds(), (30, 30));
        // The last file stays, and with it the offset that comes next.
        let again = self::queue(&files);
        again.load_clean().unwrap();
        again.expire(i64::MAX).unwrap();
        assert_eq!(again.bounds(), (30, 30));
        assert!(again.push(unit(100, 30, 2)));
        assert_eq!(again.bounds(), (30, 32));
    }
}
