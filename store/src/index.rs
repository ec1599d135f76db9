//! Index files: a hash table on disk from `topic#key` to physical offsets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sluice_protocol::message::java_hash;

use crate::clock;
use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};
use crate::file_cache::FileCache;
use crate::files::{File, Open};

const HEADER: u64 = 40;
const ENTRY: u64 = 20;
const PAGE: usize = 4096;

/// Java's key hash: the absolute value, 0 for the one that has none.
pub(crate) fn key_hash(key: &str) -> i32 {
    java_hash(key).checked_abs().unwrap_or(0)
}

#[derive(Debug, Clone, Copy, Default)]
struct Header {
    begin_time: i64,
    end_time: i64,
    begin_offset: i64,
    end_offset: i64,
    slots_used: i32,
    count: i32,
}

struct IndexFile {
    name: i64,
    path: PathBuf,
    header: Header,
    /// Entries not written yet; they are the file's last.
    pending: Vec<[u8; ENTRY as usize]>,
    /// Slot heads not written yet, in the order in which they will be.
    heads: BTreeMap<u32, i32>,
    dirty: bool,
}

pub(crate) struct Index {
    dir: PathBuf,
    slots: u32,
    entries: u32,
    cache: Arc<FileCache>,
    list: Vec<IndexFile>,
}

impl Index {
    pub(crate) fn load(
        dir: PathBuf,
        slots: u32,
        entries: u32,
        cache: Arc<FileCache>,
    ) -> Result<Self, StoreError> {
        let mut index = Index {
            dir,
            slots,
            entries,
            cache,
            list: Vec::new(),
        };
        for entry in index.cache.files.list(&index.dir).at("list", &index.dir)? {
            let path = index.dir.join(&entry.name);
            let name = entry
                .name
                .parse()
                .ok()
                .filter(|_| entry.name.len() == 17 && !entry.is_dir);
            match name {
                Some(name) if entry.size == index.file_size() => {
                    let mut head = [0; HEADER as usize];
                    index.file(&path)?.read_at(0, &mut head).at("read", &path)?;
                    index
                        .list
                        .push(IndexFile::new(name, path, Header::decode(&head)));
                }
                _ => {
                    tracing::warn!(path = %path.display(), size = entry.size, "not an index file of this size, ignored")
                }
            }
        }
        Ok(index)
    }

    fn file_size(&self) -> u64 {
        HEADER + 4 * u64::from(self.slots) + ENTRY * u64::from(self.entries)
    }
    fn file(&self, path: &std::path::Path) -> Result<Arc<dyn File>, StoreError> {
        self.cache
            .get(path, Open::Sparse(self.file_size()))
            .at("open", path)
    }

    /// Name and next entry number of the newest file.
    pub(crate) fn position(&self) -> (i64, i64) {
        self.list
            .last()
            .map_or((0, 0), |file| (file.name, i64::from(file.header.count)))
    }
    /// Store time and physical offset of the newest entry.
    pub(crate) fn last_update(&self) -> (i64, i64) {
        self.list.last().map_or((0, 0), |file| {
            (file.header.end_time, file.header.end_offset)
        })
    }

    /// Goes back to a position once synced: later files are removed, later entries forgotten.
    pub(crate) fn rewind(&mut self, name: i64, count: i64) -> Result<(), StoreError> {
        while self.list.last().is_some_and(|file| file.name > name) {
            self.remove_last()?;
        }
        if self.list.last().is_some_and(|file| file.name == name) {
            return self.rebuild_last(count.clamp(1, i64::from(self.entries)) as i32);
        }
        Ok(())
    }

    /// Whether the file of a checkpoint is still there.
    pub(crate) fn has(&self, name: i64) -> bool {
        name == 0 || self.list.iter().any(|file| file.name == name)
    }

    pub(crate) fn clear(&mut self) -> Result<(), StoreError> {
        while !self.list.is_empty() {
            self.remove_last()?;
        }
        Ok(())
    }

    fn remove_last(&mut self) -> Result<(), StoreError> {
        let Some(file) = self.list.pop() else {
            return Ok(());
        };
        self.cache.forget(&file.path);
        self.cache
            .files
            .remove_file(&file.path)
            .at("remove", &file.path)
    }

