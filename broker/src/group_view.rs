//! A consumer group as an operator sees it: who is in it, what it wants, how far it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use sluice_plugins::Binding;
use sluice_protocol::body::{SubscriptionData, SubscriptionGroupConfig};
use sluice_protocol::topic::{self, RETRY_PREFIX};
use sluice_protocol::version;

use crate::Broker;
use crate::clients::share::digest_of;
use crate::clients::{CONFLICTS_SHOWN, Conflict, ConsumerGroup, Member, Wish, conflicts};
use crate::error::Refusal;

/// Queues that are shown of one group.
const QUEUES_SHOWN: usize = 1000;

/// A group in a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) group: String,
    /// Connected members.
    pub(crate) connected: usize,
    /// `CLUSTERING` or `BROADCASTING`, as its members say; nobody says so without any.
    pub(crate) message_model: Option<String>,
    /// What it has not consumed of all its topics, as far as it has offsets.
    pub(crate) lag: i64,
    pub(crate) dead_letters: i64,
    /// Its members subscribe differently and miss messages for it, or two have one client id.
    pub(crate) troubled: bool,
}

/// All about a group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    #[serde(flatten)]
    summary: Summary,
    consume_type: Option<String>,
    consume_from_where: Option<String>,
    /// What is set for it.
    consume_enable: bool,
    consume_broadcast_enable: bool,
    retry_max_times: i32,
    retry_queue_nums: i32,
    members: Vec<MemberView>,
    /// What is in force for all members: what the last heartbeat said.
    subscriptions: Vec<Subscription>,
    conflicts: Vec<Conflict>,
    /// Those who are served alike, of a split group.
    shares: Vec<ShareView>,
    /// Client ids that more than one connection has.
    twins: Vec<Twins>,
    queues: Vec<Queue>,
    /// Queues that are not shown.
    queues_left_out: usize,
    /// Retried messages that wait in the group's retry topics. Those that still wait for their delay lie
    /// elsewhere, among all others that do.
    retries_waiting: i64,
    letters_dropped: usize,
    plugins: Vec<Plugin>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberView {
    client_id: String,
    address: String,
    language: String,
    version: String,
    last_heartbeat_ms: i64,
    subscriptions: BTreeMap<String, Wish>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    topic: String,
    expression_type: String,
    expression: String,
}

