//! What is done to a store directory before it serves.
//!
//! The checkpoint says below which offset everything is on disk. From there the log is read
//! record by record and dispatched again; queues and index are first cut back to that point.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluice_protocol::message::batch::ITEM_SIZE_MIN;
use sluice_protocol::message::record::RECORD_SIZE_MIN;
use sluice_protocol::message::{Record, RecordFields, sys_flag};

use crate::checkpoint::Marks;
use crate::commit_log::{BLANK_SIZE, CommitLog, Item, Segment};
use crate::config::StoreConfig;
use crate::error::{At, StoreError};
use crate::files::FileSystem;
use crate::queue::{Queue, QueueDir, QueueType};
use crate::removed_queues::RemovedQueue;
use crate::store::{Store, is_queued};
use crate::vouched;

/// Bytes written at once where a whole file may be meant.
const PIECE: usize = 1 << 20;
/// Records dispatched between two writes of queues and index.
const FLUSH_EVERY: u64 = 100_000;
/// Largest record put in place of damaged bytes: Java allocates as much when it reads one.
const FILLER_MAX: i64 = 4 << 20;
/// Mark of a checkpoint that vouches for the log only.
const NOTHING_DISPATCHED: i64 = -1;

/// What the checkpoint tells about the log.
struct Evidence {
    /// Below it the log was synced; `None` when nobody we trust says so.
    durable: Option<i64>,
    /// Store time of the last record before the scan, 0 = unknown.
    time: i64,
    /// Whether the queues hold all that lies before the scan.
    queues_whole: bool,
}

pub(crate) fn recover(
    store: &Store,
    marks: Marks,
    trusted: bool,
    clean: bool,
) -> Result<(), StoreError> {
    let log = &store.log;
    let (min, end) = (log.min(), log.written());
    let limit = match (trusted, clean) {
        (true, _) => marks.dispatched.max(min),
        (false, true) => i64::MAX,
        (false, false) => min,
    };
    refuse_short_log(store, trusted.then_some(marks.log_offset))?;
    let found = load_queues(store, limit, trusted && clean)?;
    drop_dead_queues(store)?;
    let known = trusted
        && (min..=end).contains(&marks.dispatched)
        && store.index.lock().has(marks.index_file)
        && found == marks.queues;
    let evidence = Evidence {
        durable: trusted.then_some(marks.log_offset),
        time: if trusted { marks.log_time } else { 0 },
        queues_whole: true,
    };
    let done = if known {
        let mut index = store.index.lock();
        if !clean || index.position() != (marks.index_file, marks.index_count) {
            index.rewind(marks.index_file, marks.index_count)?;
        }
        drop(index);
        scan(store, marks.dispatched, &evidence)?
    } else if !trusted && clean && end > 0 && found > 0 {
        // Closed by Java: its queues are whole, at most the last records are not in them yet.
        scan(
            store,
            log.segment_start(last_queued(store)? - 1).max(min),
            &evidence,
        )?
    } else {
        None
    };
    let Some(end) = done else {
        // Nothing to lean on, or a queue with a hole: everything again from the log.
        return rebuild_by(store, trusted.then_some(marks), evidence.durable);
    };
    let untouched = clean && known && end == marks.log_offset;
    if !untouched {
        cut(store, end, evidence.durable)?;
    }
    finish(store, end)
}

/// Recovers from nothing but the log: every good record stays, queues and index are made anew.
pub(crate) fn rebuild(store: &Store, marks: Option<Marks>) -> Result<(), StoreError> {
    load_queue_names(store)?;
    rebuild_by(store, marks, None)
}

fn rebuild_by(store: &Store, marks: Option<Marks>, durable: Option<i64>) -> Result<(), StoreError> {
    if let Some(marks) = marks {
        // Half-built queues and index must not be taken for those the checkpoint speaks of.
        store.checkpoint.lock().write(&Marks {
            dispatched: NOTHING_DISPATCHED,
            ..marks
        })?;
    }
    remember_ends(store)?;
    drop_queues(store)?;
    store.index.lock().clear()?;
    let min = store.log.min();
    let evidence = Evidence {
        durable,
        time: 0,
        queues_whole: false,
    };
    let end = scan(store, min, &evidence)?.unwrap_or(min);
    cut(store, end, durable)?;
    finish(store, end)
}

