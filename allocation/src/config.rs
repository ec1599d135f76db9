//! Shares fixed by the operator.

use crate::{AllocateError, AllocateStrategy, MessageQueue};

/// `CONFIG`: the given queues, whoever asks and whatever exists.
///
/// The operator answers for giving every queue to exactly one member.
#[derive(Debug, Clone, Default)]
pub struct ByConfig {
    /// Queues of this member.
    pub queues: Vec<MessageQueue>,
}

impl AllocateStrategy for ByConfig {
    fn name(&self) -> String {
        "CONFIG".to_owned()
    }

    fn allocate(
        &self,
        _client: &str,
        _queues: &[MessageQueue],
        _clients: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        Ok(self.queues.clone())
    }
}
