//! All entries of an index in the order in which they were put, for those who check it.

use super::{ENTRY, HEADER, Index};
use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};

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
