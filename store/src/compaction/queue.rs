//! One queue of a topic whose messages are kept by their last key: records in files of a log, and a sparse
//! queue that says at which queue offset each stands. Offsets ascend and have holes.
//!
//! A log file and the queue file of its name belong together and are called a piece. The last piece grows,
//! the others change by being replaced whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use sluice_protocol::message::Record;
use sluice_protocol::message::record::MAGIC_BLANK;

use super::look::Reading;
use super::units::{Sizes, UNIT, Unit};
use crate::commit_log::{BLANK_SIZE, file_name};
use crate::error::{At, StoreError};
use crate::file_cache::FileCache;
use crate::files::{File, Open};

/// A log file, and the queue file of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its name: where it begins in the compaction log.
    pub(crate) start: i64,
    pub(crate) units: u64,
    /// Queue offsets of its first and last record; `i64::MAX` while it has none.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Bytes of the log file that hold records.
    pub(crate) end: u64,
}

impl Piece {
    pub(crate) fn empty(start: i64) -> Self {
        Piece {
            start,
            units: 0,
            first: i64::MAX,
            last: i64::MAX,
            end: 0,
        }
    }

    pub(crate) fn add(&mut self, unit: &Unit) {
        self.first = self.first.min(unit.queue_offset);
        self.last = unit.queue_offset;
        self.units += 1;
        self.end += unit.size as u64;
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) pieces: Vec<Piece>,
    /// The last piece has bytes that were not synced.
    dirty: bool,
}

/// What is asked of the queue on every pull.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    /// The first offset that has a record.
    pub(crate) min: Option<i64>,
    /// All messages below it were copied here, and may have been dropped since.
    pub(crate) next: i64,
    /// The last offset that a round has compared with those before; -1 = none.
    pub(crate) position: i64,
}

/// A record to be put at the end.
pub(crate) struct Entry {
    pub(crate) record: Bytes,
    pub(crate) tags_code: i64,
    pub(crate) queue_offset: i64,
    pub(crate) store_time: i64,
}

pub(crate) struct CompactedQueue {
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
    pub(crate) log_dir: PathBuf,
    pub(crate) queue_dir: PathBuf,
    pub(crate) sizes: Sizes,
    pub(crate) cache: Arc<FileCache>,
    pub(crate) state: RwLock<State>,
    marks: Mutex<Marks>,
    /// Its topic is being deleted.
    gone: AtomicBool,
    /// Held during a round.
    pub(crate) round: Mutex<()>,
    /// A round failed where only a start can tell what the files hold.
    pub(crate) unsettled: AtomicBool,
}

impl CompactedQueue {
    /// A queue of which no file is known.
    pub(crate) fn new(
        (topic, queue_id): (&str, i32),
        (log_dir, queue_dir): (PathBuf, PathBuf),
        sizes: Sizes,
        cache: Arc<FileCache>,
    ) -> Self {
        CompactedQueue {
            topic: topic.to_owned(),
            queue_id,
            log_dir,
            queue_dir,
            sizes,
            cache,
            state: RwLock::default(),
            marks: Mutex::new(Marks {
                min: None,
                next: 0,
                position: -1,
            }),
            gone: AtomicBool::new(false),
            round: Mutex::new(()),
            unsettled: AtomicBool::new(false),
        }
    }

    pub(crate) fn marks(&self) -> Marks {
        *self.marks.lock()
    }

    pub(crate) fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Says what is known after the pieces have changed.
    pub(crate) fn mark(&self, pieces: &[Piece], next: i64, position: i64) {
        let filled = pieces.iter().find(|piece| piece.units > 0);
        let mut marks = self.marks.lock();
        marks.min = filled.map(|piece| piece.first);
        marks.next = marks.next.max(next);
        marks.position = position;
    }

    /// Says that all below an offset was looked at.
    pub(crate) fn advance(&self, next: i64) {
        let mut marks = self.marks.lock();
        marks.next = marks.next.max(next);
    }

