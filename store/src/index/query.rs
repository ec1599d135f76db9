//! Finds entries by key. The lock is held for looking at what is in memory, never while a file is read.

use std::path::PathBuf;

use parking_lot::Mutex;

use super::{ENTRY, HEADER, Header, Index, IndexFile, key_hash};
use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};

/// A file as it was when the search began.
struct Searched {
    name: i64,
    path: PathBuf,
    header: Header,
}

/// Physical offsets that may carry a topic's key and were stored within a span of time (Unix milliseconds,
/// both ends included), newest first; others with the same hash are among them.
///
/// # Errors
/// A file can't be read.
pub(crate) fn query(
    index: &Mutex<Index>,
    (topic, key): (&str, &str),
    max: usize,
    (begin, end): (i64, i64),
) -> Result<Vec<i64>, StoreError> {
    let hash = key_hash(topic, key);
    let mut found = Vec::new();
    let files = index.lock().searched();
    for file in files {
        let header = file.header;
        // After a rewind the end is known to the second only, as the entries are.
        if header.begin_time <= end && header.end_time + 999 >= begin {
            let mut number = file.head(index, hash)?;
            while number > 0 && found.len() < max {
                let Some(entry) = file.entry(index, number)? else {
                    break;
                };
                // The entry knows whole seconds only: one stored within the second of `begin` counts.
                let time = header.begin_time + i64::from(be32(&entry, 12)) * 1000;
                if be32(&entry, 0) == hash && time + 999 >= begin && time <= end {
                    found.push(be64(&entry, 4));
                }
                let previous = be32(&entry, 16);
                if previous >= number || time + 999 < begin {
                    break;
                }
                number = previous;
            }
        }
        if found.len() >= max || header.begin_time < begin {
            break;
        }
    }
    Ok(found)
}

impl Searched {
    /// Newest entry of the slot of a hash, 0 = none, as when the file has expired since the search began.
    /// Entries put since then count: a head is judged by the header that it belongs to.
    fn head(&self, index: &Mutex<Index>, hash: i32) -> Result<i32, StoreError> {
        let (slot, disk) = {
            let index = index.lock();
            let slot = hash as u32 % index.slots;
            let Some(file) = index.of(self.name) else {
                return Ok(0);
            };
            if let Some(head) = file.head(slot) {
                return Ok(head);
            }
            (slot, index.file(&self.path)?)
        };
        let mut bytes = [0; 4];
        disk.read_at(HEADER + 4 * u64::from(slot), &mut bytes)
            .at("read", &self.path)?;
        let index = index.lock();
        let header = index.of(self.name).map_or(self.header, |file| file.header);
        Ok(header.real(i32::from_be_bytes(bytes)))
    }

    /// `None` when the file has expired.
    fn entry(
        &self,
        index: &Mutex<Index>,
        number: i32,
    ) -> Result<Option<[u8; ENTRY as usize]>, StoreError> {
        let (disk, at) = {
            let index = index.lock();
            let Some(file) = index.of(self.name) else {
                return Ok(None);
            };
            if let Some(entry) = file.pending(number) {
                return Ok(Some(entry));
            }
            let at = index.entries_at() + ENTRY * number as u64;
            (index.file(&self.path)?, at)
        };
        let mut bytes = [0; ENTRY as usize];
        disk.read_at(at, &mut bytes).at("read", &self.path)?;
        Ok(Some(bytes))
    }
}

impl Index {
    /// All files, the newest first.
    fn searched(&self) -> Vec<Searched> {
        let files = self.list.iter().rev();
        let as_it_is = |file: &IndexFile| Searched {
            name: file.name,
            path: file.path.clone(),
            header: file.header,
        };
        files.map(as_it_is).collect()
    }

    fn of(&self, name: i64) -> Option<&IndexFile> {
        self.list.iter().find(|file| file.name == name)
    }
}

impl IndexFile {
    /// Newest entry of a slot, 0 = none, if the slots are in memory.
    fn head(&self, slot: u32) -> Option<i32> {
        let slots = self.slots.as_ref()?;
        Some(self.header.real(slots.head(slot)))
    }

    /// An entry that is not written yet.
    fn pending(&self, number: i32) -> Option<[u8; ENTRY as usize]> {
        let at = usize::try_from(number.checked_sub(self.first_pending())?).ok()?;
        self.pending.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{FileSystem, SimulatedFiles};

    /// What comes while somebody searches must not hide what was there.
    #[test]
    fn an_entry_put_behind_a_search_that_has_begun_leads_to_the_older_ones() {
        let files = SimulatedFiles::new();
        let index = super::super::tests::index(&files, 8, 16);
        let hash = key_hash("T", "a");
        index.lock().put([hash], 100, 1_000_000).unwrap();
        let begun = index.lock().searched().remove(0);
        index.lock().put([hash], 200, 1_000_000).unwrap();
        let head = begun.head(&index, hash).unwrap();
        assert_eq!(head, 2);
        let entry = begun.entry(&index, head).unwrap().unwrap();
        assert_eq!((be64(&entry, 4), be32(&entry, 16)), (200, 1));
    }

    #[test]
    fn of_a_file_that_expires_during_a_search_nothing_is_found_and_it_is_not_made_anew() {
        let files = SimulatedFiles::new();
        let index = super::super::tests::index(&files, 8, 4);
        let hash = key_hash("T", "a");
        for at in 0..10 {
            index.lock().put([hash], 100 * (at + 1), 1_000_000).unwrap();
        }
        let oldest = index.lock().searched().pop().unwrap();
        let number = oldest.head(&index, hash).unwrap();
        assert!(number > 0);
        let expired = index.lock().expire(i64::MAX);
        assert!(expired.contains(&oldest.path), "{expired:?}");
        expired
            .iter()
            .for_each(|path| files.remove_file(path).unwrap());
        assert_eq!(oldest.head(&index, hash).unwrap(), 0);
        assert_eq!(oldest.entry(&index, number).unwrap(), None);
        assert!(!files.exists(&oldest.path));
    }
}
