//! One round of compaction of a queue: of messages with one key only the newest stays.
//!
//! Pieces but the last one, which grows, are read in order. What is kept of one or several is written
//! aside, synced, and renamed over the first of them; then the others are removed. Java writes all
//! pieces anew and replaces them at once, and does not start any more when it is killed meanwhile. Here
//! each step leaves what the next start can tell apart: a directory says that pieces are being replaced,
//! and a piece whose offsets are already in the one before is a left-over.
//!
//! Pieces are replaced in ascending order, and the queue's position is written at the end. So whatever a
//! crash leaves undone the next round does, and a message never comes back after the newer one that
//! stood for its end is gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use sluice_protocol::message::{Record, properties};

use super::load::REWRITTEN;
use super::newest::NewestOffsets;
use super::queue::{CompactedQueue, Piece};
use super::units::{UNIT, Unit};
use crate::commit_log::{BLANK_SIZE, file_name};
use crate::error::{At, StoreError};
use crate::files::{File, Open};

/// Units looked at between two questions whether to go on.
const RUN: u64 = 256;

/// What a round may use, and when it has to end.
pub(crate) struct Limits<'a> {
    pub(crate) memory: u64,
    pub(crate) stop: &'a dyn Fn() -> bool,
}

/// What a round has done.
pub(crate) struct Done {
    /// The last offset that was compared with those before.
    pub(crate) position: i64,
    /// Memory did not suffice for all there is: another round goes on.
    pub(crate) more: bool,
}

/// The newest message of each key among those that no round has seen.
struct News {
    newest: NewestOffsets,
    /// The last offset that was looked at.
    last: i64,
    more: bool,
}

/// Compacts a queue once. `None` when there is nothing new, or when it was stopped.
pub(crate) fn compact(
    queue: &CompactedQueue,
    limits: &Limits<'_>,
) -> Result<Option<Done>, StoreError> {
    let position = queue.marks().position;
    let mut pieces = queue.state.read().pieces.clone();
    pieces.pop();
    let is_new = |piece: &&Piece| piece.units > 0 && piece.last > position;
    let new: Vec<Piece> = pieces.iter().filter(is_new).copied().collect();
    if new.is_empty() || queue.unsettled.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let Some(news) = look(queue, &new, position, limits)? else {
        return Ok(None);
    };
    for dir in [&queue.log_dir, &queue.queue_dir] {
        queue.cache.remove_dir(&dir.join(REWRITTEN))?;
    }
    let mut group = Group::new(queue);
    for piece in pieces {
        let Some(kept) = kept(queue, &piece, &news, limits)? else {
            group.drop_unused()?;
            return Ok(None);
        };
        if !group.has_room(&kept) {
            group.finish()?;
            group = Group::new(queue);
        }
        group.add(piece, &kept)?;
    }
    group.finish()?;
    Ok(Some(Done {
        position: news.last,
        more: news.more,
    }))
}

/// Collects the newest offset of each key behind `position`, as many as memory takes.
fn look(
    queue: &CompactedQueue,
    new: &[Piece],
    position: i64,
    limits: &Limits<'_>,
) -> Result<Option<News>, StoreError> {
    let units = new.iter().map(|piece| piece.units).sum();
    let mut news = News {
        newest: NewestOffsets::new(units, limits.memory),
        last: position,
        more: false,
    };
    for piece in new {
        let first = queue.bisect(piece, |unit| unit.queue_offset <= position)?;
        for at in (first..piece.units).step_by(RUN as usize) {
            if (limits.stop)() {
                return Ok(None);
            }
            for unit in queue.units_of(piece, at, RUN)? {
                let bytes = queue.record(piece, &unit)?;
                let key = bytes.as_deref().and_then(key);
                if key.is_some_and(|key| !news.newest.put(key, unit.queue_offset)) {
                    news.more = true;
                    return Ok(Some(news));
                }
                news.last = unit.queue_offset;
            }
        }
    }
    Ok(Some(news))
}

