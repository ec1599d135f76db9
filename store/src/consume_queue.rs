//! A consume queue: 20-byte units that say where a queue's records lie in the commit log.
//!
//! New units live in memory until the queue flush writes them out; after a crash they are built
//! again from the log, so nothing is lost by waiting.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::commit_log::{be32, be64, file_name, file_start};
use crate::error::{At, StoreError};
use crate::file_cache::FileCache;
use crate::files::Open;

/// Bytes of a unit.
pub(crate) const UNIT: i64 = 20;
/// Size field of a unit that stands for no record.
pub(crate) const BLANK_UNIT_SIZE: i32 = i32::MAX;
/// Units kept in memory behind the tail of an idle queue.
const KEPT: usize = 64;

/// One entry of a consume queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumeQueueUnit {
    /// Where the record starts in the commit log.
    pub physical_offset: i64,
    /// The record's size in bytes.
    pub size: i32,
    /// Hash of the tags, or the delivery time of a delayed message.
    pub tags_code: i64,
}

impl ConsumeQueueUnit {
    pub(crate) const BLANK: Self = ConsumeQueueUnit {
        physical_offset: 0,
        size: BLANK_UNIT_SIZE,
        tags_code: 0,
    };

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.physical_offset.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.tags_code.to_be_bytes());
    }
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        ConsumeQueueUnit {
            physical_offset: be64(bytes, 0),
            size: be32(bytes, 8),
            tags_code: be64(bytes, 12),
        }
    }
    /// Physical offset behind its record; 0 for a unit that stands for none.
    pub(crate) fn end(&self) -> i64 {
        if self.is_blank() {
            return 0;
        }
        self.physical_offset.saturating_add(i64::from(self.size))
    }
    /// Whether it stands for no record: filler, or a removed message.
    pub fn is_blank(&self) -> bool {
        self.size == BLANK_UNIT_SIZE
    }
}

struct State {
    /// First offset that is not filler or expired.
    min: i64,
    /// Units below are in files (perhaps unsynced).
    written: i64,
    /// No file has a unit yet.
    unwritten: bool,
    /// Offset of `tail`'s first unit; `tail` reaches the queue's end.
    tail_start: i64,
    tail: VecDeque<ConsumeQueueUnit>,
    dirty: BTreeSet<i64>,
}

impl State {
    fn max(&self) -> i64 {
        self.tail_start + self.tail.len() as i64
    }
    fn forget_written(&mut self) {
        self.tail_start += forget_written(&mut self.tail, self.written - self.tail_start);
    }
    fn restart_at(&mut self, offset: i64) {
        (self.min, self.written, self.tail_start) = (offset, offset, offset);
        self.unwritten = true;
        self.tail.clear();
    }
}

/// Of a tail whose first `written` units are in files keeps the last [`KEPT`], and not the room that a burst has
/// taken; how many are gone.
pub(crate) fn forget_written<T>(tail: &mut VecDeque<T>, written: i64) -> i64 {
    let gone = (written.max(0) as usize).min(tail.len().saturating_sub(KEPT));
    tail.drain(..gone);
    tail.shrink_to(4 * KEPT);
    gone as i64
}

pub(crate) struct ConsumeQueue {
    pub(crate) dir: PathBuf,
    file_size: i64,
    /// Offset of its first message, should it have none yet.
    begin: i64,
    cache: Arc<FileCache>,
    state: Mutex<State>,
}

impl ConsumeQueue {
    /// An empty queue whose first message will have offset `begin`.
    pub(crate) fn new(dir: PathBuf, file_size: u64, begin: i64, cache: Arc<FileCache>) -> Self {
        let state = State {
            min: begin,
            written: begin,
            unwritten: true,
            tail_start: begin,
            tail: VecDeque::new(),
            dirty: BTreeSet::new(),
        };
        ConsumeQueue {
            dir,
            file_size: file_size as i64,
            begin,
            cache,
            state: Mutex::new(state),
        }
    }

