//! A plugin that shares out queues.

use std::sync::Arc;

use sluice_allocation::{AllocateError, AllocateStrategy, Average, MessageQueue};
use sluice_plugins::{Bound, instance};

/// The strategy of a plugin bound to a topic and group.
pub(crate) struct PluginStrategy {
    pub(crate) bound: Arc<Bound>,
    pub(crate) group: String,
}

impl AllocateStrategy for PluginStrategy {
    fn name(&self) -> String {
        self.bound.spec().plugin.clone()
    }

    /// The average strategy answers when the plugin does not.
    fn allocate(
        &self,
        client: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        let seen = queues.iter().map(|queue| instance::MessageQueue {
            topic: queue.topic.clone(),
            broker: queue.broker_name.clone(),
            queue_id: queue.queue_id.max(0) as u32,
        });
        let chosen = self
            .bound
            .allocate(&self.group, client, seen.collect(), clients.to_vec());
        match chosen {
            Ok(chosen) => Ok(chosen.into_iter().map(|at| queues[at].clone()).collect()),
            Err(cause) => {
                tracing::warn!(
                    plugin = self.name(),
                    group = self.group,
                    cause,
                    "queues are shared out by the average strategy"
                );
                Average.allocate(client, queues, clients)
            }
        }
    }
}
