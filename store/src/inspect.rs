//! A store directory from outside: check, dump, repair. Each refuses a directory in use; check and
//! dump change nothing in it.

mod against_log;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_protocol::body::TopicConfigSerializeWrapper;
use sluice_protocol::fastjson;
use sluice_protocol::message::Record;

use crate::checkpoint::{Checkpoint, Marks};
use crate::commit_log::{CommitLog, Item, is_filler, is_zero};
use crate::config::{Environment, StoreConfig};
use crate::error::{At, StoreError};
use crate::files::LockGuard;
use crate::queue::QueueType;
use crate::recovery::{resume, sound};
use crate::store::{Store, take_lock};

/// Where a store lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`; `None` = `commitlog` below the root.
    pub commit_log: Option<PathBuf>,
}

impl From<&Path> for Directory {
    fn from(root: &Path) -> Self {
        Directory {
            root: root.to_owned(),
            commit_log: None,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Commit log files.
    pub files: usize,
    /// Good records; what recovery put in place of damaged bytes does not count.
    pub records: u64,
    /// Consume queues; 0 where they were not looked at.
    pub queues: usize,
    /// Lowest physical offset.
    pub min_offset: i64,
    /// Behind the last good record.
    pub end_offset: i64,
    /// Whether the store was closed properly.
    pub clean: bool,
    /// What is wrong, with file and position.
    pub problems: Vec<String>,
}

/// Which records are shown.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only this topic.
    pub topic: Option<String>,
    /// Records at most; `None` = all.
    pub limit: Option<u64>,
}

/// A directory as check and dump see it.
struct Closed {
    config: StoreConfig,
    env: Environment,
    log: CommitLog,
    /// What a trusted checkpoint says.
    marks: Option<Marks>,
    clean: bool,
    _lock: Box<dyn LockGuard>,
}

fn configured(directory: &Directory, env: &Environment) -> Result<StoreConfig, StoreError> {
    let mut config = StoreConfig {
        root: directory.root.clone(),
        commit_log_dir: directory.commit_log.clone(),
        ..StoreConfig::default()
    };
    for path in [&config.root, &config.commit_log_path()] {
        if !env.files.exists(path) {
            return Err(StoreError::Io {
                action: "open",
                path: path.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            });
        }
    }
    let dir = config.commit_log_path();
    // The file size is whatever the directory was written with.
    let sizes = env.files.list(&dir).at("list", &dir)?;
    if let Some(size) = sizes.iter().map(|entry| entry.size).max()
        && size > 0
    {
        config.commit_log_file_size = size;
    }
    if let Some(size) = queue_file_size(&config.root.join("consumequeue"), 20, env)? {
        config.consume_queue_file_size = size;
    }
    if let Some(size) = queue_file_size(&config.root.join("batchconsumequeue"), 46, env)? {
        config.batch_consume_queue_file_size = size;
    }
    config.queue_types = queue_types(&config.root, env);
    Ok(config)
}

/// What `topics.json` says of topics; nothing if it says nothing that can be read, as where the store's
/// directory alone was saved.
fn queue_types(root: &Path, env: &Environment) -> BTreeMap<String, QueueType> {
    let text = env.files.read(&root.join("config/topics.json"));
    let read = |text: Vec<u8>| fastjson::from_slice::<TopicConfigSerializeWrapper>(&text).ok();
    let table = text.ok().and_then(read).unwrap_or_default();
    let topics = table.topic_config_table.into_iter();
    topics
        .map(|(name, topic)| (name, QueueType::of(&topic)))
        .collect()
}

/// Size of the first consume queue file there is, for units of so many bytes.
fn queue_file_size(dir: &Path, unit: u64, env: &Environment) -> Result<Option<u64>, StoreError> {
    for entry in env.files.list(dir).at("list", dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            if let Some(size) = queue_file_size(&path, unit, env)? {
                return Ok(Some(size));
            }
        } else if entry.size > 0 && entry.size % unit == 0 {
            return Ok(Some(entry.size));
        }
    }
    Ok(None)
}

impl Closed {
    fn open(directory: &Directory, env: &Environment) -> Result<Self, StoreError> {
        let config = configured(directory, env)?;
        let lock = take_lock(&*env.files, &config.root)?;
        let log = CommitLog::load(
            Arc::clone(&env.files),
            config.commit_log_path(),
            config.commit_log_file_size,
        )?;
        let path = config.root.join("checkpoint");
        let marks = match env.files.exists(&path) {
            true => Checkpoint::open(&*env.files, path)?,
            false => return Ok(Self::new(config, env, log, None, lock)),
        };
        let (_, marks, trusted) = marks;
        Ok(Self::new(config, env, log, trusted.then_some(marks), lock))
    }

    fn new(
        config: StoreConfig,
        env: &Environment,
        log: CommitLog,
        marks: Option<Marks>,
        lock: Box<dyn LockGuard>,
    ) -> Self {
        Closed {
            clean: !env.files.exists(&config.root.join("abort")),
            config,
            env: env.clone(),
            log,
            marks,
            _lock: lock,
        }
    }

