//! Topics with `cleanup.policy=COMPACTION`: of messages with one key the newest stays readable when the
//! commit log's files are gone.
//!
//! Files are Java's: `compaction/compactionLog` and `compaction/compactionCq` with a directory for each
//! queue, and `compaction/position-checkpoint`. A topic is one of these when it has a directory there.
//!
//! Messages are copied from the commit log once they are synced in it; until then, and as long as no
//! round has compared them, they are read from there. No file of the commit log goes before its messages
//! are copied and synced here.

mod java_s;
mod load;
mod look;
mod newest;
mod positions;
mod queue;
mod reading;
mod round;
mod start;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};
use sluice_protocol::message::Record;

use self::positions::Positions;
use self::queue::{CompactedQueue, Entry};
pub(crate) use self::start::{Synced, load};
pub(crate) use self::units::{Sizes, UNIT, Unit};
use crate::commit_log::is_filler;
use crate::config::StoreConfig;
use crate::consume_queue::ConsumeQueueUnit;
use crate::error::{At, StoreError};
use crate::file_cache::FileCache;
use crate::store::Store;

/// For whom the commit log is kept.
const WHO: &str = "compaction";
/// Units copied at once, and about so many bytes.
const COPY_UNITS: usize = 256;
const COPY_BYTES: usize = 1 << 20;

type Queues = BTreeMap<i32, Arc<CompactedQueue>>;

pub(crate) struct Compaction {
    enabled: bool,
    log_root: PathBuf,
    queue_root: PathBuf,
    sizes: Sizes,
    cache: Arc<FileCache>,
    topics: RwLock<BTreeMap<String, Queues>>,
    positions: Positions,
    /// Held by whoever begins to keep a topic.
    beginning: Mutex<()>,
    /// Held by whoever copies.
    copying: Mutex<()>,
    /// Held by whoever compacts all.
    rounds: Mutex<()>,
    last_round: AtomicI64,
}

/// The directories of logs and of queues.
pub(crate) fn roots(root: &Path) -> (PathBuf, PathBuf) {
    let dir = root.join("compaction");
    (dir.join("compactionLog"), dir.join("compactionCq"))
}

impl Compaction {
    pub(crate) fn open(
        config: &StoreConfig,
        cache: Arc<FileCache>,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let (log_root, queue_root) = roots(&config.root);
        let path = config.root.join("compaction/position-checkpoint");
        Ok(Compaction {
            enabled: config.compaction_enabled,
            log_root,
            queue_root,
            sizes: Sizes {
                log: config.compaction_log_file_size,
                queue: config.compaction_queue_file_size,
            },
            topics: RwLock::default(),
            positions: Positions::open(Arc::clone(&cache.files), path)?,
            cache,
            beginning: Mutex::new(()),
            copying: Mutex::new(()),
            rounds: Mutex::new(()),
            last_round: AtomicI64::new(now_ms),
        })
    }

    /// The queue, if its topic is one of these and anything of it was copied.
    pub(crate) fn queue(&self, topic: &str, queue_id: i32) -> Option<Arc<CompactedQueue>> {
        self.topics.read().get(topic)?.get(&queue_id).cloned()
    }

    pub(crate) fn keeps(&self, topic: &str) -> bool {
        self.topics.read().contains_key(topic)
    }

    fn all(&self) -> Vec<Arc<CompactedQueue>> {
        let topics = self.topics.read();
        topics
            .values()
            .flat_map(|ids| ids.values().cloned())
            .collect()
    }

    fn dirs(&self, topic: &str, queue_id: i32) -> (PathBuf, PathBuf) {
        let of = |root: &Path| root.join(topic).join(queue_id.to_string());
        (of(&self.log_root), of(&self.queue_root))
    }

    fn new_queue(&self, topic: &str, queue_id: i32) -> CompactedQueue {
        let dirs = self.dirs(topic, queue_id);
        CompactedQueue::new((topic, queue_id), dirs, self.sizes, Arc::clone(&self.cache))
    }