fn finish(store: &Store, end: i64) -> Result<(), StoreError> {
    store.log.set_written(end);
    store.log.set_flushed(end);
    store.dispatched.store(end, Ordering::Release);
    store.removed.fit_to(end)?;
    expire_queues(store)
}

/// Messages that were kept must not be given up, and their offsets given out again, because a disk
/// is not mounted.
fn refuse_short_log(store: &Store, durable: Option<i64>) -> Result<(), StoreError> {
    let end = store.log.written();
    let known = match durable {
        Some(durable) => durable,
        None if end > 0 => return Ok(()),
        None => {
            for queue in load_queue_names(store)? {
                queue.load_clean()?;
            }
            last_queued(store)?
        }
    };
    if end >= known {
        return Ok(());
    }
    Err(StoreError::LogShort {
        path: store.log.dir().to_owned(),
        end,
        durable: known,
    })
}

/// Physical offset behind the last message of all queues.
fn last_queued(store: &Store) -> Result<i64, StoreError> {
    let queues = store.queues.read();
    let mut last = 0;
    for queue in queues.values().flat_map(BTreeMap::values) {
        let unit = queue.unit(queue.bounds().1 - 1)?;
        last = last.max(unit.map_or(0, |unit| unit.end()));
    }
    Ok(last)
}

/// Loads the queues up to `limit`; `whole` when they were closed properly.
fn load_queues(store: &Store, limit: i64, whole: bool) -> Result<i64, StoreError> {
    let queues = load_queue_names(store)?;
    for queue in &queues {
        if whole {
            queue.load_clean()?;
        } else {
            queue.load(limit)?;
        }
    }
    Ok(queues.len() as i64)
}

/// The queues that have files, not loaded yet.
fn load_queue_names(store: &Store) -> Result<Vec<Arc<Queue>>, StoreError> {
    let dirs = queue_dirs(&**store.files(), &store.config.root)?;
    let queues = dirs
        .iter()
        .map(|dir| store.queue_or_create(&dir.topic, dir.id, dir.kind));
    Ok(queues.collect())
}

/// Refuses a topic whose queues are not of its type: Java refuses such a directory as well, and to read
/// one by the other's units would lose messages.
pub(crate) fn check_queue_types(
    config: &StoreConfig,
    files: &dyn FileSystem,
) -> Result<(), StoreError> {
    let mut known = config.queue_types.clone();
    for dir in queue_dirs(files, &config.root)? {
        let expected = *known.entry(dir.topic.clone()).or_insert(dir.kind);
        if expected != dir.kind {
            return Err(StoreError::QueueType {
                path: dir.path,
                topic: dir.topic,
                found: dir.kind.name(),
                expected: expected.name(),
            });
        }
    }
    Ok(())
}

/// Every queue that has files.
pub(crate) fn queue_dirs(files: &dyn FileSystem, root: &Path) -> Result<Vec<QueueDir>, StoreError> {
    let mut found = Vec::new();
    for kind in QueueType::ALL {
        find_queue_dirs(files, root, kind, &mut found)?;
    }
    Ok(found)
}

fn find_queue_dirs(
    files: &dyn FileSystem,
    root: &Path,
    kind: QueueType,
    found: &mut Vec<QueueDir>,
) -> Result<(), StoreError> {
    let dirs = |dir: &Path| -> Result<Vec<String>, StoreError> {
        let entries = files.list(dir).at("list", dir)?;
        let dirs = entries.into_iter().filter(|entry| entry.is_dir);
        Ok(dirs.map(|entry| entry.name).collect())
    };
    let root = root.join(kind.directory());
    for topic in dirs(&root)? {
        for name in dirs(&root.join(&topic))? {
            let Ok(id) = name.parse() else { continue };
            let path = root.join(&topic).join(&name);
            if !files.list(&path).at("list", &path)?.is_empty() {
                found.push(QueueDir {
                    topic: topic.clone(),
                    id,
                    kind,
                    path,
                });
            }
        }
    }
    Ok(())
}

