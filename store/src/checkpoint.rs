//! The `checkpoint` file: Java's five numbers, and behind them, where Java reads nothing, how far
//! this store knows log, queues and index to be on disk.

use std::path::PathBuf;
use std::sync::Arc;

use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};
use crate::files::{File, FileSystem, Open};

const FILE_SIZE: u64 = 4096;
/// Bytes of Java's three times.
const HEAD: usize = 24;
/// Two slots in sectors of their own, written in turn, so that one always survives a torn write.
const SLOTS: [u64; 2] = [512, 1024];
const MAGIC: i64 = 0x534C_5543_4B50_5431;
const SLOT_SIZE: usize = 8 * 10 + 4;

/// What a checkpoint says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// `physicMsgTimestamp`: store time up to which the log is on disk.
    pub log_time: i64,
    /// `logicsMsgTimestamp`: the same for the consume queues.
    pub queue_time: i64,
    /// `indexMsgTimestamp`: the same for the index.
    pub index_time: i64,
    /// Physical offset below which the log is on disk.
    pub log_offset: i64,
    /// Physical offset below which queues and index are on disk too.
    pub dispatched: i64,
    /// Creation name of the newest index file, as a number; 0 = none.
    pub index_file: i64,
    /// Its next entry number.
    pub index_count: i64,
    /// Queues there were.
    pub queues: i64,
}

pub(crate) struct Checkpoint {
    path: PathBuf,
    file: Arc<dyn File>,
    sequence: i64,
    /// What the newest slot says, while the head may say something older.
    head_owed: Option<Marks>,
}

impl Checkpoint {
    /// Opens the file; answers Java's times, and our marks if they can be trusted: not when Java
    /// has written the file after us.
    pub(crate) fn open(
        files: &dyn FileSystem,
        path: PathBuf,
    ) -> Result<(Self, Marks, bool), StoreError> {
        let file = files
            .open(&path, Open::Sparse(FILE_SIZE))
            .at("open", &path)?;
        let mut bytes = vec![0; FILE_SIZE as usize];
        let size = file.len().at("measure", &path)?.min(FILE_SIZE) as usize;
        file.read_at(0, &mut bytes[..size]).at("read", &path)?;
        let mut marks = Marks {
            log_time: be64(&bytes, 0),
            queue_time: be64(&bytes, 8),
            index_time: be64(&bytes, 16),
            ..Marks::default()
        };
        let slots: Vec<(i64, Marks)> = SLOTS
            .iter()
            .filter_map(|&at| read_slot(&bytes[at as usize..]))
            .collect();
        let newest = slots.iter().max_by_key(|(sequence, _)| *sequence);
        let sequence = newest.map_or(0, |(sequence, _)| *sequence);
        let mut heads = vec![[0; HEAD]];
        heads.extend(slots.iter().map(|(_, slot)| head(slot)));
        let trusted = !slots.is_empty() && is_ours(&bytes[..HEAD], &heads);
        if let (true, Some((_, newest))) = (trusted, newest) {
            marks = *newest;
        }
        let behind = |newest: &Marks| trusted && bytes[..HEAD] != head(newest);
        let head_owed = newest.map(|(_, newest)| *newest).filter(behind);
        Ok((
            Checkpoint {
                path,
                file,
                sequence,
                head_owed,
            },
            marks,
            trusted,
        ))
    }

    /// Writes and syncs the marks. Only call when what they speak of has been synced.
    pub(crate) fn write(&mut self, marks: &Marks) -> Result<(), StoreError> {
        if let Some(newest) = self.head_owed {
            // The slot to be overwritten may be the one that the head still stands for.
            self.write_head(&newest)?;
        }
        self.sequence += 1;
        let at = SLOTS[(self.sequence % 2) as usize];
        self.file
            .write_at(at, &encode_slot(self.sequence, marks))
            .at("write", &self.path)?;
        self.file.sync().at("sync", &self.path)?;
        self.head_owed = Some(*marks);
        self.write_head(marks)
    }

    fn write_head(&mut self, marks: &Marks) -> Result<(), StoreError> {
        let mut head = head(marks).to_vec();
        for _ in 0..2 {
            head.extend_from_slice(&marks.log_offset.to_be_bytes());
        }
        self.file.write_at(0, &head).at("write", &self.path)?;
        self.file.sync().at("sync", &self.path)?;
        self.head_owed = None;
        Ok(())
    }
}

/// The bytes Java reads.
fn head(marks: &Marks) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    let times = [marks.log_time, marks.queue_time, marks.index_time];
    for (part, time) in out.chunks_exact_mut(8).zip(times) {
        part.copy_from_slice(&time.to_be_bytes());
    }
    out
}

/// Whether `found` is one of ours, or one written over another when the power failed half-way.
pub(crate) fn is_ours<const N: usize>(found: &[u8], heads: &[[u8; N]]) -> bool {
    let mixed = |new: &[u8; N], old: &[u8; N]| {
        (0..=N).any(|at| found[..at] == new[..at] && found[at..] == old[at..])
    };
    heads
        .iter()
        .any(|new| heads.iter().any(|old| mixed(new, old)))
}

fn encode_slot(sequence: i64, marks: &Marks) -> Vec<u8> {
    let mut out = Vec::with_capacity(SLOT_SIZE);
    for number in [
        MAGIC,
        sequence,
        marks.log_time,
        marks.queue_time,
        marks.index_time,
        marks.log_offset,
        marks.dispatched,
        marks.index_file,
        marks.index_count,
        marks.queues,
    ] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn read_slot(bytes: &[u8]) -> Option<(i64, Marks)> {
    let body = &bytes[..SLOT_SIZE - 4];
    if be64(body, 0) != MAGIC || be32(bytes, SLOT_SIZE - 4) as u32 != crc32fast::hash(body) {
        return None;
    }
    let marks = Marks {
        log_time: be64(body, 16),
        queue_time: be64(body, 24),
        index_time: be64(body, 32),
        log_offset: be64(body, 40),
        dispatched: be64(body, 48),
        index_file: be64(body, 56),
        index_count: be64(body, 64),
        queues: be64(body, 72),
    };
    Some((be64(body, 8), marks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SimulatedFiles;

    fn marks(time: i64) -> Marks {
        Marks {
            log_time: time,
            queue_time: time,
            index_time: time,
            log_offset: time * 2,
            ..Marks::default()
        }
    }

    #[test]
    fn only_a_head_of_ours_is_trusted() {
        let files = SimulatedFiles::new();
        let path = PathBuf::from("/checkpoint");
        let open = || Checkpoint::open(&files, path.clone()).unwrap();
        let (mut checkpoint, _, trusted) = open();
        assert!(!trusted);
        checkpoint.write(&marks(0x0102_0304)).unwrap();
        checkpoint.write(&marks(0x0506_0708)).unwrap();
        let (_, found, trusted) = open();
        assert_eq!((found, trusted), (marks(0x0506_0708), true));
        // Half-way through the head the power failed.
        let file = files.open(&path, Open::Existing).unwrap();
        file.write_at(12, &0x0102_0304_i32.to_be_bytes()).unwrap();
        file.write_at(16, &0x0102_0304_i64.to_be_bytes()).unwrap();
        assert!(open().2);
        // Java wrote its own time.
        file.write_at(0, &0x1111_1111_i64.to_be_bytes()).unwrap();
        assert!(!open().2);
    }
}