    /// Names of the topics that have a directory, and their queues that have files.
    fn on_disk(&self) -> Result<BTreeMap<String, BTreeSet<i32>>, StoreError> {
        let files = &self.cache.files;
        let dirs = |dir: &Path| -> Result<Vec<String>, StoreError> {
            let entries = files.list(dir).at("list", dir)?.into_iter();
            Ok(entries.filter(|e| e.is_dir).map(|e| e.name).collect())
        };
        let mut found = BTreeMap::new();
        for topic in dirs(&self.log_root)? {
            let ids = dirs(&self.log_root.join(&topic))?;
            let ids = ids.iter().filter_map(|id| id.parse().ok()).collect();
            found.insert(topic, ids);
        }
        Ok(found)
    }

    fn insert(&self, queue: CompactedQueue) -> Arc<CompactedQueue> {
        let queue = Arc::new(queue);
        let mut topics = self.topics.write();
        let ids = topics.entry(queue.topic.clone()).or_default();
        ids.insert(queue.queue_id, Arc::clone(&queue));
        queue
    }

    /// `None` when its topic is not kept by its last key any more.
    fn insert_if_kept(&self, queue: CompactedQueue) -> Option<Arc<CompactedQueue>> {
        let mut topics = self.topics.write();
        let ids = topics.get_mut(&queue.topic)?;
        let queue = Arc::new(queue);
        ids.insert(queue.queue_id, Arc::clone(&queue));
        Some(queue)
    }

    /// Removes all that is kept of a topic, for good.
    ///
    /// # Errors
    /// What could not be removed; it is asked for again with the next call.
    pub(crate) fn forget_topic(&self, topic: &str) -> Result<(), StoreError> {
        let queues = self.topics.write().remove(topic).unwrap_or_default();
        queues.values().for_each(|queue| queue.leave());
        let _no_round: Vec<_> = queues.values().map(|queue| queue.round.lock()).collect();
        let _no_copy = self.copying.lock();
        for root in [&self.log_root, &self.queue_root] {
            let dir = root.join(topic);
            if self.cache.files.exists(&dir) {
                self.cache.remove_dir(&dir)?;
            }
        }
        self.positions.remove(topic)
    }
}

/// Copies what is synced in the commit log and syncs it here; then the commit log may give it up.
pub(crate) fn copy(store: &Store) -> Result<(), StoreError> {
    let compaction = &store.compaction;
    let _one = compaction.copying.lock();
    let topics: Vec<String> = compaction.topics.read().keys().cloned().collect();
    let dispatched = store.dispatched.load(Ordering::Acquire);
    let until = store.log.flushed().min(dispatched);
    for topic in &topics {
        for id in store.queue_ids(topic) {
            let queue = match compaction.queue(topic, id) {
                Some(queue) => queue,
                // The topic may be deleted meanwhile, and must not come back by its queue.
                None => match compaction.insert_if_kept(compaction.new_queue(topic, id)) {
                    Some(queue) => queue,
                    None => break,
                },
            };
            copy_queue(store, &queue, until)?;
            queue.flush()?;
        }
    }
    let kept_from = if topics.is_empty() { i64::MAX } else { until };
    store.keep_from(WHO, kept_from);
    Ok(())
}

fn copy_queue(store: &Store, queue: &CompactedQueue, until: i64) -> Result<(), StoreError> {
    let known = store.queue(&queue.topic, queue.queue_id);
    let Some(consume_queue) = known.as_ref().and_then(|known| known.simple()) else {
        return Ok(());
    };
    let (min, max) = consume_queue.bounds();
    let mut at = queue.marks().next.max(min);
    let mut units = Vec::new();
    while at < max {
        units.clear();
        consume_queue.units(at, COPY_UNITS, &mut units)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let from = at;
        for unit in &units {
            if unit.end() > until || bytes > COPY_BYTES {
                break;
            }
            if let Some(entry) = entry(store, queue, at, unit)? {
                bytes += entry.record.len();
                entries.push(entry);
            }
            at += 1;
        }
        queue.append(&entries)?;
        queue.advance(at);
        if at == from {
            break;
        }
    }
    Ok(())
}

