//! Who is connected: consumers by group, producers by group.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use sluice_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use sluice_protocol::language::Language;
use sluice_remoting::Connection;

/// One connected member of a group.
#[derive(Debug, Clone)]
pub struct Member {
    /// The connection it came over.
    pub connection: Arc<Connection>,
    /// The client's own name, `ip@instance`.
    pub client_id: String,
    /// Language of the client.
    pub language: Language,
    /// Version ordinal of the client.
    pub version: i32,
    /// When it last sent a heartbeat, Unix milliseconds.
    pub last_update_ms: i64,
}

/// A consumer group that has members.
#[derive(Debug, Clone)]
pub struct ConsumerGroup {
    /// How it consumes: the last heartbeat decides.
    pub consume_type: ConsumeType,
    /// Clustering or broadcasting: the last heartbeat decides.
    pub message_model: MessageModel,
    /// Where a new queue starts: the last heartbeat decides.
    pub consume_from_where: ConsumeFromWhere,
    /// What it subscribes to, by topic.
    pub subscriptions: BTreeMap<String, SubscriptionData>,
    members: HashMap<u64, Member>,
}

impl ConsumerGroup {
    fn new(data: &ConsumerData) -> Self {
        ConsumerGroup {
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
            subscriptions: BTreeMap::new(),
            members: HashMap::new(),
        }
    }

    /// Its members, ordered by client id.
    pub fn members(&self) -> Vec<Member> {
        let mut members: Vec<_> = self.members.values().cloned().collect();
        members.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        members
    }

    /// Client ids of its members, unordered; one that has reconnected may be there twice.
    pub fn client_ids(&self) -> Vec<String> {
        self.members
            .values()
            .map(|member| member.client_id.clone())
            .collect()
    }

    fn enter(&mut self, member: Member) -> bool {
        self.members
            .insert(member.connection.id(), member)
            .is_none()
    }

    /// Takes over a heartbeat's subscriptions: new topics join, missing ones leave, a known one is
    /// replaced only by a greater version. True if the set of topics changed.
    fn subscribe(&mut self, group: &str, wanted: &[SubscriptionData]) -> bool {
        let mut changed = false;
        for subscription in wanted {
            match self.subscriptions.get_mut(&subscription.topic) {
                None => {
                    self.subscriptions
                        .insert(subscription.topic.clone(), subscription.clone());
                    changed = true;
                }
                Some(known) => {
                    warn_if_unequal(group, known, subscription);
                    if subscription.sub_version > known.sub_version {
                        *known = subscription.clone();
                    }
                }
            }
        }
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| {
            wanted
                .iter()
                .any(|subscription| subscription.topic == *topic)
        });
        changed || self.subscriptions.len() != before
    }
}

/// Members of one group that subscribe differently share its queues, so each gets what the other
/// wants: never silently.
fn warn_if_unequal(group: &str, known: &SubscriptionData, new: &SubscriptionData) {
    if known.sub_string != new.sub_string && new.sub_version > known.sub_version {
        tracing::warn!(
            group,
            topic = known.topic,
            before = known.sub_string,
            now = new.sub_string,
            "the group's subscription changed; if its members differ, each misses messages"
        );
    }
}

/// Consumers by group.
#[derive(Debug, Default)]
pub struct Consumers {
    groups: RwLock<HashMap<String, ConsumerGroup>>,
}

impl Consumers {
    /// Takes a heartbeat over. True if the other members have to know: a member is new, or the set
    /// of topics has changed.
    pub fn register(&self, data: &ConsumerData, member: Member) -> bool {
        let mut groups = self.groups.write();
        let group = groups
            .entry(data.group_name.clone())
            .or_insert_with(|| ConsumerGroup::new(data));
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        let entered = group.enter(member);
        let changed = group.subscribe(&data.group_name, &data.subscription_data_set);
        entered || changed
    }

