//! Recalling a message before its time.
//!
//! A recall is a message through the timer's queue that names another one, and is due in the same
//! slot: when the slot is delivered, the other is left out.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use sluice_protocol::message::{RecordFields, properties};
use sluice_store::Appended;

use super::defer;
use crate::Broker;
use crate::error::Refusal;

/// Tag and body of the message that recalls another, as Java writes them.
const TAG: &str = "_RECALL_TAG_";
const BODY: &[u8] = b"0";
const VERSION: &str = "v1";

/// What a producer gets for a message that can be recalled. Source: `RecallMessageHandle`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) topic: String,
    pub(crate) broker: String,
    /// When the message is delivered, Unix milliseconds; -1 if that can't be read.
    pub(crate) deliver_ms: i64,
    pub(crate) unique_key: String,
}

impl Handle {
    /// The handle of a message in the timer, by its properties.
    pub(crate) fn of(broker: &Broker, topic: &str, text: &[u8]) -> Option<Handle> {
        let out_ms: i64 = properties::find(text, properties::TIMER_OUT_MS)?
            .parse()
            .ok()?;
        Some(Handle {
            topic: topic.to_owned(),
            broker: broker.config().broker_name.clone(),
            deliver_ms: out_ms + 1,
            unique_key: properties::find(text, properties::UNIQ_KEY)?.to_owned(),
        })
    }

    /// As clients carry it.
    pub(crate) fn encode(&self) -> String {
        let Handle {
            topic,
            broker,
            deliver_ms,
            unique_key,
        } = self;
        URL_SAFE.encode(format!(
            "{VERSION} {topic} {broker} {deliver_ms} {unique_key}"
        ))
    }

    /// Reads one; `None` if it is none.
    pub(crate) fn decode(text: &str) -> Option<Handle> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let parts: Vec<&str> = text.split(' ').collect();
        let [VERSION, topic, broker, deliver_ms, unique_key, ..] = parts[..] else {
            return None;
        };
        Some(Handle {
            topic: topic.to_owned(),
            broker: broker.to_owned(),
            deliver_ms: deliver_ms.parse().unwrap_or(-1),
            unique_key: unique_key.to_owned(),
        })
    }
}

impl Broker {
    /// Stores a recall. It counts if the message's time has not come.
    ///
    /// # Errors
    /// It is too late, or nothing could be stored.
    pub(crate) fn recall(
        &self,
        handle: &Handle,
        group: &str,
        born_host: SocketAddr,
    ) -> Result<Appended, Refusal> {
        let Some(timer) = &self.timer else {
            return Err(Refusal::System("recall failed, execute error".to_owned()));
        };
        let mut recalled_to = timer.recalled_to.lock();
        let now_ms = self.now_ms();
        let left_ms = handle.deliver_ms.saturating_sub(now_ms);
        let max_ms = (self.config().timer_max_delay_sec as i64).saturating_mul(1000);
        if left_ms <= 0 || left_ms > max_ms {
            return Err(Refusal::IllegalOperation(
                "recall failed, timestamp invalid".to_owned(),
            ));
        }
        let mut text = recall_properties(handle, group, now_ms);
        let place = defer(self, &handle.topic, 0, &mut text)?.ok_or_else(|| {
            Refusal::IllegalOperation("recall failed, timestamp invalid".to_owned())
        })?;
        let fields = RecordFields {
            topic: &place.topic,
            queue_id: place.queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now_ms,
            born_host,
            store_host: self.store_host(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: BODY,
            properties: &text,
        };
        let mut bytes = Vec::with_capacity(fields.encoded_size());
        let encoded = fields.encode(&mut bytes);
        encoded.map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
        let appended = self
            .store
            .append(&place.topic, place.queue_id, &mut bytes)?;
        *recalled_to = appended.end_offset;
        Ok(appended)
    }
}

fn recall_properties(handle: &Handle, group: &str, now_ms: i64) -> Vec<u8> {
    let key = format!("{}+{}", handle.topic, handle.unique_key);
    let mut text = Vec::with_capacity(256);
    for (name, value) in [
        (properties::TAGS, TAG),
        (properties::TIMER_DEL_UNIQKEY, &*key),
        (properties::UNIQ_KEY, &*handle.unique_key),
        (
            properties::TIMER_DELIVER_MS,
            &*handle.deliver_ms.to_string(),
        ),
        ("BORN_TIMESTAMP", &*now_ms.to_string()),
        (properties::PGROUP, group),
    ] {
        properties::put(&mut text, name, value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_java_s() {
        let handle = Handle {
            topic: "orders".to_owned(),
            broker: "broker-a".to_owned(),
            deliver_ms: 1_750_000_000_001,
            unique_key: "7F000001000A".to_owned(),
        };
        let text = "djEgb3JkZXJzIGJyb2tlci1hIDE3NTAwMDAwMDAwMDEgN0YwMDAwMDEwMDBB";
        assert_eq!(handle.encode(), text);
        assert_eq!(Handle::decode(text), Some(handle));
        assert_eq!(Handle::decode("djE="), None);
        assert_eq!(Handle::decode("%%"), None);
    }
}
