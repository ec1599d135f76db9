//! Offsets of one group by those of another: CLONE_GROUP_OFFSET (314), QUERY_CORRECTION_OFFSET (308).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::QueryCorrectionOffsetBody;
use sluice_protocol::header::{CloneGroupOffsetRequestHeader, QueryCorrectionOffsetHeader};
use sluice_protocol::topic::is_valid_group;
use sluice_remoting::Responder;

use super::group_admin::is_subscribed;
use crate::error::Refusal;
use crate::{Answer, Broker};

/// Lets a group go on where another is, on one topic or on all of the other's. Of an online group only what
/// it subscribes to, unless asked not to look.
pub fn clone_group_offset(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let header = CloneGroupOffsetRequestHeader::decode(&request.ext)?;
        let (from, to) = (&*header.src_group, &*header.dest_group);
        if !is_valid_group(to) {
            return Err(Refusal::InvalidParameter(format!(
                "destGroup is no name of a group, of {} bytes",
                to.len()
            )));
        }
        let named = header.topic.as_deref().map(str::trim);
        let mut topics = match named.filter(|topic| !topic.is_empty()) {
            Some(topic) => BTreeSet::from([topic.to_owned()]),
            None => broker.offsets.topics_of(from),
        };
        topics.retain(|topic| broker.topics.get(topic).is_some());
        topics.retain(|topic| header.offline || is_subscribed(broker, from, topic));
        for topic in &topics {
            for (queue_id, offset) in broker.offsets.of(from, topic) {
                broker.offsets.commit(to, topic, queue_id, offset);
            }
        }
        tracing::info!(from, to, ?topics, "offsets of a group cloned");
        Ok(Answer::default())
    });
}

/// The lowest offset of all groups on each queue; where the compared group is behind all others, none is to
/// be corrected, which the largest number says. Unlike in Java's broker nothing is forgotten of the groups
/// that are not to count.
pub fn query_correction_offset(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_aside(responder, move |broker| {
        let header = QueryCorrectionOffsetHeader::decode(&request.ext)?;
        let topic = &*header.topic;
        let excluded: BTreeSet<&str> = header
            .filter_groups
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .collect();
        let mut lowest: BTreeMap<i32, i64> = BTreeMap::new();
        for group in broker.offsets.groups_of(topic) {
            if excluded.contains(&*group) {
                continue;
            }
            for (queue_id, offset) in broker.offsets.of(&group, topic) {
                if offset >= broker.bounds(topic, queue_id).min {
                    let known = lowest.entry(queue_id).or_insert(i64::MAX);
                    *known = offset.min(*known);
                }
            }
        }
        for (queue_id, offset) in broker.offsets.of(&header.compare_group, topic) {
            let known = lowest.entry(queue_id).or_insert(i64::MAX);
            if *known > offset {
                *known = i64::MAX;
            }
        }
        broker.json(&QueryCorrectionOffsetBody {
            correction_offsets: lowest,
        })
    });
}
