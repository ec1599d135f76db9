//! What clients send to a topic, by message type, and how large it is: what Java's 5.x metrics count of a
//! send (`BrokerMetricsManager`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What kind of message a send is, as its properties say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[allow(missing_docs)]
pub enum MessageType {
    #[default]
    Normal,
    Fifo,
    Delay,
    Transaction,
}

impl MessageType {
    /// All of them.
    pub const ALL: [MessageType; 4] = [
        MessageType::Normal,
        MessageType::Fifo,
        MessageType::Delay,
        MessageType::Transaction,
    ];

    /// Java's word in metrics.
    pub fn name(self) -> &'static str {
        match self {
            MessageType::Normal => "normal",
            MessageType::Fifo => "fifo",
            MessageType::Delay => "delay",
            MessageType::Transaction => "transaction",
        }
    }
}

/// Bounds of the histogram of sizes, bytes: Java's.
pub const SIZES: [u64; 6] = [1 << 10, 4 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];

/// Counts of one message type; those of a type that never came take no room.
#[derive(Debug, Default)]
struct Counted {
    messages: AtomicU64,
    bytes: AtomicU64,
    sizes: [AtomicU64; SIZES.len() + 1],
    /// Of the mean sizes that the histogram was told.
    size_sum: AtomicU64,
}

/// What was sent of one message type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Which.
    pub message_type: MessageType,
    /// Messages stored.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Sends by the mean size of their messages: up to each of [`SIZES`], and beyond.
    pub sizes: [u64; SIZES.len() + 1],
    /// Of those mean sizes.
    pub size_sum: u64,
}

/// What clients have sent to one topic since the start.
#[derive(Debug, Default)]
pub struct Incoming([OnceLock<Box<Counted>>; MessageType::ALL.len()]);

impl Incoming {
    /// A send of messages of one type was stored.
    pub fn add(&self, message_type: MessageType, messages: usize, bytes: usize) {
        let counted = self.0[message_type as usize].get_or_init(Box::default);
        let size = (bytes / messages.max(1)) as u64;
        let bucket = SIZES.partition_point(|bound| *bound < size);
        for (count, by) in [
            (&counted.messages, messages as u64),
            (&counted.bytes, bytes as u64),
            (&counted.sizes[bucket], 1),
            (&counted.size_sum, size),
        ] {
            count.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// What was counted, of types that came.
    pub fn sent(&self) -> impl Iterator<Item = Sent> {
        MessageType::ALL.into_iter().filter_map(|message_type| {
            let counted = self.0[message_type as usize].get()?;
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            Some(Sent {
                message_type,
                messages: read(&counted.messages),
                bytes: read(&counted.bytes),
                sizes: counted.sizes.each_ref().map(read),
                size_sum: read(&counted.size_sum),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_are_counted_by_type_and_mean_size() {
        let incoming = Incoming::default();
        incoming.add(MessageType::Delay, 1, 1024);
        incoming.add(MessageType::Delay, 10, 20_000);
        incoming.add(MessageType::Fifo, 1, 5 << 20);
        let sent: Vec<Sent> = incoming.sent().collect();
        let expected = [
            Sent {
                message_type: MessageType::Fifo,
                messages: 1,
                bytes: 5 << 20,
                sizes: [0, 0, 0, 0, 0, 0, 1],
                size_sum: 5 << 20,
            },
            Sent {
                message_type: MessageType::Delay,
                messages: 11,
                bytes: 21_024,
                sizes: [1, 1, 0, 0, 0, 0, 0],
                size_sum: 3024,
            },
        ];
        assert_eq!(sent, expected);
    }
}
