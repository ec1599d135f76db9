//! Keeps messages: commit log, consume queues, index, flush, recovery, retention.
//!
//! Files are those of RocketMQ 5.3.3, so a store directory moves both ways. A [`Store`] knows no
//! socket and no response code; every background step can also be called directly.

mod append;
mod batch_consume_queue;
mod checkpoint;
mod clock;
mod commit_log;
mod compaction;
mod config;
mod consume_queue;
mod dispatch;
mod error;
mod file_cache;
mod files;
mod gathering;
mod index;
pub mod inspect;
mod log_dirs;
mod queue;
mod read;
mod recovery;
mod removed_queues;
mod retention;
mod store;
mod threads;
pub mod timer;
mod vouched;
mod waiters;

pub use clock::{Clock, SystemClock, TestClock};
pub use config::{Environment, FlushMode, StoreConfig};
pub use consume_queue::ConsumeQueueUnit;
pub use error::{AppendError, StoreError};
pub use files::{
    Entry, Fault, File, FileSystem, Journal, LockGuard, Open, SimulatedFiles, Space, SystemFiles,
};
pub use log_dirs::LogDirs;
pub use queue::QueueType;
pub use read::{
    Boundary, QueryResult, QueueBounds, RUN_MAX, ReadRequest, ReadResult, ReadStatus, RecordFilter,
};
pub use store::{Appended, Arrival, ArrivalListener, Store, StoreStatus};
pub use waiters::Durability;