    /// A connection leaves a group; the remaining members, to be told. `None` if it was no member.
    pub fn leave(&self, group_name: &str, connection: u64) -> Option<ConsumerGroup> {
        let mut groups = self.groups.write();
        let group = groups.get_mut(group_name)?;
        group.members.remove(&connection)?;
        let left = group.clone();
        if group.members.is_empty() {
            groups.remove(group_name);
        }
        Some(left)
    }

    /// Groups the connection is a member of.
    pub fn groups_of(&self, connection: u64) -> Vec<String> {
        let groups = self.groups.read();
        groups
            .iter()
            .filter(|(_, group)| group.members.contains_key(&connection))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The group, if it has members.
    pub fn get(&self, group: &str) -> Option<ConsumerGroup> {
        self.groups.read().get(group).cloned()
    }

    /// Looks at a group without copying it.
    pub fn with<T>(&self, group: &str, look: impl FnOnce(&ConsumerGroup) -> T) -> Option<T> {
        self.groups.read().get(group).map(look)
    }

    /// The connected member with this client id.
    pub fn member(&self, group: &str, client_id: &str) -> Option<Member> {
        self.with(group, |group| {
            group
                .members
                .values()
                .find(|member| member.client_id == client_id)
                .cloned()
        })?
    }

    /// Groups whose members subscribe to the topic.
    pub fn subscribers_of(&self, topic: &str) -> Vec<String> {
        let groups = self.groups.read();
        groups
            .iter()
            .filter(|(_, group)| group.subscriptions.contains_key(topic))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Members that have not sent a heartbeat since then.
    pub fn silent_since(&self, since_ms: i64) -> Vec<Arc<Connection>> {
        silent(
            self.groups
                .read()
                .values()
                .flat_map(|group| group.members.values()),
            since_ms,
        )
    }
}

/// Producers by group.
#[derive(Debug, Default)]
pub struct Producers {
    groups: RwLock<HashMap<String, HashMap<u64, Member>>>,
}

impl Producers {
    /// Takes a heartbeat over.
    pub fn register(&self, group: &str, member: Member) {
        self.groups
            .write()
            .entry(group.to_owned())
            .or_default()
            .insert(member.connection.id(), member);
    }

    /// A connection leaves a group.
    pub fn leave(&self, group: &str, connection: u64) {
        let mut groups = self.groups.write();
        let Some(members) = groups.get_mut(group) else {
            return;
        };
        members.remove(&connection);
        if members.is_empty() {
            groups.remove(group);
        }
    }

    /// A connection leaves all its groups.
    pub fn leave_all(&self, connection: u64) {
        self.groups.write().retain(|_, members| {
            members.remove(&connection);
            !members.is_empty()
        });
    }

    /// Members of a group; `None` if there is none.
    pub fn get(&self, group: &str) -> Option<Vec<Member>> {
        self.groups
            .read()
            .get(group)
            .map(|members| members.values().cloned().collect())
    }

    /// The connected producer with this client id, of whatever group.
    pub fn member(&self, client_id: &str) -> Option<Member> {
        let groups = self.groups.read();
        let mut members = groups.values().flat_map(HashMap::values);
        members
            .find(|member| member.client_id == client_id)
            .cloned()
    }

    /// All members by group.
    pub fn all(&self) -> BTreeMap<String, Vec<Member>> {
        self.groups
            .read()
            .iter()
            .map(|(name, members)| (name.clone(), members.values().cloned().collect()))
            .collect()
    }

    /// Members that have not sent a heartbeat since then.
    pub fn silent_since(&self, since_ms: i64) -> Vec<Arc<Connection>> {
        silent(
            self.groups.read().values().flat_map(HashMap::values),
            since_ms,
        )
    }
}

fn silent<'a>(members: impl Iterator<Item = &'a Member>, since_ms: i64) -> Vec<Arc<Connection>> {
    members
        .filter(|member| member.last_update_ms < since_ms)
        .map(|member| member.connection.clone())
        .collect()
}
