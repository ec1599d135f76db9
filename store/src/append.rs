//! Appends: records get their place in the log and in their queue under one lock, and are written behind each
//! other.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use sluice_protocol::message::{Record, inner_batch, record};

use crate::commit_log::{BLANK_SIZE, CommitLog, Segment, be32};
use crate::config::FlushMode;
use crate::error::{AppendError, StoreError};
use crate::store::{Appended, Store, check_place, is_queued};
use crate::vouched;
use crate::{gathering, retention};

/// More than this is not kept back to be written with what comes.
const UNWRITTEN_MAX: usize = 256 * 1024;

#[derive(Default)]
pub(crate) struct AppendState {
    /// Next queue offset by topic and queue.
    pub(crate) next: HashMap<String, BTreeMap<i32, i64>>,
    /// The file that is appended to.
    segment: Option<Segment>,
    /// Appended, but not written to that file yet: they begin where the log is written to.
    unwritten: Vec<u8>,
    pub(crate) last_time: i64,
}

impl AppendState {
    /// Behind all that has been appended.
    pub(crate) fn end(&self, log: &CommitLog) -> i64 {
        log.written() + self.unwritten.len() as i64
    }

    fn set_next(&mut self, topic: &str, queue_id: i32, next: i64) {
        match self.next.get_mut(topic) {
            Some(queues) => queues.insert(queue_id, next),
            None => {
                let queues = self.next.entry(topic.to_owned()).or_default();
                queues.insert(queue_id, next)
            }
        };
    }

    fn next_of(&self, topic: &str, queue_id: i32) -> i64 {
        let queues = self.next.get(topic);
        queues
            .and_then(|queues| queues.get(&queue_id).copied())
            .unwrap_or(0)
    }
}

/// What is known of records before the append lock is taken.
#[derive(Default, Clone, Copy)]
struct Checked {
    count: usize,
    /// One of them looks as if a sector had been lost, and so must be vouched for.
    torn: bool,
}

impl Store {
    /// Appends one record, or the records of one batch back to back, all of `topic` and
    /// `queue_id`. Offsets and store time are put into `records`.
    ///
    /// # Errors
    /// Nothing was stored; see [`AppendError`].
    pub fn append(
        &self,
        topic: &str,
        queue_id: i32,
        records: &mut [u8],
    ) -> Result<Appended, AppendError> {
        check_place(topic, queue_id)?;
        let checked = self.check_records(records)?;
        self.under_append_lock(|state| {
            let appended = self.append_locked(state, topic, queue_id, records, checked)?;
            self.write_out(state)?;
            Ok(appended)
        })
    }

    /// [`Store::append`] for a thread that tells nobody of it before what it [gathers](Store::gather) has
    /// ended well: the records are written with all others of the gathering, in one call. On other threads
    /// they are written at once.
    ///
    /// # Errors
    /// As there.
    pub fn append_gathered(
        &self,
        topic: &str,
        queue_id: i32,
        records: &mut [u8],
    ) -> Result<Appended, AppendError> {
        if !gathering::is_of(self) {
            return self.append(topic, queue_id, records);
        }
        check_place(topic, queue_id)?;
        let checked = self.check_records(records)?;
        let appended = self.under_append_lock(|state| {
            let appended = self.append_locked(state, topic, queue_id, records, checked)?;
            if state.unwritten.len() > UNWRITTEN_MAX {
                self.write_out(state)?;
            }
            Ok(appended)
        })?;
        gathering::note_end(appended.end_offset);
        Ok(appended)
    }

    /// [`Store::append`] to a topic of [`QueueType::Batch`](crate::QueueType::Batch): an inner batch is told its base offset.
    ///
    /// # Errors
    /// As there.
    pub fn append_batched(
        &self,
        topic: &str,
        queue_id: i32,
        records: &mut Vec<u8>,
    ) -> Result<Appended, AppendError> {
        check_place(topic, queue_id)?;
        inner_batch::check_room(records)?;
        let checked = self.check_records(records)?;
        let added = checked.count * inner_batch::BASE_SIZE_MAX;
        self.check_size(records.len() + added)?;
        if !self.batch_topics.read().contains(topic) {
            self.batch_topics.write().insert(topic.to_owned());
        }
        self.under_append_lock(|state| {
            inner_batch::put_bases(records, state.next_of(topic, queue_id))?;
            let appended = self.append_locked(state, topic, queue_id, records, checked)?;
            self.write_out(state)?;
            Ok(appended)
        })
    }

