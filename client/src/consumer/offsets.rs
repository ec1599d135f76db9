//! How far a group is: in memory, at the broker, or in a local file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use sluice_allocation::MessageQueue;
use tokio::task::JoinSet;

use super::offset_file::OffsetFile;
use crate::error::ClientError;
use crate::instance::Instance;

/// Positions of the next message to consume, by queue.
pub(crate) struct Offsets {
    group: String,
    instance: Arc<Instance>,
    table: Mutex<BTreeMap<MessageQueue, i64>>,
    /// Where a broadcasting consumer keeps its own; a clustering one's are the broker's. Locked
    /// while it is written.
    file: Option<Mutex<OffsetFile>>,
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
    pub fn at_broker(group: &str, instance: &Arc<Instance>) -> Arc<Self> {
        Offsets::new(group, instance, BTreeMap::new(), None)
    }

    /// `<root>/<client id>/<group>/offsets.json`.
    pub fn in_file(
        group: &str,
        instance: &Arc<Instance>,
        root: PathBuf,
    ) -> Result<Arc<Self>, ClientError> {
        let file = OffsetFile::new(root.join(&instance.client_id).join(group));
        let table = file.load()?;
        Ok(Offsets::new(group, instance, table, Some(file)))
    }

    fn new(
        group: &str,
        instance: &Arc<Instance>,
        table: BTreeMap<MessageQueue, i64>,
        file: Option<OffsetFile>,
    ) -> Arc<Self> {
        Arc::new(Offsets {
            group: group.to_owned(),
            instance: instance.clone(),
            table: Mutex::new(table),
            file: file.map(Mutex::new),
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
    pub async fn persist(self: &Arc<Self>, queues: &[MessageQueue]) {
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

    /// Keeps the positions of `queues`, all at once, and waits until that is done. Failures are
    /// logged.
    ///
    /// # Errors
    /// The first failure; the others are tried all the same.
    pub async fn persist_now(self: &Arc<Self>, queues: &[MessageQueue]) -> Result<(), ClientError> {
        if self.file.is_some() {
            self.write_file().await;
            return Ok(());
        }
        let mut commits = JoinSet::new();
        for queue in queues {
            if let Some(offset) = self.known(queue) {
                commits.spawn(self.clone().commit(queue.clone(), offset));
            }
        }
        let mut first = Ok(());
        while let Some(committed) = commits.join_next().await {
            // A commit does not panic, and nobody aborts it but the runtime's end.
            first = first.and(committed.unwrap_or(Err(ClientError::ShutDown)));
        }
        first
    }

    async fn commit(self: Arc<Self>, queue: MessageQueue, offset: i64) -> Result<(), ClientError> {
        let committed = self.instance.commit_offset(&self.group, &queue, offset);
        committed.await.inspect_err(|error| {
            tracing::warn!(group = self.group, %queue, offset, %error, "offset not committed");
        })
    }

    /// The queue belongs to somebody else now. A local file keeps its entry.
    pub fn forget(&self, queue: &MessageQueue) {
        if self.file.is_none() {
            self.table.lock().remove(queue);
        }
    }

    async fn write_file(self: &Arc<Self>) {
        let offsets = self.clone();
        // It ends also when nobody waits for it any more.
        let written = tokio::task::spawn_blocking(move || offsets.save()).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(group = self.group, %error, "offsets not saved"),
            Err(error) => tracing::warn!(group = self.group, %error, "offsets not saved"),
        }
    }

    /// One at a time, and each with the positions as they are when its turn comes.
    fn save(&self) -> Result<(), ClientError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let file = file.lock();
        let table = self.table.lock().clone();
        file.save(table)
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
        offsets.persist_now(&[queue(1)]).await.unwrap();
        let offsets = open();
        assert_eq!(offsets.stored(&queue(0)).await.unwrap(), Some(5));
        assert_eq!(offsets.stored(&queue(1)).await.unwrap(), Some(7));
        assert_eq!(offsets.stored(&queue(2)).await.unwrap(), None);
    }
}
