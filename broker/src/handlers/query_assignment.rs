//! QUERY_ASSIGNMENT (400) and SET_MESSAGE_REQUEST_MODE (401): this broker shares a topic's queues out
//! among the members of a group, for clients that leave it to brokers.
//!
//! Every broker of the topic may be asked, so each answers from what all know alike: the queues in
//! the whole cluster, and the group's members, which send heartbeats to every broker.

use std::sync::Arc;

use sluice_allocation::{AllocateStrategy, Average, AverageByCircle, ConsistentHash, sort};
use sluice_plugins::World;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    MessageModel, MessageQueue, MessageQueueAssignment, MessageRequestMode,
    QueryAssignmentRequestBody, QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
};
use sluice_protocol::topic::RETRY_PREFIX;
use sluice_remoting::Responder;

use crate::clients::ConsumerGroup;
use crate::error::Refusal;
use crate::plugin_strategy::PluginStrategy;
use crate::{Answer, Broker};

/// Stands for all queues of a broker.
const ALL_QUEUES: i32 = -1;

/// The client's queues of a topic, or no assignment: it keeps what it has then, and asks again.
pub fn query_assignment(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let query: QueryAssignmentRequestBody = match broker.body(&request) {
        Ok(query) => query,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let (broker, connection) = (broker.clone(), responder.connection().id());
    // Name servers may have to be asked, and a strategy may take its time.
    tokio::spawn(async move {
        let queues = assigned(&broker, &query, connection).await;
        if queues.is_none() {
            tracing::debug!(?query, "no assignment");
        }
        let (mode, _) = mode(&broker, &query.topic, &query.consumer_group);
        let assignment = |queue| MessageQueueAssignment {
            message_queue: Some(queue),
            mode,
        };
        broker.reply(responder, || {
            broker.json(&QueryAssignmentResponseBody {
                message_queue_assignments: queues
                    .map(|queues| queues.into_iter().map(assignment).collect()),
            })
        });
    });
}

/// `None` if nothing can be said: topic, group, client or strategy is not known here.
async fn assigned(
    broker: &Broker,
    query: &QueryAssignmentRequestBody,
    connection: u64,
) -> Option<Vec<MessageQueue>> {
    let mut queues = cluster_queues(broker, &query.topic).await?;
    let everybody_gets_all = query.message_model == MessageModel::Broadcasting
        || !broker.config().server_load_balancer_enable;
    if everybody_gets_all {
        return Some(queues);
    }
    let (topic, group, client) = (&query.topic, &query.consumer_group, &query.client_id);
    let beside = |group: &ConsumerGroup| group.members_beside(connection);
    let members = broker.consumers.with(group, beside)?;
    let mut clients: Vec<String> = members.into_iter().map(|one| one.client_id).collect();
    // One that has reconnected may be listed twice for a while; a share of its own for either
    // connection would leave queues to nobody.
    sort(&mut queues, &mut clients);
    if !clients.contains(client) {
        // Its heartbeat is on the way. Java answers that nothing is the client's, which takes its
        // queues from it in vain.
        return None;
    }
    let strategy = strategy(broker, topic, group, &query.strategy_name)?;
    let allocated = match mode(broker, topic, group) {
        (MessageRequestMode::Pull, _) => strategy.allocate(client, &queues, &clients),
        (MessageRequestMode::Pop, shares) => {
            popped_by(client, &queues, &clients, shares, &*strategy)
        }
    };
    match allocated {
        Ok(mine) => Some(mine),
        Err(error) => {
            tracing::warn!(topic, group, client, strategy = strategy.name(), %error, "not allocated");
            None
        }
    }
}

/// The topic's readable queues on all brokers; where there are no name servers, this broker's.
async fn cluster_queues(broker: &Broker, topic: &str) -> Option<Vec<MessageQueue>> {
    if broker.registration.has_name_servers() {
        let queues = broker.routes.queues(&broker.registration, topic).await?;
        return Some(queues.to_vec());
    }
    let count = broker.topics.get(topic)?.read_queue_nums;
    Some((0..count).map(|id| broker.queue(topic, id)).collect())
}

/// How queues of the topic are shared out in the group when its members ask for `name`.
///
/// A plugin bound there decides, whatever they ask for. Unlike Java's, any built-in strategy that
/// needs no settings is served.
fn strategy(
    broker: &Broker,
    topic: &str,
    group: &str,
    name: &str,
) -> Option<Arc<dyn AllocateStrategy>> {
    let bound = broker.plugins.chain(World::AllocateStrategy, topic, group);
    if let Some(bound) = bound.into_iter().next() {
        let group = group.to_owned();
        return Some(Arc::new(PluginStrategy { bound, group }));
    }
    let built_in: [Arc<dyn AllocateStrategy>; 3] = [
        Arc::new(Average),
        Arc::new(AverageByCircle),
        Arc::new(ConsistentHash::default()),
    ];
    built_in
        .into_iter()
        .find(|strategy| strategy.name() == name)
}

/// What a member pops: all queues of each broker, or its own share and those of the members that follow
/// it. With more members than queues, each has one.
fn popped_by(
    client: &str,
    queues: &[MessageQueue],
    clients: &[String],
    shares: i32,
    strategy: &dyn AllocateStrategy,
) -> Result<Vec<MessageQueue>, sluice_allocation::AllocateError> {
    let shares = usize::try_from(shares).unwrap_or(0);
    if shares == 0 || shares + 1 >= clients.len() {
        let all = |queue: &MessageQueue| MessageQueue {
            queue_id: ALL_QUEUES,
            ..queue.clone()
        };
        let mut brokers: Vec<MessageQueue> = queues.iter().map(all).collect();
        brokers.dedup();
        return Ok(brokers);
    }
    let index = clients
        .iter()
        .position(|known| known == client)
        .unwrap_or(0);
    if clients.len() > queues.len() {
        let mine = queues.get(index % queues.len().max(1));
        return Ok(mine.cloned().into_iter().collect());
    }
    let mut mine = Vec::new();
    for at in index..=index + shares {
        let member = &clients[at % clients.len()];
        mine.extend(strategy.allocate(member, queues, clients)?);
    }
    Ok(mine)
}

/// How the group fetches from the topic, and how many further shares each member pops.
fn mode(broker: &Broker, topic: &str, group: &str) -> (MessageRequestMode, i32) {
    let config = broker.config();
    let default = match topic.starts_with(RETRY_PREFIX) {
        true => MessageRequestMode::Pull,
        false => config.default_message_request_mode,
    };
    let set = broker.request_modes.get(topic, group);
    set.unwrap_or((default, config.default_pop_share_queue_num))
}

/// Sets how a group fetches from a topic; it is written when the answer leaves.
pub fn set_message_request_mode(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    broker.reply_settled(responder, || {
        let set: SetMessageRequestModeRequestBody = broker.body(&request)?;
        if set.topic.starts_with(RETRY_PREFIX) {
            let why = "retry topic is not allowed to set mode";
            return Err(Refusal::NoPermission(why.to_owned()));
        }
        if broker.topics.get(&set.topic).is_none() {
            let why = format!("topic[{}] not exist", set.topic);
            return Err(Refusal::NoSuchTopic(why));
        }
        if broker.group_or_create(&set.consumer_group).is_none() {
            let why = "subscription group does not exist";
            return Err(Refusal::NoSuchGroup(why.to_owned()));
        }
        if set.mode == MessageRequestMode::Pop {
            broker.check_pops(&set.consumer_group)?;
        }
        tracing::info!(
            topic = set.topic,
            group = set.consumer_group,
            mode = set.mode.name(),
            "message request mode set"
        );
        broker.request_modes.put(set);
        broker.changes.note_request_mode();
        Ok(Answer::default())
    });
}
