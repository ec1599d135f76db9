//! What is deleted, and when.

use sluice_protocol::message::Record;

use crate::clock;
use crate::commit_log::{Item, Segment};
use crate::error::AppendError;
use crate::store::Store;

/// Sets or clears the disk-full refusal: set above the warning level, cleared at or below the
/// forcible-clean level. Answers the used share in percent.
pub(crate) fn check_disk(store: &Store) -> u8 {
    let Ok(space) = store.files().space(&store.log.dir) else {
        return 0;
    };
    let used = space.used_percent();
    let limit = store.config.disk_warning_percent;
    let mut full = store.disk_full.lock();
    if used > limit {
        if full.is_none() {
            tracing::error!(used, limit, path = %store.log.dir.display(), "disk full, messages are refused");
        }
        *full = Some(AppendError::DiskFull {
            path: store.log.dir.clone(),
            used_percent: used,
            limit_percent: limit,
        });
    } else if used <= store.config.disk_clean_forcibly_percent && full.take().is_some() {
        tracing::info!(used, "disk has room again, messages are accepted");
    }
    used
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

    /// Deletes commit log files past their time now, whatever the hour.
    pub fn delete_expired_files(&self) {
        self.delete_files(false);
    }

    fn delete_files(&self, forced: bool) {
        let horizon = self.env.clock.now_ms() - self.config.file_reserved_time_ms as i64;
        let before = self.log.min();
        let dispatched = self.status().checkpoint_offset;
        for _ in 0..self.config.delete_batch_max {
            let segments = self.log.segments();
            let (Some(first), true) = (segments.first(), segments.len() > 1) else {
                break;
            };
            let end = first.start + self.log.file_size as i64;
            // The next file's first record is hardly younger than this one's last.
            let expired = || self.last_time(first).is_some_and(|time| time < horizon);
            if end > dispatched || !(forced || expired()) {
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

    fn last_time(&self, segment: &Segment) -> Option<i64> {
        let end = segment.start + self.log.file_size as i64;
        let (mut at, mut last) = (segment.start, None);
        while at < end {
            match self.log.item(at) {
                Ok(Item::Record(bytes)) => {
                    last = Record::parse(&bytes)
                        .ok()
                        .map(|record| record.store_timestamp());
                    at += bytes.len() as i64;
                }
                Ok(Item::Blank(_)) | Err(_) => break,
            }
        }
        last
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
        if let Err(error) = expired.and_then(|()| self.index.lock().expire(min)) {
            tracing::warn!(%error, "queues or index did not follow the log's retention");
        }
    }

    /// Removes queues all of whose messages are gone; their offsets go on where they were.
    pub fn delete_expired_queues(&self) {
        let min = self.log.min();
        for (topic, id) in self.queues() {
            let Some(queue) = self.queue(&topic, id) else {
                continue;
            };
            let last = queue.unit(queue.bounds().1 - 1);
            let system = topic.starts_with("SCHEDULE_TOPIC")
                || topic.starts_with("RMQ_SYS_")
                || topic.starts_with("rmq_sys_");
            if system || last.is_some_and(|unit| unit.physical_offset >= min) {
                continue;
            }
            if let Some(queues) = self.queues.write().get_mut(&topic) {
                queues.remove(&id);
            }
            if let Err(error) = queue.destroy() {
                tracing::warn!(%error, topic, id, "cannot delete expired queue");
            }
        }
    }
}