    /// Makes header and slots of the newest file anew from its first `count - 1` entries.
    fn rebuild_last(&mut self, count: i32) -> Result<(), StoreError> {
        let (slots, entries_at) = (self.slots, self.entries_at());
        let Some(path) = self.list.last().map(|file| file.path.clone()) else {
            return Ok(());
        };
        let disk = self.file(&path)?;
        let mut bytes = vec![0; (count as usize - 1) * ENTRY as usize];
        disk.read_at(entries_at + ENTRY, &mut bytes)
            .at("read", &path)?;
        let mut heads = vec![0u8; slots as usize * 4];
        let mut used = 0;
        for (at, entry) in bytes.chunks_exact(ENTRY as usize).enumerate() {
            let slot = (be32(entry, 0).max(0) as u32 % slots) as usize * 4;
            used += i32::from(heads[slot..slot + 4] == [0; 4]);
            heads[slot..slot + 4].copy_from_slice(&(at as i32 + 1).to_be_bytes());
        }
        self.replace_slots(&*disk, &path, &heads)?;
        let file = self.list.last_mut().expect("looked at above");
        let last = bytes.chunks_exact(ENTRY as usize).last();
        file.header.count = count;
        file.header.slots_used = used;
        if let Some(last) = last {
            file.header.end_offset = be64(last, 4);
            file.header.end_time = file.header.begin_time + i64::from(be32(last, 12)) * 1000;
        }
        file.dirty = true;
        Ok(())
    }

    /// Writes only the pages that change: most of the table is a hole in the file.
    fn replace_slots(
        &self,
        disk: &dyn File,
        path: &std::path::Path,
        heads: &[u8],
    ) -> Result<(), StoreError> {
        let mut old = vec![0; heads.len()];
        disk.read_at(HEADER, &mut old).at("read", path)?;
        let pages = heads.chunks(PAGE).zip(old.chunks(PAGE)).enumerate();
        for (page, (new, _)) in pages.filter(|(_, (new, old))| new != old) {
            disk.write_at(HEADER + (page * PAGE) as u64, new)
                .at("write", path)?;
        }
        Ok(())
    }

    fn entries_at(&self) -> u64 {
        HEADER + 4 * u64::from(self.slots)
    }

    /// Adds all keys of one record, or on an error none. The caller sees to it that no record is
    /// added twice.
    pub(crate) fn put(
        &mut self,
        keys: impl IntoIterator<Item = String>,
        physical_offset: i64,
        store_time: i64,
    ) -> Result<(), StoreError> {
        let files = self.list.len();
        let before = self
            .list
            .last()
            .map(|file| (file.header, file.pending.len()));
        let put = keys
            .into_iter()
            .try_for_each(|key| self.put_key(&key, physical_offset, store_time));
        if put.is_err() {
            self.list.truncate(files);
            if let (Some(file), Some((header, pending))) = (self.list.last_mut(), before) {
                file.take_back(header, pending, self.slots);
            }
        }
        put
    }

    fn put_key(
        &mut self,
        key: &str,
        physical_offset: i64,
        store_time: i64,
    ) -> Result<(), StoreError> {
        if self
            .list
            .last()
            .is_none_or(|file| file.header.count as u32 >= self.entries)
        {
            self.roll(store_time)?;
        }
        let hash = key_hash(key);
        let slot = hash as u32 % self.slots;
        let last = self.list.len() - 1;
        let previous = self.head(&self.list[last], slot)?;
        let file = &mut self.list[last];
        if file.header.count <= 1 {
            (file.header.begin_time, file.header.begin_offset) = (store_time, physical_offset);
        }
        let seconds =
            ((store_time - file.header.begin_time) / 1000).clamp(0, i64::from(i32::MAX)) as i32;
        let mut entry = [0; ENTRY as usize];
        entry[..4].copy_from_slice(&hash.to_be_bytes());
        entry[4..12].copy_from_slice(&physical_offset.to_be_bytes());
        entry[12..16].copy_from_slice(&seconds.to_be_bytes());
        entry[16..].copy_from_slice(&previous.to_be_bytes());
        file.pending.push(entry);
        file.heads.insert(slot, file.header.count);
        file.header.count += 1;
        file.header.slots_used += i32::from(previous == 0);
        (file.header.end_time, file.header.end_offset) = (store_time, physical_offset);
        Ok(())
    }

