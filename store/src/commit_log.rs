//! The commit log: fixed-size files of records, each record at its own physical offset.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use sluice_protocol::message::record::{
    MAGIC_BLANK, MAGIC_V1, MAGIC_V2, PHYSICAL_OFFSET_AT, RECORD_SIZE_MIN, SYS_FLAG_AT,
};
use sluice_protocol::message::{Record, RecordError, sys_flag};

use crate::error::{At, StoreError};
use crate::files::{Entry, File, FileSystem, Open};
use crate::log_dirs::LogDirs;

/// Bytes of the blank record's header; so many always stay free at a file's end.
pub(crate) const BLANK_SIZE: u64 = 8;

/// Most bytes of the log that are walked along at a time.
const RUN_MAX: i64 = 1 << 20;

#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) start: i64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
}

/// What lies at a physical offset.
pub(crate) enum Item {
    /// One whole record.
    Record(Bytes),
    /// Nothing more in this file; go on at the next file's start.
    Blank(i64),
}

pub(crate) struct CommitLog {
    files: Arc<dyn FileSystem>,
    pub(crate) dirs: LogDirs,
    pub(crate) file_size: u64,
    segments: RwLock<Vec<Segment>>,
    written: AtomicI64,
    flushed: AtomicI64,
    syncing: Mutex<()>,
    stopped: OnceLock<String>,
}

/// Name of the log or queue file that starts at `start`: 20 digits.
pub(crate) fn file_name(start: i64) -> String {
    format!("{start:020}")
}

/// Start offset that a file name says, or `None` for a name that is none of ours.
pub(crate) fn file_start(name: &str) -> Option<i64> {
    let digits = name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| name.parse().ok()).flatten()
}

/// A file of the log, not opened yet.
struct Found {
    start: i64,
    path: PathBuf,
    size: u64,
}

/// All files of the log in their order.
fn find(files: &dyn FileSystem, dirs: &LogDirs) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for dir in dirs.all() {
        for entry in files.list(dir).at("list", dir)? {
            if let Some(start) = start_of(&entry) {
                found.push(Found {
                    start,
                    path: dir.join(&entry.name),
                    size: entry.size,
                });
            }
        }
    }
    found.sort_by_key(|file| file.start);
    Ok(found)
}

fn start_of(entry: &Entry) -> Option<i64> {
    file_start(&entry.name).filter(|_| !entry.is_dir)
}

fn warn_of_strangers(files: &dyn FileSystem, dirs: &LogDirs) -> Result<(), StoreError> {
    for dir in dirs.all() {
        let entries = files.list(dir).at("list", dir)?;
        for entry in entries.iter().filter(|entry| start_of(entry).is_none()) {
            let path = dir.join(&entry.name);
            tracing::warn!(path = %path.display(), "not a commit log file, ignored; Java would refuse to start");
        }
    }
    Ok(())
}

/// With several directories a missing disk leaves holes: what is in them must not be given up for it.
fn refuse_holes(found: &[Found], dirs: &LogDirs, file_size: u64) -> Result<(), StoreError> {
    if dirs.all().count() < 2 {
        return Ok(());
    }
    // The oldest files lie there: without them nothing would be missed between two others.
    let is_empty = |dir: &&PathBuf| !found.iter().any(|file| file.path.starts_with(dir));
    if let Some(path) = dirs.read_only().iter().find(is_empty) {
        return Err(StoreError::LogFiles {
            path: path.clone(),
            what: "it is only read, and holds no file of the log: is a disk not mounted? When its last file has expired, take it out of readOnlyCommitLogStorePaths".to_owned(),
        });
    }
    for pair in found.windows(2) {
        let (before, file) = (&pair[0], &pair[1]);
        let next = before.start + file_size as i64;
        let what = match file.start {
            start if start == next => continue,
            start if start == before.start => {
                format!("the same file is in {}, too", before.path.display())
            }
            _ => format!(
                "the file {} before it is in no directory of storePathCommitLog: is a disk not mounted?",
                file_name(next)
            ),
        };
        return Err(StoreError::LogFiles {
            path: file.path.clone(),
            what,
        });
    }
    Ok(())
}

