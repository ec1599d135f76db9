//! Messages of one queue between pull and acknowledgement.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::message::ReceivedMessage;

/// Messages that were pulled and not yet dealt with, by queue offset.
#[derive(Debug, Default)]
pub(crate) struct ProcessQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Everything a concurrent listener has not finished; for ordered consumption what was not
    /// taken yet.
    waiting: BTreeMap<i64, Entry>,
    /// What an ordered listener works on.
    taken: BTreeMap<i64, Entry>,
    /// Behind the largest offset ever put.
    end: i64,
    /// Memory that all messages take, bytes.
    size: usize,
}

#[derive(Debug)]
struct Entry {
    message: ReceivedMessage,
    /// When a listener got it, Unix milliseconds.
    started_ms: Option<u64>,
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fill {
    /// Messages.
    pub count: usize,
    /// Bytes.
    pub size: usize,
    /// Distance between the first and the last offset.
    pub span: i64,
    /// First offset, 0 when empty.
    pub first: i64,
    /// Last offset, 0 when empty.
    pub last: i64,
}

impl ProcessQueue {
    /// Adds pulled messages; one that is here already is not counted twice.
    pub fn put(&self, messages: &[ReceivedMessage]) {
        let mut state = self.state.lock();
        for message in messages {
            let offset = message.queue_offset();
            let entry = Entry {
                message: message.clone(),
                started_ms: None,
            };
            state.size += message.held_size();
            if let Some(replaced) = state.waiting.insert(offset, entry) {
                state.size -= replaced.message.held_size();
            }
            state.end = state.end.max(offset + 1);
        }
    }

    /// Notes that a listener begins with these messages; tells which of them are still here.
    pub fn start(&self, offsets: impl Iterator<Item = i64>, now_ms: u64) -> usize {
        let mut state = self.state.lock();
        let here = offsets.filter(|offset| match state.waiting.get_mut(offset) {
            Some(entry) => {
                entry.started_ms = Some(now_ms);
                true
            }
            None => false,
        });
        here.count()
    }

    /// Whether a message is still to be dealt with.
    pub fn contains(&self, offset: i64) -> bool {
        self.state.lock().waiting.contains_key(&offset)
    }

