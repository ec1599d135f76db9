//! How far a group is: in memory, at the broker, or in a local file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use sluice_allocation::MessageQueue;

use super::offset_file::OffsetFile;
use crate::error::ClientError;
use crate::instance::Instance;

/// Positions of the next message to consume, by queue.
pub(crate) struct Offsets {
    group: String,
    instance: Arc<Instance>,
    table: Mutex<BTreeMap<MessageQueue, i64>>,
    /// Where a broadcasting consumer keeps its own; a clustering one's are the broker's.
    file: Option<OffsetFile>,
}

/// How a new position relates to the one there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// Only forward.
    Increase,
    /// Wherever it is: ordered consumption, resets, seeks.
    Set,
}

impl Offsets {
    pub fn at_broker(group: &str, instance: &Arc<Instance>) -> Self {
        Offsets {
            group: group.to_owned(),
            instance: instance.clone(),
            table: Mutex::default(),
            file: None,
        }
    }

    /// `<root>/<client id>/<group>/offsets.json`.
    pub fn in_file(
        group: &str,
        instance: &Arc<Instance>,
        root: PathBuf,
    ) -> Result<Self, ClientError> {
        let file = OffsetFile::new(root.join(&instance.client_id).join(group));
        let table = file.load()?;
        Ok(Offsets {
            table: Mutex::new(table),
            file: Some(file),
            ..Offsets::at_broker(group, instance)
        })
    }

    pub fn update(&self, queue: &MessageQueue, offset: i64, update: Update) {
        let mut table = self.table.lock();
        match table.get_mut(queue) {
            Some(known) if update == Update::Increase => *known = offset.max(*known),
            Some(known) => *known = offset,
            None => {
                table.insert(queue.clone(), offset);
            }
        }
    }

    pub fn known(&self, queue: &MessageQueue) -> Option<i64> {
        self.table.lock().get(queue).copied()
    }

    /// What is kept for the queue, `None` if nothing.
    pub async fn stored(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        match &self.file {
            Some(_) => Ok(self.known(queue)),
            None => self.instance.committed_offset(&self.group, queue).await,
        }
    }

    /// Keeps the positions of `queues`; one-way, failures are logged and repaired the next time.
    pub async fn persist(&self, queues: &[MessageQueue]) {
        if self.file.is_some() {
            return self.write_file().await;
        }
        for queue in queues {
            let Some(offset) = self.known(queue) else {
                continue;
            };
            let sent = self
                .instance
                .commit_offset_one_way(&self.group, queue, offset)
                .await;
            if let Err(error) = sent {
                tracing::warn!(group = self.group, %queue, offset, %error, "offset not committed");
            }
        }
    }

    /// Keeps the position of one queue and waits until that is done.
    pub async fn persist_now(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        if self.file.is_some() {
            self.write_file().await;
            return Ok(());
        }
        match self.known(queue) {
            Some(offset) => {
                self.instance
                    .commit_offset(&self.group, queue, offset)
                    .await
            }
            None => Ok(()),
        }
    }

    /// The queue belongs to somebody else now. A local file keeps its entry.
    pub fn forget(&self, queue: &MessageQueue) {
        if self.file.is_none() {
            self.table.lock().remove(queue);
        }
    }

    async fn write_file(&self) {
        let Some(file) = self.file.clone() else {
            return;
        };
        let table = self.table.lock().clone();
        let written = tokio::task::spawn_blocking(move || file.save(table)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(group = self.group, %error, "offsets not saved"),
            Err(error) => tracing::warn!(group = self.group, %error, "offsets not saved"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Connect;

    fn instance() -> Arc<Instance> {
        let connect = Connect {
            name_servers: Some("127.0.0.1:1".to_owned()),
            ..Connect::default()
        };
        Instance::new(&connect, Some("DEFAULT")).unwrap()
    }

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue {
            topic: "T".to_owned(),
            broker_name: "b".to_owned(),
            queue_id,
        }
    }

    #[tokio::test]
    async fn results_only_move_forward_resets_go_anywhere() {
        let offsets = Offsets::at_broker("g", &instance());
        offsets.update(&queue(0), 5, Update::Increase);
        offsets.update(&queue(0), 3, Update::Increase);
        assert_eq!(offsets.known(&queue(0)), Some(5));
        offsets.update(&queue(0), 3, Update::Set);
        assert_eq!(offsets.known(&queue(0)), Some(3));
        offsets.forget(&queue(0));
        assert_eq!(offsets.known(&queue(0)), None);
    }

    #[tokio::test]
    async fn local_offsets_survive_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let open = || Offsets::in_file("g", &instance(), root.path().to_owned()).unwrap();
        let offsets = open();
        offsets.update(&queue(0), 5, Update::Increase);
        offsets.persist(&[]).await;
        offsets.forget(&queue(0));
        let offsets = open();
        offsets.update(&queue(1), 7, Update::Increase);
        offsets.persist_now(&queue(1)).await.unwrap();
        let offsets = open();
        assert_eq!(offsets.stored(&queue(0)).await.unwrap(), Some(5));
        assert_eq!(offsets.stored(&queue(1)).await.unwrap(), Some(7));
        assert_eq!(offsets.stored(&queue(2)).await.unwrap(), None);
    }
}
