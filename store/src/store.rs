//! The store as a whole: append, dispatch, flush.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use sluice_protocol::message::{Record, properties, sys_flag};

use crate::append::AppendState;
use crate::checkpoint::{Checkpoint, Marks};
use crate::clock::Clock;
use crate::commit_log::CommitLog;
use crate::compaction::{Compaction, Synced};
use crate::config::{Environment, FlushMode, StoreConfig};
use crate::error::{AppendError, At, StoreError};
use crate::file_cache::FileCache;
use crate::files::{FileSystem, LockGuard, Open};
use crate::index::{self, Index};
use crate::queue::{Queue, QueueType};
use crate::removed_queues::RemovedQueues;
use crate::threads::{self, Wake};
use crate::vouched::Vouched;
use crate::waiters::Waiter;
use crate::{compaction, recovery, retention};

/// Where appended records came to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Queue offset of the first record.
    pub queue_offset: i64,
    /// Messages in the records: more than there are records where one holds an inner batch.
    pub messages: usize,
    /// Where each record starts in the log.
    pub physical_offsets: Vec<i64>,
    /// Unix milliseconds, the same for all.
    pub store_timestamp: i64,
    /// Behind the last record.
    pub end_offset: i64,
}

/// A message that has just become visible.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue id.
    pub queue_id: i32,
    /// Its queue offset.
    pub queue_offset: i64,
    /// Tags code of its unit.
    pub tags_code: i64,
    /// Unix milliseconds.
    pub store_timestamp: i64,
    /// Properties as stored.
    pub properties: &'a [u8],
}

/// Told of every message once it is visible, on the thread that dispatches it, which may be the one that
/// appended it: do little.
pub trait ArrivalListener: Send + Sync {
    /// A message can now be read.
    fn arrived(&self, arrival: &Arrival<'_>);
}

/// State of the store at one moment.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    /// Lowest physical offset kept.
    pub min_offset: i64,
    /// End of the log.
    pub max_offset: i64,
    /// End of what is synced.
    pub flushed_offset: i64,
    /// End of what is visible to readers.
    pub dispatched_offset: i64,
    /// Physical offset up to which queues and index are on disk.
    pub checkpoint_offset: i64,
    /// Whether a message would be accepted.
    pub writable: Result<(), AppendError>,
    /// Why queues and index are no longer flushed, if so.
    pub queues_failed: Option<String>,
    /// Why dispatch waits at a record that it tries again and again, if it does.
    pub dispatch_blocked: Option<String>,
    /// Directories in which commit log files are made, and used shares of their disks, percent.
    pub commit_log_disks: Vec<(PathBuf, u8)>,
    /// The smallest of these shares.
    pub commit_log_disk_percent: u8,
    /// Consume queue directory.
    pub consume_queue_path: PathBuf,
    /// Used share of its disk, percent.
    pub consume_queue_disk_percent: u8,
    /// Used and usable bytes of that disk.
    pub total_bytes: u64,
    /// Its usable bytes.
    pub free_bytes: u64,
    /// When the store was opened, Unix milliseconds.
    pub boot_timestamp: i64,
    /// How long the append now running has held the lock, milliseconds.
    pub put_lock_hold_ms: i64,
    /// Appends waiting for a sync.
    pub waiting_for_sync: usize,
}

/// In a fixed order, so that a simulated run can be replayed.
type Queues = BTreeMap<String, BTreeMap<i32, Arc<Queue>>>;

/// The checkpoint has not been written since the start.
const NOTHING_CHECKPOINTED: i64 = -1;

/// A store directory, open.
pub struct Store {
    pub(crate) config: StoreConfig,
    pub(crate) env: Environment,
    pub(crate) log: CommitLog,
    pub(crate) vouched: Vouched,
    pub(crate) cache: Arc<FileCache>,
    pub(crate) queues: RwLock<Queues>,
    /// Topics with batch consume queues.
    pub(crate) batch_topics: RwLock<BTreeSet<String>>,
    pub(crate) removed: RemovedQueues,
    pub(crate) compaction: Compaction,
    pub(crate) index: Mutex<Index>,
    pub(crate) append_state: Mutex<AppendState>,
    pub(crate) dispatched: AtomicI64,
    /// Retention stops before this physical offset.
    pub(crate) kept_from: Mutex<HashMap<&'static str, i64>>,
    pub(crate) last_dispatched_time: AtomicI64,
    pub(crate) dispatching: Mutex<()>,
    pub(crate) waiters: Mutex<VecDeque<Waiter>>,
    pub(crate) checkpoint: Mutex<Checkpoint>,
    checkpointed: AtomicI64,
    /// The checkpoint speaks of queues that are no more.
    pub(crate) checkpoint_stale: AtomicBool,
    queues_failed: OnceLock<String>,
    pub(crate) dispatch_blocked: Mutex<Option<String>>,
    pub(crate) disk_full: Mutex<Option<AppendError>>,
    pub(crate) listener: RwLock<Option<Arc<dyn ArrivalListener>>>,
    closing: AtomicBool,
    closed: Mutex<bool>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
    pub(crate) locked_since: AtomicI64,
    last_flush: AtomicI64,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) live: AtomicBool,
    pub(crate) wake_dispatch: Wake,
    pub(crate) wake_flush: Wake,
    pub(crate) wake_queues: Wake,
    pub(crate) wake_retention: Wake,
    pub(crate) wake_compaction: Wake,
    boot: i64,
}

