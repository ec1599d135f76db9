//! What groups made of a message.

use serde::Serialize;
use sluice_filters::{MessageFilter, Verdict};
use sluice_plugins::Row;
use sluice_plugins::filter::Judgement;
use sluice_protocol::body::{MessageModel, SubscriptionData};
use sluice_protocol::message::Record;

use super::{Kind, Place};
use crate::Broker;

/// What a group made of a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfGroup {
    group: String,
    state: GroupState,
    /// How many messages of its queue come first.
    before: Option<i64>,
    /// When it comes, or comes back.
    due_ms: Option<i64>,
    /// How often it has come back.
    retries: i32,
    /// Its dead letter.
    letter: Option<String>,
    /// What keeps it from the group, as subscription and plugins are now: `subscription`, or the name of
    /// a plugin.
    filtered_by: Option<String>,
}

/// As far as a broker can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum GroupState {
    /// The group went past it: consumed it, or does not want it.
    Past,
    /// It has not come to it.
    Waiting,
    /// A client has popped it, and it is not acked.
    InFlight,
    /// It gave it back or an operator sent it again, and it is to get it.
    Retried,
    /// It is among its dead letters.
    Dead,
    /// Its clients keep their offsets themselves.
    Broadcast,
    /// The group has no offset on its queue.
    Unknown,
}

impl Broker {
    /// `itself` is the message in its own topic, if it is kept.
    pub(super) fn of_group(
        &self,
        group: String,
        itself: Option<&Record<'_>>,
        way: &[Place],
    ) -> OfGroup {
        let last = way
            .iter()
            .rfind(|place| place.group.as_deref() == Some(&*group));
        let retries = way
            .iter()
            .filter(|place| place.group.as_deref() == Some(&*group));
        let mut of_group = OfGroup {
            state: GroupState::Unknown,
            before: None,
            due_ms: None,
            retries: retries
                .map(|place| place.reconsume_times)
                .max()
                .unwrap_or(0),
            letter: None,
            filtered_by: itself.and_then(|record| self.filtered_by(record, &group)),
            group,
        };
        let model = |group: &crate::clients::ConsumerGroup| group.message_model;
        let broadcasts =
            self.consumers.with(&of_group.group, model) == Some(MessageModel::Broadcasting);
        match (last, itself) {
            _ if broadcasts => of_group.state = GroupState::Broadcast,
            (Some(last), _) if last.kind == Kind::DeadLetter => {
                of_group.state = GroupState::Dead;
                of_group.letter = Some(last.id.clone());
            }
            (Some(last), _) if last.kind == Kind::Delayed => {
                of_group.state = GroupState::Retried;
                of_group.due_ms = last.due_ms;
            }
            (Some(last), _) => {
                let at = (&*last.topic, last.queue_id, last.queue_offset);
                self.place_in_queue(&mut of_group, at);
                if matches!(of_group.state, GroupState::Waiting | GroupState::Unknown) {
                    of_group.state = GroupState::Retried;
                }
            }
            (None, Some(record)) => {
                let at = (record.topic(), record.queue_id(), record.queue_offset());
                self.place_in_queue(&mut of_group, at);
            }
            (None, None) => {}
        }
        of_group
    }

    fn place_in_queue(&self, of_group: &mut OfGroup, (topic, queue_id, offset): (&str, i32, i64)) {
        let popped = self.in_flight(&of_group.group).into_iter().find(|popped| {
            popped.topic == topic && popped.queue_id == queue_id && popped.offset == offset
        });
        if let Some(popped) = popped {
            of_group.state = GroupState::InFlight;
            of_group.due_ms = Some(popped.due_ms);
            return;
        }
        match self.group_offset(&of_group.group, topic, queue_id) {
            None => {}
            Some(next) if next > offset => of_group.state = GroupState::Past,
            Some(next) => {
                of_group.state = GroupState::Waiting;
                of_group.before = Some(offset - next);
            }
        }
    }

    fn filtered_by(&self, record: &Record<'_>, group: &str) -> Option<String> {
        let topic = record.topic();
        let subscribed = self
            .consumers
            .with(group, |consumers| consumers.subscriptions_to(topic))
            .unwrap_or_default();
        let unwanted = |subscription| !self.matches(record, group, subscription);
        if !subscribed.is_empty() && subscribed.iter().all(unwanted) {
            return Some("subscription".to_owned());
        }
        let row = Row::from(record);
        let chain = self.plugins.filters(topic, group);
        let keeps = |verdict| {
            matches!(
                verdict,
                Judgement::Drop | Judgement::DeadLetter | Judgement::Hold
            )
        };
        chain
            .iter()
            .find(|bound| keeps(bound.explain(&row).verdict))
            .map(|bound| bound.spec().plugin.clone())
    }

    /// Whether the subscription wants the message; in doubt it does.
    fn matches(&self, record: &Record<'_>, group: &str, subscription: &SubscriptionData) -> bool {
        if subscription.class_filter_mode {
            return true;
        }
        let (language, text) = (&subscription.expression_type, &subscription.sub_string);
        let filter = self.expression(record.topic(), group, Some(language), text);
        let Ok(filter) = filter else { return true };
        let unit = self
            .store
            .unit_at(record.topic(), record.queue_id(), record.queue_offset());
        unit.is_none_or(|unit| passes(&*filter, unit.tags_code, record))
    }
}

fn passes(filter: &dyn MessageFilter, tags_code: i64, record: &Record<'_>) -> bool {
    if !filter.may_match_tags_code(tags_code) {
        return false;
    }
    let mut verdicts = [Verdict::Pass];
    if filter.needs_record() {
        filter.judge(std::slice::from_ref(record), &mut verdicts);
    }
    verdicts[0] != Verdict::Drop
}