/// Whether the newest file is shorter than it should be and holds nothing yet.
fn is_unfinished(
    files: &dyn FileSystem,
    newest: &Found,
    file_size: u64,
) -> Result<bool, StoreError> {
    if newest.size >= file_size {
        return Ok(false);
    }
    let path = &newest.path;
    let file = files.open(path, Open::Existing).at("open", path)?;
    is_zero(&*file, 0, newest.size).at("read", path)
}

/// Whether a part of a file holds nothing but zeroes; reads it in pieces, holes not at all.
pub(crate) fn is_zero(file: &dyn File, from: u64, to: u64) -> std::io::Result<bool> {
    const PIECE: u64 = 1 << 20;
    let end = file.data_end(from)?.min(to);
    let mut at = from;
    while at < end {
        let size = PIECE.min(end - at);
        if file.slice(at, size as usize)?.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += size;
    }
    Ok(true)
}

impl CommitLog {
    /// Removes the newest file if the process died while it was being made.
    pub(crate) fn remove_unfinished(
        files: &dyn FileSystem,
        dirs: &LogDirs,
        file_size: u64,
    ) -> Result<(), StoreError> {
        let found = find(files, dirs)?;
        let Some(newest) = found.last() else {
            return Ok(());
        };
        if !is_unfinished(files, newest, file_size)? {
            return Ok(());
        }
        let path = &newest.path;
        tracing::warn!(path = %path.display(), "a commit log file that was never finished is removed");
        files.remove_file(path).at("remove", path)?;
        sync_dir_of(files, path)
    }

    /// Opens the files that are there and changes none. The newest is passed over if it was never
    /// finished.
    pub(crate) fn load(
        files: Arc<dyn FileSystem>,
        dirs: LogDirs,
        file_size: u64,
    ) -> Result<Self, StoreError> {
        warn_of_strangers(&*files, &dirs)?;
        let mut found = find(&*files, &dirs)?;
        if let Some(newest) = found.last()
            && is_unfinished(&*files, newest, file_size)?
        {
            found.pop();
        }
        refuse_holes(&found, &dirs, file_size)?;
        let mut segments = Vec::new();
        for Found { start, path, size } in found {
            if size != file_size {
                return Err(StoreError::FileSize {
                    path,
                    size,
                    expected: file_size,
                });
            }
            let file = files.open(&path, Open::Log(file_size)).at("open", &path)?;
            segments.push(Segment { start, path, file });
        }
        let end = segments
            .last()
            .map_or(0, |segment| segment.start + file_size as i64);
        Ok(CommitLog {
            files,
            dirs,
            file_size,
            segments: RwLock::new(segments),
            written: AtomicI64::new(end),
            flushed: AtomicI64::new(end),
            syncing: Mutex::new(()),
            stopped: OnceLock::new(),
        })
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.segments.read().clone()
    }
    pub(crate) fn min(&self) -> i64 {
        self.segments
            .read()
            .first()
            .map_or(0, |segment| segment.start)
    }
    pub(crate) fn written(&self) -> i64 {
        self.written.load(Ordering::Acquire)
    }
    pub(crate) fn flushed(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }
    pub(crate) fn set_written(&self, end: i64) {
        self.written.store(end, Ordering::Release);
    }
    pub(crate) fn set_flushed(&self, end: i64) {
        self.flushed.store(end, Ordering::Release);
    }
    /// Why the log takes no more, if it does not.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }
    pub(crate) fn stop(&self, reason: String) {
        if self.stopped.set(reason).is_ok() {
            tracing::error!(
                reason = self.stopped(),
                "the commit log takes no more messages"
            );
        }
    }

    /// Start of the file that holds, or would hold, `offset`.
    pub(crate) fn segment_start(&self, offset: i64) -> i64 {
        offset - offset.rem_euclid(self.file_size as i64)
    }

    pub(crate) fn segment(&self, offset: i64) -> Option<Segment> {
        let segments = self.segments.read();
        self.find(&segments, offset).cloned()
    }

    /// The file that starts at `start`, made if it is missing.
    pub(crate) fn segment_or_create(&self, start: i64) -> Result<Segment, StoreError> {
        if let Some(segment) = self.segment(start) {
            return Ok(segment);
        }
        let number = usize::try_from(start / self.file_size as i64).unwrap_or(0);
        let (path, file) = self.create(number, &file_name(start))?;
        let segment = Segment { start, path, file };
        let mut segments = self.segments.write();
        let at = segments.partition_point(|other| other.start < start);
        segments.insert(at, segment.clone());
        Ok(segment)
    }