    /// Takes finished messages out and tells the offset to commit: the first unfinished one, or
    /// the end. `None` when there was nothing left to finish.
    pub fn remove(&self, offsets: impl Iterator<Item = i64>) -> Option<i64> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            return None;
        }
        for offset in offsets {
            if let Some(entry) = state.waiting.remove(&offset) {
                state.size -= entry.message.held_size();
            }
        }
        Some(state.waiting.keys().next().copied().unwrap_or(state.end))
    }

    /// Takes up to `count` messages in order for an ordered listener.
    pub fn take(&self, count: usize) -> Vec<ReceivedMessage> {
        let mut state = self.state.lock();
        let mut messages = Vec::new();
        while messages.len() < count {
            let Some((offset, entry)) = state.waiting.pop_first() else {
                break;
            };
            messages.push(entry.message.clone());
            state.taken.insert(offset, entry);
        }
        messages
    }

    /// What was taken is done; tells the offset to commit.
    pub fn finish_taken(&self) -> Option<i64> {
        let mut state = self.state.lock();
        let last = state.taken.keys().next_back().copied()?;
        let taken = std::mem::take(&mut state.taken);
        state.size -= taken
            .values()
            .map(|entry| entry.message.held_size())
            .sum::<usize>();
        Some(last + 1)
    }

    /// What was taken is to be taken again, with one more delivery counted.
    pub fn give_taken_back(&self) {
        let mut state = self.state.lock();
        let taken = std::mem::take(&mut state.taken);
        for (offset, mut entry) in taken {
            entry.message.count_local_retry();
            state.waiting.insert(offset, entry);
        }
    }

    /// Up to `max` first messages whose listener has had them since before `since_ms`.
    pub fn stuck(&self, since_ms: u64, max: usize) -> Vec<ReceivedMessage> {
        let state = self.state.lock();
        let is_stuck = |entry: &&Entry| entry.started_ms.is_some_and(|started| started < since_ms);
        let stuck = state.waiting.values().take_while(is_stuck).take(max);
        stuck.map(|entry| entry.message.clone()).collect()
    }

    /// Counts one more delivery of a message that will be tried again here.
    pub fn count_local_retry(&self, offset: i64) {
        if let Some(entry) = self.state.lock().waiting.get_mut(&offset) {
            entry.message.count_local_retry();
            entry.started_ms = None;
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.state.lock() = State::default();
    }

    pub fn fill(&self) -> Fill {
        let state = self.state.lock();
        let first = state.waiting.keys().next().copied();
        let last = state.waiting.keys().next_back().copied();
        Fill {
            count: state.waiting.len() + state.taken.len(),
            size: state.size,
            span: last.zip(first).map_or(0, |(last, first)| last - first),
            first: first.unwrap_or(0),
            last: last.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::message::tests::{COMPRESS, received};

    fn queue(offsets: impl IntoIterator<Item = i64>) -> ProcessQueue {
        let queue = ProcessQueue::default();
        let message = Message::new("T", "body");
        let messages: Vec<_> = offsets
            .into_iter()
            .map(|offset| received("T", offset, &message))
            .collect();
        queue.put(&messages);
        queue
    }

    #[test]
    fn the_first_unfinished_message_holds_the_offset() {
        let queue = queue(10..15);
        assert_eq!(queue.remove([12].into_iter()), Some(10));
        assert_eq!(queue.remove([10, 11].into_iter()), Some(13));
        assert_eq!(queue.remove([13, 14].into_iter()), Some(15));
        assert_eq!(queue.remove([14].into_iter()), None);
        assert_eq!(queue.fill(), Fill::default());
    }

    #[test]
    fn gaps_left_by_filters_do_not_hold_it() {
        let queue = queue([3, 7, 20]);
        assert_eq!(queue.remove([3].into_iter()), Some(7));
        assert_eq!(queue.remove([7, 20].into_iter()), Some(21));
    }

    #[test]
    fn the_same_message_twice_counts_once() {
        let queue = queue([1, 2]);
        let size = queue.fill().size;
        queue.put(&[received("T", 2, &Message::new("T", "body"))]);
        assert_eq!((queue.fill().count, queue.fill().size), (2, size));
        assert_eq!(queue.fill().span, 1);
    }

    #[test]
    fn compressed_messages_count_with_their_body_as_it_is_held() {
        let queue = ProcessQueue::default();
        let message = received(
            "T",
            0,
            &Message::new("T", vec![b'x'; 100_000]).flag(COMPRESS),
        );
        queue.put(&[message]);
        assert!(queue.fill().size > 100_000);
        queue.remove([0].into_iter());
        assert_eq!(queue.fill().size, 0);
    }

    #[test]
    fn ordered_messages_are_taken_given_back_and_finished() {
        let queue = queue(0..5);
        let offsets = |messages: Vec<ReceivedMessage>| {
            messages
                .iter()
                .map(ReceivedMessage::queue_offset)
                .collect::<Vec<_>>()
        };
        assert_eq!(offsets(queue.take(2)), [0, 1]);
        assert_eq!(queue.fill().count, 5);
        queue.give_taken_back();
        let again = queue.take(3);
        assert_eq!(
            again
                .iter()
                .map(ReceivedMessage::reconsume_times)
                .collect::<Vec<_>>(),
            [1, 1, 0]
        );
        assert_eq!(queue.finish_taken(), Some(3));
        assert_eq!(queue.finish_taken(), None);
        assert_eq!(offsets(queue.take(9)), [3, 4]);
        assert_eq!(queue.finish_taken(), Some(5));
        assert_eq!(queue.fill().size, 0);
    }

    #[test]
    fn only_messages_whose_listener_is_too_slow_are_stuck() {
        let queue = queue(0..3);
        assert!(queue.stuck(u64::MAX, 16).is_empty());
        assert_eq!(queue.start([0, 1, 9].into_iter(), 1000), 2);
        assert!(queue.stuck(1000, 16).is_empty());
        assert_eq!(queue.stuck(1001, 16).len(), 2);
        assert_eq!(queue.stuck(1001, 1).len(), 1);
    }
}
