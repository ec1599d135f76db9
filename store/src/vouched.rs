//! Checksums of the few records that look as if a sector of them had been lost.
//!
//! A record's own checksum covers only its body, so after a power loss recovery takes a NUL byte
//! in topic or properties for a lost sector, and so it takes queue id 0 where a sector ends shortly
//! behind it. Clients may put a NUL there, though, and queue 0 has messages. Such a record is
//! vouched for in a file beside the log, which is synced with it; all others cost nothing.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use sluice_protocol::message::Record;
use sluice_protocol::message::record::PHYSICAL_OFFSET_AT;

use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};
use crate::files::{File, FileSystem, Open};

/// Physical offset (8), checksum of the record (4), checksum of these (4).
const ENTRY: usize = 16;

/// What a disk writes in one piece; a power loss may still leave a piece of a piece.
const SECTOR: i64 = 512;
/// Positions of `QUEUEID` in a record.
const QUEUE_ID: Range<usize> = 12..16;

/// Whether texts of the record hold what a lost sector would leave.
pub(crate) fn has_nul(record: &Record<'_>) -> bool {
    record.properties().contains(&0) || record.topic().as_bytes().contains(&0)
}

/// Where, in a record at `at`, a sector ends in zeroes that may stand for a lost queue id or queue
/// offset. The physical offset behind them is known, but may itself begin with zeroes.
pub(crate) fn zeroes_before(record: &[u8], at: i64) -> Option<usize> {
    let boundary = (at + PHYSICAL_OFFSET_AT as i64 + 8) / SECTOR * SECTOR - at;
    let boundary = usize::try_from(boundary).ok()?;
    (boundary > QUEUE_ID.start && record[boundary - 1] == 0).then_some(boundary)
}

/// Whether another queue's id, but for its lost end, would look like this record's.
pub(crate) fn queue_id_at_risk(record: &[u8], at: i64) -> bool {
    record[QUEUE_ID.end - 1] == 0
        && zeroes_before(record, at).is_some_and(|boundary| boundary >= QUEUE_ID.end)
}

/// Whether a lost sector, or the lost end of one, would look like this record at `at`.
pub(crate) fn looks_torn(record: &Record<'_>, at: i64) -> bool {
    has_nul(record) || queue_id_at_risk(record.as_bytes(), at)
}

struct State {
    file: Option<Arc<dyn File>>,
    next: u64,
    newest: i64,
    dirty: bool,
}

pub(crate) struct Vouched {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    /// Several may speak of one offset: entries of a cut log stay until they are overwritten.
    known: HashSet<(i64, u32)>,
    state: Mutex<State>,
}

impl Vouched {
    pub(crate) fn open(files: Arc<dyn FileSystem>, path: PathBuf) -> Result<Self, StoreError> {
        let bytes = match files.exists(&path) {
            true => files.read(&path).at("read", &path)?,
            false => Vec::new(),
        };
        let whole = |entry: &&[u8]| crc32fast::hash(&entry[..12]) == be32(entry, 12) as u32;
        let known: HashSet<(i64, u32)> = bytes
            .chunks_exact(ENTRY)
            .filter(whole)
            .map(|entry| (be64(entry, 0), be32(entry, 8) as u32))
            .collect();
        let state = State {
            file: None,
            next: (bytes.len() / ENTRY * ENTRY) as u64,
            newest: known.iter().map(|(offset, _)| *offset).max().unwrap_or(0),
            dirty: false,
        };
        Ok(Vouched {
            files,
            path,
            known,
            state: Mutex::new(state),
        })
    }

    /// Whether exactly these bytes were appended at `offset` before the store was opened.
    pub(crate) fn knows(&self, offset: i64, record: &[u8]) -> bool {
        self.known.contains(&(offset, crc32fast::hash(record)))
    }

    /// Vouches for the records of one append that look torn; `offset` is where the first lies.
    pub(crate) fn add(&self, mut offset: i64, mut records: &[u8]) -> io::Result<()> {
        while let Ok(record) = Record::parse(records) {
            if looks_torn(&record, offset) {
                self.write(offset, record.as_bytes())?;
            }
            offset += record.size() as i64;
            records = &records[record.size()..];
        }
        Ok(())
    }

    fn write(&self, offset: i64, record: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = match &state.file {
            Some(file) => Arc::clone(file),
            None => self.files.open(&self.path, Open::Sparse(0))?,
        };
        state.file = Some(Arc::clone(&file));
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&offset.to_be_bytes());
        entry[8..12].copy_from_slice(&crc32fast::hash(record).to_be_bytes());
        let own = crc32fast::hash(&entry[..12]);
        entry[12..].copy_from_slice(&own.to_be_bytes());
        file.write_at(state.next, &entry)?;
        state.next += ENTRY as u64;
        (state.newest, state.dirty) = (offset, true);
        Ok(())
    }

    /// Syncs what was added; free if nothing was.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if let (true, Some(file)) = (state.dirty, &state.file) {
            file.sync()?;
            state.dirty = false;
        }
        Ok(())
    }

    /// Starts over once all it vouches for lies below the checkpoint's durable offset.
    pub(crate) fn forget_below(&self, durable: i64) {
        let mut state = self.state.lock();
        if state.newest < durable {
            state.next = 0;
        }
    }
}
