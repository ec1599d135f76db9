//! What is done to compacted queues before they serve: each is fitted to what recovery made of the commit log.

use sluice_protocol::message::Record;

use super::WHO;
use super::load::{cut, load_pieces};
use super::queue::CompactedQueue;
use crate::error::StoreError;
use crate::queue::Queue;
use crate::removed_queues::RemovedQueue;
use crate::store::Store;

/// How far everything is known to be on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Synced {
    /// The store was closed properly.
    All,
    /// All of the commit log below a physical offset was copied.
    Below(i64),
    /// Nobody we trust says so.
    Unknown,
}

/// Loads what is there. Call when queues are recovered.
pub(crate) fn load(store: &Store, synced: Synced) -> Result<(), StoreError> {
    let compaction = &store.compaction;
    if !compaction.enabled {
        return Ok(());
    }
    let named = store.config.compacted_topics.as_ref();
    for (topic, ids) in compaction.on_disk()? {
        // What a Java broker has left of others is left alone.
        if named.is_some_and(|named| !named.contains(&topic)) {
            continue;
        }
        compaction.topics.write().entry(topic.clone()).or_default();
        store.keep_from(WHO, store.log.min());
        for id in ids {
            load_queue(store, &topic, id, synced)?;
        }
    }
    Ok(())
}

fn load_queue(store: &Store, topic: &str, id: i32, synced: Synced) -> Result<(), StoreError> {
    let compaction = &store.compaction;
    let queue = compaction.new_queue(topic, id);
    let position = compaction.positions.get(topic, id);
    let doubtful = doubtful(store, topic, id, synced)?;
    load_pieces(&queue, &store.config, doubtful, position)?;
    if queue.marks().position < position {
        let left = queue.marks().position;
        compaction.positions.set(topic, id, left)?;
    }
    let queue = compaction.insert(queue);
    fit_to_log(store, &queue)
}

/// The first queue offset whose copy may not have been synced. What the commit log no longer has, was.
fn doubtful(
    store: &Store,
    topic: &str,
    id: i32,
    synced: Synced,
) -> Result<Option<i64>, StoreError> {
    let queue = store
        .queue(topic, id)
        .filter(|_| !matches!(synced, Synced::All));
    let Some(queue) = queue else {
        return Ok((!matches!(synced, Synced::All)).then_some(i64::MAX));
    };
    let (min, max) = queue.bounds();
    let Synced::Below(end) = synced else {
        return Ok(Some(min));
    };
    let mut at = max;
    while at > min
        && queue
            .unit(at - 1)?
            .is_none_or(|unit| unit.is_blank() || unit.end() > end)
    {
        at -= 1;
    }
    Ok(Some(at))
}

/// Fits a queue to what recovery has found to be the end of its consume queue: what the commit log has
/// lost must not stand for messages that get its offsets.
fn fit_to_log(store: &Store, queue: &CompactedQueue) -> Result<(), StoreError> {
    let (topic, id) = (&*queue.topic, queue.queue_id);
    let next = queue.marks().next;
    let consume_queue = store.queue(topic, id);
    let (min, max) = consume_queue
        .as_ref()
        .map_or((0, 0), |known| known.bounds());
    if min == max {
        return if max < next {
            begin_behind(store, queue)
        } else {
            Ok(())
        };
    }
    let another_s = match &consume_queue {
        Some(consume_queue) => is_another_s(store, queue, consume_queue)?,
        None => false,
    };
    if another_s {
        tracing::warn!(
            topic,
            id,
            "what was compacted is of a deleted topic and is dropped"
        );
        return start_anew(store, queue, 0);
    }
    if next > max {
        tracing::warn!(
            topic,
            id,
            next,
            max,
            "compacted messages that the commit log has lost are dropped"
        );
        return start_anew(store, queue, max);
    }
    Ok(())
}

/// The commit log has none of the messages, and the consume queue is lost: it begins behind those kept here.
fn begin_behind(store: &Store, queue: &CompactedQueue) -> Result<(), StoreError> {
    let (topic, id) = (&*queue.topic, queue.queue_id);
    store.forget_queue(topic, id)?;
    let end = RemovedQueue {
        next: queue.marks().next,
        dead_below: 0,
    };
    store.removed.add([(topic.to_owned(), id, end)])
}

/// Keeps only what lies below a queue offset.
fn start_anew(store: &Store, queue: &CompactedQueue, limit: i64) -> Result<(), StoreError> {
    // Where rounds were says nothing any more: the next one compares all that is there.
    let positions = &store.compaction.positions;
    positions.set(&queue.topic, queue.queue_id, -1)?;
    cut(queue, limit, -1)
}

/// Java leaves the compacted messages of a topic that it deletes, and counts from 0 when the topic comes
/// back: then the last message that both have is not the same one.
fn is_another_s(
    store: &Store,
    queue: &CompactedQueue,
    consume_queue: &Queue,
) -> Result<bool, StoreError> {
    let (min, max) = consume_queue.bounds();
    let reading = queue.reading();
    let last = reading.last_below(max)?;
    let Some(last) = last.filter(|unit| unit.queue_offset >= min) else {
        return Ok(false);
    };
    let unit = consume_queue.unit(last.queue_offset)?;
    let bytes = unit.and_then(|unit| store.log.record_of(unit.physical_offset, unit.size));
    let record = bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok());
    Ok(record.is_some_and(|record| {
        record.store_timestamp() != last.store_time || record.size() != last.size as usize
    }))
}
