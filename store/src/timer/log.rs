//! `timerlog/`: an entry for each message that the timer was given, chained backwards by slot.
//!
//! ```text
//!   0 SIZE i32 = 52      4 PREVIOUS i64     12 MAGIC i32      16 WRITTEN i64, Unix milliseconds
//!  24 DELAY i32, ms     28 PHYSICAL i64     36 SIZE i32       40 TOPICHASH i32   44 RESERVED i64
//! ```
//!
//! Java writes 0 into `RESERVED` and never looks at it. We put a checksum there, so that after a
//! power loss a torn entry is none. A file ends with a blank: the bytes left as i32, 8 zeroes and a
//! magic of its own. Source: `TimerLog` of RocketMQ 5.3.3.

use std::path::PathBuf;
use std::sync::Arc;

use crate::commit_log::{be32, be64, file_name, file_start};
use crate::error::{At, StoreError};
use crate::file_cache::FileCache;
use crate::files::{FileSystem, Open};

/// Bytes of an entry.
pub const ENTRY_SIZE: usize = 52;
const ENTRY: i64 = ENTRY_SIZE as i64;
/// Bytes of a blank; so many always stay free at a file's end.
const BLANK_SIZE: i64 = 16;
const MAGIC_BLANK: i32 = (0xBBCC_DDEE_u32 ^ (1_880_681_586 + 8)) as i32;
/// Upper half of `RESERVED` in an entry of ours.
const OURS: i64 = 0x534C_5543;
/// Bytes read or kept back at a time.
const PIECE: usize = 64 << 10;
const OPEN_FILES_MAX: usize = 64;

/// Bits of an entry's magic.
pub mod magic {
    /// Always set.
    pub const DEFAULT: i32 = 1;
    /// Due in this slot is not the message, but its next step towards its time.
    pub const ROLL: i32 = 1 << 1;
    /// Deletes another message of its slot.
    pub const DELETE: i32 = 1 << 2;
}

/// One message's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerEntry {
    /// Position of the slot's entry before it; -1 for the first.
    pub previous: i64,
    /// See [`magic`].
    pub magic: i32,
    /// When it was written, to the tick; Unix milliseconds.
    pub written_ms: i64,
    /// Milliseconds from then to its time, which lies in its slot.
    pub delay_ms: i32,
    /// Where the message lies in the commit log.
    pub physical: i64,
    /// Its size there, bytes.
    pub size: i32,
    /// Java's hash of the topic it goes to.
    pub topic_hash: i32,
    /// Written by this store: the time is exact to the millisecond, Java's to the slot.
    pub exact: bool,
}

impl TimerEntry {
    /// Its time, Unix milliseconds.
    pub fn time_ms(&self) -> i64 {
        self.written_ms.saturating_add(i64::from(self.delay_ms))
    }

    fn encode(&self, position: i64) -> [u8; ENTRY_SIZE] {
        let mut out = [0; ENTRY_SIZE];
        out[..4].copy_from_slice(&(ENTRY_SIZE as i32).to_be_bytes());
        out[4..12].copy_from_slice(&self.previous.to_be_bytes());
        out[12..16].copy_from_slice(&self.magic.to_be_bytes());
        out[16..24].copy_from_slice(&self.written_ms.to_be_bytes());
        out[24..28].copy_from_slice(&self.delay_ms.to_be_bytes());
        out[28..36].copy_from_slice(&self.physical.to_be_bytes());
        out[36..40].copy_from_slice(&self.size.to_be_bytes());
        out[40..44].copy_from_slice(&self.topic_hash.to_be_bytes());
        let reserved = OURS << 32 | i64::from(checksum(&out[..44], position));
        out[44..].copy_from_slice(&reserved.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8], position: i64) -> Option<TimerEntry> {
        let magic = be32(bytes, 12);
        let reserved = be64(bytes, 44);
        let exact = reserved >> 32 == OURS;
        let sound = reserved == 0
            || exact && reserved & 0xFFFF_FFFF == i64::from(checksum(&bytes[..44], position));
        let whole = be32(bytes, 0) == ENTRY_SIZE as i32 && magic | 0xF == 0xF && sound;
        whole.then(|| TimerEntry {
            previous: be64(bytes, 4),
            magic,
            written_ms: be64(bytes, 16),
            delay_ms: be32(bytes, 24),
            physical: be64(bytes, 28),
            size: be32(bytes, 36),
            topic_hash: be32(bytes, 40),
            exact,
        })
    }
}

