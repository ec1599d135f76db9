//! Shares that move little when members come and go.

use std::collections::{BTreeMap, HashMap};

use md5::{Digest, Md5};

use crate::{AllocateError, AllocateStrategy, MessageQueue, position};

/// `CONSISTENT_HASH`: members own stretches of a ring, a queue belongs to the next point on it.
#[derive(Debug, Clone, Copy)]
pub struct ConsistentHash {
    /// Points of each member on the ring; 10 in Java. With 0 nobody gets anything.
    pub virtual_nodes: usize,
}

impl Default for ConsistentHash {
    fn default() -> Self {
        ConsistentHash { virtual_nodes: 10 }
    }
}

impl AllocateStrategy for ConsistentHash {
    fn name(&self) -> String {
        "CONSISTENT_HASH".to_owned()
    }

    fn allocate(
        &self,
        client: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        if position(client, queues, clients)?.is_none() {
            return Ok(Vec::new());
        }
        let ring = self.ring(clients);
        let is_mine = |queue: &&MessageQueue| owner(&ring, queue) == Some(client);
        Ok(queues.iter().filter(is_mine).cloned().collect())
    }
}

impl ConsistentHash {
    /// Of equal points the later insert wins, as in Java's map. A client that is listed again gets
    /// further points, numbered on from those it has.
    fn ring<'a>(&self, clients: &'a [String]) -> BTreeMap<u32, &'a str> {
        let mut ring = BTreeMap::new();
        let mut points: HashMap<&str, usize> = HashMap::new();
        for client in clients.iter().map(String::as_str) {
            let first = points.get(client).copied().unwrap_or(0);
            for k in first..first + self.virtual_nodes {
                *points.entry(client).or_default() += 1;
                if let Some(displaced) = ring.insert(hash(&format!("{client}-{k}")), client) {
                    *points.entry(displaced).or_default() -= 1;
                }
            }
        }
        ring
    }
}

/// The first point at or behind the queue's, around the end if need be.
fn owner<'a>(ring: &BTreeMap<u32, &'a str>, queue: &MessageQueue) -> Option<&'a str> {
    // The text of a queue is Java's `MessageQueue.toString`.
    let behind = ring.range(hash(&queue.to_string())..).next();
    behind
        .or_else(|| ring.iter().next())
        .map(|(_, client)| *client)
}

/// The first four bytes of the MD5 digest, big-endian.
pub(crate) fn hash(key: &str) -> u32 {
    let digest = Md5::digest(key.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