    fn roll(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let [year, month, day, hour, minute, second] = clock::local(now_ms);
        let date = i64::from(year) * 10_000 + i64::from(month) * 100 + i64::from(day);
        let time = i64::from(hour) * 10_000 + i64::from(minute) * 100 + i64::from(second);
        let name = (date * 1_000_000 + time) * 1000 + now_ms.rem_euclid(1000);
        let previous = self.list.last().map(|file| (file.name, file.header));
        // Names order the files, so a clock set back must not make a smaller one.
        let name = previous.map_or(name, |(last, _)| name.max(last + 1));
        self.cache
            .files
            .create_dir_all(&self.dir)
            .at("create", &self.dir)?;
        let path = self.dir.join(format!("{name:017}"));
        if self.cache.files.exists(&path) {
            // Being made when the process died, or when a disk was full.
            self.cache.forget(&path);
            let removed = self.cache.files.remove_file(&path);
            removed.at("remove", &path)?;
        }
        self.file(&path)?;
        let header = previous.map_or(Header::default(), |(_, h)| Header {
            begin_time: h.end_time,
            end_time: h.end_time,
            begin_offset: h.end_offset,
            end_offset: h.end_offset,
            ..Header::default()
        });
        self.list
            .push(IndexFile::new(name, path, Header { count: 1, ..header }));
        Ok(())
    }

    /// Newest entry of a slot, 0 = none.
    fn head(&self, file: &IndexFile, slot: u32) -> Result<i32, StoreError> {
        let head = match file.heads.get(&slot) {
            Some(&head) => head,
            None => {
                let mut bytes = [0; 4];
                self.file(&file.path)?
                    .read_at(HEADER + 4 * u64::from(slot), &mut bytes)
                    .at("read", &file.path)?;
                i32::from_be_bytes(bytes)
            }
        };
        Ok(if head <= 0 || head >= file.header.count {
            0
        } else {
            head
        })
    }

    fn entry(&self, file: &IndexFile, number: i32) -> Result<[u8; ENTRY as usize], StoreError> {
        let first_pending = file.header.count - file.pending.len() as i32;
        if number >= first_pending {
            return Ok(file.pending[(number - first_pending) as usize]);
        }
        let mut bytes = [0; ENTRY as usize];
        let at = self.entries_at() + ENTRY * number as u64;
        self.file(&file.path)?
            .read_at(at, &mut bytes)
            .at("read", &file.path)?;
        Ok(bytes)
    }