    /// Says how far rounds have come.
    pub(crate) fn set_position(&self, position: i64) {
        self.marks.lock().position = position;
    }

    pub(crate) fn set_pieces(&self, pieces: Vec<Piece>, position: i64) {
        let last = pieces.iter().rfind(|piece| piece.units > 0);
        let next = last.map_or(0, |piece| piece.last + 1).max(position + 1);
        let mut state = self.state.write();
        *self.marks.lock() = Marks {
            min: None,
            next,
            position,
        };
        self.mark(&pieces, next, position);
        state.pieces = pieces;
    }

    pub(crate) fn log_path(&self, start: i64) -> PathBuf {
        self.log_dir.join(file_name(start))
    }

    pub(crate) fn queue_path(&self, start: i64) -> PathBuf {
        self.queue_dir.join(file_name(start))
    }

    /// The log file of a piece that is there.
    pub(crate) fn log_file(&self, start: i64) -> Result<Arc<dyn File>, StoreError> {
        let path = self.log_path(start);
        self.cache
            .get(&path, Open::Log(self.sizes.log))
            .at("open", &path)
    }

    pub(crate) fn queue_file(&self, start: i64) -> Result<Arc<dyn File>, StoreError> {
        let path = self.queue_path(start);
        self.cache.get(&path, Open::Existing).at("open", &path)
    }

    /// Puts records at the end, in ascending order of their offsets; one caller at a time.
    ///
    /// # Errors
    /// What was put before the failure stays, the rest can be put again.
    pub(crate) fn append(&self, mut entries: &[Entry]) -> Result<(), StoreError> {
        while let Some(first) = entries.first() {
            let piece = self.piece_for(first.record.len() as u64)?;
            let written = self.write(piece, entries)?;
            entries = &entries[written..];
        }
        Ok(())
    }

    fn fits(&self, piece: &Piece, size: u64) -> bool {
        piece.units < self.sizes.units_max() && piece.end + size + BLANK_SIZE <= self.sizes.log
    }

    /// The last piece, or a new one where that has no room.
    fn piece_for(&self, size: u64) -> Result<Piece, StoreError> {
        let last = self.state.read().pieces.last().copied();
        if let Some(last) = last.filter(|last| self.fits(last, size)) {
            return Ok(last);
        }
        if !self.fits(&Piece::empty(0), size) {
            return Err(StoreError::Setting {
                name: "compactionMappedFileSize",
                value: self.sizes.log,
                range: "a file must hold the largest message",
            });
        }
        if let Some(last) = last {
            self.close(&last)?;
        }
        self.create(last.map_or(0, |last| last.start + self.sizes.log as i64))
    }

    /// Ends a piece and makes it durable.
    fn close(&self, piece: &Piece) -> Result<(), StoreError> {
        let (log, queue) = (self.log_file(piece.start)?, self.queue_file(piece.start)?);
        self.write_ends(piece, &*log, &*queue)?;
        self.sync(piece.start)
    }

