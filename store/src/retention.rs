//! What is deleted, and when.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crate::clock;
use crate::error::{AppendError, At, StoreError};
use crate::files::Space;
use crate::removed_queues::RemovedQueue;
use crate::store::Store;

/// Sets or clears the disk-full refusal: set above the warning level, cleared at or below the
/// forcible-clean level. Answers the used share of the fuller disk in percent.
pub(crate) fn check_disk(store: &Store) -> u8 {
    let Some((path, used)) = fuller_disk(store) else {
        return 0;
    };
    if used > store.config.disk_warning_percent {
        refuse(store, path, used);
    } else if used <= store.config.disk_clean_forcibly_percent
        && store.disk_full.lock().take().is_some()
    {
        tracing::info!(used, "disk has room again, messages are accepted");
    }
    used
}

/// Refuses messages because a file could not be made or grow, whatever the used share; the next round of
/// retention tries again.
pub(crate) fn refuse_for_space(store: &Store) -> AppendError {
    let dir = store.log.dir();
    let space = store.files().space(dir);
    let used = space.map_or(100, |space| space.used_percent());
    refuse(store, dir.to_owned(), used)
}

fn refuse(store: &Store, path: PathBuf, used_percent: u8) -> AppendError {
    let limit_percent = store.config.disk_warning_percent;
    let mut full = store.disk_full.lock();
    if full.is_none() {
        tracing::error!(used_percent, limit_percent, path = %path.display(), "disk full, messages are refused");
    }
    let refusal = AppendError::DiskFull {
        path,
        used_percent,
        limit_percent,
    };
    *full = Some(refusal.clone());
    refusal
}

/// Of the commit log's disk and that of queues and index the one with the larger share in use. Of several
/// disks for the commit log the emptiest counts: it takes the turns of the others.
fn fuller_disk(store: &Store) -> Option<(PathBuf, u8)> {
    let used = |(path, space): (PathBuf, Space)| (path, space.used_percent());
    let log_disks = log_disks(store).into_iter().map(used);
    let emptiest = log_disks.min_by_key(|(_, used)| *used);
    let root = &store.config.root;
    let queues = store.files().space(root).ok();
    let queues = queues.map(|space| used((root.clone(), space)));
    queues
        .into_iter()
        .chain(emptiest)
        .max_by_key(|(_, used)| *used)
}

/// The directories in which commit log files are made, and the room on their disks.
pub(crate) fn log_disks(store: &Store) -> Vec<(PathBuf, Space)> {
    let dirs = store.log.dirs.writable().iter();
    dirs.filter_map(|dir| Some((dir.clone(), store.files().space(dir).ok()?)))
        .collect()
}

impl Store {
    /// One round of retention: looks at disk and clock and deletes what is due.
    pub fn clean_once(&self) {
        let used = check_disk(self);
        let hour = clock::local(self.env.clock.now_ms())[3];
        let hour_due = self
            .config
            .delete_when_hours
            .iter()
            .any(|&due| i32::from(due) == hour);
        let forced = used > self.config.disk_clean_forcibly_percent;
        if hour_due || forced || used > self.config.disk_max_used_percent {
            self.delete_files(forced);
            check_disk(self);
        }
    }

    /// Keeps the log from a physical offset on for somebody, however old it is and however full the
    /// disk, until told otherwise; `i64::MAX`, as at the start, keeps nothing. The lowest counts.
    pub fn keep_from(&self, who: &'static str, physical_offset: i64) {
        self.kept_from.lock().insert(who, physical_offset);
    }

    fn kept_from(&self) -> i64 {
        let kept = self.kept_from.lock();
        kept.values().copied().min().unwrap_or(i64::MAX)
    }

    /// Deletes commit log files past their time now, whatever the hour.
    pub fn delete_expired_files(&self) {
        self.delete_files(false);
    }

    fn delete_files(&self, forced: bool) {
        let reserved = i64::try_from(self.config.file_reserved_time_ms).unwrap_or(i64::MAX);
        let horizon = self.env.clock.now_ms().saturating_sub(reserved);
        let before = self.log.min();
        let dispatched = self.status().checkpoint_offset;
        for _ in 0..self.config.delete_batch_max {
            let segments = self.log.segments();
            let (Some(first), true) = (segments.first(), segments.len() > 1) else {
                break;
            };
            let end = first.start + self.log.file_size as i64;
            // The first record behind a file is hardly younger than its last.
            let mut behind = segments[1..].iter();
            let mut next = || behind.find_map(|segment| self.log.first_time(segment));
            let mut expired = || next().is_some_and(|time| time < horizon);
            if end > dispatched.min(self.kept_from()) || !(forced || expired()) {
                break;
            }
            let start = first.start;
            tracing::info!(path = %first.path.display(), forced, "commit log file expired");
            if let Err(error) = self.log.remove(|segment| segment.start == start) {
                tracing::warn!(%error, "cannot delete expired file");
                break;
            }
        }
        if self.log.min() != before {
            self.follow_log();
        }
    }

