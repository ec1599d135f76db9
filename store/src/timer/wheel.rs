//! `timerwheel`: one slot for each tick of two weeks of seconds, used round and round.
//!
//! ```text
//!   0 TIME i64, in ticks     8 FIRST i64     16 LAST i64     24 COUNT i32     28 MAGIC i32
//! ```
//!
//! `FIRST` and `LAST` are positions in the timer log; from `LAST` the entries are chained backwards.
//! A slot whose time is not the one that is looked for is empty. Source: `TimerWheel`, `Slot` of
//! RocketMQ 5.3.3.
//!
//! What must hold: a slot on disk speaks of entries that are on disk. So slots that changed stay in
//! memory until [`Wheel::flush`], which is called when the timer log has been synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::commit_log::{be32, be64};
use crate::error::{At, StoreError};
use crate::files::{File, FileSystem, Open};

/// Slots of a wheel, whatever its precision: Java's week (`TIMER_WHEEL_TTL_DAY`), twice.
pub const SLOTS: i64 = 7 * 24 * 3600 * 2;
const SLOT_SIZE: usize = 32;
/// Slots read at a time.
const READ_SLOTS: u64 = 1 << 11;

/// The entries of one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Start of the tick, Unix milliseconds.
    pub time_ms: i64,
    /// Its first entry in the timer log.
    pub first: i64,
    /// Its last entry.
    pub last: i64,
    /// Messages, less those to be deleted.
    pub count: i32,
}

type Bytes = [u8; SLOT_SIZE];

#[derive(Default)]
struct Changes {
    slots: BTreeMap<i64, Bytes>,
    /// Those of them that are over: their entries are needed until it is written down that they are.
    finished: BTreeSet<i64>,
    /// One bit for each slot that may hold something.
    used: Vec<u64>,
}

/// The wheel. All methods may be called from any thread.
pub struct Wheel {
    path: PathBuf,
    file: Arc<dyn File>,
    precision_ms: i64,
    slots: i64,
    changes: Mutex<Changes>,
}

impl Wheel {
    /// Opens or makes it, with so many slots (Java: [`SLOTS`]) and ticks of `precision_ms`
    /// milliseconds.
    ///
    /// # Errors
    /// The file can't be read, or has another length than every wheel.
    pub fn open(
        files: &dyn FileSystem,
        path: PathBuf,
        slots: i64,
        precision_ms: i64,
    ) -> Result<Wheel, StoreError> {
        let expected = slots as u64 * SLOT_SIZE as u64;
        let file = files
            .open(&path, Open::Sparse(expected))
            .at("open", &path)?;
        let size = file.len().at("measure", &path)?;
        if size == 0 {
            file.write_at(expected - 1, &[0]).at("write", &path)?;
        } else if size != expected {
            return Err(StoreError::FileSize {
                path,
                size,
                expected,
            });
        }
        let wheel = Wheel {
            path,
            file,
            precision_ms: precision_ms.max(1),
            slots,
            changes: Mutex::default(),
        };
        let used = wheel.read_used()?;
        wheel.changes.lock().used = used;
        Ok(wheel)
    }

    fn read_used(&self) -> Result<Vec<u64>, StoreError> {
        let mut used = vec![0_u64; (self.slots as usize).div_ceil(64)];
        let mut bytes = vec![0; READ_SLOTS as usize * SLOT_SIZE];
        let mut next = 0;
        while let Some(start) = self.written_from(next)? {
            next = (start + READ_SLOTS).min(self.slots as u64);
            let bytes = &mut bytes[..(next - start) as usize * SLOT_SIZE];
            self.file
                .read_at(start * SLOT_SIZE as u64, bytes)
                .at("read", &self.path)?;
            for (slot, at) in bytes.chunks_exact(SLOT_SIZE).zip(start..) {
                if slot[..8] != [0; 8] {
                    mark(&mut used, at as i64);
                }
            }
        }
        Ok(used)
    }

