//! The hash table of an index file in memory: for each slot the number of its newest entry.

use std::io;

use super::{HEADER, PAGE};
use crate::commit_log::be32;
use crate::files::File;

/// The table, 4 bytes a slot. Memory is taken as slots are used.
pub(super) struct Slots {
    /// As the file has them: big-endian, 0 for a slot without entries.
    heads: Vec<u8>,
    /// A bit for each page of `heads` that is not as the file has it.
    changed: Vec<u64>,
}

impl Slots {
    /// Reads the table; holes of the file are passed over.
    pub(super) fn read(disk: &dyn File, slots: u32) -> io::Result<Slots> {
        let size = 4 * slots as usize;
        let mut heads = vec![0; size];
        let end = HEADER + size as u64;
        let mut from = HEADER;
        while let Some(data) = disk.data_from(from)?.filter(|data| *data < end) {
            let page = (data - HEADER) as usize / PAGE * PAGE;
            let piece = &mut heads[page..size.min(page + PAGE)];
            disk.read_at(HEADER + page as u64, piece)?;
            from = HEADER + (page + PAGE) as u64;
        }
        Ok(Slots {
            heads,
            changed: vec![0; size.div_ceil(PAGE).div_ceil(64)],
        })
    }

    pub(super) fn head(&self, slot: u32) -> i32 {
        be32(&self.heads, 4 * slot as usize)
    }

    pub(super) fn set_head(&mut self, slot: u32, head: i32) {
        let at = 4 * slot as usize;
        self.heads[at..at + 4].copy_from_slice(&head.to_be_bytes());
        self.note_changed(at / PAGE);
    }

    fn note_changed(&mut self, page: usize) {
        self.changed[page / 64] |= 1 << (page % 64);
    }

    /// Copies the next pages, from page `from` on and up to `max` of them, that the file has not: where they
    /// go in the file, and the page behind them. They count as written from here on.
    pub(super) fn take_changed(&mut self, from: usize, max: usize) -> Option<(Pages, usize)> {
        let first = self.next_changed(from)?;
        let mut end = first;
        while end < first + max && self.next_changed(end) == Some(end) {
            self.changed[end / 64] &= !(1 << (end % 64));
            end += 1;
        }
        let bytes = &self.heads[first * PAGE..self.heads.len().min(end * PAGE)];
        let pages = Pages {
            at: HEADER + (first * PAGE) as u64,
            bytes: bytes.to_vec(),
        };
        Some((pages, end))
    }

    /// These could not be written.
    pub(super) fn give_back(&mut self, pages: &Pages) {
        let first = (pages.at - HEADER) as usize / PAGE;
        for page in first..first + pages.bytes.len().div_ceil(PAGE) {
            self.note_changed(page);
        }
    }

    fn next_changed(&self, from: usize) -> Option<usize> {
        let words = self.changed.iter().enumerate().skip(from / 64);
        for (at, word) in words {
            let below = if at == from / 64 { from % 64 } else { 0 };
            let word = word >> below << below;
            if word != 0 {
                return Some(64 * at + word.trailing_zeros() as usize);
            }
        }
        None
    }
}

/// A part of the table on its way to the file.
pub(super) struct Pages {
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{FileSystem, Open, SimulatedFiles};

    const SLOTS: u32 = 200 * 1024 + 7;

    #[test]
    fn what_changed_is_taken_once_in_runs_and_read_again() {
        let files = SimulatedFiles::new();
        let path = std::path::Path::new("/index");
        let disk = files.open(path, Open::Sparse(1 << 20)).unwrap();
        let mut slots = Slots::read(&*disk, SLOTS).unwrap();
        for slot in [0, 1024, 2047, 64 * 1024, SLOTS - 1] {
            slots.set_head(slot, slot as i32 + 1);
        }
        let mut runs = Vec::new();
        let mut from = 0;
        while let Some((pages, next)) = slots.take_changed(from, 8) {
            disk.write_at(pages.at, &pages.bytes).unwrap();
            runs.push((pages.at - HEADER, pages.bytes.len()));
            from = next;
        }
        let page = PAGE as u64;
        assert_eq!(runs, [(0, 2 * PAGE), (64 * page, PAGE), (200 * page, 28)]);
        assert!(slots.take_changed(0, 8).is_none());
        let again = Slots::read(&*disk, SLOTS).unwrap();
        assert_eq!(again.heads, slots.heads);
    }

    #[test]
    fn what_could_not_be_written_is_taken_again() {
        let files = SimulatedFiles::new();
        let path = std::path::Path::new("/index");
        let disk = files.open(path, Open::Sparse(1 << 20)).unwrap();
        let mut slots = Slots::read(&*disk, SLOTS).unwrap();
        (0..3).for_each(|page| slots.set_head(page * 1024, 7));
        let (pages, next) = slots.take_changed(0, 2).unwrap();
        assert_eq!((pages.bytes.len(), next), (2 * PAGE, 2));
        slots.give_back(&pages);
        assert_eq!(slots.take_changed(0, 8).unwrap().1, 3);
    }
}
