//! Checksums of the few records that look as if a sector of them had been lost.
//!
//! A record's own checksum covers only its body, so after a power loss recovery takes a NUL byte
//! in topic or properties for a lost sector. Clients may put one there, though. Such a record is
//! vouched for in a file beside the log, which is synced with it; all others cost nothing.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use sluice_protocol::message::Record;

use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};
use crate::files::{File, FileSystem, Open};

/// Physical offset (8), checksum of the record (4), checksum of these (4).
const ENTRY: usize = 16;

/// Whether a lost sector would look like this record.
pub(crate) fn looks_torn(record: &Record<'_>) -> bool {
    record.properties().contains(&0) || record.topic().as_bytes().contains(&0)
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
    known: HashMap<i64, u32>,
    state: Mutex<State>,
}

impl Vouched {
    pub(crate) fn open(files: Arc<dyn FileSystem>, path: PathBuf) -> Result<Self, StoreError> {
        let bytes = match files.exists(&path) {
            true => files.read(&path).at("read", &path)?,
            false => Vec::new(),
        };
        let whole = |entry: &&[u8]| crc32fast::hash(&entry[..12]) == be32(entry, 12) as u32;
        let known: HashMap<i64, u32> = bytes
            .chunks_exact(ENTRY)
            .filter(whole)
            .map(|entry| (be64(entry, 0), be32(entry, 8) as u32))
            .collect();
        let state = State {
            file: None,
            next: (bytes.len() / ENTRY * ENTRY) as u64,
            newest: known.keys().copied().max().unwrap_or(0),
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
        self.known.get(&offset) == Some(&crc32fast::hash(record))
    }

    /// Vouches for the records of one append that look torn; `offset` is where the first lies.
    pub(crate) fn add(&self, mut offset: i64, mut records: &[u8]) -> io::Result<()> {
        while let Ok(record) = Record::parse(records) {
            if looks_torn(&record) {
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