    /// The first slot at or behind one that was ever written: most of the wheel never was, and takes
    /// no room.
    fn written_from(&self, slot: u64) -> Result<Option<u64>, StoreError> {
        let data = self.file.data_from(slot * SLOT_SIZE as u64);
        let slot = data.at("read", &self.path)?.map(|at| at / SLOT_SIZE as u64);
        Ok(slot.filter(|slot| *slot < self.slots as u64))
    }

    /// Milliseconds of a tick.
    pub fn precision_ms(&self) -> i64 {
        self.precision_ms
    }

    /// Milliseconds after which a slot is used again.
    pub fn span_ms(&self) -> i64 {
        self.slots * self.precision_ms
    }

    /// Start of the tick that a time lies in.
    pub fn tick(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.precision_ms) * self.precision_ms
    }

    /// Which slot of the wheel a time's is.
    pub fn index(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.precision_ms).rem_euclid(self.slots)
    }

    fn raw(&self, index: i64) -> Result<Slot, StoreError> {
        let changed = self.changes.lock().slots.get(&index).copied();
        let bytes = match changed {
            Some(bytes) => bytes,
            None => {
                let mut bytes = [0; SLOT_SIZE];
                self.file
                    .read_at(index as u64 * SLOT_SIZE as u64, &mut bytes)
                    .at("read", &self.path)?;
                bytes
            }
        };
        Ok(Slot {
            time_ms: be64(&bytes, 0).saturating_mul(self.precision_ms),
            first: be64(&bytes, 8),
            last: be64(&bytes, 16),
            count: be32(&bytes, 24),
        })
    }

    /// The slot of the tick that a time lies in; `None` if it is empty.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn slot(&self, time_ms: i64) -> Result<Option<Slot>, StoreError> {
        let slot = self.raw(self.index(time_ms))?;
        Ok(Some(slot).filter(|slot| slot.time_ms == self.tick(time_ms) && slot.time_ms != 0))
    }

    /// What stands where the slot of a time would, of whichever round of the wheel.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn occupant(&self, time_ms: i64) -> Result<Option<Slot>, StoreError> {
        let slot = self.raw(self.index(time_ms))?;
        Ok(Some(slot).filter(|slot| slot.time_ms != 0))
    }

    /// Replaces the slot of its time, and whatever another round of the wheel left there.
    pub fn put(&self, slot: Slot) {
        let mut bytes = [0; SLOT_SIZE];
        bytes[..8].copy_from_slice(&(slot.time_ms / self.precision_ms).to_be_bytes());
        bytes[8..16].copy_from_slice(&slot.first.to_be_bytes());
        bytes[16..24].copy_from_slice(&slot.last.to_be_bytes());
        bytes[24..28].copy_from_slice(&slot.count.to_be_bytes());
        let index = self.index(slot.time_ms);
        let mut changes = self.changes.lock();
        changes.slots.insert(index, bytes);
        changes.finished.remove(&index);
        mark(&mut changes.used, index);
    }

    /// Empties the slot of a time: what was in it is elsewhere now.
    pub fn clear(&self, time_ms: i64) {
        let index = self.index(time_ms);
        let mut changes = self.changes.lock();
        changes.slots.insert(index, [0; SLOT_SIZE]);
        changes.finished.remove(&index);
        unmark(&mut changes.used, index);
    }

    /// Empties the slot of a time: what was in it is done. See [`Wheel::flush_finished`].
    pub fn finish(&self, time_ms: i64) {
        self.clear(time_ms);
        let index = self.index(time_ms);
        self.changes.lock().finished.insert(index);
    }

    /// The first slot from a time on that holds something.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn next(&self, from_ms: i64) -> Result<Option<Slot>, StoreError> {
        let (from, first) = (self.tick(from_ms), self.index(from_ms));
        let mut at = 0;
        while let Some(found) = self.used_from(first, at) {
            let slot = self.raw((first + found) % self.slots)?;
            if slot.time_ms == from + found * self.precision_ms {
                return Ok(Some(slot));
            }
            at = found + 1;
        }
        Ok(None)
    }

    /// How far behind index `first` the next used slot lies, `at` or more and less than a round.
    fn used_from(&self, first: i64, mut at: i64) -> Option<i64> {
        let changes = self.changes.lock();
        while at < self.slots {
            let index = ((first + at) % self.slots) as usize;
            let word = changes.used[index / 64] >> (index % 64);
            if word != 0 {
                let found = at + i64::from(word.trailing_zeros());
                return (found < self.slots).then_some(found);
            }
            let to_next_word = 64 - (index % 64) as i64;
            at += to_next_word.min(self.slots - index as i64);
        }
        None
    }

    /// The earliest time of any slot.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn earliest(&self) -> Result<Option<i64>, StoreError> {
        let slots = self.all_used()?;
        Ok(slots.iter().map(|slot| slot.time_ms).min())
    }

    /// Empties all slots of times before `time_ms`: Java leaves those that it has read as they are.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn clear_before(&self, time_ms: i64) -> Result<(), StoreError> {
        let old = self.all_used()?;
        old.iter()
            .filter(|slot| slot.time_ms < time_ms)
            .for_each(|slot| self.clear(slot.time_ms));
        Ok(())
    }

    /// The slots from a time on, in their order.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn slots_from(&self, from_ms: i64) -> impl Iterator<Item = Result<Slot, StoreError>> {
        let end = from_ms + self.span_ms();
        let mut from = Some(from_ms);
        std::iter::from_fn(move || {
            let found = self.next(from?).transpose()?;
            from = found
                .as_ref()
                .ok()
                .map(|slot| slot.time_ms + self.precision_ms)
                .filter(|next| *next < end);
            Some(found)
        })
    }

    /// The slots of all times, in no order.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn all_used(&self) -> Result<Vec<Slot>, StoreError> {
        let mut slots = Vec::new();
        let mut at = 0;
        while let Some(index) = self.used_from(0, at) {
            slots.push(self.raw(index)?);
            at = index + 1;
        }
        Ok(slots)
    }

    /// Empties slots whose time is not one of theirs: a power loss has torn them. Answers which.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn clear_torn(&self) -> Result<Vec<i64>, StoreError> {
        let mut torn = Vec::new();
        let mut at = 0;
        while let Some(index) = self.used_from(0, at) {
            if self.index(self.raw(index)?.time_ms) != index {
                torn.push(index);
            }
            at = index + 1;
        }
        let mut changes = self.changes.lock();
        for index in &torn {
            changes.slots.insert(*index, [0; SLOT_SIZE]);
            unmark(&mut changes.used, *index);
        }
        Ok(torn)
    }

    /// Slots that changed since they were written.
    pub fn changed(&self) -> usize {
        self.changes.lock().slots.len()
    }

    /// Syncs the file as it is: a process that was killed may have written without syncing, and what a
    /// start makes of that must not be taken back by a power loss.
    ///
    /// # Errors
    /// It can't be synced.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.file.sync().at("sync", &self.path)
    }

    /// Writes and syncs what changed but for what is finished. Only call when the timer log has been
    /// synced. What takes the place of other slots is on disk before those are emptied.
    ///
    /// # Errors
    /// Everything stays to be written again.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (full, empty) = {
            let changes = self.changes.lock();
            let open = changes.slots.iter();
            let open = open.filter(|(index, _)| !changes.finished.contains(index));
            open.map(|(index, bytes)| (*index, *bytes))
                .partition::<BTreeMap<_, _>, _>(|(_, bytes)| *bytes != [0; SLOT_SIZE])
        };
        for changed in [full, empty] {
            if !changed.is_empty() {
                self.write(&changed)?;
                self.sync()?;
                self.forget(&changed);
            }
        }
        Ok(())
    }

    /// Writes that slots are empty that are finished. Only call when it is on disk that they are: a crash
    /// before that needs their entries again, recalls above all. A start empties what this has not.
    ///
    /// # Errors
    /// Everything stays to be written again.
    pub fn flush_finished(&self) -> Result<(), StoreError> {
        let finished: BTreeMap<i64, Bytes> = {
            let changes = self.changes.lock();
            let finished = changes.finished.iter();
            finished.map(|index| (*index, [0; SLOT_SIZE])).collect()
        };
        self.write(&finished)?;
        self.forget(&finished);
        Ok(())
    }

    fn write(&self, changed: &BTreeMap<i64, Bytes>) -> Result<(), StoreError> {
        for (start, bytes) in runs(changed) {
            self.file
                .write_at(start as u64 * SLOT_SIZE as u64, &bytes)
                .at("write", &self.path)?;
        }
        Ok(())
    }

    fn forget(&self, written: &BTreeMap<i64, Bytes>) {
        let mut changes = self.changes.lock();
        for (index, bytes) in written {
            if changes.slots.get(index) == Some(bytes) {
                changes.slots.remove(index);
                changes.finished.remove(index);
            }
        }
    }
}

