//! Queues and index compared with what the log says they should hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::message::Record;

use super::{Closed, Report, index_is_standard};
use crate::batch_consume_queue::{BatchConsumeQueue, BatchUnit};
use crate::consume_queue::{ConsumeQueue, ConsumeQueueUnit};
use crate::dispatch::{index_hashes, unit_tags_code};
use crate::error::{At, StoreError};
use crate::file_cache::FileCache;
use crate::index::{Entries, Index};
use crate::queue::{Queue, QueueType};
use crate::read::EXT_ADDRESS_MAX;
use crate::recovery::queue_dirs;
use crate::removed_queues::RemovedQueues;
use crate::store::is_queued;

/// Units of a queue that are not what they should be: how many, and the offset of the first.
type Wrong = BTreeMap<(String, i32), (u64, i64)>;

struct Comparison<'a> {
    closed: &'a Closed,
    queues: BTreeMap<(String, i32), Queue>,
    removed: RemovedQueues,
    topics: String,
    wrong: Wrong,
}

pub(super) fn check(closed: &Closed) -> Result<Report, StoreError> {
    let config = &closed.config;
    let cache = Arc::new(FileCache::new(
        Arc::clone(&closed.env.files),
        config.open_files_max,
    ));
    let index = Index::load(
        config.root.join("index"),
        config.index_slots,
        config.index_entries,
        Arc::clone(&cache),
    )?;
    let mut comparison = Comparison::load(closed, &cache)?;
    let comparable = index.position().0 != 0 && index_is_standard(config, &closed.env)?;
    let mut keys = comparable.then(|| Keys::of(&index));
    // What lies above is built at the next start.
    let built = match (closed.clean, closed.marks) {
        (true, _) => i64::MAX,
        (false, Some(marks)) => marks.dispatched,
        (false, None) => 0,
    };
    let mut report = closed.walk(|record| {
        if record.physical_offset() < built {
            comparison.compare(record)?;
            keys.as_mut().map_or(Ok(()), |keys| keys.compare(record))?;
        }
        Ok(true)
    })?;
    report.queues = comparison.queues.len();
    comparison.check_ends(&mut report)?;
    report.problems.extend(comparison.told());
    if let Some(mut keys) = keys.filter(|_| closed.clean) {
        report.problems.extend(keys.told()?);
    }
    Ok(report)
}

impl<'a> Comparison<'a> {
    fn load(closed: &'a Closed, cache: &Arc<FileCache>) -> Result<Self, StoreError> {
        let (config, files) = (&closed.config, &closed.env.files);
        let mut queues = BTreeMap::new();
        for dir in queue_dirs(&**files, &config.root)? {
            let name = (&*dir.topic, dir.id);
            let queue = Queue::new(config, dir.kind, name, 0, Arc::clone(cache));
            queue.load_as_it_is()?;
            queues.insert((dir.topic, dir.id), queue);
        }
        let path = config.root.join("config/topics.json");
        let topics = match files.exists(&path) {
            true => files.read(&path).at("read", &path)?,
            false => Vec::new(),
        };
        Ok(Comparison {
            closed,
            queues,
            removed: RemovedQueues::open(Arc::clone(files), config.root.join("removedqueues"))?,
            topics: String::from_utf8_lossy(&topics).into_owned(),
            wrong: Wrong::new(),
        })
    }

    fn compare(&mut self, record: &Record<'_>) -> Result<(), StoreError> {
        let (topic, id) = (record.topic(), record.queue_id());
        let removed = self.removed.is_dead(topic, id, record.physical_offset());
        if removed || !is_queued(record.sys_flag()) {
            return Ok(());
        }
        let key = (topic.to_owned(), id);
        let right = match self.queues.get(&key) {
            Some(Queue::Simple(queue)) => fits(queue, record, self.closed)?,
            Some(Queue::Batch(queue)) => fits_batch(queue, record, self.closed)?,
            // Java leaves the messages of a deleted topic in the log, and forgets the topic.
            None => !self.topics.contains(&format!("\"{topic}\"")),
        };
        if !right {
            let first = record.queue_offset();
            self.wrong.entry(key).or_insert((0, first)).0 += 1;
        }
        Ok(())
    }

