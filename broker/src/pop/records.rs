//! Check points and acks as records of the revive topic, as Java writes and reads them.
//!
//! Each says when it is due (`TIMER_DELIVER_MS`): a check point a second before its messages come
//! back, an ack when they would.

use serde::Serialize;
use sluice_protocol::body::{PopAck, PopCheckPoint};
use sluice_protocol::fastjson;
use sluice_protocol::message::{Record, RecordFields, properties};
use sluice_store::{AppendError, Appended};

use super::names;
use crate::Broker;

const CHECK_POINT: &str = "ck";
const ACK: &str = "ack";
const BATCH_ACK: &str = "bAck";
/// How long before its messages a check point is due.
const CHECK_POINT_LEAD_MS: i64 = 1000;

/// What a record of the revive topic says.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Messages were taken.
    CheckPoint(PopCheckPoint),
    /// Messages are done with.
    Ack(PopAck),
}

/// Reads a record; `None` if it is neither.
pub(crate) fn read(record: &Record<'_>) -> Option<Entry> {
    match record.property(properties::TAGS)? {
        CHECK_POINT => {
            let mut point: PopCheckPoint = fastjson::from_slice(record.body()).ok()?;
            point.revive_time = point.pop_time.saturating_add(point.invisible_time);
            let named = !point.topic.is_empty() && !point.group.is_empty();
            named.then_some(Entry::CheckPoint(point))
        }
        ACK | BATCH_ACK => fastjson::from_slice(record.body()).ok().map(Entry::Ack),
        _ => None,
    }
}

/// The acked offsets.
pub(crate) fn offsets(ack: &PopAck) -> &[i64] {
    match ack.ack_offsets.is_empty() {
        true => std::slice::from_ref(&ack.ack_offset),
        false => &ack.ack_offsets,
    }
}

/// The offset of a check point's message, by its position.
pub(crate) fn offset_at(point: &PopCheckPoint, at: usize) -> i64 {
    let diff = point
        .diffs
        .get(at)
        .map_or(at as i64, |diff| i64::from(*diff));
    point.start_offset.saturating_add(diff)
}

/// The position of a check point's message, by its offset.
pub(crate) fn position_of(point: &PopCheckPoint, offset: i64) -> Option<usize> {
    (0..count(point)).find(|at| offset_at(point, *at) == offset)
}

/// How many messages a check point has; the map of what is acked has 32 bits.
pub(crate) fn count(point: &PopCheckPoint) -> usize {
    usize::from(point.num).min(32)
}

impl Broker {
    /// Stores a check point.
    ///
    /// # Errors
    /// Nothing was stored: its messages must not leave.
    pub(crate) fn append_check_point(
        &self,
        point: &PopCheckPoint,
        revive_queue: i32,
    ) -> Result<Appended, AppendError> {
        let id = format!(
            "{}@{}@{}@{}@{}@{}@{CHECK_POINT}",
            point.topic,
            point.queue_id,
            point.start_offset,
            point.group,
            point.pop_time,
            point.broker_name
        );
        let due = point.revive_time.saturating_sub(CHECK_POINT_LEAD_MS);
        self.append_to_revive(revive_queue, (CHECK_POINT, &id), due, point)
    }

    /// Stores an ack. `revive_time` is that of its check point, Unix milliseconds.
    ///
    /// # Errors
    /// Nothing was stored.
    pub(crate) fn append_ack(
        &self,
        ack: &PopAck,
        revive_queue: i32,
        revive_time: i64,
    ) -> Result<Appended, AppendError> {
        let id = format!(
            "{}@{}@{}@{}@{}@{}@{ACK}",
            ack.topic, ack.queue_id, ack.ack_offset, ack.group, ack.pop_time, ack.broker_name
        );
        let tag = match ack.ack_offsets.is_empty() {
            true => ACK,
            false => BATCH_ACK,
        };
        self.append_to_revive(revive_queue, (tag, &id), revive_time, ack)
    }

    fn append_to_revive(
        &self,
        queue_id: i32,
        (tag, id): (&str, &str),
        due_ms: i64,
        body: &impl Serialize,
    ) -> Result<Appended, AppendError> {
        let mut text = Vec::with_capacity(128);
        properties::put(&mut text, properties::TAGS, tag);
        properties::put(&mut text, properties::UNIQ_KEY, id);
        properties::put(&mut text, properties::TIMER_DELIVER_MS, &due_ms.to_string());
        let topic = names::revive_topic(&self.config().broker_cluster_name);
        let body = fastjson::to_vec(body).expect("numbers and texts have a JSON");
        let fields = RecordFields {
            topic: &topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: self.now_ms(),
            born_host: self.store_host(),
            store_host: self.store_host(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &text,
        };
        let mut bytes = Vec::with_capacity(fields.encoded_size());
        fields.encode(&mut bytes)?;
        self.store.append(&topic, queue_id, &mut bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_java_s() {
        let point = PopCheckPoint {
            broker_name: "broker-a".to_owned(),
            group: "pay_group".to_owned(),
            diffs: vec![0, 1, 2],
            invisible_time: 60_000,
            num: 3,
            pop_time: 1_750_000_000_000,
            revive_time: 1_750_000_060_000,
            start_offset: 120,
            topic: "OrderTopic".to_owned(),
            ..PopCheckPoint::default()
        };
        let java = r#"{"bm":0,"bn":"broker-a","c":"pay_group","d":[0,1,2],"it":60000,"n":3,"pt":1750000000000,"q":0,"reviveTime":1750000060000,"ro":0,"so":120,"t":"OrderTopic"}"#;
        assert_eq!(fastjson::to_vec(&point).unwrap(), java.as_bytes());
        assert_eq!(position_of(&point, 122), Some(2));
        assert_eq!(position_of(&point, 123), None);
        let mut ack = PopAck {
            ack_offset: 121,
            broker_name: "broker-a".to_owned(),
            group: "pay_group".to_owned(),
            pop_time: 1_750_000_000_000,
            start_offset: 120,
            topic: "OrderTopic".to_owned(),
            ..PopAck::default()
        };
        let java = r#"{"ao":121,"bn":"broker-a","c":"pay_group","pt":1750000000000,"q":0,"so":120,"t":"OrderTopic"}"#;
        assert_eq!(fastjson::to_vec(&ack).unwrap(), java.as_bytes());
        (ack.ack_offset, ack.ack_offsets) = (-1, vec![120, 121]);
        let java = r#"{"ao":-1,"aol":[120,121],"bn":"broker-a","c":"pay_group","pt":1750000000000,"q":0,"so":120,"t":"OrderTopic"}"#;
        assert_eq!(fastjson::to_vec(&ack).unwrap(), java.as_bytes());
        assert_eq!(offsets(&ack), [120, 121]);
    }

    #[test]
    fn old_check_points_have_no_distances() {
        let point = PopCheckPoint {
            num: 2,
            start_offset: 7,
            ..PopCheckPoint::default()
        };
        assert_eq!((offset_at(&point, 1), position_of(&point, 8)), (8, Some(1)));
        assert_eq!(position_of(&point, 9), None);
    }
}