/// Takes the store's lock, or says who has it.
pub(crate) fn take_lock(
    files: &dyn FileSystem,
    root: &std::path::Path,
) -> Result<Box<dyn LockGuard>, StoreError> {
    files.create_dir_all(root).at("create", root)?;
    let path = root.join("lock");
    files.lock(&path).map_err(|source| {
        if source.kind() != io::ErrorKind::WouldBlock {
            return StoreError::Io {
                action: "lock",
                path: path.clone(),
                source,
            };
        }
        let pid = files
            .read(&root.join("abort"))
            .ok()
            .and_then(|text| String::from_utf8(text).ok());
        let owner = pid.filter(|pid| !pid.trim().is_empty());
        let owner = owner.map_or("another process".to_owned(), |pid| {
            format!("process {}", pid.trim())
        });
        StoreError::Locked {
            root: root.to_owned(),
            owner,
        }
    })
}

impl Store {
    /// Locks the directory, loads it and recovers what a crash left.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it, and what keeps files from being read.
    pub fn open(config: StoreConfig, env: Environment) -> Result<Arc<Store>, StoreError> {
        Self::open_as(config, env, false)
    }

    /// Opens; with `distrust` nothing but the log itself is believed.
    pub(crate) fn open_as(
        config: StoreConfig,
        env: Environment,
        distrust: bool,
    ) -> Result<Arc<Store>, StoreError> {
        config.check()?;
        let files = &env.files;
        let lock = take_lock(&**files, &config.root)?;
        let abort = config.root.join("abort");
        let clean = !files.exists(&abort);
        files
            .put(&abort, std::process::id().to_string().as_bytes())
            .at("write", &abort)?;
        files.sync_dir(&config.root).at("sync", &config.root)?;
        let log_dirs = config.commit_log_dirs();
        recovery::check_queue_types(&config, &**files)?;
        for dir in log_dirs.writable() {
            files.create_dir_all(dir).at("create", dir)?;
        }
        CommitLog::remove_unfinished(&**files, &log_dirs, config.commit_log_file_size)?;
        let log = CommitLog::load(Arc::clone(files), log_dirs, config.commit_log_file_size)?;
        let cache = Arc::new(FileCache::new(Arc::clone(files), config.open_files_max));
        let index = Index::load(
            config.root.join("index"),
            config.index_slots,
            config.index_entries,
            Arc::clone(&cache),
        )?;
        let (checkpoint, marks, trusted) =
            Checkpoint::open(&**files, config.root.join("checkpoint"))?;
        let vouched = Vouched::open(Arc::clone(files), config.root.join("vouched"))?;
        let removed = RemovedQueues::open(Arc::clone(files), config.root.join("removedqueues"))?;
        let boot = env.clock.now_ms();
        let compaction = Compaction::open(&config, Arc::clone(&cache), boot)?;
        let store = Arc::new(Store {
            log,
            vouched,
            cache,
            queues: RwLock::default(),
            batch_topics: RwLock::new(batch_topics(&config)),
            removed,
            compaction,
            index: Mutex::new(index),
            append_state: Mutex::default(),
            dispatched: AtomicI64::new(0),
            kept_from: Mutex::default(),
            last_dispatched_time: AtomicI64::new(0),
            dispatching: Mutex::new(()),
            waiters: Mutex::default(),
            checkpoint: Mutex::new(checkpoint),
            checkpointed: AtomicI64::new(NOTHING_CHECKPOINTED),
            checkpoint_stale: AtomicBool::new(false),
            queues_failed: OnceLock::new(),
            dispatch_blocked: Mutex::new(None),
            disk_full: Mutex::new(None),
            listener: RwLock::new(None),
            closing: AtomicBool::new(false),
            closed: Mutex::new(false),
            lock: Mutex::new(Some(lock)),
            locked_since: AtomicI64::new(0),
            last_flush: AtomicI64::new(boot),
            threads: Mutex::default(),
            live: AtomicBool::new(false),
            wake_dispatch: Wake::default(),
            wake_flush: Wake::default(),
            wake_queues: Wake::default(),
            wake_retention: Wake::default(),
            wake_compaction: Wake::default(),
            boot,
            config,
            env,
        });
        if distrust {
            recovery::rebuild(&store, trusted.then_some(marks))?;
        } else {
            recovery::recover(&store, marks, trusted, clean)?;
        }
        let synced = match (clean && !distrust, trusted) {
            (true, _) => Synced::All,
            (false, true) => Synced::Below(marks.dispatched),
            (false, false) => Synced::Unknown,
        };
        compaction::load(&store, synced)?;
        let next = store.next_offsets();
        store.append_state.lock().next = next;
        store.append_state.lock().last_time = store.last_dispatched_time.load(Ordering::Relaxed);
        store.flush_queues_once()?;
        retention::check_disk(&store);
        Ok(store)
    }