fn drop_queues(store: &Store) -> Result<(), StoreError> {
    let all = std::mem::take(&mut *store.queues.write());
    for queues in all.values() {
        for queue in queues.values() {
            let removed = store.files().remove_dir_all(queue.dir());
            store.cache.forget(queue.dir());
            removed.at("remove", queue.dir())?;
        }
        // A topic's queues lie in one directory.
        let dir = queues
            .values()
            .next()
            .and_then(|queue| queue.dir().parent());
        if let Some(dir) = dir.filter(|dir| store.files().exists(dir)) {
            store.files().sync_dir(dir).at("sync", dir)?;
        }
    }
    Ok(())
}

/// Finishes removals that a crash cut short.
fn drop_dead_queues(store: &Store) -> Result<(), StoreError> {
    for (topic, id, removed) in store.removed.all() {
        let Some(queue) = store.queue(&topic, id) else {
            continue;
        };
        let first = queue.unit(queue.bounds().0)?;
        if first.is_none_or(|unit| unit.physical_offset >= removed.dead_below) {
            continue;
        }
        // A removal that failed half-way left the queue in use.
        queue.expire(removed.dead_below)?;
        let (min, max) = queue.bounds();
        if min == max {
            store.forget_queue(&topic, id)?;
        }
    }
    Ok(())
}

/// Notes how far queues had come whose messages are no longer in the log to tell it.
fn remember_ends(store: &Store) -> Result<(), StoreError> {
    let min = store.log.min();
    if min == 0 {
        return Ok(());
    }
    let mut ends = Vec::new();
    for (topic, id) in store.queues() {
        let Some(queue) = store.queue(&topic, id) else {
            continue;
        };
        if let Err(error) = queue.load(min) {
            tracing::warn!(%error, topic, id, "a queue's end is lost");
            continue;
        }
        let next = queue.bounds().1;
        ends.push((
            topic,
            id,
            RemovedQueue {
                next,
                dead_below: 0,
            },
        ));
    }
    store.removed.add(ends)
}

/// Whether a record belongs into a queue that is still there.
fn is_alive(store: &Store, record: &Record<'_>) -> bool {
    is_queued(record.sys_flag())
        && !store
            .removed
            .is_dead(record.topic(), record.queue_id(), record.physical_offset())
}

fn expire_queues(store: &Store) -> Result<(), StoreError> {
    let min = store.log.min();
    let all: Vec<_> = store
        .queues
        .read()
        .values()
        .flat_map(|q| q.values().cloned())
        .collect();
    all.iter().try_for_each(|queue| queue.expire(min))
}

/// Dispatches from `at` to the end of the valid log and answers that end; `None` when a queue
/// that should be whole lacks units below `at`.
fn scan(store: &Store, mut at: i64, evidence: &Evidence) -> Result<Option<i64>, StoreError> {
    let log = &store.log;
    let (mut time, mut dispatched) = (evidence.time, 0_u64);
    loop {
        let item = log.segment(at).map(|_| log.item(at));
        match item {
            Some(Ok(Item::Blank(next))) => at = next,
            Some(Ok(Item::Record(bytes))) if stays(store, &bytes, at, time, evidence)? => {
                let Ok(record) = Record::parse(&bytes) else {
                    break;
                };
                if evidence.queues_whole && is_alive(store, &record) {
                    let queue = store.queue_for(&record);
                    if record.queue_offset() > queue.bounds().1 {
                        return Ok(None);
                    }
                }
                time = record.store_timestamp();
                store.dispatch(&record, None)?;
                at += bytes.len() as i64;
                dispatched += 1;
                if dispatched % FLUSH_EVERY == 0 {
                    // The checkpoint stays: this only keeps memory bounded.
                    store.flush_units()?;
                }
            }
            _ => match resume(log, at, time, evidence.durable) {
                Some(next) => {
                    quarantine(store, at, next, time)?;
                    at = next;
                }
                None => break,
            },
        }
    }
    store.last_dispatched_time.store(time, Ordering::Relaxed);
    Ok(Some(at))
}

