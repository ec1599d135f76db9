//! Which consumer gets which queue: the RocketMQ strategies, pure.
//!
//! Every member of a group computes the allocation for itself, so all members must use the same
//! strategy and see the same queues and the same clients, both sorted with [`sort`]. The results
//! are those of the Java strategies of 5.3.3, so Rust and Java members share a group.
//!
//! ```
//! use sluice_allocation::{AllocateStrategy, Average, MessageQueue};
//!
//! let queue = |queue_id| MessageQueue {
//!     topic: "orders".into(),
//!     broker_name: "broker-a".into(),
//!     queue_id,
//! };
//! let queues: Vec<_> = (0..8).map(queue).collect();
//! let clients = ["c0".to_owned(), "c1".to_owned(), "c2".to_owned()];
//! let mine = Average.allocate("c2", &queues, &clients)?;
//! assert_eq!(mine, [queue(6), queue(7)]);
//! # Ok::<(), sluice_allocation::AllocateError>(())
//! ```

mod average;
mod config;
mod consistent_hash;
mod machine_room;

pub use average::{Average, AverageByCircle};
pub use config::ByConfig;
pub use consistent_hash::ConsistentHash;
pub use machine_room::{ByMachineRoom, NearbyRoom, RoomOf};
pub use sluice_protocol::body::MessageQueue;

/// Decides which queues of a topic belong to one member of a consumer group.
///
/// An implementation must be a pure function of its arguments and settings: the members of a group
/// do not talk to each other, and only equal answers to equal questions keep their shares apart.
pub trait AllocateStrategy: Send + Sync {
    /// Java's name of the strategy (`getName`), as QUERY_ASSIGNMENT carries it.
    fn name(&self) -> String;

    /// The queues of `client` out of `queues`, which all `clients` share.
    ///
    /// `queues` and `clients` are sorted by [`sort`] and hold no duplicates. A client that is not
    /// among `clients` gets nothing, as in Java: the broker does not know it yet.
    ///
    /// # Errors
    /// [`AllocateError`]; the member then keeps the queues it has.
    fn allocate(
        &self,
        client: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError>;
}

/// Why a strategy has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// Nothing can be shared out among nobody, or of nothing.
    #[error("no {0} to allocate with")]
    Empty(&'static str),
    /// A room resolver knows no room.
    #[error("no machine room is known for {0}")]
    NoRoom(String),
}

/// Brings both inputs into the order that every member uses, without duplicates: queues by topic,
/// broker name and queue id, clients as strings.
///
/// Java compares strings by UTF-16 code units; so does this.
pub fn sort(queues: &mut Vec<MessageQueue>, clients: &mut Vec<String>) {
    queues.sort_by(compare_queues);
    queues.dedup();
    clients.sort_by(|a, b| compare_utf16(a, b));
    clients.dedup();
}

/// Order of queues in Java (`MessageQueue.compareTo`).
pub fn compare_queues(a: &MessageQueue, b: &MessageQueue) -> std::cmp::Ordering {
    compare_utf16(&a.topic, &b.topic)
        .then_with(|| compare_utf16(&a.broker_name, &b.broker_name))
        .then_with(|| a.queue_id.cmp(&b.queue_id))
}

fn compare_utf16(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// What all strategies but CONFIG check first: `None` when `client` is not in the group.
fn position(
    client: &str,
    queues: &[MessageQueue],
    clients: &[String],
) -> Result<Option<usize>, AllocateError> {
    if client.is_empty() {
        return Err(AllocateError::Empty("client id"));
    }
    if queues.is_empty() {
        return Err(AllocateError::Empty("queues"));
    }
    if clients.is_empty() {
        return Err(AllocateError::Empty("clients"));
    }
    Ok(clients.iter().position(|other| other == client))
}

#[cfg(test)]
mod tests;