    /// Makes a file in the directory whose turn it is, or in another where that has no room for it.
    fn create(&self, number: usize, name: &str) -> Result<(PathBuf, Arc<dyn File>), StoreError> {
        let turn = self.dirs.turn(number, &*self.files);
        let others = self.dirs.writable().iter().map(PathBuf::as_path);
        let mut refused = None;
        for dir in std::iter::once(turn).chain(others.filter(|dir| *dir != turn)) {
            let path = dir.join(name);
            match self.files.open(&path, Open::Log(self.file_size)) {
                Ok(file) => return Ok((path, file)),
                Err(source) if source.kind() == std::io::ErrorKind::StorageFull => {
                    let action = "create";
                    refused.get_or_insert(StoreError::Io {
                        action,
                        path,
                        source,
                    });
                }
                failed => return failed.map(|file| (path.clone(), file)).at("create", &path),
            }
        }
        Err(refused.expect("at least one directory was tried"))
    }

    /// Removes files one after another and forgets each once it is gone: a file that cannot be
    /// removed must stay known, or the log would get a hole behind it. The last goes first, so that a crash
    /// between two leaves no hole either.
    pub(crate) fn remove(&self, doomed: impl Fn(&Segment) -> bool) -> Result<(), StoreError> {
        let gone: Vec<Segment> = self
            .segments
            .read()
            .iter()
            .filter(|s| doomed(s))
            .cloned()
            .collect();
        for segment in gone.iter().rev() {
            self.files
                .remove_file(&segment.path)
                .at("remove", &segment.path)?;
            let mut segments = self.segments.write();
            segments.retain(|other| other.start != segment.start);
            drop(segments);
            sync_dir_of(&*self.files, &segment.path)?;
        }
        Ok(())
    }

    /// Makes durable which files there are.
    pub(crate) fn sync_dirs(&self) -> Result<(), StoreError> {
        let mut dirs = self.dirs.writable().iter();
        dirs.try_for_each(|dir| self.files.sync_dir(dir).at("sync", dir))
    }

    /// For messages: where it lies, as far as one name says it.
    pub(crate) fn dir(&self) -> &Path {
        self.dirs.first()
    }

    /// Bytes of the log, unchecked; `None` when they are not all within one file.
    pub(crate) fn slice(&self, offset: i64, size: usize) -> Option<Bytes> {
        self.part(offset, size, |file, at| file.slice(at, size).ok())?
    }

    /// Bytes of the log from `offset` to `end`, as many as lie in one file and in [`RUN_MAX`]; none when they
    /// can't be read.
    pub(crate) fn run(&self, offset: i64, end: i64) -> Bytes {
        let next = self.segment_start(offset) + self.file_size as i64;
        let size = (end.min(next) - offset).clamp(0, RUN_MAX);
        self.slice(offset, size as usize).unwrap_or_default()
    }

    /// Whether these bytes can be read without waiting for a disk, as far as can be told.
    pub(crate) fn is_cached(&self, offset: i64, size: usize) -> bool {
        let cached = self.part(offset, size, |file, at| file.is_cached(at, size));
        cached.unwrap_or(false)
    }

    /// Looks at the file that has these bytes, and where in it they begin; `None` when none has them.
    fn part<T>(
        &self,
        offset: i64,
        size: usize,
        look: impl FnOnce(&dyn File, u64) -> T,
    ) -> Option<T> {
        let segments = self.segments.read();
        let segment = self.find(&segments, offset)?;
        let at = (offset - segment.start) as u64;
        (at + size as u64 <= self.file_size).then(|| look(&*segment.file, at))
    }