/// Neighbouring slots as one piece each.
fn runs(changed: &BTreeMap<i64, Bytes>) -> Vec<(i64, Vec<u8>)> {
    let mut runs: Vec<(i64, Vec<u8>)> = Vec::new();
    for (index, bytes) in changed {
        match runs.last_mut() {
            Some((start, run)) if *start + (run.len() / SLOT_SIZE) as i64 == *index => {
                run.extend_from_slice(bytes);
            }
            _ => runs.push((*index, bytes.to_vec())),
        }
    }
    runs
}

fn mark(used: &mut [u64], index: i64) {
    used[index as usize / 64] |= 1 << (index % 64);
}

fn unmark(used: &mut [u64], index: i64) {
    used[index as usize / 64] &= !(1 << (index % 64));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SimulatedFiles;

    const START: i64 = 1_700_000_000_000;

    fn slot(time_ms: i64) -> Slot {
        Slot {
            time_ms,
            first: 52,
            last: 104,
            count: 2,
        }
    }

    fn open(files: &SimulatedFiles) -> Wheel {
        Wheel::open(files, PathBuf::from("/s/timerwheel"), SLOTS, 1000).unwrap()
    }

    #[test]
    fn slots_are_found_round_the_whole_wheel_and_not_beyond() {
        let files = SimulatedFiles::new();
        let wheel = open(&files);
        let far = START + (SLOTS - 1) * 1000;
        wheel.put(slot(far));
        wheel.put(slot(START + 5000));
        assert_eq!(wheel.next(START).unwrap(), Some(slot(START + 5000)));
        assert_eq!(wheel.next(START + 5999).unwrap(), Some(slot(START + 5000)));
        assert_eq!(wheel.next(START + 6000).unwrap(), Some(slot(far)));
        assert_eq!(wheel.next(far + 1000).unwrap(), None, "of an older round");
        assert_eq!(wheel.earliest().unwrap(), Some(START + 5000));
    }

    #[test]
    fn what_was_flushed_is_there_again_and_what_was_cleared_is_not() {
        let files = SimulatedFiles::new();
        let wheel = open(&files);
        wheel.put(slot(START));
        wheel.put(slot(START + 1000));
        wheel.flush().unwrap();
        wheel.clear(START);
        assert_eq!((wheel.changed(), wheel.slot(START).unwrap()), (1, None));
        wheel.flush().unwrap();
        let again = open(&files);
        assert_eq!(again.next(START).unwrap(), Some(slot(START + 1000)));
        again.clear_before(START + 2000).unwrap();
        assert_eq!(again.earliest().unwrap(), None);
    }
}
