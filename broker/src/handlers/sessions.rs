//! HEART_BEAT (34), UNREGISTER_CLIENT (35), GET_CONSUMER_LIST_BY_GROUP (38), CHECK_CLIENT_CONFIG (46),
//! and what happens when a connection ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    CheckClientRequestBody, ConsumerData, GetConsumerListByGroupResponseBody, HeartbeatData,
    MessageModel,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::header::{
    GetConsumerListByGroupRequestHeader, NotifyConsumerIdsChangedRequestHeader,
    UnregisterClientRequestHeader,
};
use sluice_protocol::topic::{self, perm};
use sluice_remoting::{Connection, Responder};

use crate::clients::{ConsumerGroup, Entering, Member, OnConflict, Share, wishes};
use crate::error::Refusal;
use crate::expressions::Passing;
use crate::topics;
use crate::{Answer, Broker};

/// Registers the client's groups; new groups and their retry topics are on disk and registered when
/// the answer leaves.
pub fn heart_beat(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let heartbeat: HeartbeatData = match broker.body(&request) {
        Ok(heartbeat) => heartbeat,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let member = Member {
        connection: responder.connection().clone(),
        client_id: heartbeat.client_id.clone(),
        language: request.language,
        version: request.version,
        last_update_ms: broker.now_ms(),
        wishes: Arc::default(),
        share: None,
        led: None,
    };
    let (mut created, mut refused) = (false, None);
    for consumer in &heartbeat.consumer_data_set {
        match register_consumer(broker, consumer, &member) {
            Ok(topic) => created |= topic,
            Err(refusal) => refused = Some(refusal),
        }
    }
    for producer in &heartbeat.producer_data_set {
        broker
            .producers
            .register(&producer.group_name, member.clone());
    }
    if let Some(refusal) = refused {
        return broker.refuse(responder, refusal);
    }
    let answer = responder.response(response::SUCCESS);
    if !created {
        return responder.answer(answer);
    }
    let broker = broker.clone();
    tokio::spawn(async move {
        if let Err(unsettled) = broker.changes.settled().await {
            tracing::warn!(%unsettled, "a heartbeat made a retry topic");
        }
        responder.answer(answer);
    });
}

/// Registers one group's member. True if the group's retry topic had to be made.
///
/// # Errors
/// It is kept out, because it subscribes differently than the others.
fn register_consumer(
    broker: &Arc<Broker>,
    data: &ConsumerData,
    member: &Member,
) -> Result<bool, Refusal> {
    let Some(group) = broker.group_or_create(&data.group_name) else {
        tracing::warn!(
            group = data.group_name,
            client = member.client_id,
            "heartbeat of an unknown group: auto-creation is off or the name is invalid"
        );
        return Ok(false);
    };
    let retry = format!("{}{}", topic::RETRY_PREFIX, data.group_name);
    let mut created = false;
    if broker.topics.get(&retry).is_none() && group.retry_queue_nums > 0 {
        let sys_flag = if data.unit_mode {
            topic::SYS_FLAG_UNIT_SUB
        } else {
            0
        };
        // The group may come from a file that nobody has checked.
        let queues = group.retry_queue_nums.min(topics::QUEUES_MAX);
        let mut wanted = topics::plain(&retry, queues, perm::READ | perm::WRITE);
        wanted.topic_sys_flag = sys_flag;
        created = broker.topics.create(wanted, broker.now_ms());
        if created {
            broker.changes.note_topic();
        }
    }
    enter(broker, data, member)?;
    Ok(created)
}

/// Takes the member into the group. What is wrong between members is said once, when it comes about.
fn enter(broker: &Broker, data: &ConsumerData, member: &Member) -> Result<(), Refusal> {
    let group = &data.group_name;
    let wishes = wishes(&data.subscription_data_set);
    let share = broker
        .serves_each
        .then(|| Arc::new(Share::of(group, &wishes, &data.subscription_data_set)));
    let member = Member {
        wishes: Arc::new(wishes),
        share: share.clone(),
        ..member.clone()
    };
    let (id, client, peer) = (
        member.connection.id(),
        member.client_id.clone(),
        member.connection.peer(),
    );
    let enter = |entering: &Entering<'_>| broker.enter_share(entering);
    let conflict = broker.on_conflict(group, share.as_deref(), &enter);
    let registered = broker.consumers.register(data, member, &conflict);
    if registered.changed {
        tell_members(broker, group);
    }
    if let Some(other) = registered.twin {
        tracing::warn!(
            group, client, %peer, %other,
            "two connections of the group have one client id: a client that has reconnected, or two that get each other's queues"
        );
    }
    if let Some(unequal) = registered.unequal {
        tracing::warn!(
            group, refused = registered.refused, %unequal,
            "members of one group subscribe differently, {}",
            match conflict {
                OnConflict::Split { .. } => "each gets what it asked for",
                _ => "each can miss messages",
            }
        );
    }
    broker.check_member(group, id)
}

impl Broker {
    /// Whether a group lets a connection consume.
    ///
    /// # Errors
    /// It keeps it out, because it subscribes differently than its members.
    pub(crate) fn check_member(&self, group: &str, connection: u64) -> Result<(), Refusal> {
        match self.consumers.refusal(group, connection) {
            Some(why) => Err(conflicting(group, &why)),
            None => Ok(()),
        }
    }
}

/// What a member is told that its group keeps out.
pub(crate) fn conflicting(group: &str, why: &str) -> Refusal {
    Refusal::NoPermission(format!(
        "the consumer group[{group}] refuses this member, which subscribes differently {why}"
    ))
}

/// NOTIFY_CONSUMER_IDS_CHANGED to every member: they rebalance at once.
fn tell_members(broker: &Broker, group: &str) {
    if let Some(consumers) = broker.consumers.get(group) {
        tell(broker, group, &consumers);
    }
}

/// NOTIFY_CONSUMER_IDS_CHANGED to some members: a rebalance will get them further now.
pub fn tell_clients(broker: &Broker, group: &str, client_ids: &BTreeSet<String>) {
    if !wants_notifications(broker, group) {
        return;
    }
    for client_id in client_ids {
        if let Some(member) = broker.consumers.member(group, client_id) {
            member.connection.one_way(notification(group));
        }
    }
}

fn tell(broker: &Broker, group: &str, consumers: &ConsumerGroup) {
    if !wants_notifications(broker, group) || consumers.message_model == MessageModel::Broadcasting
    {
        return;
    }
    for member in consumers.members() {
        member.connection.one_way(notification(group));
    }
}

fn wants_notifications(broker: &Broker, group: &str) -> bool {
    broker
        .groups
        .get(group)
        .is_none_or(|group| group.notify_consumer_ids_changed_enable)
}

fn notification(group: &str) -> RemotingCommand {
    let mut notification = RemotingCommand::request(request::NOTIFY_CONSUMER_IDS_CHANGED, 0);
    NotifyConsumerIdsChangedRequestHeader {
        consumer_group: group.into(),
    }
    .encode(&mut notification.ext);
    notification
}

/// Takes the connection out of the groups the client names.
pub fn unregister_client(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let header = match UnregisterClientRequestHeader::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return broker.refuse(responder, error),
    };
    let connection = responder.connection().id();
    if let Some(group) = header.producer_group.as_deref() {
        broker.producers.leave(group, connection);
    }
    if let Some(group) = header.consumer_group.as_deref() {
        leave_consumer_group(broker, group, connection);
    }
    let success = responder.response(response::SUCCESS);
    responder.answer(success);
}