/// Members that subscribe alike, with progress of their own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShareView {
    share: String,
    clients: Vec<String>,
    /// What they want; nobody says so while none is connected.
    subscriptions: BTreeMap<String, Wish>,
    lag: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Twins {
    client_id: String,
    addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    /// Of which share, if the group is split.
    share: Option<String>,
    topic: String,
    queue_id: i32,
    /// Offset that the next message will have.
    broker_offset: i64,
    /// Next offset of the group; `None`: it has none.
    consumer_offset: Option<i64>,
    lag: Option<i64>,
    /// Popped and not acked, as of the last second.
    in_flight: usize,
    /// Client id of its owner, and how that is known.
    owner: Option<String>,
    owner_by: Option<&'static str>,
    /// When the last message before the offset was stored.
    consumed_to_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plugin {
    plugin: String,
    version: u32,
    topic: String,
    /// Empty: of all groups.
    group: String,
}

impl Broker {
    /// Groups by name, but for those of the broker's own, from the one after `after` on, so many at most.
    pub(crate) fn group_summaries(&self, after: &str, max: usize) -> Vec<Summary> {
        let groups = self.groups.all();
        let names = groups.keys().filter(|name| name.as_str() > after);
        names
            .filter(|name| !topic::is_system_group(name))
            .take(max)
            .map(|name| self.summary(name, self.consumers.get(name).as_ref()))
            .collect()
    }

    /// All about a group. Reads a disk.
    ///
    /// # Errors
    /// There is no such group.
    pub(crate) fn group_view(&self, name: &str) -> Result<View, Refusal> {
        let config = self.groups.get(name);
        let config =
            config.ok_or_else(|| Refusal::NoSuchGroup(format!("there is no group {name:?}")))?;
        let config: &SubscriptionGroupConfig = &config;
        let consumers = self.consumers.get(name);
        let members = consumers.as_ref().map(ConsumerGroup::members);
        let members = members.unwrap_or_default();
        let (queues, queues_left_out) = self.queues_of(name, consumers.as_ref(), &members);
        let in_force =
            |group: &ConsumerGroup| group.subscriptions.values().map(subscription).collect();
        Ok(View {
            summary: self.summary(name, consumers.as_ref()),
            consume_type: consumers.as_ref().map(|group| word(&group.consume_type)),
            consume_from_where: consumers
                .as_ref()
                .map(|group| word(&group.consume_from_where)),
            consume_enable: config.consume_enable,
            consume_broadcast_enable: config.consume_broadcast_enable,
            retry_max_times: config.retry_max_times,
            retry_queue_nums: config.retry_queue_nums,
            subscriptions: consumers.as_ref().map(in_force).unwrap_or_default(),
            conflicts: conflicts(&members, CONFLICTS_SHOWN),
            shares: self.shares_seen(name, &members),
            twins: twins(&members),
            queues,
            queues_left_out,
            retries_waiting: self.retries_waiting(name),
            letters_dropped: self.letter_counts(name).dropped,
            plugins: self.plugins_of(name),
            members: members.into_iter().map(member).collect(),
        })
    }

    fn summary(&self, name: &str, consumers: Option<&ConsumerGroup>) -> Summary {
        let members = consumers.map(ConsumerGroup::members).unwrap_or_default();
        let of_topic = |topic: &String| self.lag(name, topic);
        let is_split = consumers.is_some_and(ConsumerGroup::is_split);
        Summary {
            group: name.to_owned(),
            message_model: consumers.map(|group| word(&group.message_model)),
            lag: self.topics_of(name, consumers).iter().map(of_topic).sum(),
            dead_letters: self.letter_counts(name).letters,
            troubled: (!is_split && !conflicts(&members, 1).is_empty())
                || !twins(&members).is_empty(),
            connected: members.len(),
        }
    }

    fn shares_seen(&self, name: &str, members: &[Member]) -> Vec<ShareView> {
        let view = |share: String| {
            let of_share = || members_of(&share, members);
            let topics = self.offsets.topics_of(&share);
            ShareView {
                clients: of_share().map(|one| one.client_id.clone()).collect(),
                subscriptions: of_share()
                    .next()
                    .map(|one| (*one.wishes).clone())
                    .unwrap_or_default(),
                lag: topics.iter().map(|topic| self.lag(&share, topic)).sum(),
                share: digest_of(&share).unwrap_or_default().to_owned(),
            }
        };
        self.offsets.shares_of(name).into_iter().map(view).collect()
    }

    /// Topics that the group reads or has read.
    fn topics_of(&self, name: &str, consumers: Option<&ConsumerGroup>) -> BTreeSet<String> {
        let mut topics = self.offsets.topics_of(name);
        topics.extend(
            consumers
                .into_iter()
                .flat_map(|group| group.subscriptions.keys().cloned()),
        );
        topics
    }

    /// The next offset of a group on a queue, if it has one; what was popped is stored a little later.
    pub(crate) fn group_offset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let queues = &self.pop.queues;
        queues.next(&self.offsets, topic, group, queue_id)
    }

    fn lag(&self, group: &str, topic: &str) -> i64 {
        let queues = self
            .topics
            .get(topic)
            .map_or(0, |topic| topic.read_queue_nums);
        let of_queue = |id| {
            let offset = self.group_offset(group, topic, id)?;
            Some((self.bounds(topic, id).max - offset).max(0))
        };
        (0..queues).filter_map(of_queue).sum()
    }

    fn retries_waiting(&self, group: &str) -> i64 {
        let topics = self.offsets.topics_of(group);
        let retries = topics
            .iter()
            .filter(|topic| topic.starts_with(RETRY_PREFIX));
        retries.map(|topic| self.lag(group, topic)).sum()
    }

    fn queues_of(
        &self,
        name: &str,
        consumers: Option<&ConsumerGroup>,
        members: &[Member],
    ) -> (Vec<Queue>, usize) {
        let mut in_flight: HashMap<(String, i32), usize> = HashMap::new();
        for popped in self.in_flight(name) {
            *in_flight
                .entry((popped.topic, popped.queue_id))
                .or_default() += 1;
        }
        let (mut shown, mut left_out) = (Vec::new(), 0);
        for (reader, topic) in self.read_by(name, consumers, members) {
            let queues = self
                .topics
                .get(&topic)
                .map_or(0, |topic| topic.read_queue_nums);
            for queue_id in 0..queues {
                if shown.len() == QUEUES_SHOWN {
                    left_out += 1;
                    continue;
                }
                let popped = in_flight.get(&(topic.clone(), queue_id)).copied();
                let ordered = || {
                    let orders = &self.pop.orders;
                    orders.in_flight(&topic, name, queue_id, self.now_ms())
                };
                let in_flight = popped.unwrap_or_else(ordered);
                shown.push(self.queue_of(&reader, &topic, queue_id, in_flight, members));
            }
        }
        (shown, left_out)
    }

    /// Who reads what: the group its topics, or its shares each their own.
    fn read_by(
        &self,
        name: &str,
        consumers: Option<&ConsumerGroup>,
        members: &[Member],
    ) -> Vec<(String, String)> {
        let shares = self.offsets.shares_of(name);
        if shares.is_empty() {
            let topics = self.topics_of(name, consumers).into_iter();
            return topics.map(|topic| (name.to_owned(), topic)).collect();
        }
        let of_share = |share: String| {
            let mut topics = self.offsets.topics_of(&share);
            let members = members_of(&share, members);
            topics.extend(members.flat_map(|one| one.wishes.keys().cloned()));
            topics.into_iter().map(move |topic| (share.clone(), topic))
        };
        shares.into_iter().flat_map(of_share).collect()
    }

    /// `reader` is the group, or one of its shares.
    fn queue_of(
        &self,
        reader: &str,
        topic: &str,
        queue_id: i32,
        in_flight: usize,
        members: &[Member],
    ) -> Queue {
        let broker_offset = self.bounds(topic, queue_id).max;
        let consumer_offset = self.group_offset(reader, topic, queue_id);
        let last = consumer_offset.filter(|offset| *offset > 0);
        let owner = self.owner(reader, topic, queue_id, members);
        Queue {
            share: digest_of(reader).map(str::to_owned),
            topic: topic.to_owned(),
            queue_id,
            broker_offset,
            consumer_offset,
            lag: consumer_offset.map(|offset| (broker_offset - offset).max(0)),
            in_flight,
            owner_by: owner.as_ref().map(|(_, by)| *by),
            owner: owner.map(|(owner, _)| owner),
            consumed_to_ms: last
                .and_then(|offset| self.store.store_timestamp(topic, queue_id, offset - 1)),
        }
    }

    /// Who holds the queue's lock, else the connected member that pulled from it last.
    fn owner(
        &self,
        reader: &str,
        topic: &str,
        queue_id: i32,
        members: &[Member],
    ) -> Option<(String, &'static str)> {
        let queue = self.queue(topic, queue_id);
        if let Some(holder) = self.locks.holder(reader, &queue, self.now_ms()) {
            return Some((holder, "lock"));
        }
        let puller = self.pullers.last(reader, topic, queue_id)?;
        let member = members.iter().find(|one| one.connection.id() == puller)?;
        Some((member.client_id.clone(), "pull"))
    }

    fn plugins_of(&self, group: &str) -> Vec<Plugin> {
        let topics = self.topics_of(group, self.consumers.get(group).as_ref());
        let holds = |binding: &Binding| {
            binding.group == group || (binding.group.is_empty() && topics.contains(&binding.topic))
        };
        let bindings = self.plugins.bindings().into_iter().filter(holds);
        bindings
            .map(|binding| Plugin {
                plugin: binding.plugin,
                version: binding.current,
                topic: binding.topic,
                group: binding.group,
            })
            .collect()
    }
}