/// Whether a record is whole, as far as lengths and the body's checksum tell.
pub(crate) fn sound(bytes: &[u8]) -> bool {
    Record::parse(bytes).is_ok_and(|record| record.check_crc().is_ok())
}

/// Whether the record at `at` belongs to the log. Where we know that bytes may never have been
/// synced, signs of a lost sector outside the body are looked for as well.
fn stays(
    store: &Store,
    bytes: &[u8],
    at: i64,
    last_time: i64,
    evidence: &Evidence,
) -> Result<bool, StoreError> {
    let Ok(record) = Record::parse(bytes) else {
        return Ok(false);
    };
    if record.check_crc().is_err() || !has_a_place(store, &record)? {
        return Ok(false);
    }
    if evidence.durable.is_none_or(|durable| at < durable) {
        return Ok(true);
    }
    if vouched::looks_torn(&record, at) && !store.vouched.knows(at, bytes) {
        return Ok(false);
    }
    // An append never gives an earlier time than the one before.
    Ok(record.store_timestamp() >= last_time.max(1)
        && !queue_fields_lost(store, &record, at)
        && !store.lacks_its_flag(&record)
        && names_a_source(&record))
}

/// Whether what a record says of the record that it was made of can be true: that one lies before it.
/// Java says it of transactions alone (`preparedTransactionOffset`); the broker's other copies have
/// the complement.
fn names_a_source(record: &Record<'_>) -> bool {
    match record.prepared_transaction_offset() {
        0 => true,
        given if given < 0 => !given < record.physical_offset(),
        given => given < record.physical_offset(),
    }
}

/// Whether topic, queue id and queue offset, which no checksum covers, can be true: damaged ones
/// must neither name a file outside the store nor make a queue of endless filler.
fn has_a_place(store: &Store, record: &Record<'_>) -> Result<bool, StoreError> {
    // A message takes so many bytes of the log at least.
    let message_min = match store.queue_type_of(record) {
        QueueType::Simple => RECORD_SIZE_MIN as i64,
        QueueType::Batch => ITEM_SIZE_MIN as i64,
    };
    let (at, offset) = (record.physical_offset(), record.queue_offset());
    if !is_alive(store, record) {
        return Ok(true);
    }
    if record.queue_id() < 0 || !is_file_name(record.topic()) {
        return Ok(false);
    }
    if !(0..=at / message_min).contains(&offset) {
        return Ok(false);
    }
    let Some(queue) = store.queue(record.topic(), record.queue_id()) else {
        return Ok(true);
    };
    let (min, max) = queue.bounds();
    if offset <= max || min == max {
        return Ok(true);
    }
    // Every missing offset was a record between the queue's last one and this.
    let last = queue.unit(max - 1)?.map_or(0, |unit| unit.end());
    Ok(offset - max <= (at - last) / message_min)
}

/// Whether a topic can be the name of a directory.
pub(crate) fn is_file_name(topic: &str) -> bool {
    const NAME_MAX: usize = 255;
    !matches!(topic, "" | "." | "..") && topic.len() <= NAME_MAX && !topic.contains(['/', '\0'])
}

/// Whether queue id and queue offset contradict the queue, and a sector ends among them in zeroes.
fn queue_fields_lost(store: &Store, record: &Record<'_>, at: i64) -> bool {
    if vouched::zeroes_before(record.as_bytes(), at).is_none() {
        return false;
    }
    let expected = match store.queue(record.topic(), record.queue_id()) {
        Some(queue) => queue.bounds().1,
        None => record.queue_offset(),
    };
    is_alive(store, record) && record.queue_offset() != expected
}

