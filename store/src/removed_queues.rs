//! Queues that were removed: where their offsets go on, and what of the log is theirs no longer.
//!
//! The log keeps a deleted topic's records until its files expire, and may need to be dispatched
//! again before that. Without this file the records would come back, and the offsets start anew.
//! Java ignores the file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use sluice_protocol::message::batch::ITEM_SIZE_MIN;

use crate::error::{At, StoreError};
use crate::files::FileSystem;

/// What is known of one removed queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemovedQueue {
    /// Offset of its next message, should it come back.
    pub(crate) next: i64,
    /// Its records below this physical offset were removed with it.
    pub(crate) dead_below: i64,
}

type Known = BTreeMap<String, BTreeMap<i32, RemovedQueue>>;

pub(crate) struct RemovedQueues {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    known: RwLock<Known>,
}

impl RemovedQueues {
    pub(crate) fn open(files: Arc<dyn FileSystem>, path: PathBuf) -> Result<Self, StoreError> {
        let text = match files.exists(&path) {
            true => files.read(&path).at("read", &path)?,
            false => Vec::new(),
        };
        let mut known = Known::new();
        for line in String::from_utf8_lossy(&text).lines() {
            match parse(line) {
                Some((topic, id, queue)) => {
                    known.entry(topic.to_owned()).or_default().insert(id, queue);
                }
                None => {
                    tracing::warn!(path = %path.display(), line, "not a removed queue, ignored")
                }
            }
        }
        Ok(RemovedQueues {
            files,
            path,
            known: RwLock::new(known),
        })
    }

    fn get(&self, topic: &str, queue_id: i32) -> Option<RemovedQueue> {
        self.known.read().get(topic)?.get(&queue_id).copied()
    }

    /// Whether a record was removed with its queue.
    pub(crate) fn is_dead(&self, topic: &str, queue_id: i32, physical_offset: i64) -> bool {
        self.get(topic, queue_id)
            .is_some_and(|queue| physical_offset < queue.dead_below)
    }

    /// Offset at which the queue comes back; 0 when it was never removed.
    pub(crate) fn next(&self, topic: &str, queue_id: i32) -> i64 {
        self.get(topic, queue_id).map_or(0, |queue| queue.next)
    }

    /// Every removed queue.
    pub(crate) fn all(&self) -> Vec<(String, i32, RemovedQueue)> {
        let known = self.known.read();
        let all = known
            .iter()
            .flat_map(|(topic, ids)| ids.iter().map(|(id, queue)| (topic.clone(), *id, *queue)));
        all.collect()
    }

    /// Notes removed queues, on disk first. What was known of them only ever grows.
    pub(crate) fn add(
        &self,
        removed: impl IntoIterator<Item = (String, i32, RemovedQueue)>,
    ) -> Result<(), StoreError> {
        let mut known = self.known.read().clone();
        for (topic, id, queue) in removed {
            let entry = known.entry(topic).or_default().entry(id).or_insert(queue);
            entry.next = entry.next.max(queue.next);
            entry.dead_below = entry.dead_below.max(queue.dead_below);
        }
        self.replace(known)
    }

    /// Fits what is known to a log that ends at `log_end`: records appended from now on are alive,
    /// and no queue has had more messages than such a log has had room for.
    pub(crate) fn fit_to(&self, log_end: i64) -> Result<(), StoreError> {
        let mut known = self.known.read().clone();
        for queue in known.values_mut().flat_map(BTreeMap::values_mut) {
            queue.next = queue.next.min(log_end / ITEM_SIZE_MIN as i64);
            queue.dead_below = queue.dead_below.min(log_end);
        }
        self.replace(known)
    }

    fn replace(&self, known: Known) -> Result<(), StoreError> {
        if *self.known.read() == known {
            return Ok(());
        }
        let text: String = known
            .iter()
            .flat_map(|(topic, ids)| ids.iter().map(move |(id, queue)| line(topic, *id, queue)))
            .collect();
        self.files
            .put(&self.path, text.as_bytes())
            .at("write", &self.path)?;
        let root = self.path.parent().unwrap_or(&self.path);
        self.files.sync_dir(root).at("sync", root)?;
        *self.known.write() = known;
        Ok(())
    }
}

fn line(topic: &str, queue_id: i32, queue: &RemovedQueue) -> String {
    format!("{} {} {queue_id} {topic}\n", queue.dead_below, queue.next)
}

fn parse(line: &str) -> Option<(&str, i32, RemovedQueue)> {
    let mut words = line.splitn(4, ' ');
    let queue = RemovedQueue {
        dead_below: words.next()?.parse().ok()?,
        next: words.next()?.parse().ok()?,
    };
    let queue_id = words.next()?.parse().ok()?;
    Some((words.next()?, queue_id, queue))
}