    fn follow_log(&self) {
        let min = self.log.min();
        let queues: Vec<_> = self
            .queues
            .read()
            .values()
            .flat_map(|q| q.values().cloned())
            .collect();
        let expired = queues.iter().try_for_each(|queue| queue.expire(min));
        if let Err(error) = expired.and_then(|()| self.expire_index(min)) {
            tracing::warn!(%error, "queues or index did not follow the log's retention");
        }
    }

    /// Dispatch, which puts into the index, does not wait for the disk.
    fn expire_index(&self, min: i64) -> Result<(), StoreError> {
        let expired = self.index.lock().expire(min);
        let remove = |path: &PathBuf| self.files().remove_file(path).at("remove", path);
        // One that stays does not keep the others.
        let removed: Vec<_> = expired.iter().map(remove).collect();
        removed.into_iter().collect()
    }

    /// Removes queues all of whose messages are gone; their offsets go on where they were.
    pub fn delete_expired_queues(&self) {
        let _no_flush = self.checkpoint.lock();
        let _no_dispatch = self.dispatching.lock();
        let min = self.log.min();
        let expired: Vec<_> = self
            .queues()
            .into_iter()
            .filter_map(|(topic, id)| {
                let queue = self.queue(&topic, id)?;
                let next = queue.bounds().1;
                let last = queue.unit(next - 1);
                let kept = last.map_or(true, |unit| {
                    unit.is_some_and(|unit| unit.physical_offset >= min)
                });
                let dead_below = min;
                let kept = kept || self.compaction.keeps(&topic);
                (!kept && !is_system(&topic)).then_some((
                    topic,
                    id,
                    RemovedQueue { next, dead_below },
                ))
            })
            .collect();
        let removed = self.removed.add(expired.iter().cloned()).and_then(|()| {
            let mut queues = expired.iter();
            queues.try_for_each(|(topic, id, _)| self.forget_queue(topic, *id))
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot delete expired queues");
        }
    }

    /// Removes a topic's queues. Its messages do not come back, whatever recovery the log may need
    /// later, and its offsets go on where they were should the topic come back.
    ///
    /// # Errors
    /// When that cannot be written down, or a directory cannot be removed.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        self.delete_topic_if(topic, || true).map(drop)
    }

    /// [`Store::delete_topic`], if it is unused still when no message can come any more that would be lost
    /// with it; whether it was.
    ///
    /// # Errors
    /// As there.
    pub fn delete_topic_if(
        &self,
        topic: &str,
        is_unused: impl Fn() -> bool,
    ) -> Result<bool, StoreError> {
        if !is_unused() {
            return Ok(false);
        }
        // First: what is noted below speaks of the commit log alone.
        self.compaction.forget_topic(topic)?;
        let _no_flush = self.checkpoint.lock();
        let _no_dispatch = self.dispatching.lock();
        let (ends, dead_below) = {
            let state = self.append_state.lock();
            // Messages that come from here on lie behind what is dead.
            if !is_unused() {
                return Ok(false);
            }
            let ends = state.next.get(topic).cloned().unwrap_or_default();
            (ends, state.end(&self.log))
        };
        let removed = ends
            .into_iter()
            .map(|(id, next)| (topic.to_owned(), id, RemovedQueue { next, dead_below }));
        self.removed.add(removed)?;
        self.queues.write().remove(topic);
        self.batch_topics.write().remove(topic);
        self.checkpoint_stale.store(true, Ordering::SeqCst);
        self.wake_queues.wake();
        ["consumequeue", "consumequeue_ext", "batchconsumequeue"]
            .into_iter()
            .try_for_each(|kind| {
                self.cache
                    .remove_dir(&self.config.root.join(kind).join(topic))
            })?;
        Ok(true)
    }
}

fn is_system(topic: &str) -> bool {
    topic.starts_with("SCHEDULE_TOPIC")
        || topic.starts_with("RMQ_SYS_")
        || topic.starts_with("rmq_sys_")
}