fn members_of<'a>(share: &'a str, members: &'a [Member]) -> impl Iterator<Item = &'a Member> {
    let is_of = move |member: &&Member| {
        let own = member.share.as_ref();
        own.is_some_and(|own| own.name == share)
    };
    members.iter().filter(is_of)
}

fn member(member: Member) -> MemberView {
    MemberView {
        client_id: member.client_id,
        address: member.connection.peer().to_string(),
        language: member.language.name().to_owned(),
        version: version::name(member.version),
        last_heartbeat_ms: member.last_update_ms,
        subscriptions: (*member.wishes).clone(),
    }
}

fn subscription(subscription: &SubscriptionData) -> Subscription {
    Subscription {
        topic: subscription.topic.clone(),
        expression_type: subscription.expression_type.clone(),
        expression: subscription.sub_string.clone(),
    }
}

fn twins(members: &[Member]) -> Vec<Twins> {
    let mut addresses: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for member in members {
        let of_id = addresses.entry(&member.client_id).or_default();
        of_id.push(member.connection.peer().to_string());
    }
    let several = addresses.into_iter().filter(|(_, all)| all.len() > 1);
    several
        .map(|(client_id, addresses)| Twins {
            client_id: client_id.to_owned(),
            addresses,
        })
        .collect()
}

/// Java's word for a value.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