    /// Physical offsets that may carry `key`, newest first; others with the same hash are among them.
    pub(crate) fn query(
        &self,
        key: &str,
        max: usize,
        begin: i64,
        end: i64,
    ) -> Result<Vec<i64>, StoreError> {
        let hash = key_hash(key);
        let mut found = Vec::new();
        for file in self.list.iter().rev() {
            let header = file.header;
            // After a rewind the end is known to the second only, as the entries are.
            if header.begin_time <= end && header.end_time + 999 >= begin {
                let mut number = self.head(file, hash as u32 % self.slots)?;
                while number > 0 && number < header.count && found.len() < max {
                    let entry = self.entry(file, number)?;
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

    /// Writes and syncs what is only in memory.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        for at in 0..self.list.len() {
            let file = &self.list[at];
            if !file.dirty && file.pending.is_empty() {
                continue;
            }
            let disk = self.file(&file.path)?;
            let first = file.header.count - file.pending.len() as i32;
            let entries_at = self.entries_at() + ENTRY * first as u64;
            disk.write_at(entries_at, &file.pending.concat())
                .at("write", &file.path)?;
            for (slot, head) in &file.heads {
                disk.write_at(HEADER + 4 * u64::from(*slot), &head.to_be_bytes())
                    .at("write", &file.path)?;
            }
            disk.write_at(0, &file.header.encode())
                .at("write", &file.path)?;
            disk.sync().at("sync", &file.path)?;
            let file = &mut self.list[at];
            file.pending.clear();
            file.heads.clear();
            file.dirty = false;
        }
        Ok(())
    }

    /// Removes files, not the newest, whose entries all lie below `log_min`.
    pub(crate) fn expire(&mut self, log_min: i64) -> Result<(), StoreError> {
        while self.list.len() > 1 && self.list[0].header.end_offset < log_min {
            let file = self.list.remove(0);
            self.cache.forget(&file.path);
            self.cache
                .files
                .remove_file(&file.path)
                .at("remove", &file.path)?;
        }
        Ok(())
    }
}

/// Entries of all files, oldest first, as they lie on disk; each is checked against its hash chain.
pub(crate) struct Entries<'a> {
    index: &'a Index,
    file: usize,
    /// Number of the next entry in that file.
    number: i32,
    chunk: Vec<[u8; ENTRY as usize]>,
    /// Newest entry of each slot so far.
    heads: Vec<i32>,
    /// What is wrong with chains and slots.
    pub(crate) broken: Vec<String>,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(index: &'a Index) -> Self {
        Entries {
            index,
            file: 0,
            number: 1,
            chunk: Vec::new(),
            heads: vec![0; index.slots as usize],
            broken: Vec::new(),
        }
    }

    /// Key hash and physical offset of the next entry.
    pub(crate) fn next(&mut self) -> Result<Option<(i32, i64)>, StoreError> {
        while let Some(file) = self.index.list.get(self.file) {
            if self.number >= file.header.count {
                self.end_file()?;
                continue;
            }
            if self.chunk.is_empty() {
                self.read_chunk()?;
            }
            let Some(entry) = self.chunk.pop() else { break };
            let hash = be32(&entry, 0);
            let head = &mut self.heads[(hash.max(0) as u32 % self.index.slots) as usize];
            if hash < 0 || be32(&entry, 16) != *head {
                self.broken.push(format!(
                    "{}: the chain of entry {} is broken",
                    file.path.display(),
                    self.number
                ));
            }
            *head = self.number;
            self.number += 1;
            return Ok(Some((hash, be64(&entry, 4))));
        }
        Ok(None)
    }

    fn read_chunk(&mut self) -> Result<(), StoreError> {
        const CHUNK: i32 = 1 << 16;
        let file = &self.index.list[self.file];
        let count = (file.header.count - self.number).min(CHUNK) as usize;
        let at = self.index.entries_at() + ENTRY * self.number as u64;
        let mut bytes = vec![0; count * ENTRY as usize];
        let disk = self.index.file(&file.path)?;
        disk.read_at(at, &mut bytes).at("read", &file.path)?;
        let (entries, _) = bytes.as_chunks();
        self.chunk.extend(entries.iter().rev());
        Ok(())
    }

    /// Compares the slots with the entries, and goes on to the next file.
    fn end_file(&mut self) -> Result<(), StoreError> {
        let file = &self.index.list[self.file];
        let mut bytes = vec![0; self.heads.len() * 4];
        let disk = self.index.file(&file.path)?;
        disk.read_at(HEADER, &mut bytes).at("read", &file.path)?;
        let slots = bytes.chunks_exact(4).map(|slot| be32(slot, 0));
        let wrong = slots.zip(&self.heads).filter(|(slot, head)| slot != *head);
        let wrong = wrong.count();
        if wrong > 0 {
            let path = file.path.display();
            self.broken.push(format!(
                "{path}: {wrong} slots do not point at their newest entry"
            ));
        }
        self.heads.fill(0);
        (self.file, self.number) = (self.file + 1, 1);
        Ok(())
    }
}

impl IndexFile {
    fn new(name: i64, path: PathBuf, mut header: Header) -> Self {
        header.count = header.count.max(1);
        IndexFile {
            name,
            path,
            header,
            pending: Vec::new(),
            heads: BTreeMap::new(),
            dirty: false,
        }
    }