/// `None` for a message that is no more.
fn entry(
    store: &Store,
    queue: &CompactedQueue,
    queue_offset: i64,
    unit: &ConsumeQueueUnit,
) -> Result<Option<Entry>, StoreError> {
    if unit.is_blank() || unit.physical_offset < store.log.min() {
        return Ok(None);
    }
    let Some(record) = store.log.record_of(unit.physical_offset, unit.size) else {
        store.log.readable(unit.physical_offset, unit.size)?;
        return Ok(None);
    };
    let parsed = Record::parse(&record).ok().map(|r| r.store_timestamp());
    let Some(store_time) = parsed.filter(|_| !is_filler(&record)) else {
        return Ok(None);
    };
    let tags = store.resolve_tags(&queue.topic, queue.queue_id, unit.tags_code);
    Ok(Some(Entry {
        tags_code: tags.unwrap_or(0),
        record,
        queue_offset,
        store_time,
    }))
}

impl Store {
    /// Keeps the topics that are named, and no others, by their last key. Call before [`Store::start`].
    ///
    /// # Errors
    /// What kept their directories from being made, or messages from being copied there.
    pub fn keep_by_key(&self, topics: &BTreeSet<String>) -> Result<(), StoreError> {
        if !self.compaction.enabled {
            if !topics.is_empty() {
                tracing::warn!(
                    ?topics,
                    "enableCompaction=false: these topics expire like others"
                );
            }
            return Ok(());
        }
        self.compaction.topics.write().retain(|topic, _| {
            let known = topics.contains(topic);
            if !known {
                tracing::warn!(
                    topic,
                    "compacted messages of an unknown topic are left alone"
                );
            }
            known
        });
        topics.iter().try_for_each(|topic| self.make_kept(topic))?;
        copy(self)
    }

    /// Keeps a new topic by its last key. What an old one of that name has left is removed.
    ///
    /// # Errors
    /// What kept its directory from being made.
    pub fn begin_to_keep_by_key(&self, topic: &str) -> Result<(), StoreError> {
        // Of two who make it at once, the second must not remove what the first has made.
        let _one = self.compaction.beginning.lock();
        if self.compaction.keeps(topic) {
            return Ok(());
        }
        self.compaction.forget_topic(topic)?;
        self.make_kept(topic)
    }

    fn make_kept(&self, topic: &str) -> Result<(), StoreError> {
        self.config.check_compaction()?;
        let dir = self.compaction.log_root.join(topic);
        self.files().create_dir_all(&dir).at("create", &dir)?;
        let mut topics = self.compaction.topics.write();
        if !topics.contains_key(topic) {
            self.keep_from(WHO, self.log.min());
            topics.insert(topic.to_owned(), Queues::new());
        }
        Ok(())
    }

    /// Whether topics can be kept by their last key.
    pub fn compacts(&self) -> bool {
        self.compaction.enabled
    }

    /// Compacts all queues now that have full files with new messages.
    pub fn compact_once(&self) {
        let compaction = &self.compaction;
        let _one = compaction.rounds.lock();
        let now = self.env.clock.now_ms();
        compaction.last_round.store(now, Ordering::Relaxed);
        for queue in compaction.all() {
            if let Err(error) = self.compact_queue(&queue) {
                let (topic, id) = (&queue.topic, queue.queue_id);
                tracing::warn!(%error, topic, id, "a queue was not compacted");
            }
        }
    }

    pub(crate) fn compact_if_due(&self) {
        let last = self.compaction.last_round.load(Ordering::Relaxed);
        let waited = self.env.clock.now_ms() - last;
        if waited >= self.config.compaction_interval_ms as i64 {
            self.compact_once();
        }
    }

    fn compact_queue(&self, queue: &CompactedQueue) -> Result<(), StoreError> {
        let _one = queue.round.lock();
        let stop = || self.closing() || queue.is_gone();
        let limits = round::Limits {
            memory: self.config.compaction_memory,
            stop: &stop,
        };
        while let Some(done) = round::compact(queue, &limits)? {
            let positions = &self.compaction.positions;
            positions.set(&queue.topic, queue.queue_id, done.position)?;
            queue.set_position(done.position);
            tracing::info!(
                topic = queue.topic,
                id = queue.queue_id,
                position = done.position,
                "compacted"
            );
            if !done.more {
                break;
            }
        }
        Ok(())
    }
}