    /// The offset every queue goes on at, those that were removed included.
    fn next_offsets(&self) -> HashMap<String, BTreeMap<i32, i64>> {
        let mut next: HashMap<String, BTreeMap<i32, i64>> = HashMap::new();
        for (topic, id, queue) in self.removed.all() {
            next.entry(topic).or_default().insert(id, queue.next);
        }
        for (topic, queues) in self.queues.read().iter() {
            let ids = next.entry(topic.clone()).or_default();
            for (id, queue) in queues {
                let next = ids.entry(*id).or_default();
                *next = queue.bounds().1.max(*next);
            }
        }
        next
    }

    /// Starts the threads: dispatch, flush, queue flush, retention.
    pub fn start(self: &Arc<Self>) {
        threads::start(self);
    }

    /// Flushes everything, takes `abort` away and gives the lock back. A second call does nothing.
    ///
    /// # Errors
    /// When something could not be flushed; `abort` then stays, so that the next start recovers.
    pub fn shutdown(&self) -> Result<(), StoreError> {
        let mut closed = self.closed.lock();
        if std::mem::replace(&mut *closed, true) {
            return Ok(());
        }
        self.closing.store(true, Ordering::SeqCst);
        for wake in [
            &self.wake_dispatch,
            &self.wake_flush,
            &self.wake_queues,
            &self.wake_retention,
            &self.wake_compaction,
        ] {
            wake.wake();
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a store thread had panicked");
            }
        }
        // An append that passed the check before is over once its lock is free, or its bytes are here.
        let _ = self.write_out(&mut self.append_state.lock());
        let result = self.flush_all();
        *self.lock.lock() = None;
        result
    }

    fn flush_all(&self) -> Result<(), StoreError> {
        self.flush_once();
        while self.dispatch_once() {}
        self.flush_queues_once()?;
        if let Some(reason) = self.log.stopped() {
            return Err(StoreError::Unflushed(reason.to_owned()));
        }
        if self.dispatched.load(Ordering::Acquire) < self.log.written() {
            return Err(StoreError::Unflushed(
                "dispatch is behind the log".to_owned(),
            ));
        }
        let abort = self.config.root.join("abort");
        self.files().remove_file(&abort).at("remove", &abort)?;
        self.files()
            .sync_dir(&self.config.root)
            .at("sync", &self.config.root)
    }

    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Names who is told of arrivals. Call before [`Store::start`].
    pub fn set_arrival_listener(&self, listener: Arc<dyn ArrivalListener>) {
        *self.listener.write() = Some(listener);
    }

    /// Syncs the log once for all who wait. Answers whether it is synced as far as it was written.
    pub fn flush_once(&self) -> bool {
        self.last_flush
            .store(self.env.clock.now_ms(), Ordering::Relaxed);
        let synced = self.log.flushed() >= self.log.written()
            || self.log.sync(|| self.vouched.sync()).is_ok();
        self.answer_waiters();
        self.wake_dispatch.wake();
        synced && self.log.stopped().is_none()
    }

    pub(crate) fn flush_if_due(&self) {
        let dirty = (self.log.written() - self.log.flushed()) / 4096;
        let waited = self.env.clock.now_ms() - self.last_flush.load(Ordering::Relaxed);
        if dirty >= i64::from(self.config.flush_least_pages)
            || waited >= self.config.flush_thorough_interval_ms as i64
        {
            self.flush_once();
        }
    }

    pub(crate) fn visible_end(&self) -> i64 {
        match self.config.flush_mode {
            FlushMode::Async => self.log.written(),
            FlushMode::Sync => self.log.flushed(),
        }
    }

    /// The type of the queue that a record belongs to.
    pub(crate) fn queue_type_of(&self, record: &Record<'_>) -> QueueType {
        match is_inner_batch(record) || self.batch_topics.read().contains(record.topic()) {
            true => QueueType::Batch,
            false => QueueType::Simple,
        }
    }

    /// Whether a record says of itself what only inner batches do, and has not their flag.
    pub(crate) fn lacks_its_flag(&self, record: &Record<'_>) -> bool {
        !is_inner_batch(record)
            && self.batch_topics.read().contains(record.topic())
            && record.property(properties::INNER_BASE).is_some()
    }

    /// The queue that a record belongs to, made if it is missing.
    pub(crate) fn queue_for(&self, record: &Record<'_>) -> Arc<Queue> {
        let kind = self.queue_type_of(record);
        self.queue_or_create(record.topic(), record.queue_id(), kind)
    }

    pub(crate) fn queue(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        self.queues.read().get(topic)?.get(&queue_id).cloned()
    }

    pub(crate) fn queue_ids(&self, topic: &str) -> Vec<i32> {
        let queues = self.queues.read();
        queues
            .get(topic)
            .map_or_else(Vec::new, |ids| ids.keys().copied().collect())
    }

    /// Of which type the queues are that a topic has; `None` if it has none.
    pub fn queue_type(&self, topic: &str) -> Option<QueueType> {
        let queues = self.queues.read();
        let any = queues.get(topic)?.values().next()?;
        Some(match any.simple() {
            Some(_) => QueueType::Simple,
            None => QueueType::Batch,
        })
    }

    /// A queue; one that is missing is made, of type `kind`.
    pub(crate) fn queue_or_create(
        &self,
        topic: &str,
        queue_id: i32,
        kind: QueueType,
    ) -> Arc<Queue> {
        if let Some(queue) = self.queue(topic, queue_id) {
            return queue;
        }
        if kind == QueueType::Batch {
            self.batch_topics.write().insert(topic.to_owned());
        }
        let begin = self.removed.next(topic, queue_id);
        let cache = Arc::clone(&self.cache);
        let queue = Queue::new(&self.config, kind, (topic, queue_id), begin, cache);
        let mut queues = self.queues.write();
        Arc::clone(
            queues
                .entry(topic.to_owned())
                .or_default()
                .entry(queue_id)
                .or_insert_with(|| Arc::new(queue)),
        )
    }

    /// Drops a queue with its files; what it held is not noted anywhere.
    pub(crate) fn forget_queue(&self, topic: &str, queue_id: i32) -> Result<(), StoreError> {
        let queue = match self.queues.write().get_mut(topic) {
            Some(queues) => queues.remove(&queue_id),
            None => None,
        };
        self.checkpoint_stale.store(true, Ordering::SeqCst);
        queue.map_or(Ok(()), |queue| self.cache.remove_dir(queue.dir()))
    }

    fn fail_queues(&self, reason: String) {
        if self.queues_failed.set(reason).is_ok() {
            tracing::error!(
                reason = self.queues_failed.get(),
                "queues and index are no longer flushed; the next start rebuilds them"
            );
        }
    }

    /// Syncs log, queues and index, then writes the checkpoint that says so.
    ///
    /// # Errors
    /// The checkpoint stays where it was; after a failed sync for good.
    pub fn flush_queues_once(&self) -> Result<(), StoreError> {
        if let Some(reason) = self.queues_failed.get() {
            return Err(StoreError::Unflushed(reason.clone()));
        }
        let mut checkpoint = self.checkpoint.lock();
        let (dispatched, time, (index_file, index_count)) = {
            let _still = self.dispatching.lock();
            let time = self.last_dispatched_time.load(Ordering::Relaxed);
            (
                self.dispatched.load(Ordering::Acquire),
                time,
                self.index.lock().position(),
            )
        };
        let stale = self.checkpoint_stale.load(Ordering::SeqCst);
        if self.checkpointed.load(Ordering::Relaxed) == dispatched && !stale {
            return Ok(());
        }
        if !self.flush_once() {
            return Err(StoreError::Unflushed(
                self.log.stopped().unwrap_or("sync failed").to_owned(),
            ));
        }
        let flushed = self.flush_units();
        let flushed = flushed.and_then(|queues| compaction::copy(self).map(|()| queues));
        let queues = match flushed {
            Err(error) if matches!(&error, StoreError::Io { action: "sync", .. }) => {
                self.fail_queues(error.to_string());
                return Err(error);
            }
            flushed => flushed?,
        };
        let marks = Marks {
            log_time: time,
            queue_time: time,
            index_time: time,
            log_offset: self.log.flushed(),
            dispatched,
            index_file,
            index_count,
            queues,
        };
        checkpoint.write(&marks)?;
        // Queues are only removed while the checkpoint is locked, as it is here.
        self.checkpoint_stale.store(false, Ordering::SeqCst);
        self.checkpointed.store(dispatched, Ordering::Relaxed);
        self.vouched.forget_below(marks.log_offset);
        Ok(())
    }

    /// Writes and syncs queues and index, and answers how many queues there are.
    pub(crate) fn flush_units(&self) -> Result<i64, StoreError> {
        let queues: Vec<_> = self
            .queues
            .read()
            .values()
            .flat_map(|queues| queues.values().cloned())
            .collect();
        queues.iter().try_for_each(|queue| queue.flush())?;
        index::flush(&self.index)?;
        Ok(queues.len() as i64)
    }

    /// Lowest physical offset kept, and the log's end.
    pub fn log_bounds(&self) -> (i64, i64) {
        (self.log.min(), self.log.written())
    }

    /// State of the store now.
    pub fn status(&self) -> StoreStatus {
        let consume_queue_path = self.config.root.join("consumequeue");
        let log_disks = retention::log_disks(self);
        let emptiest = log_disks
            .iter()
            .min_by_key(|(_, space)| space.used_percent());
        let log_space = emptiest.map(|(_, space)| *space);
        let queue_space = self.files().space(&self.config.root).ok();
        let since = self.locked_since.load(Ordering::Relaxed);
        StoreStatus {
            min_offset: self.log.min(),
            max_offset: self.log.written(),
            flushed_offset: self.log.flushed(),
            dispatched_offset: self.dispatched.load(Ordering::Acquire),
            checkpoint_offset: self.checkpointed.load(Ordering::Relaxed).max(0),
            writable: self.writable(),
            queues_failed: self.queues_failed.get().cloned(),
            dispatch_blocked: self.dispatch_blocked.lock().clone(),
            commit_log_disks: log_disks
                .iter()
                .map(|(path, space)| (path.clone(), space.used_percent()))
                .collect(),
            commit_log_disk_percent: log_space.map_or(0, |space| space.used_percent()),
            consume_queue_path,
            consume_queue_disk_percent: queue_space.map_or(0, |space| space.used_percent()),
            total_bytes: log_space.map_or(0, |space| space.total),
            free_bytes: log_space.map_or(0, |space| space.free),
            boot_timestamp: self.boot,
            put_lock_hold_ms: if since == 0 {
                0
            } else {
                self.env.clock.now_ms() - since
            },
            waiting_for_sync: self.waiters.lock().len(),
        }
    }

    /// End of the log: where the next record will lie, or a filler before it.
    pub fn log_end(&self) -> i64 {
        self.log.written()
    }

    /// The file system it stands on.
    pub fn files(&self) -> &Arc<dyn FileSystem> {
        &self.env.files
    }
    /// The clock it goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.env.clock
    }
    /// Its settings.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }
    pub(crate) fn save(&self, path: &std::path::Path, bytes: &[u8]) -> Result<(), StoreError> {
        let file = self
            .files()
            .open(path, Open::Sparse(0))
            .at("create", path)?;
        file.write_at(0, bytes).at("write", path)?;
        file.sync().at("sync", path)
    }
}

/// Whether topic and queue id can be names of directories.
pub(crate) fn check_place(topic: &str, queue_id: i32) -> Result<(), AppendError> {
    if recovery::is_file_name(topic) && queue_id >= 0 {
        return Ok(());
    }
    Err(AppendError::Place {
        topic: topic.to_owned(),
        queue_id,
    })
}

fn batch_topics(config: &StoreConfig) -> BTreeSet<String> {
    let batch = |(_, kind): &(_, &QueueType)| **kind == QueueType::Batch;
    let types = config.queue_types.iter().filter(batch);
    types.map(|(topic, _)| topic.clone()).collect()
}

fn is_inner_batch(record: &Record<'_>) -> bool {
    record.sys_flag() & sys_flag::INNER_BATCH != 0
}

/// Whether a record gets a queue unit: ordinary and committed ones do.
pub(crate) fn is_queued(flag: i32) -> bool {
    let kind = flag & sys_flag::TRANSACTION_MASK;
    kind == 0 || kind == sys_flag::TRANSACTION_COMMIT
}