    /// Forgets the entries put since there were `pending` of them and the header was `header`.
    fn take_back(&mut self, header: Header, pending: usize, slots: u32) {
        for entry in self.pending.drain(pending..).rev() {
            let slot = be32(&entry, 0) as u32 % slots;
            self.heads.insert(slot, be32(&entry, 16));
        }
        self.header = header;
    }
}

impl Header {
    fn decode(bytes: &[u8]) -> Self {
        Header {
            begin_time: be64(bytes, 0),
            end_time: be64(bytes, 8),
            begin_offset: be64(bytes, 16),
            end_offset: be64(bytes, 24),
            slots_used: be32(bytes, 32),
            count: be32(bytes, 36),
        }
    }
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER as usize);
        for number in [
            self.begin_time,
            self.end_time,
            self.begin_offset,
            self.end_offset,
        ] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.slots_used.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Fault, FileSystem, SimulatedFiles};

    fn index(files: &SimulatedFiles, slots: u32, entries: u32) -> Index {
        let cache = Arc::new(FileCache::new(Arc::new(files.clone()), 8));
        Index::load(PathBuf::from("/i"), slots, entries, cache).unwrap()
    }

    /// Hashes and slots as Java computes them for its default 5,000,000 slots.
    #[test]
    fn keys_fall_into_javas_slots() {
        let key = "OrderTopic#K1";
        assert_eq!(key_hash(key), 1_662_904_936);
        assert_eq!(key_hash(key) as u32 % 5_000_000, 2_904_936);
        assert_eq!(HEADER + 4 * (key_hash(key) as u64 % 5_000_000), 11_619_784);
        let unique = "OrderTopic#7F0000010B1318B4AAC29B8D5A9C0000";
        assert_eq!(java_hash(unique), -1_479_503_783);
        assert_eq!(key_hash(unique), 1_479_503_783);
        assert_eq!(key_hash(unique) as u32 % 5_000_000, 4_503_783);
    }

    #[test]
    fn a_file_is_laid_out_as_java_does() {
        let files = SimulatedFiles::new();
        let mut index = index(&files, 8, 16);
        index.put(["T#a".to_owned()], 500, 1_000_000).unwrap();
        index.put(["T#a".to_owned()], 700, 1_003_500).unwrap();
        index.flush().unwrap();
        let entry = &files.list(std::path::Path::new("/i")).unwrap()[0];
        assert_eq!(entry.size, 40 + 4 * 8 + 20 * 16);
        let bytes = files.read(&PathBuf::from("/i").join(&entry.name)).unwrap();
        let header: Vec<i64> = (0..4).map(|at| be64(&bytes, at * 8)).collect();
        assert_eq!(header, [1_000_000, 1_003_500, 500, 700]);
        assert_eq!((be32(&bytes, 32), be32(&bytes, 36)), (1, 3));
        let slot = 40 + 4 * (key_hash("T#a") as usize % 8);
        assert_eq!(be32(&bytes, slot), 2);
        // Entry 0 stays empty; the second put points at the first.
        let second = 40 + 4 * 8 + 20 * 2;
        assert_eq!(be32(&bytes, second), key_hash("T#a"));
        assert_eq!(be64(&bytes, second + 4), 700);
        assert_eq!(be32(&bytes, second + 12), 3);
        assert_eq!(be32(&bytes, second + 16), 1);
        assert_eq!(index.query("T#a", 8, 0, i64::MAX).unwrap(), [700, 500]);
    }

    #[test]
    fn entries_are_found_over_several_files() {
        let files = SimulatedFiles::new();
        let mut first = index(&files, 4, 5);
        for at in 0..30 {
            first
                .put([format!("T#{}", at % 3)], at * 100, 1_000_000 + at * 1000)
                .unwrap();
        }
        first.flush().unwrap();
        let again = index(&files, 4, 5);
        for key in 0..3 {
            let found = again.query(&format!("T#{key}"), 64, 0, i64::MAX).unwrap();
            let expected: Vec<i64> = (0..10).rev().map(|at| (at * 3 + key) * 100).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_record_is_put_whole_or_not_at_all() {
        let files = SimulatedFiles::new();
        let mut index = index(&files, 1, 4);
        index.put(["T#a".to_owned()], 100, 1000).unwrap();
        let keys = || ["T#b", "T#c", "T#d"].map(str::to_owned);
        // The third key needs a new file.
        files.fail_at(1, Fault::NoSpace);
        assert!(index.put(keys(), 200, 2000).is_err());
        assert_eq!(index.last_update(), (1000, 100));
        index.put(keys(), 200, 2000).unwrap();
        index.flush().unwrap();
        for key in ["T#b", "T#c", "T#d"] {
            assert_eq!(index.query(key, 8, 0, i64::MAX).unwrap(), [200]);
        }
        assert_eq!(index.query("T#a", 8, 0, i64::MAX).unwrap(), [100]);
    }
}
