//! Settings of a store; the defaults are Java's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::commit_log::BLANK_SIZE;
use crate::error::StoreError;
use crate::files::{FileSystem, SystemFiles};
use crate::log_dirs::LogDirs;
use crate::queue::QueueType;

/// When an append counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// As soon as it is written; survives the process.
    Async,
    /// When it is synced; survives the machine.
    Sync,
}

/// Settings. Names in the comments are those of `broker.conf`.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`: one directory, or several as [`LogDirs`] reads them; `None` = `commitlog`
    /// below the root.
    pub commit_log_dir: Option<PathBuf>,
    /// `readOnlyCommitLogStorePaths`: more directories with files of the commit log.
    pub read_only_commit_log_dirs: Option<PathBuf>,
    /// `mappedFileSizeCommitLog`, bytes.
    pub commit_log_file_size: u64,
    /// `mappedFileSizeConsumeQueue`, bytes; rounded up to a multiple of 20.
    pub consume_queue_file_size: u64,
    /// `mapperFileSizeBatchConsumeQueue`, bytes; rounded up to a multiple of 46.
    pub batch_consume_queue_file_size: u64,
    /// `mappedFileSizeConsumeQueueExt`, bytes.
    pub consume_queue_ext_file_size: u64,
    /// `maxHashSlotNum`.
    pub index_slots: u32,
    /// `maxIndexNum`.
    pub index_entries: u32,
    /// `messageIndexEnable`.
    pub index_enabled: bool,
    /// `flushDiskType`.
    pub flush_mode: FlushMode,
    /// `flushIntervalCommitLog`, milliseconds.
    pub flush_interval_ms: u64,
    /// `flushCommitLogLeastPages`: fewer dirty 4096-byte pages wait for the thorough interval.
    pub flush_least_pages: u32,
    /// `flushCommitLogThoroughInterval`, milliseconds.
    pub flush_thorough_interval_ms: u64,
    /// `syncFlushTimeout`, milliseconds.
    pub sync_flush_timeout_ms: u64,
    /// `flushIntervalConsumeQueue`, milliseconds; also the checkpoint's interval.
    pub flush_consume_queue_interval_ms: u64,
    /// `cleanResourceInterval`, milliseconds.
    pub clean_interval_ms: u64,
    /// `fileReservedTime`, milliseconds.
    pub file_reserved_time_ms: u64,
    /// `deleteWhen`, local hours 0..=23.
    pub delete_when_hours: Vec<u8>,
    /// `deleteFileBatchMax`: commit log files deleted per round.
    pub delete_batch_max: usize,
    /// `diskMaxUsedSpaceRatio`, percent.
    pub disk_max_used_percent: u8,
    /// `diskSpaceCleanForciblyRatio`, percent.
    pub disk_clean_forcibly_percent: u8,
    /// `diskSpaceWarningLevelRatio`, percent.
    pub disk_warning_percent: u8,
    /// `maxMessageSize`, bytes of body; a record may have 64 KiB more.
    pub max_message_size: usize,
    /// `accessMessageInMemoryMaxRatio`, percent of physical memory.
    pub access_in_memory_percent: u8,
    /// `maxFilterMessageSize`, bytes of consume queue scanned per read at least.
    pub max_filter_scan_bytes: usize,
    /// `messageDelayLevel` in milliseconds, level 1 first: the tags code of delayed messages.
    pub delay_levels_ms: Vec<i64>,
    /// Open consume queue and index files kept at most.
    pub open_files_max: usize,
    /// `enableCompaction`: topics can be kept by their last key.
    pub compaction_enabled: bool,
    /// Bytes of a compaction log file, see [`StoreConfig::set_compaction_files`].
    pub compaction_log_file_size: u64,
    /// Bytes of a compaction queue file; a multiple of 46.
    pub compaction_queue_file_size: u64,
    /// `compactionScheduleInternal`, milliseconds between rounds.
    pub compaction_interval_ms: u64,
    /// `maxOffsetMapSize`, bytes of memory for the keys of one round.
    pub compaction_memory: u64,
    /// `queue.type` of the topics that are there at the start. A topic that is not among them has the
    /// type that its files say.
    pub queue_types: BTreeMap<String, QueueType>,
    /// Topics that are kept by their last key; `None`: all that have a directory for it.
    pub compacted_topics: Option<BTreeSet<String>>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        const MINUTE: i64 = 60_000;
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let mut delay_levels_ms = vec![1000, 5000, 10_000, 30_000];
        delay_levels_ms.extend((1..=10).chain([20, 30, 60, 120]).map(|m| m * MINUTE));
        StoreConfig {
            root: home.join("store"),
            commit_log_dir: None,
            read_only_commit_log_dirs: None,
            commit_log_file_size: 1 << 30,
            consume_queue_file_size: 6_000_000,
            batch_consume_queue_file_size: 13_800_000,
            consume_queue_ext_file_size: 48 << 20,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            index_enabled: true,
            flush_mode: FlushMode::Async,
            flush_interval_ms: 500,
            flush_least_pages: 4,
            flush_thorough_interval_ms: 10_000,
            sync_flush_timeout_ms: 5000,
            flush_consume_queue_interval_ms: 1000,
            clean_interval_ms: 10_000,
            file_reserved_time_ms: 72 * 3_600_000,
            delete_when_hours: vec![4],
            delete_batch_max: 10,
            disk_max_used_percent: 75,
            disk_clean_forcibly_percent: 85,
            disk_warning_percent: 90,
            max_message_size: 4 << 20,
            access_in_memory_percent: 40,
            max_filter_scan_bytes: 16_000,
            delay_levels_ms,
            open_files_max: 512,
            compaction_enabled: true,
            compaction_log_file_size: 104_857_460,
            compaction_queue_file_size: 10_485_746,
            compaction_interval_ms: 15 * 60_000,
            compaction_memory: 100 << 20,
            queue_types: BTreeMap::new(),
            compacted_topics: None,
        }
    }
}

