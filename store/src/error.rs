//! What can go wrong, in words an operator can act on.

use std::path::PathBuf;

use sluice_protocol::message::RecordError;

/// Why a message was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The commit log's disk is fuller than the warning level; clears by itself.
    #[error("disk of {path} is {used_percent}% full, writes are refused above {limit_percent}%", path = .path.display())]
    DiskFull {
        /// Commit log directory.
        path: PathBuf,
        /// Share in use, percent.
        used_percent: u8,
        /// Share at which writes stop, percent.
        limit_percent: u8,
    },
    /// A write or sync of the log failed earlier; only a restart helps.
    #[error("the commit log was stopped: {reason}")]
    LogStopped {
        /// The first failure.
        reason: String,
    },
    /// The records do not fit.
    #[error("{size} bytes to append, at most {max} are possible")]
    TooLarge {
        /// Bytes given.
        size: usize,
        /// Bytes possible.
        max: usize,
    },
    /// A queue has a directory of its topic's and its own name.
    #[error("topic {topic:?} and queue {queue_id} can't be the names of directories")]
    Place {
        /// The topic.
        topic: String,
        /// The queue.
        queue_id: i32,
    },
    /// Not whole records.
    #[error("malformed record: {0}")]
    Malformed(#[from] RecordError),
    /// The store is closing or closed.
    #[error("the store is shutting down")]
    ShuttingDown,
    /// The next commit log file could not be made.
    #[error("cannot create commit log file {path}: {source}", path = .path.display(), source = .reason)]
    CreateFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// Why a store cannot be opened, closed or examined.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process owns the directory.
    #[error("store {root} is in use by {owner}", root = .root.display())]
    Locked {
        /// Store directory.
        root: PathBuf,
        /// Process id of the owner, or "another process".
        owner: String,
    },
    /// The commit log ends before what is known to have been in it.
    #[error("commit log {path} ends at {end}, but was on disk up to {durable}: a file is missing or a disk is not mounted; `sluice store repair` goes on without it", path = .path.display())]
    LogShort {
        /// Commit log directory.
        path: PathBuf,
        /// Physical offset at which its last file ends.
        end: i64,
        /// Physical offset up to which checkpoint or queues know of it.
        durable: i64,
    },
    /// A file has a size other than configured.
    #[error("{path} is {size} bytes long, configured are {expected}: the store was written with another file size", path = .path.display())]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
        /// Length expected, bytes.
        expected: u64,
    },
    /// The files of a commit log in several directories do not follow one another.
    #[error("{path}: {what}", path = .path.display())]
    LogFiles {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The directory holds, or the settings name, what Java has and this store does not.
    #[error("{path}: {what}", path = .path.display())]
    Unsupported {
        /// The file, directory or value.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A topic has queues of another type than it should.
    #[error("{path}: queues of topic {topic} should be {expected} (queue.type), but these are {found}", path = .path.display())]
    QueueType {
        /// Directory of one of its queues.
        path: PathBuf,
        /// The topic.
        topic: String,
        /// The type whose directory it lies in.
        found: &'static str,
        /// The topic's own type, or that of its other queues.
        expected: &'static str,
    },
    /// A setting makes no sense.
    #[error("setting {name} = {value} is out of range: {range}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        range: &'static str,
    },
    /// The log stopped before everything could be flushed.
    #[error("closed without flushing everything: {0}")]
    Unflushed(String),
}

/// Attaches action and path to an I/O result.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &std::path::Path) -> Result<T, StoreError>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &std::path::Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
