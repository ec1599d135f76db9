//! Writes out what of an index is only in memory. Entries are put meanwhile: the lock is held for copying a
//! piece, never while the disk is waited for.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::slots::Pages;
use super::{ENTRY, Header, Index, IndexFile};
use crate::error::{At, StoreError};
use crate::files::File;

/// Pages of slots, and entries, that are copied at a time.
const PAGES: usize = 64;
const ENTRIES: usize = 8 * 1024;

/// What of one file is to be written: everything up to this header.
struct Unwritten {
    name: i64,
    path: PathBuf,
    disk: Arc<dyn File>,
    header: Header,
    /// Number of the first entry, and how many there are.
    entries: (i32, usize),
}

/// Writes and syncs what has been put before the call. One call at a time.
///
/// # Errors
/// A file can't be written; what it lacks is written by the next call.
pub(crate) fn flush(index: &Mutex<Index>) -> Result<(), StoreError> {
    let unwritten = index.lock().unwritten()?;
    for file in unwritten {
        file.write(index).at("write", &file.path)?;
        file.disk.sync().at("sync", &file.path)?;
        index.lock().note_written(&file);
    }
    Ok(())
}

impl Unwritten {
    /// The header last, so that it speaks of nothing that is not there when the process is killed.
    fn write(&self, index: &Mutex<Index>) -> std::io::Result<()> {
        let (first, count) = self.entries;
        let entries_at = index.lock().entries_at();
        for from in (0..count).step_by(ENTRIES) {
            let piece = from..count.min(from + ENTRIES);
            let bytes = index
                .lock()
                .with(self.name, |file| file.pending[piece].concat());
            let at = entries_at + ENTRY * (first as usize + from) as u64;
            self.disk.write_at(at, &bytes.unwrap_or_default())?;
        }
        let mut from = 0;
        loop {
            let taken = index.lock().take_pages(self.name, from);
            let Some((pages, next)) = taken else { break };
            if let Err(error) = self.disk.write_at(pages.at, &pages.bytes) {
                index.lock().give_back(self.name, &pages);
                return Err(error);
            }
            from = next;
        }
        self.disk.write_at(0, &self.header.encode())
    }
}

impl Index {
    fn unwritten(&self) -> Result<Vec<Unwritten>, StoreError> {
        let files = self.list.iter();
        let files = files.filter(|file| file.dirty || !file.pending.is_empty());
        files
            .map(|file| {
                Ok(Unwritten {
                    name: file.name,
                    path: file.path.clone(),
                    disk: self.file(&file.path)?,
                    header: file.header,
                    entries: (file.first_pending(), file.pending.len()),
                })
            })
            .collect()
    }

    fn with<T>(&mut self, name: i64, look: impl FnOnce(&mut IndexFile) -> T) -> Option<T> {
        let file = self.list.iter_mut().find(|file| file.name == name)?;
        Some(look(file))
    }

    /// The next pages that the file has not, see [`super::slots::Slots::take_changed`].
    fn take_pages(&mut self, name: i64, from: usize) -> Option<(Pages, usize)> {
        let taken = |file: &mut IndexFile| file.slots.as_mut()?.take_changed(from, PAGES);
        self.with(name, taken)?
    }

    fn give_back(&mut self, name: i64, pages: &Pages) {
        self.with(name, |file| {
            let slots = file.slots.as_mut();
            slots.into_iter().for_each(|slots| slots.give_back(pages));
        });
    }

    fn note_written(&mut self, written: &Unwritten) {
        let newest = self.list.last().map(|file| file.name);
        self.with(written.name, |file| {
            file.pending.drain(..written.entries.1);
            file.pending.shrink_to(ENTRIES);
            file.dirty = false;
            // What was put meanwhile, before the next file was begun, is for the next flush.
            if newest != Some(file.name) && file.pending.is_empty() {
                file.slots = None;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_cache::FileCache;
    use crate::files::SimulatedFiles;
    use crate::index::{key_hash, query};

    fn index(files: &SimulatedFiles) -> Mutex<Index> {
        let cache = Arc::new(FileCache::new(Arc::new(files.clone()), 8));
        Mutex::new(Index::load(PathBuf::from("/i"), 8, 4, cache).unwrap())
    }

    fn put(index: &Mutex<Index>, key: &str, at: i64) {
        let hashes = [key_hash("T", key)];
        index.lock().put(hashes, at, 1_000_000).unwrap();
    }

    #[test]
    fn what_is_put_while_a_file_is_written_is_not_forgotten_with_it() {
        let files = SimulatedFiles::new();
        let index = index(&files);
        put(&index, "a", 100);
        let mut unwritten = index.lock().unwritten().unwrap();
        let first = unwritten.remove(0);
        first.write(&index).unwrap();
        // The third entry of a file is its last.
        ["b", "c", "d"]
            .iter()
            .zip([200, 300, 400])
            .for_each(|(key, at)| put(&index, key, at));
        index.lock().note_written(&first);
        for round in ["in memory", "in the file"] {
            for (key, at) in [("a", 100), ("b", 200), ("c", 300), ("d", 400)] {
                let found = query(&index, ("T", key), 8, (0, i64::MAX)).unwrap();
                assert_eq!(found, [at], "{key} {round}");
            }
            flush(&index).unwrap();
        }
        let again = super::tests::index(&files);
        for (key, at) in [("a", 100), ("b", 200), ("c", 300), ("d", 400)] {
            let found = query(&again, ("T", key), 8, (0, i64::MAX)).unwrap();
            assert_eq!(found, [at], "{key} after a start");
        }
    }

    #[test]
    fn a_burst_is_written_and_its_room_given_back() {
        let cache = Arc::new(FileCache::new(Arc::new(SimulatedFiles::new()), 8));
        let count = 3 * ENTRIES;
        let index = Index::load(PathBuf::from("/i"), 64, 1 << 20, cache).unwrap();
        let index = Mutex::new(index);
        (0..count).for_each(|at| put(&index, &at.to_string(), at as i64));
        flush(&index).unwrap();
        assert!(index.lock().list[0].pending.capacity() <= ENTRIES);
        let last = count - 1;
        let found = query(&index, ("T", &last.to_string()), 8, (0, i64::MAX)).unwrap();
        assert_eq!(found, [last as i64]);
    }
}