    /// Every queue ends with a message that is in the log.
    fn check_ends(&self, report: &mut Report) -> Result<(), StoreError> {
        for queue in self.queues.values() {
            let last = queue.unit(queue.bounds().1 - 1)?;
            if let Some(unit) = last.filter(|unit| unit.end() > report.end_offset) {
                report.problems.push(format!(
                    "{}: its last message, at {}, is not in the commit log",
                    queue.dir().display(),
                    unit.physical_offset
                ));
            }
        }
        Ok(())
    }

    fn told(&self) -> impl Iterator<Item = String> {
        self.wrong.iter().map(|((topic, id), (count, first))| {
            let missing = self.closed.config.root.join(QueueType::Simple.directory());
            let dir = match self.queues.get(&(topic.clone(), *id)) {
                Some(queue) => queue.dir().to_owned(),
                None => missing.join(topic).join(id.to_string()),
            };
            format!(
                "{}: {count} messages of the commit log are not in the queue, the first at offset {first}",
                dir.display()
            )
        })
    }
}

/// Whether a queue says of a record what it should.
fn fits(queue: &ConsumeQueue, record: &Record<'_>, closed: &Closed) -> Result<bool, StoreError> {
    let expected = ConsumeQueueUnit {
        physical_offset: record.physical_offset(),
        size: record.size() as i32,
        tags_code: unit_tags_code(record, &closed.config),
    };
    // A topic that Java deleted and made again begins at 0 again: older messages have no unit.
    let older = |unit: ConsumeQueueUnit| unit.physical_offset > expected.physical_offset;
    Ok(match queue.unit(record.queue_offset())? {
        Some(unit) if unit.tags_code <= EXT_ADDRESS_MAX => {
            let tags_code = expected.tags_code;
            ConsumeQueueUnit { tags_code, ..unit } == expected || older(unit)
        }
        Some(unit) => unit == expected || older(unit),
        None => queue.unit(queue.bounds().1 - 1)?.is_some_and(older),
    })
}

/// [`fits`], for a batch consume queue.
fn fits_batch(
    queue: &BatchConsumeQueue,
    record: &Record<'_>,
    closed: &Closed,
) -> Result<bool, StoreError> {
    let expected = BatchUnit::of(record, unit_tags_code(record, &closed.config));
    let older = |unit: BatchUnit| unit.physical_offset > expected.physical_offset;
    Ok(match queue.unit(expected.base)? {
        Some(unit) => unit == expected || older(unit),
        None => queue.unit(queue.bounds().1 - 1)?.is_some_and(older),
    })
}

/// The index, read along with the log.
struct Keys<'a> {
    entries: Entries<'a>,
    next: Option<(i32, i64)>,
    begun: bool,
    missing: u64,
    first_missing: i64,
}

impl<'a> Keys<'a> {
    fn of(index: &'a Index) -> Self {
        Keys {
            entries: Entries::of(index),
            next: None,
            begun: false,
            missing: 0,
            first_missing: 0,
        }
    }

    fn compare(&mut self, record: &Record<'_>) -> Result<(), StoreError> {
        let at = record.physical_offset();
        if !self.begun {
            self.next = self.entries.next()?;
            self.begun = true;
        }
        // Entries of what has expired.
        while self.next.is_some_and(|(_, offset)| offset < at) {
            self.next = self.entries.next()?;
        }
        for hash in index_hashes(record) {
            if self.next == Some((hash, at)) {
                self.next = self.entries.next()?;
            } else {
                if self.missing == 0 {
                    self.first_missing = at;
                }
                self.missing += 1;
            }
        }
        Ok(())
    }

    fn told(&mut self) -> Result<Vec<String>, StoreError> {
        while self.entries.next()?.is_some() {}
        let mut told = std::mem::take(&mut self.entries.broken);
        if self.missing > 0 {
            told.push(format!(
                "index: {} keys are missing, the first is of the message at {}",
                self.missing, self.first_missing
            ));
        }
        Ok(told)
    }
}