/// Where good records go on behind a bad place; `None` at the log's end, where only what may
/// never have been synced follows.
pub(crate) fn resume(
    log: &CommitLog,
    bad: i64,
    last_time: i64,
    durable: Option<i64>,
) -> Option<i64> {
    let segments = log.segments();
    let log_end = segments.last()?.start + log.file_size as i64;
    let limit = durable.unwrap_or(log_end).min(log_end);
    if bad >= limit {
        return None;
    }
    for segment in segments {
        let end = segment.start + log.file_size as i64;
        if end <= bad || segment.start >= limit {
            continue;
        }
        let from = (bad + 1).max(segment.start);
        let data_end = segment.file.data_end((from - segment.start) as u64).ok()?;
        let until = limit
            .min(end - BLANK_SIZE as i64)
            .min(segment.start + data_end as i64);
        let bytes = segment.file.slice(0, log.file_size as usize).ok()?;
        let good = (from..until).find(|&at| {
            // All three magics begin with one of two bytes.
            let first = bytes[(at - segment.start) as usize + 4];
            (first == 0xDA || first == 0xCB) && goes_on(log, at, last_time, durable.is_some())
        });
        if good.is_some() {
            return good;
        }
    }
    durable.map(|_| limit)
}

/// Whether the log goes on at `at`. Java leaves stale records behind a place where it cut its log;
/// those are older than what precedes them, and a stale blank cannot be told from a good one.
fn goes_on(log: &CommitLog, at: i64, last_time: i64, ours: bool) -> bool {
    match log.item(at) {
        Ok(Item::Record(bytes)) => {
            let time = Record::parse(&bytes).map_or(0, |record| record.store_timestamp());
            sound(&bytes) && (ours || time >= last_time)
        }
        Ok(Item::Blank(_)) => ours,
        Err(_) => false,
    }
}

/// Replaces `from..to` by a record nobody queues or indexes, and keeps the bytes aside.
fn quarantine(store: &Store, from: i64, to: i64, time: i64) -> Result<(), StoreError> {
    let log = &store.log;
    let segment = log.segment_or_create(log.segment_start(from))?;
    let end = segment.start + log.file_size as i64;
    let stop = to.min(end);
    keep_aside(store, &segment, from, stop)?;
    let mut at = from;
    while at < stop {
        let next = if stop == end {
            stop
        } else {
            filler_end(at, stop)
        };
        let filler = filler(at, next, time, stop == end);
        segment
            .file
            .write_at((at - segment.start) as u64, &filler)
            .at("write", &segment.path)?;
        at = next;
    }
    segment.file.sync().at("sync", &segment.path)?;
    tracing::error!(
        from,
        to = stop,
        "a damaged part of the commit log was set aside"
    );
    if stop < to {
        quarantine(store, stop, to, time)
    } else {
        Ok(())
    }
}

/// Where the next of the fillers up to `to` ends; what is left then is room for another, or nothing.
fn filler_end(from: i64, to: i64) -> i64 {
    match to - from {
        size if size <= FILLER_MAX => to,
        size if size - FILLER_MAX < RECORD_SIZE_MIN as i64 => to - RECORD_SIZE_MIN as i64,
        _ => from + FILLER_MAX,
    }
}

fn filler(from: i64, to: i64, time: i64, whole_rest: bool) -> Vec<u8> {
    let size = (to - from) as usize;
    let mut out = Vec::new();
    let host = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    let fields = |body| RecordFields {
        topic: "",
        queue_id: 0,
        flag: 0,
        sys_flag: sys_flag::TRANSACTION_ROLLBACK,
        born_timestamp: time,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
    };
    let overhead = fields(&[]).encoded_size();
    if !whole_rest && size >= overhead {
        let body = vec![0; size - overhead];
        if fields(&body).encode(&mut out).is_ok() {
            sluice_protocol::message::record::assign(&mut out, 0, from, time.max(1));
            return out;
        }
    }
    out.extend_from_slice(&(size as i32).to_be_bytes());
    out.extend_from_slice(&sluice_protocol::message::record::MAGIC_BLANK.to_be_bytes());
    out
}