fn checksum(bytes: &[u8], position: i64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes);
    hasher.update(&position.to_be_bytes());
    hasher.finalize()
}

/// The timer log. Its owner says where it ends: see [`TimerLog::truncate`].
pub struct TimerLog {
    dir: PathBuf,
    file_size: i64,
    cache: FileCache,
    files: Arc<dyn FileSystem>,
    /// Start of the oldest file.
    start: i64,
    end: i64,
    /// All before it is synced.
    synced: i64,
    /// Entries not written yet, the last before `end`.
    kept_back: Vec<u8>,
    /// The piece read last, and where it lies.
    piece: (i64, Vec<u8>),
}

impl TimerLog {
    /// Opens it with files of `file_size` bytes; it ends, for now, where its last file does.
    ///
    /// # Errors
    /// A file can't be read, has another size, or one is missing between two.
    pub fn open(
        files: Arc<dyn FileSystem>,
        dir: PathBuf,
        file_size: u64,
    ) -> Result<TimerLog, StoreError> {
        files.create_dir_all(&dir).at("create", &dir)?;
        let size = file_size as i64;
        let mut starts = Vec::new();
        for entry in files.list(&dir).at("list", &dir)? {
            let Some(start) = file_start(&entry.name) else {
                continue;
            };
            if entry.size == 0 {
                // Its making was cut off; nothing in it was ever synced.
                let path = dir.join(entry.name);
                files.remove_file(&path).at("remove", &path)?;
                continue;
            }
            if entry.size != file_size {
                return Err(StoreError::FileSize {
                    path: dir.join(entry.name),
                    size: entry.size,
                    expected: file_size,
                });
            }
            starts.push(start);
        }
        if starts.windows(2).any(|two| two[1] != two[0] + size) {
            return Err(StoreError::Unsupported {
                path: dir,
                what: "a file of the timer log is missing between two others",
            });
        }
        let end = starts.last().map_or(0, |last| last + size);
        Ok(TimerLog {
            dir,
            file_size: size,
            cache: FileCache::new(Arc::clone(&files), OPEN_FILES_MAX),
            files,
            start: starts.first().copied().unwrap_or(0),
            end,
            synced: end,
            kept_back: Vec::new(),
            piece: (0, Vec::new()),
        })
    }

    /// Start of the oldest file.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Behind the last entry.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Start of the file that a position lies in.
    pub fn file_start(&self, position: i64) -> i64 {
        position.div_euclid(self.file_size) * self.file_size
    }

    /// Start of the file before the one that starts at a position, if there could be one.
    pub fn file_before(&self, start: i64) -> i64 {
        (start - self.file_size).max(0)
    }

    /// Where the entry behind one would lie, to pass one that can't be read.
    pub fn after(&self, position: i64) -> i64 {
        let start = self.file_start(position);
        let entries = (self.file_size - BLANK_SIZE) / ENTRY;
        match position + ENTRY {
            next if next < start + entries * ENTRY => next,
            _ => start + self.file_size,
        }
    }

    fn path(&self, start: i64) -> PathBuf {
        self.dir.join(file_name(start))
    }

