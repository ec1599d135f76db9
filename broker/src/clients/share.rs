//! `subscriptionConflict=EACH`: those members of a group that subscribe alike are a share of it.
//!
//! Each share reads the group's queues as if it were a group of its own: with its own offsets, locks and list
//! of members, all kept under its name. The name follows from what is subscribed to and from nothing else,
//! so that a share finds its progress again after any restart.

use std::collections::BTreeMap;

use sluice_protocol::body::SubscriptionData;
use sluice_protocol::topic::RETRY_PREFIX;

use super::Wishes;

/// Stands between group and digest in a share's name; no group can have it in its own.
const SEPARATOR: char = '#';

/// What a member of a share wants. Members of one share have equal names, and each its own versions.
#[derive(Debug)]
pub struct Share {
    /// `group#digest`.
    pub name: String,
    /// What this member said, by topic.
    pub subscriptions: BTreeMap<String, SubscriptionData>,
}

impl Share {
    /// The share of a member that says so.
    pub fn of(group: &str, wishes: &Wishes, subscriptions: &[SubscriptionData]) -> Share {
        let by_topic = |one: &SubscriptionData| (one.topic.clone(), one.clone());
        Share {
            name: format!("{group}{SEPARATOR}{}", digest(wishes)),
            subscriptions: subscriptions.iter().map(by_topic).collect(),
        }
    }

    /// The part of its name that tells it from the group's other shares.
    pub fn digest(&self) -> &str {
        digest_of(&self.name).unwrap_or_default()
    }
}

/// The group in whose name progress is kept, be it a share's.
pub fn group_of(reader: &str) -> &str {
    reader
        .split_once(SEPARATOR)
        .map_or(reader, |(group, _)| group)
}

/// What tells a share from others of its group; `None` if it is the name of a group.
pub fn digest_of(reader: &str) -> Option<&str> {
    reader.split_once(SEPARATOR).map(|(_, digest)| digest)
}

/// 64 bits of FNV-1a over what is subscribed to, in hex: it has to be the same in every version and on every
/// machine. A group's retry topic is everybody's and does not count.
fn digest(wishes: &Wishes) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |part: &str| {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (topic, wish) in wishes {
        if topic.starts_with(RETRY_PREFIX) {
            continue;
        }
        add(topic);
        add(&wish.expression_type);
        wish.meaning().into_iter().for_each(&mut add);
        add("");
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::super::wishes;
    use super::*;

    fn share(subscribed: &[(&str, &str)]) -> Share {
        let data = |(topic, tags): &(&str, &str)| SubscriptionData::tags(topic, tags, 1).unwrap();
        let data: Vec<SubscriptionData> = subscribed.iter().map(data).collect();
        Share::of("billing", &wishes(&data), &data)
    }

    #[test]
    fn a_name_follows_from_what_is_subscribed_to() {
        let one = share(&[("orders", "A || B"), ("bills", "*")]);
        // It is in files: another name would lose the progress under this one.
        assert_eq!(one.name, format!("billing#{}", one.digest()));
        assert_eq!(one.digest(), "8e32ae4a2549ac27");
        let same = share(&[("%RETRY%billing", "*"), ("bills", ""), ("orders", "B||A")]);
        assert_eq!(one.name, same.name);
        for other in [
            share(&[("orders", "A || B")]),
            share(&[("orders", "A"), ("bills", "*")]),
            share(&[("orders", "*"), ("bills", "A || B")]),
        ] {
            assert_ne!(one.name, other.name);
        }
    }

    #[test]
    fn a_name_tells_its_group() {
        assert_eq!(group_of("billing#12"), "billing");
        assert_eq!(
            (group_of("billing"), digest_of("billing")),
            ("billing", None)
        );
        assert_eq!(digest_of("billing#12"), Some("12"));
    }
}
