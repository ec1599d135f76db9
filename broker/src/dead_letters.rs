//! Messages that a group can't have go to its dead letters, `%DLQ%<group>`, and say why.

use std::collections::HashMap;

use parking_lot::Mutex;
use sluice_protocol::message::record::PROPERTIES_SIZE_MAX;
use sluice_protocol::message::{MessageId, Record, properties, sys_flag};
use sluice_protocol::topic::{self, perm};
use sluice_store::AppendError;

use crate::Broker;
use crate::copies::Copy;

/// Queues of which the last dead letter is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Where a message was before.
const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
/// Why it is here; ours.
const DLQ_REASON: &str = "DLQ_REASON";

/// Group, topic and queue.
type Place = (String, String, i32);

/// The last offset of each queue that a group's dead letters hold: a pull that is asked again
/// because its answer was lost makes no second letter.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    last: Mutex<HashMap<Place, i64>>,
}

impl Broker {
    /// Stores a copy of a message among the group's dead letters; `reason` is for people.
    ///
    /// # Errors
    /// It could not be stored, so the group must not go on past it.
    pub(crate) fn bury(
        &self,
        group: &str,
        record: &Record<'_>,
        reason: &str,
    ) -> Result<(), AppendError> {
        let place = (
            group.to_owned(),
            record.topic().to_owned(),
            record.queue_id(),
        );
        let mut last = self.dead_letters.last.lock();
        if last
            .get(&place)
            .is_some_and(|last| *last >= record.queue_offset())
        {
            return Ok(());
        }
        self.append_letter(group, record, reason)?;
        if last.len() >= REMEMBERED_MAX {
            last.clear();
        }
        last.insert(place, record.queue_offset());
        Ok(())
    }

    /// Stores a letter without asking whether there is one already; `reason` is for people.
    ///
    /// # Errors
    /// It could not be stored.
    pub(crate) fn append_letter(
        &self,
        group: &str,
        record: &Record<'_>,
        reason: &str,
    ) -> Result<(), AppendError> {
        let name = format!("{}{group}", topic::DLQ_PREFIX);
        self.ensure_topic(&name, 1, perm::READ | perm::WRITE);
        let id = MessageId {
            store_host: record.store_host(),
            physical_offset: record.physical_offset(),
        }
        .to_string();
        let origin = record.property(properties::RETRY_TOPIC);
        let replaced = [
            properties::WAIT,
            properties::RETRY_TOPIC,
            DLQ_ORIGIN_TOPIC,
            DLQ_ORIGIN_MESSAGE_ID,
            DLQ_REASON,
        ];
        let mut text = properties::without(record.properties(), &replaced);
        let given = [
            (properties::RETRY_TOPIC, origin.unwrap_or(record.topic())),
            (DLQ_ORIGIN_TOPIC, record.topic()),
            (DLQ_ORIGIN_MESSAGE_ID, &*id),
            (DLQ_REASON, reason),
        ];
        for (name, value) in given {
            properties::put(&mut text, name, value);
        }
        if record.property(properties::ORIGIN_MESSAGE_ID).is_none() {
            properties::put(&mut text, properties::ORIGIN_MESSAGE_ID, &id);
        }
        if text.len() > PROPERTIES_SIZE_MAX {
            // The letter matters more than what it says of itself.
            text = record.properties().to_vec();
        }
        let copy = Copy {
            topic: &name,
            queue_id: 0,
            sys_flag: record.sys_flag() & !sys_flag::TRANSACTION_MASK,
            reconsume_times: record.reconsume_times(),
            properties: &text,
        };
        self.append_copy(record, copy)?;
        Ok(())
    }
}