    fn starts(&self) -> Result<Vec<i64>, StoreError> {
        let mut starts = Vec::new();
        for entry in self.cache.files.list(&self.dir).at("list", &self.dir)? {
            let path = self.dir.join(&entry.name);
            match file_start(&entry.name).filter(|_| !entry.is_dir) {
                None => tracing::warn!(path = %path.display(), "not a consume queue file, ignored"),
                // Being made when the process died.
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

    fn remove_empty(&self) -> Result<(), StoreError> {
        for entry in self.cache.files.list(&self.dir).at("list", &self.dir)? {
            if entry.size == 0 && file_start(&entry.name).is_some() {
                let path = self.dir.join(&entry.name);
                let removed = self.cache.files.remove_file(&path);
                removed.at("remove empty", &path)?;
            }
        }
        Ok(())
    }

    /// Finds the valid end: the first unit that is empty, or that points at or behind `limit`.
    pub(crate) fn load(&self, limit: i64) -> Result<(), StoreError> {
        self.remove_empty()?;
        let starts = self.starts()?;
        let Some(&oldest) = starts.first() else {
            return Ok(());
        };
        let (mut first, mut end) = (oldest / UNIT, oldest / UNIT);
        // Backwards to the newest file that begins with a unit below the limit.
        for (at, &start) in starts.iter().enumerate().rev() {
            let before = at.checked_sub(1).map(|before| starts[before]);
            let valid = self.valid_units(start, self.last_physical(before)?, limit)?;
            if valid > 0 || at == 0 {
                end = start / UNIT + valid;
                break;
            }
        }
        // The newest first: whatever a crash leaves then begins where the queue begins.
        for &start in starts.iter().rev() {
            // One without units may have been made by a process that was killed before it made
            // the entry durable: it is made anew when it is needed.
            if start / UNIT >= end {
                let path = self.dir.join(file_name(start));
                self.cache.remove_file(&path)?;
                // Its units must not come back once the log has grown past them.
                self.cache.files.sync_dir(&self.dir).at("sync", &self.dir)?;
            }
        }
        if first == end {
            // Nothing is left: a queue that came back after its removal begins where it then did.
            end = end.max(self.begin);
            first = end;
        }
        {
            let mut state = self.state.lock();
            state.restart_at(end);
            state.min = first;
            state.unwritten = first == end;
        }
        self.state.lock().min = self.first_real(first)?;
        self.zero_behind(end)
    }

    /// After a clean stop units are dense and everything behind them is zero: the end is found by
    /// bisection, so that starting costs a few reads per queue, not its whole file.
    pub(crate) fn load_clean(&self) -> Result<(), StoreError> {
        self.remove_empty()?;
        self.load_as_it_is()
    }

    /// [`ConsumeQueue::load_clean`] without changing anything.
    pub(crate) fn load_as_it_is(&self) -> Result<(), StoreError> {
        let starts = self.starts()?;
        let Some(&last) = starts.last() else {
            return Ok(());
        };
        let first = starts[0] / UNIT;
        let end = last / UNIT + self.dense_units(last)?;
        {
            let mut state = self.state.lock();
            state.restart_at(end);
            state.min = first;
            state.unwritten = first == end;
        }
        self.state.lock().min = self.first_real(first)?;
        Ok(())
    }

    /// The first offset at or behind `from` that is not filler, or the queue's end.
    fn first_real(&self, mut from: i64) -> Result<i64, StoreError> {
        while self.unit(from)?.is_some_and(|unit| unit.is_blank()) {
            from += 1;
        }
        Ok(from)
    }

    fn dense_units(&self, start: i64) -> Result<i64, StoreError> {
        let path = self.dir.join(file_name(start));
        let file = self.cache.get(&path, Open::Existing).at("open", &path)?;
        let (mut low, mut high) = (0, self.file_size / UNIT);
        while low < high {
            let middle = (low + high) / 2;
            let mut unit = [0; UNIT as usize];
            file.read_at((middle * UNIT) as u64, &mut unit)
                .at("read", &path)?;
            if ConsumeQueueUnit::decode(&unit).size > 0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Physical offset that the last unit of a file points at, -1 if there is none.
    fn last_physical(&self, start: Option<i64>) -> Result<i64, StoreError> {
        let Some(start) = start else { return Ok(-1) };
        let path = self.dir.join(file_name(start));
        let file = self.cache.get(&path, Open::Existing).at("open", &path)?;
        let mut bytes = [0; UNIT as usize];
        file.read_at((self.file_size - UNIT) as u64, &mut bytes)
            .at("read", &path)?;
        let unit = ConsumeQueueUnit::decode(&bytes);
        Ok(if unit.is_blank() || unit.size <= 0 {
            -1
        } else {
            unit.physical_offset
        })
    }

    /// Units of a file up to the first that is empty, reaches over `limit`, or points back: that
    /// one was torn by a power loss.
    fn valid_units(&self, start: i64, mut last: i64, limit: i64) -> Result<i64, StoreError> {
        let path = self.dir.join(file_name(start));
        let mut bytes = vec![0; self.file_size as usize];
        let file = self.cache.get(&path, Open::Existing).at("open", &path)?;
        file.read_at(0, &mut bytes).at("read", &path)?;
        let mut real = 0;
        for (at, unit) in bytes
            .chunks_exact(UNIT as usize)
            .map(ConsumeQueueUnit::decode)
            .enumerate()
        {
            if unit.size <= 0 || unit.physical_offset < 0 {
                break;
            }
            if unit.is_blank() {
                continue;
            }
            if unit.end() > limit || unit.physical_offset <= last {
                break;
            }
            last = unit.physical_offset;
            // Trailing filler says nothing about where the queue ends.
            real = at as i64 + 1;
        }
        Ok(real)
    }

    /// Clears the stale units behind `end`, so that no later start takes them for its own.
    fn zero_behind(&self, end: i64) -> Result<(), StoreError> {
        let start = self.start_of(end);
        let path = self.dir.join(file_name(start));
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

    /// Puts the unit of `offset` at the queue's end. Below the end it is there already; a hole is
    /// filled with units that read as removed.
    pub(crate) fn push(&self, offset: i64, unit: ConsumeQueueUnit) -> bool {
        let mut state = self.state.lock();
        if offset < state.max() {
            return false;
        }
        if offset > state.max() && state.max() <= state.min {
            state.restart_at(offset);
        }
        while state.max() < offset {
            state.tail.push_back(ConsumeQueueUnit::BLANK);
        }
        state.tail.push_back(unit);
        true
    }

    /// Lowest and next offset.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let state = self.state.lock();
        (state.min, state.max())
    }

    /// The unit of an offset; `None` outside the queue, or when its file is gone.
    pub(crate) fn unit(&self, offset: i64) -> Result<Option<ConsumeQueueUnit>, StoreError> {
        let mut units = Vec::new();
        self.units(offset, 1, &mut units)?;
        Ok(units.pop())
    }

    /// The unit of an offset, if that waits for no disk.
    pub(crate) fn cached_unit(&self, offset: i64) -> Option<ConsumeQueueUnit> {
        {
            let state = self.state.lock();
            if offset < state.min || offset >= state.max() {
                return None;
            }
            if offset >= state.tail_start {
                return state
                    .tail
                    .get((offset - state.tail_start) as usize)
                    .copied();
            }
        }
        let start = self.start_of(offset);
        let path = self.dir.join(file_name(start));
        let file = self.cache.get_open(&path)?;
        let mut bytes = [0; UNIT as usize];
        let at = (offset * UNIT - start) as u64;
        let cached = file.read_cached_at(at, &mut bytes).unwrap_or(false);
        cached.then(|| ConsumeQueueUnit::decode(&bytes))
    }

    /// Start of the file that has a unit, bytes.
    fn start_of(&self, offset: i64) -> i64 {
        offset * UNIT - (offset * UNIT) % self.file_size
    }

    /// Reads up to `count` units from `offset` on, of one file or of memory. A file that is gone
    /// has none; any other failure says nothing about what the queue holds.
    pub(crate) fn units(
        &self,
        offset: i64,
        count: usize,
        out: &mut Vec<ConsumeQueueUnit>,
    ) -> Result<(), StoreError> {
        let on_disk = {
            let state = self.state.lock();
            if offset < state.min || offset >= state.max() {
                return Ok(());
            }
            if offset >= state.tail_start {
                let at = (offset - state.tail_start) as usize;
                out.extend(state.tail.range(at..).take(count));
                return Ok(());
            }
            state.tail_start - offset
        };
        let start = self.start_of(offset);
        let in_file = (start + self.file_size) / UNIT - offset;
        let count = on_disk.min(in_file).min(count as i64);
        let path = self.dir.join(file_name(start));
        let mut bytes = vec![0; (count * UNIT) as usize];
        let file = match self.cache.get(&path, Open::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.at("open", &path)?,
        };
        file.read_at((offset * UNIT - start) as u64, &mut bytes)
            .at("read", &path)?;
        let units = bytes.chunks_exact(UNIT as usize);
        out.extend(units.map(ConsumeQueueUnit::decode));
        Ok(())
    }

    /// First offset of the file behind the one that holds `offset`.
    pub(crate) fn next_file(&self, offset: i64) -> i64 {
        (offset * UNIT / self.file_size + 1) * self.file_size / UNIT
    }

    /// Writes what is only in memory and syncs every file that is dirty.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let (from, units): (i64, Vec<ConsumeQueueUnit>) = {
            let state = self.state.lock();
            if state.written >= state.max() && state.dirty.is_empty() {
                return Ok(());
            }
            let at = (state.written - state.tail_start) as usize;
            (state.written, state.tail.range(at..).copied().collect())
        };
        let end = from + units.len() as i64;
        let mut at = from;
        while at < end {
            let start = self.start_of(at);
            let stop = end.min((start + self.file_size) / UNIT);
            self.write(
                start,
                at,
                &units[(at - from) as usize..(stop - from) as usize],
            )?;
            at = stop;
        }
        let dirty = {
            let mut state = self.state.lock();
            state.written = end;
            std::mem::take(&mut state.dirty)
        };
        let paths = dirty.iter().map(|start| self.dir.join(file_name(*start)));
        if let Err(error) = self.cache.sync(paths) {
            // They are as unsynced as before: the next round must not take them for durable.
            self.state.lock().dirty.extend(dirty);
            return Err(error);
        }
        self.state.lock().forget_written();
        Ok(())
    }

    fn write(&self, start: i64, from: i64, units: &[ConsumeQueueUnit]) -> Result<(), StoreError> {
        self.cache
            .files
            .create_dir_all(&self.dir)
            .at("create", &self.dir)?;
        let path = self.dir.join(file_name(start));
        let file = self
            .cache
            .get(&path, Open::Sparse(self.file_size as u64))
            .at("create", &path)?;
        let mut bytes = Vec::with_capacity(units.len() * UNIT as usize);
        let mut at = from * UNIT - start;
        if self.state.lock().unwritten {
            // The queue's first file may not begin with its first unit: Java wants filler there.
            (0..at / UNIT).for_each(|_| ConsumeQueueUnit::BLANK.encode(&mut bytes));
            at = 0;
        }
        units.iter().for_each(|unit| unit.encode(&mut bytes));
        file.write_at(at as u64, &bytes).at("write", &path)?;
        let mut state = self.state.lock();
        state.unwritten = false;
        state.dirty.insert(start);
        Ok(())
    }

    /// Raises the lowest offset to the first unit at or behind `log_min` and removes files that
    /// lie wholly below it; the last file stays.
    pub(crate) fn expire(&self, log_min: i64) -> Result<(), StoreError> {
        let (mut low, end) = self.bounds();
        let mut high = end;
        while low < high {
            let middle = low + (high - low) / 2;
            // A removed message says nothing about where it lay: the next one that is there does.
            let mut at = middle;
            let found = loop {
                match self.unit(at)? {
                    Some(unit) if unit.is_blank() && at + 1 < high => at += 1,
                    Some(unit) => break unit,
                    None => return Ok(()),
                }
            };
            if !found.is_blank() && found.physical_offset < log_min {
                low = at + 1;
            } else {
                high = middle;
            }
        }
        let low = self.first_real(low)?;
        self.state.lock().min = low;
        for start in self.starts()? {
            let next = (start + self.file_size) / UNIT;
            if next <= low && next < end {
                let path = self.dir.join(file_name(start));
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

    fn queue(files: &SimulatedFiles) -> ConsumeQueue {
        let cache = Arc::new(FileCache::new(Arc::new(files.clone()), 8));
        ConsumeQueue::new(PathBuf::from("/q"), 20 * 4, 0, cache)
    }

    fn unit(physical_offset: i64) -> ConsumeQueueUnit {
        ConsumeQueueUnit {
            physical_offset,
            size: 10,
            tags_code: 7,
        }
    }

    /// A unit that Java wrote for tag `TagA` (hash 2598919).
    #[test]
    fn a_unit_is_what_java_writes() {
        let unit = ConsumeQueueUnit {
            physical_offset: 1 << 30,
            size: 169,
            tags_code: 2_598_919,
        };
        let mut bytes = Vec::new();
        unit.encode(&mut bytes);
        let java = [
            0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xa9, 0, 0, 0, 0, 0, 0x27, 0xa8, 0x07,
        ];
        assert_eq!(bytes, java);
        assert_eq!(ConsumeQueueUnit::decode(&java), unit);
    }

    #[test]
    fn a_burst_is_written_and_its_room_given_back() {
        let cache = Arc::new(FileCache::new(Arc::new(SimulatedFiles::new()), 8));
        let queue = ConsumeQueue::new(PathBuf::from("/q"), 20 * 5000, 0, cache);
        (0..12_000).for_each(|at| assert!(queue.push(at, unit(at * 10))));
        queue.flush().unwrap();
        {
            let state = queue.state.lock();
            assert_eq!(state.tail.len(), KEPT);
            assert!(state.tail.capacity() < 12_000 / 10);
        }
        for at in [0, 4999, 5000, 11_935, 11_936, 11_999] {
            assert_eq!(queue.unit(at).unwrap(), Some(unit(at * 10)));
        }
    }

    #[test]
    fn a_torn_unit_ends_the_queue() {
        let files = SimulatedFiles::new();
        let first = queue(&files);
        (0..6).for_each(|at| assert!(first.push(at, unit(100 + at * 10))));
        first.flush().unwrap();
        // The fifth, first of its file, has lost its physical offset.
        let path = PathBuf::from("/q").join(file_name(80));
        let file = files.open(&path, Open::Existing).unwrap();
        file.write_at(0, &[0; 8]).unwrap();
        let again = queue(&files);
        again.load(1000).unwrap();
        assert_eq!(again.bounds(), (0, 4));
        assert_eq!(again.unit(3).unwrap(), Some(unit(130)));
    }

    #[test]
    fn a_hole_hides_nothing_before_it() {
        let queue = queue(&SimulatedFiles::new());
        (0..3).for_each(|at| assert!(queue.push(at, unit(at * 10))));
        assert!(queue.push(40, unit(400)));
        queue.expire(0).unwrap();
        assert_eq!(queue.bounds(), (0, 41));
        queue.expire(20).unwrap();
        assert_eq!(queue.bounds(), (2, 41));
        queue.expire(30).unwrap();
        assert_eq!(queue.bounds(), (40, 41));
    }

    #[test]
    fn a_clean_queue_is_found_by_bisection() {
        for count in 1..14 {
            let files = SimulatedFiles::new();
            let first = queue(&files);
            (0..count).for_each(|at| assert!(first.push(at, unit(at * 10))));
            first.flush().unwrap();
            let again = queue(&files);
            again.load_clean().unwrap();
            assert_eq!(again.bounds(), (0, count));
        }
    }
}
