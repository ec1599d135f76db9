//! Index files: a hash table on disk from `topic#key` to physical offsets.

mod entries;
mod flush;
mod query;
mod slots;

use std::path::PathBuf;
use std::sync::Arc;

use sluice_protocol::message::java_hash_on;

use crate::clock;
use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};
use crate::file_cache::FileCache;
use crate::files::{File, Open};

pub(crate) use entries::Entries;
pub(crate) use flush::flush;
pub(crate) use query::query;
use slots::Slots;

const HEADER: u64 = 40;
const ENTRY: u64 = 20;
const PAGE: usize = 4096;

/// Java's hash of `topic#key`: the absolute value, 0 for the one that has none.
pub(crate) fn key_hash(topic: &str, key: &str) -> i32 {
    let hash = [topic, "#", key].into_iter().fold(0, java_hash_on);
    hash.checked_abs().unwrap_or(0)
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
    /// Of the newest file once something has been put there: each message changes one anywhere in the table.
    slots: Option<Slots>,
    /// The header is not as the file has it.
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
        self.cache.remove_file(&file.path)
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
        file.slots = None;
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

    /// Adds all keys of one record, by their [`key_hash`], or on an error none. The caller sees to it that
    /// no record is added twice.
    pub(crate) fn put(
        &mut self,
        keys: impl IntoIterator<Item = i32>,
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
            .try_for_each(|hash| self.put_key(hash, physical_offset, store_time));
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
        hash: i32,
        physical_offset: i64,
        store_time: i64,
    ) -> Result<(), StoreError> {
        let full = |file: &IndexFile| file.header.count as u32 >= self.entries;
        if self.list.last().is_none_or(full) {
            self.roll(store_time)?;
        }
        self.open_slots()?;
        let slot = hash as u32 % self.slots;
        let file = self.list.last_mut().expect("opened above");
        let slots = file.slots.as_mut().expect("opened above");
        let header = &mut file.header;
        let previous = header.real(slots.head(slot));
        if header.count <= 1 {
            (header.begin_time, header.begin_offset) = (store_time, physical_offset);
        }
        let seconds = ((store_time - header.begin_time) / 1000).clamp(0, i64::from(i32::MAX));
        let mut entry = [0; ENTRY as usize];
        entry[..4].copy_from_slice(&hash.to_be_bytes());
        entry[4..12].copy_from_slice(&physical_offset.to_be_bytes());
        entry[12..16].copy_from_slice(&(seconds as i32).to_be_bytes());
        entry[16..].copy_from_slice(&previous.to_be_bytes());
        file.pending.push(entry);
        slots.set_head(slot, header.count);
        header.count += 1;
        header.slots_used += i32::from(previous == 0);
        (header.end_time, header.end_offset) = (store_time, physical_offset);
        Ok(())
    }

    /// Has the newest file's slots in memory.
    fn open_slots(&mut self) -> Result<(), StoreError> {
        let Some(file) = self.list.last().filter(|file| file.slots.is_none()) else {
            return Ok(());
        };
        let disk = self.file(&file.path)?;
        let slots = Slots::read(&*disk, self.slots).at("read", &file.path)?;
        self.list.last_mut().expect("looked at above").slots = Some(slots);
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
            self.cache.remove_file(&path)?;
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

    /// Forgets files, not the newest, whose entries all lie below `log_min`; they are to be removed.
    pub(crate) fn expire(&mut self, log_min: i64) -> Vec<PathBuf> {
        let ends_below = |file: &IndexFile| file.header.end_offset < log_min;
        let older = &self.list[..self.list.len().saturating_sub(1)];
        let expired = older.iter().take_while(|file| ends_below(file)).count();
        let gone: Vec<PathBuf> = self.list.drain(..expired).map(|file| file.path).collect();
        for path in &gone {
            self.cache.forget(path);
        }
        gone
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
            slots: None,
            dirty: false,
        }
    }

    /// Number of the first entry that is not written yet.
    fn first_pending(&self) -> i32 {
        self.header.count - self.pending.len() as i32
    }

    /// Forgets the entries put since there were `pending` of them and the header was `header`.
    fn take_back(&mut self, header: Header, pending: usize, slots: u32) {
        for entry in self.pending.drain(pending..).rev() {
            let slot = be32(&entry, 0) as u32 % slots;
            if let Some(slots) = &mut self.slots {
                slots.set_head(slot, be32(&entry, 16));
            }
        }
        self.header = header;
    }
}