    /// Where the next entry will lie; makes room for it, with a blank and a new file if need be.
    ///
    /// # Errors
    /// The file can't be written or made.
    pub fn make_room(&mut self) -> Result<i64, StoreError> {
        if self.kept_back.len() >= PIECE {
            self.write()?;
        }
        let left = self.file_start(self.end) + self.file_size - self.end;
        if left < ENTRY + BLANK_SIZE {
            self.write()?;
            let mut blank = [0; BLANK_SIZE as usize];
            blank[..4].copy_from_slice(&(left as i32).to_be_bytes());
            blank[12..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
            self.write_at(self.end, &blank)?;
            self.end += left;
        }
        Ok(self.end)
    }

    /// Adds an entry at the position that [`TimerLog::make_room`] said; it is written later.
    pub fn append(&mut self, entry: &TimerEntry) {
        self.kept_back.extend_from_slice(&entry.encode(self.end));
        self.end += ENTRY;
    }

    fn write(&mut self) -> Result<(), StoreError> {
        if self.kept_back.is_empty() {
            return Ok(());
        }
        let kept_back = std::mem::take(&mut self.kept_back);
        let at = self.end - kept_back.len() as i64;
        if let Err(error) = self.write_at(at, &kept_back) {
            self.kept_back = kept_back;
            return Err(error);
        }
        self.piece.1.clear();
        Ok(())
    }

    fn write_at(&mut self, at: i64, bytes: &[u8]) -> Result<(), StoreError> {
        let start = self.file_start(at);
        let path = self.path(start);
        let file = self
            .cache
            .get(&path, Open::Sparse(self.file_size as u64))
            .at("create", &path)?;
        file.write_at((at - start) as u64, bytes).at("write", &path)
    }

    /// The entry at a position, and where the next one lies; `None` where there is none.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn entry(&mut self, position: i64) -> Result<Option<(TimerEntry, i64)>, StoreError> {
        let mut at = position;
        loop {
            if at < self.start || at + ENTRY > self.end {
                return Ok(None);
            }
            let end = self.file_start(at) + self.file_size;
            if end - at < BLANK_SIZE {
                return Ok(None);
            }
            if be32(self.bytes(at, BLANK_SIZE as usize)?, 12) == MAGIC_BLANK {
                at = end;
                continue;
            }
            if end - at < ENTRY {
                return Ok(None);
            }
            let entry = TimerEntry::decode(self.bytes(at, ENTRY_SIZE)?, at);
            return Ok(entry.map(|entry| (entry, at + ENTRY)));
        }
    }

    /// Bytes within one file.
    fn bytes(&mut self, at: i64, size: usize) -> Result<&[u8], StoreError> {
        self.write()?;
        let held = self.piece.0..self.piece.0 + self.piece.1.len() as i64;
        if !held.contains(&at) || !held.contains(&(at + size as i64 - 1)) {
            self.read_piece(at, size)?;
        }
        let from = (at - self.piece.0) as usize;
        Ok(&self.piece.1[from..from + size])
    }

    /// Reads round `at`: chains go backwards, scans forwards.
    fn read_piece(&mut self, at: i64, size: usize) -> Result<(), StoreError> {
        let start = self.file_start(at);
        let from = (at - PIECE as i64 / 2).max(start);
        let to = (at + PIECE as i64 / 2)
            .max(at + size as i64)
            .min(start + self.file_size);
        let path = self.path(start);
        let file = self.cache.get(&path, Open::Existing).at("open", &path)?;
        let mut bytes = std::mem::take(&mut self.piece.1);
        bytes.resize((to - from) as usize, 0);
        file.read_at((from - start) as u64, &mut bytes)
            .at("read", &path)?;
        self.piece = (from, bytes);
        Ok(())
    }

    /// Cuts off all from a position on, so that neither we nor Java find it again.
    ///
    /// # Errors
    /// A file can't be removed or written.
    pub fn truncate(&mut self, end: i64) -> Result<(), StoreError> {
        self.piece.1.clear();
        let kept = self.file_start(end);
        let mut start = self.file_start(self.end.max(end));
        while start > kept || start == kept && end == kept {
            let path = self.path(start);
            if self.files.exists(&path) {
                self.cache.remove_file(&path)?;
            }
            start -= self.file_size;
        }
        self.files.sync_dir(&self.dir).at("sync", &self.dir)?;
        if end > kept {
            self.wipe(kept, end)?;
        }
        (self.end, self.synced) = (end, end);
        self.start = self.start.min(end);
        Ok(())
    }

    fn wipe(&mut self, start: i64, end: i64) -> Result<(), StoreError> {
        let path = self.path(start);
        let file = self.cache.get(&path, Open::Existing).at("open", &path)?;
        let mut at = (end - start) as u64;
        let to = file.data_end(at).at("measure", &path)?;
        let zeroes = [0; PIECE];
        while at < to {
            let size = PIECE.min((to - at) as usize);
            let dirty = file.slice(at, size).at("read", &path)?;
            if dirty.iter().any(|byte| *byte != 0) {
                file.write_at(at, &zeroes[..size]).at("write", &path)?;
            }
            at += size as u64;
        }
        file.sync().at("sync", &path)
    }