    fn under_append_lock(
        &self,
        append: impl FnOnce(&mut AppendState) -> Result<Appended, AppendError>,
    ) -> Result<Appended, AppendError> {
        self.writable()?;
        let mut state = self.append_state.lock();
        self.locked_since
            .store(self.env.clock.now_ms(), Ordering::Relaxed);
        let result = append(&mut state);
        self.locked_since.store(0, Ordering::Relaxed);
        drop(state);
        if !gathering::owes_wake(self) {
            self.wake_for_appended();
        }
        result
    }

    /// Does work whose appends, as far as this thread makes them, belong together: for requests that came
    /// together, and whose answers leave when this has returned. The store's threads are woken once for all.
    ///
    /// # Errors
    /// [`AppendError::LogStopped`]: what [`Store::append_gathered`] took is not stored, or not all of it.
    pub fn gather(&self, work: impl FnOnce()) -> Result<(), AppendError> {
        gathering::gather(self, work)
    }

    fn wake_for_appended(&self) {
        match self.config.flush_mode {
            FlushMode::Async => self.wake_dispatch.wake(),
            FlushMode::Sync => self.wake_flush.wake(),
        }
    }

    /// Ends a gathering, whose thread holds no lock: everything up to `end` is written and made known.
    pub(crate) fn settle(&self, end: i64) -> Result<(), AppendError> {
        let mut written = Ok(());
        if self.log.written() < end {
            written = self.write_out(&mut self.append_state.lock());
        }
        // Also when it could not be written: those who wait to be synced are told.
        match self.config.flush_mode {
            FlushMode::Async if self.is_live() => self.dispatch_here_or_wake(),
            _ => self.wake_for_appended(),
        }
        written
    }

    /// Whether the store's threads run: without them everything is done step by step.
    fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether all are whole records and fit.
    fn check_records(&self, records: &[u8]) -> Result<Checked, AppendError> {
        let max = self.config.record_max() as usize;
        self.check_size(records.len())?;
        let mut checked = Checked::default();
        let mut at = 0;
        while at < records.len() || checked.count == 0 {
            let record = Record::parse(&records[at..])?;
            if record.size() > max {
                return Err(AppendError::TooLarge {
                    size: record.size(),
                    max,
                });
            }
            at += record.size();
            checked.count += 1;
            checked.torn |= vouched::has_nul(&record);
        }
        Ok(checked)
    }

    /// Whether so many bytes fit into one file.
    fn check_size(&self, size: usize) -> Result<(), AppendError> {
        let max = (self.config.commit_log_file_size - BLANK_SIZE) as usize;
        if size > max {
            return Err(AppendError::TooLarge { size, max });
        }
        Ok(())
    }

    pub(crate) fn writable(&self) -> Result<(), AppendError> {
        if self.closing() {
            return Err(AppendError::ShuttingDown);
        }
        if let Some(reason) = self.log.stopped() {
            return Err(AppendError::LogStopped {
                reason: reason.to_owned(),
            });
        }
        self.disk_full.lock().clone().map_or(Ok(()), Err)
    }

    fn append_locked(
        &self,
        state: &mut AppendState,
        topic: &str,
        queue_id: i32,
        records: &mut [u8],
        checked: Checked,
    ) -> Result<Appended, AppendError> {
        self.writable()?;
        let position = self.make_room(state, records.len() as u64)?;
        let store_timestamp = self.env.clock.now_ms().max(state.last_time);
        let first = state.next_of(topic, queue_id);
        let (mut at, mut queue_offset) = (0, first);
        let mut physical_offsets = Vec::with_capacity(checked.count);
        let (mut torn, mut messages) = (checked.torn, 0);
        while at < records.len() {
            let size = be32(records, at) as usize;
            let queued = is_queued(be32(records, at + record::SYS_FLAG_AT));
            let physical = position + at as i64;
            record::assign(
                &mut records[at..at + size],
                if queued { queue_offset } else { 0 },
                physical,
                store_timestamp,
            );
            torn |= vouched::queue_id_at_risk(&records[at..], physical);
            physical_offsets.push(physical);
            let held = inner_batch::message_count(&records[at..at + size]);
            messages += held as usize;
            queue_offset += if queued { held } else { 0 };
            at += size;
        }
        if torn {
            self.vouch(position, records)?;
        }
        state.unwritten.extend_from_slice(records);
        state.set_next(topic, queue_id, queue_offset);
        state.last_time = store_timestamp;
        let queued = is_queued(be32(records, record::SYS_FLAG_AT));
        Ok(Appended {
            queue_offset: if queued { first } else { 0 },
            messages,
            physical_offsets,
            store_timestamp,
            end_offset: position + records.len() as i64,
        })
    }

