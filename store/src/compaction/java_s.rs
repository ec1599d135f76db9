//! What a Java broker leaves that is killed while it replaces compacted files. It does not start with it.
//!
//! Java renames all old log files to `NAME.delete`, moves the new ones in, whose names begin at 0 anew,
//! removes the old ones in ascending order, and only then does the same with the queue files.

use std::path::Path;

use super::load::REWRITTEN;
use super::queue::CompactedQueue;
use crate::commit_log::{file_name, file_start};
use crate::error::{At, StoreError};

const OLD: &str = ".delete";

/// Settles it. Where queue files have to be made anew from the logs, the directory is there afterwards
/// that tells of a round cut short.
pub(crate) fn settle(queue: &CompactedQueue) -> Result<(), StoreError> {
    let old_logs = old(queue, &queue.log_dir)?;
    let old_queues = old(queue, &queue.queue_dir)?;
    if old_logs.is_empty() && old_queues.is_empty() {
        return Ok(());
    }
    let (topic, id) = (&queue.topic, queue.queue_id);
    tracing::warn!(
        topic,
        id,
        "a Java broker was killed while it replaced compacted files"
    );
    let names = starts(queue, &queue.queue_dir)?;
    // The first old file goes first: as long as it is there, all are, and the new ones may not be. Unless a
    // reader still held it, for then Java leaves it and goes on: the new ones have all moved in by then.
    let first = names.first().filter(|first| old_logs.contains(first));
    if let Some(first) = first
        && !has_moved(queue, *first)?
    {
        return restore(queue, &names, &old_logs);
    }
    let mark = queue.log_dir.join(REWRITTEN);
    let files = &queue.cache.files;
    files.create_dir_all(&mark).at("create", &mark)?;
    remove_old(queue, &queue.log_dir, &old_logs)?;
    remove_old(queue, &queue.queue_dir, &old_queues)
}

/// Whether the new log files are all in their places.
fn has_moved(queue: &CompactedQueue, first: i64) -> Result<bool, StoreError> {
    let made = starts(queue, &queue.log_dir.join("compacting"))?;
    Ok(made.is_empty() && queue.cache.files.exists(&queue.log_path(first)))
}

/// Gives old log files their names again; `names` are those of the queue files, which are still the old
/// ones. The first comes last, so that this can be cut short, too.
fn restore(queue: &CompactedQueue, names: &[i64], old_logs: &[i64]) -> Result<(), StoreError> {
    let files = &queue.cache.files;
    let dir = &queue.log_dir;
    for new in starts(queue, dir)?
        .iter()
        .filter(|start| !names.contains(start))
    {
        let path = queue.log_path(*new);
        files.remove_file(&path).at("remove", &path)?;
    }
    files.sync_dir(dir).at("sync", dir)?;
    for start in old_logs.iter().rev() {
        let path = queue.log_path(*start);
        let from = dir.join(file_name(*start) + OLD);
        files.rename(&from, &path).at("restore", &path)?;
        files.sync_dir(dir).at("sync", dir)?;
    }
    Ok(())
}

fn remove_old(queue: &CompactedQueue, dir: &Path, old: &[i64]) -> Result<(), StoreError> {
    let files = &queue.cache.files;
    for start in old {
        let path = dir.join(file_name(*start) + OLD);
        files.remove_file(&path).at("remove", &path)?;
    }
    match old.is_empty() {
        true => Ok(()),
        false => files.sync_dir(dir).at("sync", dir),
    }
}

fn starts(queue: &CompactedQueue, dir: &Path) -> Result<Vec<i64>, StoreError> {
    let entries = queue.cache.files.list(dir).at("list", dir)?;
    let names = entries.iter().filter(|entry| !entry.is_dir);
    Ok(names.filter_map(|entry| file_start(&entry.name)).collect())
}

/// Where the files begin that were to be deleted.
fn old(queue: &CompactedQueue, dir: &Path) -> Result<Vec<i64>, StoreError> {
    let entries = queue.cache.files.list(dir).at("list", dir)?;
    let names = entries
        .iter()
        .filter_map(|entry| entry.name.strip_suffix(OLD));
    Ok(names.filter_map(file_start).collect())
}
