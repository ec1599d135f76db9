//! The store as a whole: append, dispatch, flush.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use sluice_protocol::message::{
    Record, batch, inner_batch, properties, record, sys_flag, tags_code,
};

use crate::batch_consume_queue::BatchUnit;
use crate::checkpoint::{Checkpoint, Marks};
use crate::clock::Clock;
use crate::commit_log::{BLANK_SIZE, CommitLog, Item, Segment, be32};
use crate::compaction::{Compaction, Synced};
use crate::config::{Environment, FlushMode, StoreConfig};
use crate::consume_queue::ConsumeQueueUnit;
use crate::error::{AppendError, At, StoreError};
use crate::file_cache::FileCache;
use crate::files::{FileSystem, LockGuard, Open};
use crate::gathering;
use crate::index::Index;
use crate::queue::{Queue, QueueType};
use crate::removed_queues::RemovedQueues;
use crate::threads::{self, Wake};
use crate::vouched::{self, Vouched};
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

/// Told of every message once it is visible, on the dispatch thread: do little.
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

#[derive(Default)]
pub(crate) struct AppendState {
    pub(crate) next: HashMap<String, HashMap<i32, i64>>,
    segment: Option<Segment>,
    last_time: i64,
}

impl AppendState {
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
    dispatch_blocked: Mutex<Option<String>>,
    pub(crate) disk_full: Mutex<Option<AppendError>>,
    listener: RwLock<Option<Arc<dyn ArrivalListener>>>,
    closing: AtomicBool,
    closed: Mutex<bool>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
    locked_since: AtomicI64,
    last_flush: AtomicI64,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
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
            checkpointed: AtomicI64::new(0),
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
    fn next_offsets(&self) -> HashMap<String, HashMap<i32, i64>> {
        let mut next: HashMap<String, HashMap<i32, i64>> = HashMap::new();
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
        // An append that passed the check before is over once its lock is free.
        drop(self.append_state.lock());
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
        self.under_append_lock(|state| self.append_locked(state, topic, queue_id, records, checked))
    }

    /// [`Store::append`] to a topic of [`QueueType::Batch`]: an inner batch is told its base offset.
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
            self.append_locked(state, topic, queue_id, records, checked)
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

    /// Does work whose appends, as far as this thread makes them, wake the store's threads once, when it
    /// is over: for requests that came together.
    pub fn gather<T>(&self, work: impl FnOnce() -> T) -> T {
        gathering::gather(self, work)
    }