impl StoreConfig {
    /// Directories of the commit log.
    pub fn commit_log_dirs(&self) -> LogDirs {
        LogDirs::new(
            self.commit_log_dir.as_deref(),
            self.read_only_commit_log_dirs.as_deref(),
            self.root.join("commitlog"),
            self.disk_clean_forcibly_percent,
        )
    }

    /// The first directory of the commit log.
    pub fn commit_log_path(&self) -> PathBuf {
        self.commit_log_dirs().first().to_owned()
    }

    /// Sets the sizes of compaction files by `compactionMappedFileSize` and `compactionCqMappedFileSize` as
    /// Java rounds them (`CompactionLog.getCompactionLogSize`): queue files to whole units, log files to
    /// whole queue files, at least five.
    pub fn set_compaction_files(&mut self, log: u64, queue: u64) {
        const UNIT: u64 = 46;
        let queue = (queue / UNIT).max(2) * UNIT;
        let (whole, rest) = (log / queue, log % queue);
        self.compaction_queue_file_size = queue;
        self.compaction_log_file_size = match whole {
            0..5 => 5 * queue,
            _ if rest > 0 && rest < queue / 2 => whole * queue,
            _ => (whole + 1) * queue,
        };
    }

    /// Bytes of the largest record that is taken.
    pub(crate) fn record_max(&self) -> u64 {
        let whole = self.commit_log_file_size - BLANK_SIZE;
        (self.max_message_size as u64 + 64 * 1024).min(whole)
    }

    pub(crate) fn queue_file_size(&self) -> u64 {
        self.consume_queue_file_size.div_ceil(20).max(1) * 20
    }

    pub(crate) fn batch_queue_file_size(&self) -> u64 {
        self.batch_consume_queue_file_size.div_ceil(46).max(1) * 46
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let bad = |name, value, range| Err(StoreError::Setting { name, value, range });
        if self.commit_log_file_size < 1024 || self.commit_log_file_size > i32::MAX as u64 {
            return bad(
                "mappedFileSizeCommitLog",
                self.commit_log_file_size,
                "1024..=2147483647",
            );
        }
        if self.index_slots == 0 || self.index_slots > i32::MAX as u32 {
            return bad(
                "maxHashSlotNum",
                u64::from(self.index_slots),
                "1..=2147483647",
            );
        }
        if self.index_entries < 2 || self.index_entries > i32::MAX as u32 {
            return bad(
                "maxIndexNum",
                u64::from(self.index_entries),
                "2..=2147483647",
            );
        }
        Ok(())
    }

    /// Whether every message finds room in a compaction log file.
    pub(crate) fn check_compaction(&self) -> Result<(), StoreError> {
        let value = self.compaction_log_file_size;
        if ((self.record_max() + BLANK_SIZE)..=i32::MAX as u64).contains(&value) {
            return Ok(());
        }
        Err(StoreError::Setting {
            name: "compactionMappedFileSize",
            value,
            range: "a file holds the largest message (maxMessageSize and 65544 bytes), and at most 2147483647 bytes",
        })
    }
}

/// What a store stands on: files and time.
#[derive(Clone)]
pub struct Environment {
    /// Where the files are.
    pub files: Arc<dyn FileSystem>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Environment {
    /// The machine's own files and clock.
    pub fn system() -> Self {
        Environment {
            files: Arc::new(SystemFiles),
            clock: Arc::new(SystemClock),
        }
    }
}
