//! Names of topics and queues that POP has of its own (`KeyBuilder`, `PopAckConstants`).

use sluice_protocol::topic::RETRY_PREFIX;

/// Whose offsets on the revive topic tell how far it is worked off.
pub(crate) const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// Stands for the revive queue in the receipts of ordered pops, which have no check point.
pub(crate) const ORDER_QUEUE: i32 = 999;
/// Separates group and topic in a retry topic's name; no group and no topic may contain the second.
const V1: char = '_';
const V2: char = '+';

/// Where check points and acks go.
pub(crate) fn revive_topic(cluster: &str) -> String {
    format!("rmq_sys_REVIVE_LOG_{cluster}")
}

/// Where messages of a topic go that a group has not acked in time.
pub(crate) fn retry_topic(topic: &str, group: &str, v2: bool) -> String {
    let separator = if v2 { V2 } else { V1 };
    format!("{RETRY_PREFIX}{group}{separator}{topic}")
}

/// Whether a topic can have queues: their directories bear its name.
pub(crate) fn is_possible(topic: &str) -> bool {
    const FILE_NAME_MAX: usize = 255;
    topic.len() <= FILE_NAME_MAX
}

/// How receipts name the kind of a topic: `0` normal, `1` and `2` retry.
pub(crate) fn kind(topic: &str) -> &'static str {
    match topic.starts_with(RETRY_PREFIX) {
        false => "0",
        true if topic.contains(V2) => "2",
        true => "1",
    }
}

/// The topic that a kind stands for; `None` for no kind.
pub(crate) fn of_kind(kind: &str, topic: &str, group: &str) -> Option<String> {
    match kind {
        "0" => Some(topic.to_owned()),
        "1" => Some(retry_topic(topic, group, false)),
        "2" => Some(retry_topic(topic, group, true)),
        _ => None,
    }
}

/// The topic that the messages of a group's retry topic were sent to; any other is that itself.
pub(crate) fn normal_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    topic
        .strip_prefix(RETRY_PREFIX)
        .and_then(|rest| rest.strip_prefix(group))
        .and_then(|rest| rest.strip_prefix([V1, V2]))
        .unwrap_or(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_topics_are_told_apart_and_lead_back() {
        for (v2, name, mark) in [(false, "%RETRY%g_t_1", "1"), (true, "%RETRY%g+t_1", "2")] {
            let retry = retry_topic("t_1", "g", v2);
            assert_eq!(retry, name);
            assert_eq!(kind(&retry), mark);
            assert_eq!(normal_topic(&retry, "g"), "t_1");
            assert_eq!(of_kind(mark, "t_1", "g"), Some(retry));
        }
        assert_eq!(kind("t"), "0");
        assert_eq!(normal_topic("t", "g"), "t");
        assert_eq!(of_kind("3", "t", "g"), None);
    }
}