fn leave_consumer_group(broker: &Broker, group: &str, connection: u64) {
    if let Some(left) = broker.consumers.leave(group, connection) {
        tell(broker, group, &left);
    }
}

/// The connection is gone, and with it its memberships.
pub fn connection_closed(broker: &Broker, connection: &Connection) {
    for group in broker.consumers.groups_of(connection.id()) {
        leave_consumer_group(broker, &group, connection.id());
    }
    broker.producers.leave_all(connection.id());
}

/// Client ids of the group's members; of a split group, of those with whom the client shares queues.
pub fn get_consumer_list_by_group(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    let connection = responder.connection().id();
    broker.reply(responder, || {
        let header = GetConsumerListByGroupRequestHeader::decode(&request.ext)?;
        let beside = |group: &ConsumerGroup| group.members_beside(connection);
        let members = broker.consumers.with(&header.consumer_group, beside);
        let members = members.unwrap_or_default();
        if members.is_empty() {
            return Err(Refusal::System(format!(
                "no consumer for this group, {}",
                header.consumer_group
            )));
        }
        let mut consumer_id_list: Vec<String> =
            members.into_iter().map(|member| member.client_id).collect();
        // A client that has reconnected may have a second, half-open connection for a while; listed
        // twice, it would be given queues that it never works on.
        consumer_id_list.dedup();
        broker.json(&GetConsumerListByGroupResponseBody { consumer_id_list })
    });
}

/// Whether the client's expression will work.
pub fn check_client_config(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    match checked_expression(broker, &request) {
        Ok(Some(Passing::Uncompiled(expression))) => {
            broker.compile_aside(expression, responder, |broker, responder, _| {
                broker.reply(responder, || Ok(Answer::default()));
            });
        }
        checked => broker.reply(responder, || checked.map(|_| Answer::default())),
    }
}

fn checked_expression(
    broker: &Broker,
    request: &RemotingCommand,
) -> Result<Option<Passing>, Refusal> {
    let check: CheckClientRequestBody = broker.body(request)?;
    let Some(subscription) = check.subscription_data else {
        return Ok(None);
    };
    let passing = broker.passing(
        &subscription.topic,
        check.group.as_deref().unwrap_or_default(),
        Some(&subscription.expression_type),
        &subscription.sub_string,
    );
    passing.map(Some)
}
