//! `config/timercheck`: Java's numbers, and behind them, where Java reads nothing, our own.
//!
//! ```text
//!   0 READTIME i64    8 LOGEND i64    16 QUEUEOFFSET i64    24 the same, of the master
//!  32 STATEVERSION i64               40 TIMESTAMP i64       48 COUNTER i64
//! ```
//!
//! Source: `TimerCheckpoint` of RocketMQ 5.3.3. Written as the store's checkpoint is: one of two
//! slots, then Java's numbers, so that after a power loss one of them is whole.

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::is_ours;
use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};
use crate::files::{File, FileSystem, Open};

const FILE_SIZE: u64 = 4096;
const HEAD: usize = 32;
const SLOTS: [u64; 2] = [512, 1024];
const MAGIC: i64 = 0x534C_5543_5449_4D31;
const SLOT_SIZE: usize = 9 * 8 + 4;

/// How far the timer has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerMarks {
    /// All slots before this time are done, Unix milliseconds.
    pub read_ms: i64,
    /// End of the timer log that is on disk.
    pub log_end: i64,
    /// Messages of the timer's queue before it have entries before `log_end`.
    pub queue_offset: i64,
    /// What was delivered of later slots lies in the commit log from here on.
    pub copies_from: i64,
    /// Entries of the timer log before it are done.
    pub head: i64,
    /// Milliseconds of a tick.
    pub precision_ms: i64,
    /// Not 0 while the clock that is set back makes entries from here on take the place of those in the
    /// slot of `read_ms`: when that slot is empty, earlier slots are to be read again.
    pub turned_at: i64,
}

/// The file.
pub struct TimerCheckpoint {
    path: PathBuf,
    file: Arc<dyn File>,
    sequence: i64,
}

impl TimerCheckpoint {
    /// Opens or makes the file. Answers what it says, and whether it is our own word: not when Java
    /// has written the file after us. Java's word has the first three numbers only.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn open(
        files: &dyn FileSystem,
        path: PathBuf,
    ) -> Result<(Self, TimerMarks, bool), StoreError> {
        if let Some(dir) = path.parent() {
            files.create_dir_all(dir).at("create", dir)?;
        }
        let file = files
            .open(&path, Open::Sparse(FILE_SIZE))
            .at("open", &path)?;
        let mut bytes = vec![0; FILE_SIZE as usize];
        let size = file.len().at("measure", &path)?.min(FILE_SIZE) as usize;
        file.read_at(0, &mut bytes[..size]).at("read", &path)?;
        let slots: Vec<(i64, TimerMarks)> = SLOTS
            .iter()
            .filter_map(|&at| read_slot(&bytes[at as usize..]))
            .collect();
        let newest = slots.iter().max_by_key(|(sequence, _)| *sequence).copied();
        let mut heads = vec![[0; HEAD]];
        heads.extend(slots.iter().map(|(_, marks)| head(marks)));
        let trusted = newest.is_some() && is_ours(&bytes[..HEAD], &heads);
        let javas = TimerMarks {
            read_ms: be64(&bytes, 0),
            log_end: be64(&bytes, 8),
            queue_offset: be64(&bytes, 16).min(be64(&bytes, 24)),
            ..TimerMarks::default()
        };
        let checkpoint = TimerCheckpoint {
            path,
            file,
            sequence: newest.map_or(0, |(sequence, _)| sequence),
        };
        match newest {
            Some((_, marks)) if trusted => {
                if bytes[..HEAD] != head(&marks) {
                    // The slot that is written next may be the one that the head stands for.
                    checkpoint.write_head(&marks)?;
                }
                Ok((checkpoint, marks, true))
            }
            _ => Ok((checkpoint, javas, false)),
        }
    }

    /// Makes whole what a process that was killed has left: the marks that were read are on disk, and the
    /// head says the same, before the other marks are written over.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn settle(&self, marks: &TimerMarks) -> Result<(), StoreError> {
        self.file.sync().at("sync", &self.path)?;
        self.write_head(marks)
    }

    /// Writes and syncs the marks. Only call when what they speak of has been synced.
    ///
    /// # Errors
    /// The old marks or the new ones are there.
    pub fn write(&mut self, marks: &TimerMarks) -> Result<(), StoreError> {
        self.sequence += 1;
        let at = SLOTS[(self.sequence % 2) as usize];
        self.file
            .write_at(at, &encode_slot(self.sequence, marks))
            .at("write", &self.path)?;
        self.file.sync().at("sync", &self.path)?;
        self.write_head(marks)
    }

    fn write_head(&self, marks: &TimerMarks) -> Result<(), StoreError> {
        self.file
            .write_at(0, &head(marks))
            .at("write", &self.path)?;
        self.file.sync().at("sync", &self.path)
    }
}

/// The bytes that Java goes by.
fn head(marks: &TimerMarks) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    let numbers = [
        marks.read_ms,
        marks.log_end,
        marks.queue_offset,
        marks.queue_offset,
    ];
    for (part, number) in out.chunks_exact_mut(8).zip(numbers) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    out
}

fn encode_slot(sequence: i64, marks: &TimerMarks) -> Vec<u8> {
    let numbers = [
        MAGIC,
        sequence,
        marks.read_ms,
        marks.log_end,
        marks.queue_offset,
        marks.copies_from,
        marks.head,
        marks.precision_ms,
        marks.turned_at,
    ];
    let mut out: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn read_slot(bytes: &[u8]) -> Option<(i64, TimerMarks)> {
    let body = &bytes[..SLOT_SIZE - 4];
    if be64(body, 0) != MAGIC || be32(bytes, SLOT_SIZE - 4) as u32 != crc32fast::hash(body) {
        return None;
    }
    let marks = TimerMarks {
        read_ms: be64(body, 16),
        log_end: be64(body, 24),
        queue_offset: be64(body, 32),
        copies_from: be64(body, 40),
        head: be64(body, 48),
        precision_ms: be64(body, 56),
        turned_at: be64(body, 64),
    };
    Some((be64(body, 8), marks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SimulatedFiles;

    #[test]
    fn only_our_own_word_is_trusted_and_javas_is_read() {
        let files = SimulatedFiles::new();
        let path = PathBuf::from("/s/config/timercheck");
        let open = || TimerCheckpoint::open(&files, path.clone()).unwrap();
        let marks = TimerMarks {
            read_ms: 1_700_000_000_000,
            log_end: 520,
            queue_offset: 10,
            copies_from: 4096,
            head: 52,
            precision_ms: 1000,
            turned_at: 52,
        };
        let (mut checkpoint, _, trusted) = open();
        assert!(!trusted);
        checkpoint.write(&marks).unwrap();
        let (_, found, trusted) = open();
        assert_eq!((found, trusted), (marks, true));
        let file = files.open(&path, Open::Existing).unwrap();
        for (at, number) in [(0, 1_700_000_009_000_i64), (8, 1040), (16, 20), (24, 19)] {
            file.write_at(at, &number.to_be_bytes()).unwrap();
        }
        let (_, found, trusted) = open();
        let javas = TimerMarks {
            read_ms: 1_700_000_009_000,
            log_end: 1040,
            queue_offset: 19,
            ..TimerMarks::default()
        };
        assert_eq!((found, trusted), (javas, false));
    }
}