/// `KEYS` as a whole is the key, as in Java.
fn key(bytes: &[u8]) -> Option<&str> {
    let record = Record::parse(bytes).ok()?;
    let keys = record.property(properties::KEYS)?;
    (!keys.trim().is_empty()).then_some(keys)
}

/// Units of a piece whose messages stay; `None` when the round has to end.
fn kept(
    queue: &CompactedQueue,
    piece: &Piece,
    news: &News,
    limits: &Limits<'_>,
) -> Result<Option<Vec<Unit>>, StoreError> {
    let mut kept = Vec::new();
    for at in (0..piece.units).step_by(RUN as usize) {
        if (limits.stop)() {
            return Ok(None);
        }
        for unit in queue.units_of(piece, at, RUN)? {
            let stays = unit.queue_offset > news.last
                || match queue.record(piece, &unit)? {
                    Some(bytes) => stays(&bytes, unit.queue_offset, news),
                    // It can't be read by anybody.
                    None => false,
                };
            if stays {
                kept.push(unit);
            }
        }
    }
    Ok(Some(kept))
}

/// Without a key a message stands for itself. Without a body it says that its key is no more.
fn stays(bytes: &[u8], offset: i64, news: &News) -> bool {
    let Some(key) = key(bytes) else { return true };
    let empty = Record::parse(bytes).is_ok_and(|record| record.body().is_empty());
    !empty && !news.newest.has_newer(key, offset)
}

/// A log file and its queue file.
type Files = (Arc<dyn File>, Arc<dyn File>);

/// Pieces that are replaced by one, or by none.
struct Group<'a> {
    queue: &'a CompactedQueue,
    replaced: Vec<Piece>,
    /// What it will be, once something is kept; its name is the first piece's.
    made: Piece,
    files: Option<Files>,
    /// Units of the only piece, as long as it may stay as it is.
    whole: bool,
}

impl<'a> Group<'a> {
    fn new(queue: &'a CompactedQueue) -> Self {
        Group {
            queue,
            replaced: Vec::new(),
            made: Piece::empty(0),
            files: None,
            whole: false,
        }
    }

    fn has_room(&self, kept: &[Unit]) -> bool {
        let sizes = self.queue.sizes;
        let bytes: u64 = kept.iter().map(|unit| unit.size as u64).sum();
        let units = self.made.units + kept.len() as u64;
        self.replaced.is_empty()
            || (units <= sizes.units_max() && self.made.end + bytes + BLANK_SIZE <= sizes.log)
    }

    /// Takes a piece in. One of which all is kept is copied only when others join it.
    fn add(&mut self, piece: Piece, kept: &[Unit]) -> Result<(), StoreError> {
        if self.replaced.is_empty() {
            self.made.start = piece.start;
            self.whole = kept.len() as u64 == piece.units && piece.units > 0;
            self.replaced.push(piece);
            if self.whole {
                self.made = piece;
                return Ok(());
            }
        } else {
            if self.whole {
                let first = self.replaced[0];
                let units = self.queue.units_of(&first, 0, first.units)?;
                self.made = Piece::empty(first.start);
                self.copy(&first, &units)?;
                self.whole = false;
            }
            self.replaced.push(piece);
        }
        self.copy(&piece, kept)
    }

    fn aside(&self) -> (PathBuf, PathBuf) {
        let name = file_name(self.made.start);
        (
            self.queue.log_dir.join(REWRITTEN).join(&name),
            self.queue.queue_dir.join(REWRITTEN).join(&name),
        )
    }