    /// Shows `see` every good record until it has seen enough, and reports what lies between.
    fn walk(
        &self,
        mut see: impl FnMut(&Record<'_>) -> Result<bool, StoreError>,
    ) -> Result<Report, StoreError> {
        let log = &self.log;
        let mut report = Report {
            files: log.segments().len(),
            min_offset: log.min(),
            clean: self.clean,
            ..Report::default()
        };
        let (mut at, mut time) = (log.min(), 0);
        loop {
            let problem = match log.segment(at).map(|_| log.item(at)) {
                Some(Ok(Item::Blank(next))) => {
                    at = next;
                    continue;
                }
                Some(Ok(Item::Record(bytes))) if sound(&bytes) => {
                    at += bytes.len() as i64;
                    let Ok(record) = Record::parse(&bytes) else {
                        continue;
                    };
                    time = record.store_timestamp();
                    report.records += u64::from(!is_filler(&bytes));
                    if !is_filler(&bytes) && !see(&record)? {
                        report.end_offset = at;
                        return Ok(report);
                    }
                    continue;
                }
                Some(Ok(Item::Record(_))) => "body checksum differs".to_owned(),
                Some(Err(error)) => error.to_string(),
                None => "the file is missing".to_owned(),
            };
            let Some(next) = resume(log, at, time, None) else {
                break;
            };
            let place = self.place(at);
            report
                .problems
                .push(format!("{place}: {problem}, {} bytes are lost", next - at));
            at = next;
        }
        report.end_offset = at;
        self.check_end(&mut report)?;
        Ok(report)
    }

    /// What should lie behind the last good record: nothing, and nothing that was on disk before.
    fn check_end(&self, report: &mut Report) -> Result<(), StoreError> {
        let end = report.end_offset;
        for segment in self.log.segments() {
            let size = self.log.file_size;
            let from = (end - segment.start).clamp(0, size as i64) as u64;
            if !is_zero(&*segment.file, from, size).at("read", &segment.path)? {
                let place = self.place(segment.start + from as i64);
                report
                    .problems
                    .push(format!("{place}: there is no message, but other bytes"));
            }
        }
        if let Some(marks) = self.marks.filter(|marks| marks.log_offset > end) {
            let dir = self.log.dir.display();
            let durable = marks.log_offset;
            report.problems.push(format!(
                "{dir}: messages end at {end}, but were on disk up to {durable}"
            ));
        }
        Ok(())
    }

    fn place(&self, offset: i64) -> String {
        let start = self.log.segment_start(offset);
        let path = self.log.dir.join(crate::commit_log::file_name(start));
        format!("{} at {}", path.display(), offset - start)
    }
}

/// Reads the whole log, compares queues and index with it, and says all that is wrong.
///
/// # Errors
/// [`StoreError::Locked`] while the store is in use, or what keeps files from being read.
pub fn check(directory: impl Into<Directory>) -> Result<Report, StoreError> {
    check_in(directory, &Environment::system())
}

/// [`check`] on other files.
///
/// # Errors
/// As [`check`].
pub fn check_in(directory: impl Into<Directory>, env: &Environment) -> Result<Report, StoreError> {
    against_log::check(&Closed::open(&directory.into(), env)?)
}

/// Prints one line per record.
///
/// # Errors
/// As [`check`], and what `out` says.
pub fn dump(
    directory: impl Into<Directory>,
    out: &mut dyn Write,
    selection: &Selection,
) -> Result<Report, StoreError> {
    visit(directory, selection, |record| {
        writeln!(
            out,
            "{} {}@{} offset {} size {} stored {} properties {:?}",
            record.physical_offset(),
            record.topic(),
            record.queue_id(),
            record.queue_offset(),
            record.size(),
            record.store_timestamp(),
            String::from_utf8_lossy(record.properties()),
        )
        .at("write", Path::new("dump"))
    })
}

/// Shows `see` the chosen records in the order of the log.
///
/// # Errors
/// As [`check`], and what `see` says.
pub fn visit(
    directory: impl Into<Directory>,
    selection: &Selection,
    mut see: impl FnMut(&Record<'_>) -> Result<(), StoreError>,
) -> Result<Report, StoreError> {
    let mut left = selection.limit.unwrap_or(u64::MAX);
    let closed = Closed::open(&directory.into(), &Environment::system())?;
    closed.walk(|record| {
        let topic = selection.topic.as_deref();
        if topic.is_some_and(|topic| topic != record.topic()) {
            return Ok(true);
        }
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        see(record)?;
        Ok(true)
    })
}

/// Sets damaged parts of the log aside in `quarantine`, keeps every good record, and builds queues
/// and index anew from the log alone, then closes and checks again.
///
/// Where the index was made with sizes other than Java's, which its files do not tell, it is left
/// to the next start, as is everything else built from the log: `abort` then stays.
///
/// # Errors
/// As [`check`], and what recovery says.
pub fn repair(directory: impl Into<Directory>) -> Result<Report, StoreError> {
    let (directory, env) = (directory.into(), Environment::system());
    let root = &directory.root;
    let mut config = configured(&directory, &env)?;
    let files = Arc::clone(&env.files);
    config.index_enabled = index_is_standard(&config, &env)?;
    let complete = config.index_enabled;
    Store::open_as(config, env, true)?.shutdown()?;
    if !complete {
        let marks = root.join("checkpoint");
        files
            .rename(&marks, &root.join("checkpoint.bak"))
            .at("rename", &marks)?;
        let abort = root.join("abort");
        files.put(&abort, b"0").at("write", &abort)?;
        files.sync_dir(root).at("sync", root)?;
    }
    check(directory)
}

fn index_is_standard(config: &StoreConfig, env: &Environment) -> Result<bool, StoreError> {
    let dir = config.root.join("index");
    let size = 40 + 4 * u64::from(config.index_slots) + 20 * u64::from(config.index_entries);
    let entries = env.files.list(&dir).at("list", &dir)?;
    Ok(entries.iter().all(|entry| entry.size == size))
}
