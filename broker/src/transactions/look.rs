//! Undecided transactions as an operator sees them.

use serde::Serialize;
use sluice_protocol::message::{MessageId, Record, properties};

use super::half::destination;
use super::ledger::Half;
use crate::Broker;
use crate::error::Refusal;

/// An undecided transaction.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undecided {
    /// The transaction's id: the message's unique key.
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
    pub(crate) group: String,
    pub(crate) tags: Option<String>,
    pub(crate) keys: Option<String>,
    pub(crate) body_size: usize,
    /// Unix milliseconds, by the producer's clock.
    pub(crate) born_ms: i64,
    /// Of the half message as it lies now; a check puts it again.
    pub(crate) stored_ms: i64,
    /// How often its producer has been asked.
    pub(crate) checks: u32,
    /// When it is asked next, if one is connected then.
    pub(crate) next_check_ms: i64,
    pub(crate) producers: usize,
    pub(crate) half_offset: i64,
    pub(crate) half_message_id: String,
    pub(crate) born_host: String,
}

impl Broker {
    /// Those of a group and a topic (`None`: of all), the oldest first, so many at most. Reads a
    /// disk.
    pub(crate) fn undecided(
        &self,
        group: Option<&str>,
        topic: Option<&str>,
        max: usize,
    ) -> Vec<Undecided> {
        let wanted = |record: &Record<'_>| topic.is_none_or(|topic| destination(record).0 == topic);
        self.halves_of(group)
            .into_iter()
            .filter_map(|half| self.seen(&half, &wanted))
            .take(max)
            .collect()
    }

    /// The undecided transaction with this id, and the record of its half message.
    pub(crate) fn undecided_by_id(&self, id: &str) -> Option<(Undecided, bytes::Bytes)> {
        let wanted = |record: &Record<'_>| record.property(properties::UNIQ_KEY) == Some(id);
        self.halves_of(None).into_iter().find_map(|half| {
            let seen = self.seen(&half, &wanted)?;
            Some((seen, self.store.record_at(half.physical)?))
        })
    }

    /// A transaction that was given up awaits a decision again, with all its checks, unless it does
    /// already or was committed since.
    ///
    /// # Errors
    /// It was committed; it could not be stored.
    pub(crate) fn resume_check(&self, given_up: &Record<'_>) -> Result<(), Refusal> {
        let id = given_up.property(properties::UNIQ_KEY).unwrap_or_default();
        if self.undecided_by_id(id).is_some() {
            return Ok(());
        }
        let same = |bytes: &bytes::Bytes| {
            let record = Record::parse(bytes);
            record.is_ok_and(|record| record.property(properties::UNIQ_KEY) == Some(id))
        };
        let (topic, _) = destination(given_up);
        let stored = self.store.query_by_key(topic, id, 64, 0, i64::MAX);
        if stored.records.iter().any(same) {
            return Err(Refusal::System(format!(
                "the transaction {id} was committed since"
            )));
        }
        self.append_again(given_up, 0)?;
        tracing::info!(id, topic, "an operator lets a transaction be checked again");
        Ok(())
    }

    fn halves_of(&self, group: Option<&str>) -> Vec<Half> {
        let ledger = self.transactions.ledger.lock();
        ledger
            .iter()
            .filter(|(_, half)| group.is_none_or(|group| *half.group == *group))
            .map(|(_, half)| half.clone())
            .collect()
    }

    fn seen(&self, half: &Half, wanted: &dyn Fn(&Record<'_>) -> bool) -> Option<Undecided> {
        let bytes = self.store.record_at(half.physical)?;
        let record = Record::parse(&bytes).ok().filter(wanted)?;
        let (topic, queue_id) = destination(&record);
        let text = |name| record.property(name).map(str::to_owned);
        Some(Undecided {
            id: text(properties::UNIQ_KEY).unwrap_or_default(),
            topic: topic.to_owned(),
            queue_id,
            group: half.group.to_string(),
            tags: text(properties::TAGS),
            keys: text(properties::KEYS),
            body_size: record.body().len(),
            born_ms: record.born_timestamp(),
            stored_ms: record.store_timestamp(),
            checks: half.checks,
            next_check_ms: half.due_ms,
            producers: self.producers.get(&half.group).map_or(0, |all| all.len()),
            half_offset: record.queue_offset(),
            half_message_id: MessageId {
                store_host: record.store_host(),
                physical_offset: half.physical,
            }
            .to_string(),
            born_host: record.born_host().to_string(),
        })
    }
}
