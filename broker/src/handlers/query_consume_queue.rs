//! QUERY_CONSUME_QUEUE (321): units of a consume queue as they lie.

use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{ConsumeQueueData, QueryConsumeQueueResponseBody, SubscriptionData};
use sluice_protocol::header::QueryConsumeQueueRequestHeader;
use sluice_remoting::Responder;

use super::group_admin::subscription;
use crate::error::Refusal;
use crate::{Answer, Broker};

/// Units of one answer.
const UNITS_MAX: i64 = 32_768;

/// Units from an index on, and what a group subscribes to there. Unlike Java's broker it also tells the
/// bounds if there is no unit at the index: an answer without a body makes mqadmin fail.
pub fn query_consume_queue(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        let header = QueryConsumeQueueRequestHeader::decode(&request.ext)?;
        let (topic, queue_id) = (&*header.topic, header.queue_id);
        let bounds = broker.store.queue_bounds(topic, queue_id);
        let bounds =
            bounds.ok_or_else(|| Refusal::System(format!("{queue_id}@{topic} is not exist!")))?;
        let mut body = QueryConsumeQueueResponseBody {
            max_queue_index: bounds.max,
            min_queue_index: bounds.min,
            ..QueryConsumeQueueResponseBody::default()
        };
        if let Some(group) = header.consumer_group.as_deref() {
            body.subscription_data = subscription(broker, group, topic);
            body.filter_data = Some(match &body.subscription_data {
                Some(subscription) => filter_data(subscription),
                None => format!("{group}@{topic} is not online!"),
            });
        }
        let index = header.index;
        if !(bounds.min..bounds.max).contains(&index) {
            let answer = broker.json(&body)?;
            let remark = format!("Index {index} of {queue_id}@{topic} is not exist!");
            return Ok(Answer {
                remark: Some(remark),
                ..answer
            });
        }
        let count = i64::from(header.count).clamp(0, UNITS_MAX);
        let end = bounds.max.min(index.saturating_add(count));
        body.queue_data = (index..end)
            .map_while(|at| unit(broker, topic, queue_id, at))
            .collect();
        broker.json(&body)
    });
}

fn unit(broker: &Broker, topic: &str, queue_id: i32, offset: i64) -> Option<ConsumeQueueData> {
    let unit = broker.store.unit_at(topic, queue_id, offset)?;
    Some(ConsumeQueueData {
        eval: false,
        physic_offset: unit.physical_offset,
        physic_size: unit.size,
        tags_code: unit.tags_code,
    })
}

/// An expression that is more than tags; of tags Java's broker keeps nothing, and says so.
fn filter_data(subscription: &SubscriptionData) -> String {
    if subscription.expression_type == "TAG" {
        return "null".to_owned();
    }
    format!(
        "{}: {}",
        subscription.expression_type, subscription.sub_string
    )
}
