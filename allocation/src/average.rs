//! Even shares: consecutive queues, or one after the other.

use crate::{AllocateError, AllocateStrategy, MessageQueue, position};

/// `AVG`, the default: consecutive runs of equal length, the first members get one more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Average;

impl AllocateStrategy for Average {
    fn name(&self) -> String {
        "AVG".to_owned()
    }

    fn allocate(
        &self,
        client: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        let Some(index) = position(client, queues, clients)? else {
            return Ok(Vec::new());
        };
        let share = queues.len() / clients.len();
        let larger_shares = queues.len() % clients.len();
        let start = index * share + index.min(larger_shares);
        let size = share + usize::from(index < larger_shares);
        Ok(queues[start..start + size].to_vec())
    }
}

/// `AVG_BY_CIRCLE`: queues are dealt out like cards, so each member gets some of every broker.
#[derive(Debug, Clone, Copy, Default)]
pub struct AverageByCircle;

impl AllocateStrategy for AverageByCircle {
    fn name(&self) -> String {
        "AVG_BY_CIRCLE".to_owned()
    }

    fn allocate(
        &self,
        client: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        let Some(index) = position(client, queues, clients)? else {
            return Ok(Vec::new());
        };
        let mine = queues.iter().skip(index).step_by(clients.len());
        Ok(mine.cloned().collect())
    }
}
