//! A topic's queue, of whichever type: [`ConsumeQueue`] or [`BatchConsumeQueue`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_protocol::body::TopicConfig;

use crate::batch_consume_queue::BatchConsumeQueue;
use crate::config::StoreConfig;
use crate::consume_queue::{ConsumeQueue, ConsumeQueueUnit};
use crate::error::StoreError;
use crate::file_cache::FileCache;

/// `queue.type` of a topic, of which it has one as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueType {
    /// `SimpleCQ`: one unit for each message.
    Simple,
    /// `BatchCQ`: one unit for each record, which may hold several messages.
    Batch,
}

impl QueueType {
    pub(crate) const ALL: [QueueType; 2] = [QueueType::Simple, QueueType::Batch];

    /// Directory of the queues of this type, below the store's.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            QueueType::Simple => "consumequeue",
            QueueType::Batch => "batchconsumequeue",
        }
    }

    /// The type of a topic's queues, by its attribute `queue.type`.
    pub fn of(topic: &TopicConfig) -> Self {
        match topic.attributes.get("queue.type").map(String::as_str) {
            Some("BatchCQ") => QueueType::Batch,
            _ => QueueType::Simple,
        }
    }

    /// Java's name.
    pub fn name(self) -> &'static str {
        match self {
            QueueType::Simple => "SimpleCQ",
            QueueType::Batch => "BatchCQ",
        }
    }
}

pub(crate) enum Queue {
    Simple(ConsumeQueue),
    Batch(BatchConsumeQueue),
}

/// Calls the method of the same name.
macro_rules! of_either {
    ($self:ident, $queue:ident => $call:expr) => {
        match $self {
            Queue::Simple($queue) => $call,
            Queue::Batch($queue) => $call,
        }
    };
}

impl Queue {
    /// An empty queue whose first message will have offset `begin`.
    pub(crate) fn new(
        config: &StoreConfig,
        kind: QueueType,
        (topic, queue_id): (&str, i32),
        begin: i64,
        cache: Arc<FileCache>,
    ) -> Self {
        let dir = config.root.join(kind.directory()).join(topic);
        let dir = dir.join(queue_id.to_string());
        match kind {
            QueueType::Simple => {
                let size = config.queue_file_size();
                Queue::Simple(ConsumeQueue::new(dir, size, begin, cache))
            }
            QueueType::Batch => {
                let size = config.batch_queue_file_size();
                Queue::Batch(BatchConsumeQueue::new(dir, size, begin, cache))
            }
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        of_either!(self, queue => &queue.dir)
    }

    /// As [`ConsumeQueue::load`].
    pub(crate) fn load(&self, limit: i64) -> Result<(), StoreError> {
        of_either!(self, queue => queue.load(limit))
    }

    /// As [`ConsumeQueue::load_clean`].
    pub(crate) fn load_clean(&self) -> Result<(), StoreError> {
        of_either!(self, queue => queue.load_clean())
    }

    /// As [`ConsumeQueue::load_as_it_is`].
    pub(crate) fn load_as_it_is(&self) -> Result<(), StoreError> {
        of_either!(self, queue => queue.load_as_it_is())
    }

    /// Lowest and next offset.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        of_either!(self, queue => queue.bounds())
    }

    /// The unit of the record that holds an offset; `None` outside the queue, or when its file is gone.
    pub(crate) fn unit(&self, offset: i64) -> Result<Option<ConsumeQueueUnit>, StoreError> {
        match self {
            Queue::Simple(queue) => queue.unit(offset),
            Queue::Batch(queue) => Ok(queue.unit(offset)?.map(|unit| unit.simple())),
        }
    }

    /// [`Queue::unit`], if that waits for no disk.
    pub(crate) fn cached_unit(&self, offset: i64) -> Option<ConsumeQueueUnit> {
        match self {
            Queue::Simple(queue) => queue.cached_unit(offset),
            Queue::Batch(queue) if queue.in_memory(offset) => {
                queue.unit(offset).ok()?.map(|unit| unit.simple())
            }
            Queue::Batch(_) => None,
        }
    }

    /// The queue, if it has a unit for each message.
    pub(crate) fn simple(&self) -> Option<&ConsumeQueue> {
        match self {
            Queue::Simple(queue) => Some(queue),
            Queue::Batch(_) => None,
        }
    }

    /// As [`ConsumeQueue::flush`].
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        of_either!(self, queue => queue.flush())
    }

    /// As [`ConsumeQueue::expire`].
    pub(crate) fn expire(&self, log_min: i64) -> Result<(), StoreError> {
        of_either!(self, queue => queue.expire(log_min))
    }

    /// Whether its last message lies in the log before `physical_offset`.
    pub(crate) fn ends_before(&self, physical_offset: i64) -> Result<bool, StoreError> {
        let last = self.unit(self.bounds().1 - 1)?;
        Ok(last.is_some_and(|unit| unit.physical_offset < physical_offset))
    }
}

/// A queue that has files.
pub(crate) struct QueueDir {
    pub(crate) topic: String,
    pub(crate) id: i32,
    pub(crate) kind: QueueType,
    pub(crate) path: PathBuf,
}