    /// Writes and syncs all entries.
    ///
    /// # Errors
    /// What failed is tried again by the next call, or never known to be on disk.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.write()?;
        let mut start = self.file_start(self.synced);
        while start < self.end {
            let path = self.path(start);
            let file = self.cache.get(&path, Open::Existing).at("open", &path)?;
            file.sync().at("sync", &path)?;
            start += self.file_size;
        }
        self.synced = self.end;
        Ok(())
    }

    /// Removes files that end before `head`, where the first entry that waits lies, and whose messages
    /// all lie before a physical offset, as Java does; never the last.
    ///
    /// # Errors
    /// A file can't be read or removed.
    pub fn remove_before(&mut self, physical: i64, head: i64) -> Result<(), StoreError> {
        while self.start + self.file_size < self.end
            && self.start + self.file_size <= self.file_start(head)
        {
            let entries = (self.file_size - BLANK_SIZE) / ENTRY;
            let last = self.start + (entries - 1) * ENTRY;
            // What can't be read is passed by now, or `head` would lie before it.
            let expired = self
                .entry(last)?
                .is_none_or(|(entry, _)| entry.physical < physical);
            if !expired {
                return Ok(());
            }
            let path = self.path(self.start);
            self.cache.remove_file(&path)?;
            self.files.sync_dir(&self.dir).at("sync", &self.dir)?;
            self.start += self.file_size;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SimulatedFiles;

    const FILE: u64 = 52 * 10 + 20;

    fn open(files: &SimulatedFiles) -> TimerLog {
        TimerLog::open(Arc::new(files.clone()), PathBuf::from("/s/timerlog"), FILE).unwrap()
    }

    fn add(log: &mut TimerLog, physical: i64) -> i64 {
        let at = log.make_room().unwrap();
        let entry = TimerEntry {
            previous: -1,
            magic: magic::DEFAULT,
            written_ms: 1_700_000_000_000,
            delay_ms: 1234,
            physical,
            size: 200,
            topic_hash: 7,
            exact: true,
        };
        log.append(&entry);
        at
    }

    fn scan(log: &mut TimerLog) -> Vec<i64> {
        let mut found = Vec::new();
        let mut at = log.start();
        while let Some((entry, next)) = log.entry(at).unwrap() {
            found.push(entry.physical);
            at = next;
        }
        found
    }

    #[test]
    fn entries_are_read_across_files_as_java_lays_them() {
        let files = SimulatedFiles::new();
        let mut log = open(&files);
        let places: Vec<i64> = (0..25).map(|physical| add(&mut log, physical)).collect();
        // Ten entries and a blank to a file.
        assert_eq!((places[9], places[10]), (468, FILE as i64));
        assert_eq!(scan(&mut log), (0..25).collect::<Vec<_>>());
        let bytes = files.open(&log.path(0), Open::Existing).unwrap();
        let blank = bytes.slice(520, 16).unwrap();
        assert_eq!((be32(&blank, 0), be32(&blank, 12)), (20, MAGIC_BLANK));
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let files = SimulatedFiles::new();
        let mut log = open(&files);
        let places: Vec<i64> = (0..25).map(|physical| add(&mut log, physical)).collect();
        log.sync().unwrap();
        log.truncate(places[12]).unwrap();
        assert_eq!(scan(&mut log), (0..12).collect::<Vec<_>>());
        let mut again = open(&files);
        assert_eq!(scan(&mut again), (0..12).collect::<Vec<_>>());
        again.truncate(places[10]).unwrap();
        assert_eq!(scan(&mut open(&files)), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_torn_entry_is_none() {
        let files = SimulatedFiles::new();
        let mut log = open(&files);
        let place = add(&mut log, 5);
        log.sync().unwrap();
        let file = files.open(&log.path(0), Open::Existing).unwrap();
        file.write_at(place as u64 + 24, &[0; 8]).unwrap();
        log.piece.1.clear();
        assert_eq!(log.entry(place).unwrap(), None);
    }

    #[test]
    fn files_go_when_all_their_messages_are_gone() {
        let files = SimulatedFiles::new();
        let mut log = open(&files);
        for physical in 0..25 {
            add(&mut log, physical);
        }
        log.sync().unwrap();
        log.remove_before(9, i64::MAX).unwrap();
        assert_eq!(log.start(), 0);
        log.remove_before(1000, log.start()).unwrap();
        assert!(
            log.start() < log.file_start(log.end()),
            "an entry waits in the first"
        );
        log.remove_before(1000, i64::MAX).unwrap();
        assert_eq!(scan(&mut log), [20, 21, 22, 23, 24]);
        assert_eq!(scan(&mut open(&files)), [20, 21, 22, 23, 24]);
    }
}