fn keep_aside(store: &Store, segment: &Segment, from: i64, to: i64) -> Result<(), StoreError> {
    let bytes = segment
        .file
        .slice((from - segment.start) as u64, (to - from) as usize)
        .at("read", &segment.path)?;
    let Some(last) = bytes.iter().rposition(|&byte| byte != 0) else {
        return Ok(());
    };
    let dir = store.config.root.join("quarantine");
    store.files().create_dir_all(&dir).at("create", &dir)?;
    let name = format!("{from:020}-{}", store.env.clock.now_ms());
    store.save(&dir.join(name), &bytes[..=last])
}

/// Writes the bytes that are there.
fn write_again(segment: &Segment, mut from: u64, to: u64) -> Result<(), StoreError> {
    while from < to {
        let size = (PIECE as u64).min(to - from);
        let bytes = segment.file.slice(from, size as usize);
        let bytes = bytes.at("read", &segment.path)?;
        let written = segment.file.write_at(from, &bytes);
        written.at("write", &segment.path)?;
        from += size;
    }
    Ok(())
}

/// Writes zeroes.
fn clear(segment: &Segment, mut at: u64, mut size: usize) -> Result<(), StoreError> {
    let zeroes = vec![0; size.min(PIECE)];
    while size > 0 {
        let now = size.min(PIECE);
        segment
            .file
            .write_at(at, &zeroes[..now])
            .at("clear", &segment.path)?;
        (at, size) = (at + now as u64, size - now);
    }
    Ok(())
}

/// Clears everything behind `end`: stale bytes could otherwise be taken for records later. What is
/// kept is written once more and synced from `durable` on: a killed process may have left it in
/// the page cache only, where after a failed sync it even counts as clean.
fn cut(store: &Store, end: i64, durable: Option<i64>) -> Result<(), StoreError> {
    let log = &store.log;
    for segment in log.segments().into_iter().rev() {
        let file_end = segment.start + log.file_size as i64;
        if file_end <= end {
            continue;
        }
        let from = end.max(segment.start);
        let at = (from - segment.start) as u64;
        let data_end = segment.file.data_end(at).at("measure", &segment.path)?;
        let bytes = segment
            .file
            .slice(at, (data_end - at) as usize)
            .at("read", &segment.path)?;
        if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
            keep_aside(store, &segment, from, from + last as i64 + 1)?;
            tracing::warn!(
                from,
                bytes = last + 1,
                "the unfinished end of the commit log was set aside"
            );
            clear(&segment, at, last + 1)?;
            segment.file.sync().at("sync", &segment.path)?;
        }
    }
    for segment in log.segments() {
        let file_end = segment.start + log.file_size as i64;
        if file_end <= durable.unwrap_or(0) || segment.start >= end {
            continue;
        }
        if let Some(durable) = durable {
            let from = (durable - segment.start).max(0) as u64;
            write_again(&segment, from, (end.min(file_end) - segment.start) as u64)?;
        }
        segment.file.sync().at("sync", &segment.path)?;
    }
    // The first file stays though it be empty: it tells where the log goes on.
    let min = log.min();
    log.remove(|segment| segment.start >= end && segment.start > min)?;
    // A file may have been made by a process that was killed before it made the entry durable.
    log.sync_dirs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_are_small_and_leave_nothing_over() {
        let min = RECORD_SIZE_MIN as i64;
        for size in (min..min + 3)
            .chain(FILLER_MAX - 1..FILLER_MAX + 2 * min)
            .chain(3 * FILLER_MAX - min..3 * FILLER_MAX + min)
        {
            let mut at = 0;
            while at < size {
                let next = filler_end(at, size);
                let filler = filler(at, next, 1, false);
                assert!((min..=FILLER_MAX).contains(&(next - at)), "{size}");
                assert_eq!(filler.len() as i64, next - at);
                at = next;
            }
            assert_eq!(at, size);
        }
    }
}