    fn copy(&mut self, from: &Piece, units: &[Unit]) -> Result<(), StoreError> {
        let (log_path, queue_path) = self.aside();
        for run in units.chunks(RUN as usize) {
            let (log, queue) = self.open()?;
            let (at, unit_at) = (self.made.end, self.made.units * UNIT);
            let (mut records, mut encoded) = (Vec::new(), Vec::new());
            for unit in run {
                let record: Option<Bytes> = self.queue.record(from, unit)?;
                let Some(record) = record else { continue };
                let moved = Unit {
                    position: self.made.start + self.made.end as i64,
                    ..*unit
                };
                records.extend_from_slice(&record);
                moved.encode(&mut encoded);
                self.made.add(&moved);
            }
            log.write_at(at, &records).at("write", &log_path)?;
            queue.write_at(unit_at, &encoded).at("write", &queue_path)?;
        }
        Ok(())
    }

    /// The files that are being made.
    fn open(&mut self) -> Result<Files, StoreError> {
        if let Some((log, queue)) = &self.files {
            return Ok((Arc::clone(log), Arc::clone(queue)));
        }
        let (log_path, queue_path) = self.aside();
        let sizes = self.queue.sizes;
        let make = |path: &PathBuf, size| {
            let files = &self.queue.cache.files;
            let dir = path.parent().unwrap_or(path);
            files.create_dir_all(dir).at("create", dir)?;
            files.open(path, Open::Sparse(size)).at("create", path)
        };
        let made = (make(&log_path, sizes.log)?, make(&queue_path, sizes.queue)?);
        self.files = Some((Arc::clone(&made.0), Arc::clone(&made.1)));
        Ok(made)
    }

    /// Forgets what was written aside.
    fn drop_unused(&self) -> Result<(), StoreError> {
        for dir in [&self.queue.log_dir, &self.queue.queue_dir] {
            self.queue.cache.remove_dir(&dir.join(REWRITTEN))?;
        }
        Ok(())
    }

    /// Puts what was made in the place of the pieces.
    fn finish(mut self) -> Result<(), StoreError> {
        if self.replaced.is_empty() || (self.whole && self.replaced.len() == 1) {
            return Ok(());
        }
        let (log_path, queue_path) = self.aside();
        if let Some((log, queue)) = self.files.take() {
            self.queue.write_ends(&self.made, &*log, &*queue)?;
            log.sync().at("sync", &log_path)?;
            queue.sync().at("sync", &queue_path)?;
        }
        let replaced = self.replace();
        if replaced.is_err() {
            // Names and what is known of them may differ now.
            self.queue.unsettled.store(true, Ordering::Relaxed);
        }
        replaced
    }

    fn replace(&self) -> Result<(), StoreError> {
        let queue = self.queue;
        let files = &queue.cache.files;
        let is_made = self.made.units > 0;
        let mut doomed = self.replaced.clone();
        {
            let mut state = queue.state.write();
            if is_made {
                let (log_path, queue_path) = self.aside();
                let start = self.made.start;
                for (from, to) in [
                    (log_path, queue.log_path(start)),
                    (queue_path, queue.queue_path(start)),
                ] {
                    files.rename(&from, &to).at("replace", &to)?;
                    queue.cache.forget(&to);
                }
                doomed.remove(0);
            }
            let first = self.replaced[0].start;
            let at = state.pieces.iter().position(|piece| piece.start == first);
            let at = at.unwrap_or(0);
            let gone = at..at + self.replaced.len();
            state.pieces.splice(gone, is_made.then_some(self.made));
            let marks = queue.marks();
            queue.mark(&state.pieces, marks.next, marks.position);
        }
        let sync = |dir: &PathBuf| files.sync_dir(dir).at("sync", dir);
        for dir in [&queue.log_dir, &queue.queue_dir] {
            sync(dir)?;
            let aside = dir.join(REWRITTEN);
            if files.exists(&aside) {
                sync(&aside)?;
            }
        }
        for piece in doomed {
            for path in [queue.log_path(piece.start), queue.queue_path(piece.start)] {
                queue.cache.remove_file(&path)?;
            }
            sync(&queue.log_dir)?;
            sync(&queue.queue_dir)?;
        }
        self.drop_unused()
    }
}
