//! JSON bodies, with their fields in the alphabetical order in which Java writes them.
//!
//! Reading is tolerant: unknown fields are passed over, missing and null ones take defaults, names
//! may begin with a capital (.NET), enums may be ordinals (C++), numbers may be texts.

mod assignment;
mod client;
mod namesrv;
mod pop;
mod registration;
mod stats;
mod subscription;
mod tolerant;
mod topic_config;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use assignment::*;
pub use client::*;
pub use namesrv::*;
pub use pop::*;
pub use registration::RegistrationError;
pub use stats::*;
pub use subscription::*;
pub use topic_config::*;

use crate::fastjson::{from_slice, raw_key, to_vec};

/// One queue of one broker. As a map key it is written as a bare object.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct MessageQueue {
    pub topic: String,
    pub broker_name: String,
    pub queue_id: i32,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MessageQueueFields {
    #[serde(alias = "BrokerName")]
    broker_name: String,
    #[serde(alias = "QueueId", deserialize_with = "tolerant::number")]
    queue_id: i32,
    #[serde(alias = "Topic")]
    topic: String,
}

impl Serialize for MessageQueue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MessageQueueFields {
            broker_name: self.broker_name.clone(),
            queue_id: self.queue_id,
            topic: self.topic.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MessageQueue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MessageQueueFields::deserialize(deserializer).map(|fields| MessageQueue {
            topic: fields.topic,
            broker_name: fields.broker_name,
            queue_id: fields.queue_id,
        })
    }
}

impl fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MessageQueue [topic={}, brokerName={}, queueId={}]",
            self.topic, self.broker_name, self.queue_id
        )
    }
}

/// Maps keyed by queue, for `#[serde(with = "queue_map")]`.
pub mod queue_map {
    use std::collections::BTreeMap;

    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;

    use super::{
        Deserialize, Deserializer, MessageQueue, Serialize, Serializer, from_slice, raw_key, to_vec,
    };

    /// Writes bare object keys.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer, V: Serialize>(
        map: &BTreeMap<MessageQueue, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let keyed = map.iter().map(|(queue, value)| {
            let key = to_vec(queue).map_err(S::Error::custom)?;
            Ok((raw_key(&String::from_utf8_lossy(&key)), value))
        });
        let keyed: BTreeMap<String, &V> = keyed.collect::<Result<_, S::Error>>()?;
        keyed.serialize(serializer)
    }

    /// Reads keys that the dialect's reader has made texts of.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>, V: DeserializeOwned>(
        deserializer: D,
    ) -> Result<BTreeMap<MessageQueue, V>, D::Error> {
        let keyed = Option::<BTreeMap<String, V>>::deserialize(deserializer)?.unwrap_or_default();
        keyed
            .into_iter()
            .map(|(key, value)| Ok((from_slice(key.as_bytes()).map_err(D::Error::custom)?, value)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