    /// Writes what has been appended and is not written yet, in one call.
    ///
    /// # Errors
    /// The log has stopped, now or before: nothing of it is stored for certain.
    pub(crate) fn write_out(&self, state: &mut AppendState) -> Result<(), AppendError> {
        let Some(segment) = state
            .segment
            .as_ref()
            .filter(|_| !state.unwritten.is_empty())
        else {
            return Ok(());
        };
        let stopped = |reason: String| Err(AppendError::LogStopped { reason });
        if let Some(reason) = self.log.stopped() {
            return stopped(reason.to_owned());
        }
        let position = self.log.written();
        let written = segment
            .file
            .write_at((position - segment.start) as u64, &state.unwritten);
        if let Err(error) = written {
            let reason = format!("cannot write {}: {error}", segment.path.display());
            self.log.stop(reason.clone());
            return stopped(reason);
        }
        self.log
            .set_written(position + state.unwritten.len() as i64);
        state.unwritten.clear();
        state.unwritten.shrink_to(UNWRITTEN_MAX);
        Ok(())
    }

    /// Position for `size` bytes; ends the file with a blank record when they do not fit.
    fn make_room(&self, state: &mut AppendState, size: u64) -> Result<i64, AppendError> {
        let mut position = state.end(&self.log);
        let start = self.log.segment_start(position);
        let left = self.log.file_size - (position - start) as u64;
        if size + BLANK_SIZE > left {
            self.write_out(state)?;
            let old = self.log_file(start)?;
            let next = self.log_file(start + self.log.file_size as i64)?;
            let mut blank = [0; BLANK_SIZE as usize];
            blank[..4].copy_from_slice(&(left as i32).to_be_bytes());
            blank[4..].copy_from_slice(&record::MAGIC_BLANK.to_be_bytes());
            if let Err(error) = old.file.write_at((position - start) as u64, &blank) {
                let reason = format!("cannot write {}: {error}", old.path.display());
                self.log.stop(reason.clone());
                return Err(AppendError::LogStopped { reason });
            }
            position = next.start;
            self.log.set_written(position);
            state.segment = Some(next);
        }
        if state
            .segment
            .as_ref()
            .is_none_or(|segment| segment.start != self.log.segment_start(position))
        {
            state.segment = Some(self.log_file(self.log.segment_start(position))?);
        }
        Ok(position)
    }

    /// Vouches for records before they are written, so that a full disk refuses them whole.
    fn vouch(&self, position: i64, records: &[u8]) -> Result<(), AppendError> {
        let added = self.vouched.add(position, records);
        added.map_err(|error| match error.kind() {
            ErrorKind::StorageFull => retention::refuse_for_space(self),
            _ => {
                let reason = format!("cannot write beside {}: {error}", self.log.dir().display());
                self.log.stop(reason.clone());
                AppendError::LogStopped { reason }
            }
        })
    }

    /// The log file that starts at `start`, made if it is missing.
    fn log_file(&self, start: i64) -> Result<Segment, AppendError> {
        self.log
            .segment_or_create(start)
            .map_err(|error| match error {
                StoreError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => {
                    retention::refuse_for_space(self)
                }
                StoreError::Io { path, source, .. } => AppendError::CreateFile {
                    path,
                    reason: source.to_string(),
                },
                other => AppendError::CreateFile {
                    path: self.log.dir().to_owned(),
                    reason: other.to_string(),
                },
            })
    }
}