    pub(crate) fn wake_for_appended(&self) {
        match self.config.flush_mode {
            FlushMode::Async => self.wake_dispatch.wake(),
            FlushMode::Sync => self.wake_flush.wake(),
        }
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

    fn writable(&self) -> Result<(), AppendError> {
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
        if !state.next.contains_key(topic) {
            state.next.insert(topic.to_owned(), HashMap::new());
        }
        let next = state
            .next
            .get_mut(topic)
            .expect("inserted above")
            .entry(queue_id)
            .or_insert(0);
        let first = *next;
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
        let segment = state.segment.as_ref().expect("make_room sets it");
        let written = segment
            .file
            .write_at((position - segment.start) as u64, records);
        if let Err(error) = written {
            let reason = format!("cannot write {}: {error}", segment.path.display());
            self.log.stop(reason.clone());
            return Err(AppendError::LogStopped { reason });
        }
        *next = queue_offset;
        state.last_time = store_timestamp;
        let end_offset = position + records.len() as i64;
        self.log.set_written(end_offset);
        let queued = is_queued(be32(records, record::SYS_FLAG_AT));
        let queue_offset = if queued { first } else { 0 };
        Ok(Appended {
            queue_offset,
            messages,
            physical_offsets,
            store_timestamp,
            end_offset,
        })
    }

    /// Position for `size` bytes; ends the file with a blank record when they do not fit.
    fn make_room(&self, state: &mut AppendState, size: u64) -> Result<i64, AppendError> {
        let mut position = self.log.written();
        let start = self.log.segment_start(position);
        let left = self.log.file_size - (position - start) as u64;
        if size + BLANK_SIZE > left {
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

    /// Makes visible all that had been appended (with sync flush: flushed) before the call; false if
    /// dispatch is blocked before that.
    pub fn catch_up(&self) -> bool {
        let end = self.visible_end();
        self.dispatch_once();
        self.dispatched.load(Ordering::Acquire) >= end
    }

    /// Makes what has been appended (with sync flush: flushed) visible. Answers whether there was
    /// anything.
    pub fn dispatch_once(&self) -> bool {
        let _one = self.dispatching.lock();
        let (start, end) = (self.dispatched.load(Ordering::Acquire), self.visible_end());
        let mut at = start;
        let listener = self.listener.read().clone();
        while at < end {
            match self.log.item(at) {
                Ok(Item::Blank(next)) => at = next,
                Ok(Item::Record(bytes)) => {
                    if let Err(error) = self.dispatch(&bytes, listener.as_deref()) {
                        self.block_dispatch(at, &error);
                        return false;
                    }
                    at += bytes.len() as i64;
                }
                Err(error) => {
                    self.log
                        .stop(format!("record at {at} became unreadable: {error}"));
                    return false;
                }
            }
            self.dispatched.store(at, Ordering::Release);
        }
        if at > start && self.dispatch_blocked.lock().take().is_some() {
            tracing::info!("dispatch goes on");
        }
        at > start
    }

    /// Dispatch waits at a record and is tried again; that is said once.
    fn block_dispatch(&self, at: i64, error: &StoreError) {
        let mut blocked = self.dispatch_blocked.lock();
        if blocked.is_none() {
            tracing::error!(at, %error, "dispatch waits, messages behind are not visible yet");
        }
        *blocked = Some(error.to_string());
    }

    /// Puts a record into index and queue.
    ///
    /// # Errors
    /// What kept a file from being read or made; nothing has been put then.
    pub(crate) fn dispatch(
        &self,
        bytes: &[u8],
        listener: Option<&dyn ArrivalListener>,
    ) -> Result<(), StoreError> {
        let Ok(record) = Record::parse(bytes) else {
            return Ok(());
        };
        self.last_dispatched_time
            .store(record.store_timestamp(), Ordering::Relaxed);
        if self.config.index_enabled {
            self.index_record(&record)?;
        }
        let (topic, queue_id) = (record.topic(), record.queue_id());
        let dead = self
            .removed
            .is_dead(topic, queue_id, record.physical_offset());
        if dead || !is_queued(record.sys_flag()) {
            return Ok(());
        }
        let mut queue = self.queue_for(&record);
        if record.queue_offset() == 0 && queue.ends_before(record.physical_offset())? {
            // Java, other than this store, counts from 0 when a deleted topic comes back.
            self.forget_queue(topic, queue_id)?;
            queue = self.queue_for(&record);
        }
        if self.push(&queue, &record)
            && let Some(listener) = listener
        {
            tell(listener, &record, unit_tags_code(&record, &self.config));
        }
        Ok(())
    }

    fn push(&self, queue: &Queue, record: &Record<'_>) -> bool {
        let tags_code = unit_tags_code(record, &self.config);
        match queue {
            Queue::Simple(queue) => {
                let unit = ConsumeQueueUnit {
                    physical_offset: record.physical_offset(),
                    size: record.size() as i32,
                    tags_code,
                };
                queue.push(record.queue_offset(), unit)
            }
            Queue::Batch(queue) => queue.push(BatchUnit::of(record, tags_code)),
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

    fn index_record(&self, record: &Record<'_>) -> Result<(), StoreError> {
        let keys = index_keys(record);
        if keys.is_empty() {
            return Ok(());
        }
        let mut index = self.index.lock();
        if record.physical_offset() <= index.last_update().1 && index.position().1 > 1 {
            return Ok(());
        }
        index.put(keys, record.physical_offset(), record.store_timestamp())
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
        if self.checkpointed.load(Ordering::Relaxed) == dispatched && dispatched != 0 && !stale {
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
        self.index.lock().flush()?;
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
            checkpoint_offset: self.checkpointed.load(Ordering::Relaxed),
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
fn check_place(topic: &str, queue_id: i32) -> Result<(), AppendError> {
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

/// Tells of each message of a record: those of an inner batch have tags of their own.
fn tell(listener: &dyn ArrivalListener, record: &Record<'_>, tags_code: i64) {
    let arrival = Arrival {
        topic: record.topic(),
        queue_id: record.queue_id(),
        queue_offset: record.queue_offset(),
        tags_code,
        store_timestamp: record.store_timestamp(),
        properties: record.properties(),
    };
    if !inner_batch::is_packed(record) {
        return listener.arrived(&arrival);
    }
    for (at, message) in batch::iter(record.body()).flatten().enumerate() {
        listener.arrived(&Arrival {
            queue_offset: arrival.queue_offset + at as i64,
            tags_code: message.tags_code(),
            properties: message.properties,
            ..arrival
        });
    }
}

/// Whether a record gets a queue unit: ordinary and committed ones do.
pub(crate) fn is_queued(flag: i32) -> bool {
    let kind = flag & sys_flag::TRANSACTION_MASK;
    kind == 0 || kind == sys_flag::TRANSACTION_COMMIT
}

/// Tags code of a record's queue unit: hash of its tags, or delivery time of a delayed message.
pub(crate) fn unit_tags_code(record: &Record<'_>, config: &StoreConfig) -> i64 {
    let level = || {
        record
            .property(properties::DELAY)?
            .parse::<usize>()
            .ok()
            .filter(|level| *level > 0)
    };
    if record.topic() == "SCHEDULE_TOPIC_XXXX"
        && let Some(level) = level()
    {
        let levels = &config.delay_levels_ms;
        let delay = levels
            .get(level.min(levels.len()).wrapping_sub(1))
            .copied()
            .unwrap_or(1000);
        return record.store_timestamp() + delay;
    }
    tags_code(record.property(properties::TAGS))
}

/// What a record is found by in the index, in the order in which it is put there.
pub(crate) fn index_keys(record: &Record<'_>) -> Vec<String> {
    if record.sys_flag() & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK {
        return Vec::new();
    }
    let unique = record.property(properties::UNIQ_KEY);
    let keys = record.property(properties::KEYS).unwrap_or("").split(' ');
    let keys = unique.into_iter().chain(keys.filter(|key| !key.is_empty()));
    keys.map(|key| format!("{}#{key}", record.topic()))
        .collect()
}
