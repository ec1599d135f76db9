//! A store directory from outside: check, dump, repair. Each refuses a directory in use.

use std::io::Write;
use std::path::{Path, PathBuf};

use sluice_protocol::message::Record;

use crate::commit_log::{CommitLog, Item};
use crate::config::{Environment, StoreConfig};
use crate::error::{At, StoreError};
use crate::recovery::sound;
use crate::store::{Store, take_lock};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Commit log files.
    pub files: usize,
    /// Good records.
    pub records: u64,
    /// Lowest physical offset.
    pub min_offset: i64,
    /// Behind the last good record.
    pub end_offset: i64,
    /// Whether the store was closed properly.
    pub clean: bool,
    /// What is wrong, with file and position.
    pub problems: Vec<String>,
}

/// Which records to print.
#[derive(Debug, Clone, Default)]
pub struct DumpOptions {
    /// Only this topic.
    pub topic: Option<String>,
    /// Records at most; `None` = all.
    pub limit: Option<u64>,
}

fn configured(root: &Path, env: &Environment) -> Result<StoreConfig, StoreError> {
    let mut config = StoreConfig {
        root: root.to_owned(),
        ..StoreConfig::default()
    };
    let dir = config.commit_log_path();
    // The file size is whatever the directory was written with.
    if let Some(entry) = env
        .files
        .list(&dir)
        .at("list", &dir)?
        .iter()
        .find(|entry| entry.size > 0)
    {
        config.commit_log_file_size = entry.size;
    }
    if let Some(size) = queue_file_size(&root.join("consumequeue"), env)? {
        config.consume_queue_file_size = size;
    }
    Ok(config)
}

/// Size of the first consume queue file there is.
fn queue_file_size(dir: &Path, env: &Environment) -> Result<Option<u64>, StoreError> {
    for entry in env.files.list(dir).at("list", dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            if let Some(size) = queue_file_size(&path, env)? {
                return Ok(Some(size));
            }
        } else if entry.size > 0 && entry.size % 20 == 0 {
            return Ok(Some(entry.size));
        }
    }
    Ok(None)
}

fn walk(
    root: &Path,
    env: &Environment,
    mut see: impl FnMut(&Record<'_>) -> bool,
) -> Result<Report, StoreError> {
    if !env.files.exists(root) {
        return Err(StoreError::Io {
            action: "open",
            path: root.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        });
    }
    let _lock = take_lock(&*env.files, root)?;
    let config = configured(root, env)?;
    let log = CommitLog::load(
        env.files.clone(),
        config.commit_log_path(),
        config.commit_log_file_size,
    )?;
    let mut report = Report {
        files: log.segments().len(),
        min_offset: log.min(),
        clean: !env.files.exists(&root.join("abort")),
        ..Report::default()
    };
    let mut at = log.min();
    while let Some(segment) = log.segment(at) {
        match log.item(at) {
            Ok(Item::Blank(next)) => at = next,
            Ok(Item::Record(bytes)) if sound(&bytes) => {
                report.records += 1;
                at += bytes.len() as i64;
                if Record::parse(&bytes).is_ok_and(|record| !see(&record)) {
                    break;
                }
            }
            other => {
                let rest = (segment.start + log.file_size as i64 - at) as usize;
                let zero = log
                    .slice(at, rest)
                    .is_some_and(|bytes| bytes.iter().all(|&byte| byte == 0));
                if !zero {
                    let what = other
                        .err()
                        .map_or("body checksum differs".to_owned(), |error| {
                            error.to_string()
                        });
                    report.problems.push(format!(
                        "{} at {}: {what}",
                        segment.path.display(),
                        at - segment.start
                    ));
                }
                break;
            }
        }
    }
    report.end_offset = at;
    if report.problems.is_empty() {
        report.problems.extend(broken_off(&log, at));
    }
    Ok(report)
}

/// What is wrong if messages follow behind the end of the log: a file between them is missing or empty.
fn broken_off(log: &CommitLog, end: i64) -> Option<String> {
    let lost = log.segments().into_iter().find(|segment| {
        segment.start > end && matches!(log.item(segment.start), Ok(Item::Record(_)))
    })?;
    Some(format!(
        "{}: messages follow behind {end}, where the log breaks off",
        lost.path.display()
    ))
}

/// Reads the whole log and says what is wrong, changing nothing.
///
/// # Errors
/// [`StoreError::Locked`] while the store is in use, or what keeps files from being read.
pub fn check(dir: &Path) -> Result<Report, StoreError> {
    check_in(dir, &Environment::system())
}

/// [`check`] on other files.
///
/// # Errors
/// As [`check`].
pub fn check_in(dir: &Path, env: &Environment) -> Result<Report, StoreError> {
    walk(dir, env, |_| true)
}

/// Prints one line per record.
///
/// # Errors
/// As [`check`], and what `out` says.
pub fn dump(dir: &Path, out: &mut dyn Write, options: &DumpOptions) -> Result<Report, StoreError> {
    let mut left = options.limit.unwrap_or(u64::MAX);
    let mut failed = None;
    let report = walk(dir, &Environment::system(), |record| {
        if options
            .topic
            .as_deref()
            .is_some_and(|topic| topic != record.topic())
        {
            return true;
        }
        if left == 0 {
            return false;
        }
        left -= 1;
        let line = writeln!(
            out,
            "{} {}@{} offset {} size {} stored {} properties {:?}",
            record.physical_offset(),
            record.topic(),
            record.queue_id(),
            record.queue_offset(),
            record.size(),
            record.store_timestamp(),
            String::from_utf8_lossy(record.properties()),
        );
        failed = line.err();
        failed.is_none()
    })?;
    match failed {
        Some(source) => Err(StoreError::Io {
            action: "write",
            path: PathBuf::from("dump"),
            source,
        }),
        None => Ok(report),
    }
}

/// Sets damaged parts of the log aside, keeps every good record, and builds queues and index anew
/// from the log alone, then closes and checks again.
///
/// Where the index was made with sizes other than Java's, which its files do not tell, it is left
/// to the next start, as is everything else built from the log: `abort` then stays.
///
/// # Errors
/// As [`check`], and what recovery says.
pub fn repair(dir: &Path) -> Result<Report, StoreError> {
    let env = Environment::system();
    let mut config = configured(dir, &env)?;
    let files = std::sync::Arc::clone(&env.files);
    config.index_enabled = index_is_standard(&config, &env)?;
    let complete = config.index_enabled;
    Store::open_as(config, env, true)?.shutdown()?;
    if !complete {
        let marks = dir.join("checkpoint");
        files
            .rename(&marks, &dir.join("checkpoint.bak"))
            .at("rename", &marks)?;
        let abort = dir.join("abort");
        files.put(&abort, b"0").at("write", &abort)?;
        files.sync_dir(dir).at("sync", dir)?;
    }
    check(dir)
}

fn index_is_standard(config: &StoreConfig, env: &Environment) -> Result<bool, StoreError> {
    let dir = config.root.join("index");
    let size = 40 + 4 * u64::from(config.index_slots) + 20 * u64::from(config.index_entries);
    let entries = env.files.list(&dir).at("list", &dir)?;
    Ok(entries.iter().all(|entry| entry.size == size))
}