    fn find<'a>(&self, segments: &'a [Segment], offset: i64) -> Option<&'a Segment> {
        let at = segments
            .partition_point(|segment| segment.start <= offset)
            .checked_sub(1)?;
        let segment = &segments[at];
        (offset < segment.start + self.file_size as i64).then_some(segment)
    }

    /// The record or blank at `offset`, lengths and own offset checked; no body checksum.
    pub(crate) fn item(&self, offset: i64) -> Result<Item, RecordError> {
        let next = self.segment_start(offset) + self.file_size as i64;
        let rest = (next - offset) as usize;
        let short = RecordError::Truncated {
            needed: BLANK_SIZE as usize,
            available: rest,
        };
        let head = self
            .slice(offset, BLANK_SIZE as usize)
            .ok_or(short.clone())?;
        let (size, magic) = (be32(&head, 0), be32(&head, 4) as u32);
        if magic == MAGIC_BLANK {
            return if size as usize == rest {
                Ok(Item::Blank(next))
            } else {
                Err(RecordError::Magic(magic))
            };
        }
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::Magic(magic));
        }
        if size < RECORD_SIZE_MIN as i32 || size as usize > rest {
            return Err(RecordError::Length {
                claimed: i64::from(size),
                actual: rest as i64,
            });
        }
        let bytes = self.slice(offset, size as usize).ok_or(short)?;
        let own = Record::parse(&bytes)?.physical_offset();
        if own != offset {
            return Err(RecordError::Length {
                claimed: own,
                actual: offset,
            });
        }
        Ok(Item::Record(bytes))
    }

    /// The record at `offset`, if a record lies there, below the written end.
    pub(crate) fn record(&self, offset: i64) -> Option<Bytes> {
        if offset < self.min() || offset >= self.written() {
            return None;
        }
        match self.item(offset) {
            Ok(Item::Record(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The record of a queue unit: a cheap look at its head instead of a whole parse.
    pub(crate) fn record_of(&self, offset: i64, size: i32) -> Option<Bytes> {
        if size < RECORD_SIZE_MIN as i32 || offset + i64::from(size) > self.written() {
            return None;
        }
        let bytes = self.slice(offset, size as usize)?;
        let magic = be32(&bytes, 4) as u32;
        let own = i64::from_be_bytes(
            bytes[PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8]
                .try_into()
                .ok()?,
        );
        let same =
            be32(&bytes, 0) == size && own == offset && (magic == MAGIC_V1 || magic == MAGIC_V2);
        same.then_some(bytes)
    }

    /// Whether bytes of the log can be read, whatever they say.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn readable(&self, offset: i64, size: i32) -> Result<(), StoreError> {
        let Some(segment) = self.segment(offset) else {
            return Ok(());
        };
        let at = (offset - segment.start) as u64;
        let size = (size.max(0) as u64).min(self.file_size - at);
        let read = segment.file.slice(at, size as usize);
        read.at("read", &segment.path).map(|_| ())
    }

    /// Store time of the first record written to the file; recovery's fillers have none of their own.
    pub(crate) fn first_time(&self, segment: &Segment) -> Option<i64> {
        let mut at = segment.start;
        loop {
            let bytes = self.record(at)?;
            if !is_filler(&bytes) {
                return Record::parse(&bytes).ok().map(|r| r.store_timestamp());
            }
            at += bytes.len() as i64;
        }
    }

    /// Syncs all files with unsynced bytes, and what `also` syncs, and answers the new flushed
    /// offset.
    ///
    /// # Errors
    /// The reason the log is stopped for: a failed sync is never tried again, because the kernel
    /// may have dropped the dirty pages and would then report success.
    pub(crate) fn sync(&self, also: impl FnOnce() -> std::io::Result<()>) -> Result<i64, String> {
        let _one = self.syncing.lock();
        if let Some(reason) = self.stopped() {
            return Err(reason.to_owned());
        }
        let (from, target) = (self.flushed(), self.written());
        for segment in self.segments() {
            let end = segment.start + self.file_size as i64;
            if end <= from || segment.start >= target {
                continue;
            }
            if let Err(error) = segment.file.sync() {
                let reason = format!("cannot sync {}: {error}", segment.path.display());
                self.stop(reason.clone());
                return Err(reason);
            }
        }
        if let Err(error) = also() {
            let reason = format!("cannot sync beside {}: {error}", self.dir().display());
            self.stop(reason.clone());
            return Err(reason);
        }
        self.set_flushed(target.max(from));
        Ok(target)
    }
}

fn sync_dir_of(files: &dyn FileSystem, path: &Path) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(path);
    files.sync_dir(dir).at("sync", dir)
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Whether a record is one that recovery put in place of damaged bytes.
pub(crate) fn is_filler(bytes: &[u8]) -> bool {
    let at = SYS_FLAG_AT;
    let flag = bytes
        .get(at..at + 4)
        .map_or(0, |b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK
        && Record::parse(bytes).is_ok_and(|record| record.topic().is_empty())
}