    /// Writes what says that nothing follows in either file.
    pub(crate) fn write_ends(
        &self,
        piece: &Piece,
        log: &dyn File,
        queue: &dyn File,
    ) -> Result<(), StoreError> {
        let mut blank = [0; BLANK_SIZE as usize];
        let rest = (self.sizes.log - piece.end) as i32;
        blank[..4].copy_from_slice(&rest.to_be_bytes());
        blank[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        log.write_at(piece.end, &blank)
            .at("write", &self.log_path(piece.start))?;
        queue
            .write_at(piece.units * UNIT, &Unit::end_of_file())
            .at("write", &self.queue_path(piece.start))
    }

    fn create(&self, start: i64) -> Result<Piece, StoreError> {
        let files = &self.cache.files;
        for (path, size) in [
            (self.log_path(start), self.sizes.log),
            (self.queue_path(start), self.sizes.queue),
        ] {
            let dir = path.parent().unwrap_or(&path);
            files.create_dir_all(dir).at("create", dir)?;
            // Sparse, and mapped when it is opened next.
            files.open(&path, Open::Sparse(size)).at("create", &path)?;
        }
        let piece = Piece::empty(start);
        self.state.write().pieces.push(piece);
        Ok(piece)
    }

    /// Writes as many records as the piece takes and answers how many.
    fn write(&self, mut piece: Piece, entries: &[Entry]) -> Result<usize, StoreError> {
        let (at, unit_at) = (piece.end, piece.units * UNIT);
        let (mut records, mut units) = (Vec::new(), Vec::new());
        let mut written = 0;
        for entry in entries {
            if !self.fits(&piece, entry.record.len() as u64) {
                break;
            }
            let unit = Unit {
                position: piece.start + piece.end as i64,
                size: entry.record.len() as i32,
                tags_code: entry.tags_code,
                store_time: entry.store_time,
                queue_offset: entry.queue_offset,
            };
            records.extend_from_slice(&entry.record);
            unit.encode(&mut units);
            piece.add(&unit);
            written += 1;
        }
        self.log_file(piece.start)?
            .write_at(at, &records)
            .at("write", &self.log_path(piece.start))?;
        self.queue_file(piece.start)?
            .write_at(unit_at, &units)
            .at("write", &self.queue_path(piece.start))?;
        let mut state = self.state.write();
        if let Some(last) = state.pieces.last_mut() {
            *last = piece;
        }
        state.dirty = true;
        self.mark(&state.pieces, piece.last + 1, self.marks().position);
        Ok(written)
    }

    fn sync(&self, start: i64) -> Result<(), StoreError> {
        self.log_file(start)?
            .sync()
            .at("sync", &self.log_path(start))?;
        self.queue_file(start)?
            .sync()
            .at("sync", &self.queue_path(start))
    }

    /// Syncs what was put since the last time.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let last = {
            let mut state = self.state.write();
            let dirty = std::mem::take(&mut state.dirty);
            state.pieces.last().filter(|_| dirty).map(|last| last.start)
        };
        let synced = last.map_or(Ok(()), |start| self.sync(start));
        if synced.is_err() {
            // It is as unsynced as before.
            self.state.write().dirty = true;
        }
        synced
    }

    /// Units of a piece from one on, `count` at most.
    pub(crate) fn units_of(
        &self,
        piece: &Piece,
        from: u64,
        count: u64,
    ) -> Result<Vec<Unit>, StoreError> {
        let count = count.min(piece.units.saturating_sub(from));
        let mut bytes = vec![0; (count * UNIT) as usize];
        self.queue_file(piece.start)?
            .read_at(from * UNIT, &mut bytes)
            .at("read", &self.queue_path(piece.start))?;
        let units = bytes.chunks_exact(UNIT as usize);
        Ok(units.map_while(Unit::decode).collect())
    }

    /// Which unit of a piece is the first that is not `before`; they come before the others.
    pub(crate) fn bisect(
        &self,
        piece: &Piece,
        before: impl Fn(&Unit) -> bool,
    ) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, piece.units);
        while low < high {
            let middle = low + (high - low) / 2;
            if self
                .units_of(piece, middle, 1)?
                .first()
                .is_some_and(&before)
            {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The record of a unit as it lies there; `None` when there is another.
    pub(crate) fn record(&self, piece: &Piece, unit: &Unit) -> Result<Option<Bytes>, StoreError> {
        let at = (unit.position - piece.start) as u64;
        if at + unit.size as u64 > self.sizes.log {
            return Ok(None);
        }
        let bytes = self
            .log_file(piece.start)?
            .slice(at, unit.size as usize)
            .at("read", &self.log_path(piece.start))?;
        let same = Record::parse(&bytes).is_ok_and(|record| {
            record.size() == bytes.len() && record.queue_offset() == unit.queue_offset
        });
        Ok(same.then_some(bytes))
    }

    /// Keeps the pieces as they are while it lives.
    pub(crate) fn reading(&self) -> Reading<'_> {
        Reading::new(self, self.state.read())
    }
}