impl Header {
    /// A slot's head, or 0 where the slot has none: what lies beyond the entries is from before a crash.
    fn real(&self, head: i32) -> i32 {
        match (1..self.count).contains(&head) {
            true => head,
            false => 0,
        }
    }

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
    use parking_lot::Mutex;

    use super::*;
    use crate::files::{Fault, FileSystem, SimulatedFiles};

    pub(super) fn index(files: &SimulatedFiles, slots: u32, entries: u32) -> Mutex<Index> {
        let cache = Arc::new(FileCache::new(Arc::new(files.clone()), 8));
        Mutex::new(Index::load(PathBuf::from("/i"), slots, entries, cache).unwrap())
    }

    /// Hashes and slots as Java computes them for its default 5,000,000 slots.
    #[test]
    fn keys_fall_into_javas_slots() {
        let hash = key_hash("OrderTopic", "K1");
        assert_eq!(hash, 1_662_904_936);
        assert_eq!(hash as u32 % 5_000_000, 2_904_936);
        assert_eq!(HEADER + 4 * (hash as u64 % 5_000_000), 11_619_784);
        let unique = "7F0000010B1318B4AAC29B8D5A9C0000";
        let text = format!("OrderTopic#{unique}");
        assert_eq!(java_hash_on(0, &text), -1_479_503_783);
        let hash = key_hash("OrderTopic", unique);
        assert_eq!(hash, 1_479_503_783);
        assert_eq!(hash as u32 % 5_000_000, 4_503_783);
    }

    #[test]
    fn a_file_is_laid_out_as_java_does() {
        let files = SimulatedFiles::new();
        let index = index(&files, 8, 16);
        index
            .lock()
            .put([key_hash("T", "a")], 500, 1_000_000)
            .unwrap();
        index
            .lock()
            .put([key_hash("T", "a")], 700, 1_003_500)
            .unwrap();
        flush(&index).unwrap();
        let entry = &files.list(std::path::Path::new("/i")).unwrap()[0];
        assert_eq!(entry.size, 40 + 4 * 8 + 20 * 16);
        let bytes = files.read(&PathBuf::from("/i").join(&entry.name)).unwrap();
        let header: Vec<i64> = (0..4).map(|at| be64(&bytes, at * 8)).collect();
        assert_eq!(header, [1_000_000, 1_003_500, 500, 700]);
        assert_eq!((be32(&bytes, 32), be32(&bytes, 36)), (1, 3));
        let slot = 40 + 4 * (key_hash("T", "a") as usize % 8);
        assert_eq!(be32(&bytes, slot), 2);
        // Entry 0 stays empty; the second put points at the first.
        let second = 40 + 4 * 8 + 20 * 2;
        assert_eq!(be32(&bytes, second), key_hash("T", "a"));
        assert_eq!(be64(&bytes, second + 4), 700);
        assert_eq!(be32(&bytes, second + 12), 3);
        assert_eq!(be32(&bytes, second + 16), 1);
        assert_eq!(
            query(&index, ("T", "a"), 8, (0, i64::MAX)).unwrap(),
            [700, 500]
        );
    }

    #[test]
    fn entries_are_found_over_several_files() {
        let files = SimulatedFiles::new();
        let first = index(&files, 4, 5);
        for at in 0..30 {
            first
                .lock()
                .put(
                    [key_hash("T", &(at % 3).to_string())],
                    at * 100,
                    1_000_000 + at * 1000,
                )
                .unwrap();
        }
        flush(&first).unwrap();
        let again = index(&files, 4, 5);
        for key in 0..3 {
            let found = query(&again, ("T", &key.to_string()), 64, (0, i64::MAX)).unwrap();
            let expected: Vec<i64> = (0..10).rev().map(|at| (at * 3 + key) * 100).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_record_is_put_whole_or_not_at_all() {
        let files = SimulatedFiles::new();
        let index = index(&files, 1, 4);
        index.lock().put([key_hash("T", "a")], 100, 1000).unwrap();
        let keys = || ["b", "c", "d"].map(|key| key_hash("T", key));
        // The third key needs a new file.
        files.fail_at(1, Fault::NoSpace);
        assert!(index.lock().put(keys(), 200, 2000).is_err());
        assert_eq!(index.lock().last_update(), (1000, 100));
        index.lock().put(keys(), 200, 2000).unwrap();
        flush(&index).unwrap();
        for key in ["b", "c", "d"] {
            assert_eq!(query(&index, ("T", key), 8, (0, i64::MAX)).unwrap(), [200]);
        }
        assert_eq!(query(&index, ("T", "a"), 8, (0, i64::MAX)).unwrap(), [100]);
    }
}
