//! Who is connected: consumers by group, producers by group.

mod wishes;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use sluice_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use sluice_protocol::language::Language;
use sluice_remoting::Connection;

pub use self::wishes::{Client, Conflict, Side, Unequal, Wish, Wishes, conflicts, wishes};

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
    /// What it subscribes to itself; nothing of a producer.
    pub wishes: Arc<Wishes>,
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
    /// Connections that are kept out, because they subscribe differently.
    refused: HashMap<u64, Unequal>,
}

/// What a heartbeat came to.
#[derive(Debug, Default)]
pub struct Registered {
    /// The other members have to know: a member is new, or the set of topics has changed.
    pub changed: bool,
    /// It is kept out.
    pub refused: bool,
    /// It disagrees with another member, and that is news.
    pub unequal: Option<Unequal>,
    /// Where another connection with its client id comes from, if it has just come.
    pub twin: Option<SocketAddr>,
}

impl ConsumerGroup {
    fn new(data: &ConsumerData) -> Self {
        ConsumerGroup {
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
            subscriptions: BTreeMap::new(),
            members: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// Why a connection is kept out, if it is.
    pub fn refusal(&self, connection: u64) -> Option<&Unequal> {
        self.refused.get(&connection)
    }

    /// Its members, ordered by client id.
    pub fn members(&self) -> Vec<Member> {
        let mut members: Vec<_> = self.members.values().cloned().collect();
        members.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        members
    }

    /// Whether a connection is one of its members.
    pub fn has(&self, connection: u64) -> bool {
        self.members.contains_key(&connection)
    }

    /// Client ids of its members, unordered; one that has reconnected may be there twice.
    pub fn client_ids(&self) -> Vec<String> {
        self.members
            .values()
            .map(|member| member.client_id.clone())
            .collect()
    }

    /// What is to be said of a member that comes, or that wants something else than before; one that
    /// connects anew, its old connection still there, is no other member.
    fn meet(&self, member: &Member) -> (Option<Unequal>, Option<SocketAddr>) {
        let id = member.connection.id();
        let known = self.members.get(&id);
        if known.is_some_and(|known| known.wishes == member.wishes) {
            return (None, None);
        }
        let is_same = |other: &&Member| other.client_id == member.client_id;
        let others = || {
            self.members
                .values()
                .filter(|other| other.connection.id() != id)
        };
        let unequal = others()
            .filter(|other| !is_same(other))
            .find_map(|other| Unequal::between(member, other));
        let twin = others().find(is_same).filter(|_| known.is_none());
        (unequal, twin.map(|twin| twin.connection.peer()))
    }

    /// Takes over a heartbeat's subscriptions: new topics join, missing ones leave, a known one is
    /// replaced only by a greater version. True if the set of topics changed.
    fn subscribe(&mut self, wanted: &[SubscriptionData]) -> bool {
        let mut changed = false;
        for subscription in wanted {
            match self.subscriptions.get_mut(&subscription.topic) {
                None => {
                    self.subscriptions
                        .insert(subscription.topic.clone(), subscription.clone());
                    changed = true;
                }
                Some(known) if subscription.sub_version > known.sub_version => {
                    *known = subscription.clone();
                }
                Some(_) => {}
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

/// Consumers by group.
#[derive(Debug, Default)]
pub struct Consumers {
    groups: RwLock<HashMap<String, ConsumerGroup>>,
}

impl Consumers {
    /// Takes a heartbeat over. With `refuse`, a member that comes later and disagrees with another is
    /// kept out until they agree.
    pub fn register(&self, data: &ConsumerData, member: Member, refuse: bool) -> Registered {
        let id = member.connection.id();
        let mut groups = self.groups.write();
        let group = groups
            .entry(data.group_name.clone())
            .or_insert_with(|| ConsumerGroup::new(data));
        let (unequal, twin) = group.meet(&member);
        if let Some(unequal) = unequal.clone().filter(|_| refuse) {
            let before = group.refused.insert(id, unequal.clone());
            return Registered {
                changed: group.members.remove(&id).is_some(),
                refused: true,
                unequal: Some(unequal).filter(|now| before.as_ref() != Some(now)),
                twin: None,
            };
        }
        group.refused.remove(&id);
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        let entered = group.members.insert(id, member).is_none();
        let changed = group.subscribe(&data.subscription_data_set);
        Registered {
            changed: entered || changed,
            refused: false,
            unequal,
            twin,
        }
    }

    /// Why a group keeps a connection out, if it does.
    pub fn refusal(&self, group: &str, connection: u64) -> Option<String> {
        let groups = self.groups.read();
        let refusal = groups.get(group)?.refusal(connection)?;
        Some(refusal.to_string())
    }

    /// A connection leaves a group; the remaining members, to be told. `None` if it was no member.
    pub fn leave(&self, group_name: &str, connection: u64) -> Option<ConsumerGroup> {
        let mut groups = self.groups.write();
        let group = groups.get_mut(group_name)?;
        group.refused.remove(&connection);
        group.members.remove(&connection)?;
        let left = group.clone();
        if group.members.is_empty() {
            groups.remove(group_name);
        }
        Some(left)
    }

    /// Groups the connection is a member of, or kept out of.
    pub fn groups_of(&self, connection: u64) -> Vec<String> {
        let groups = self.groups.read();
        groups
            .iter()
            .filter(|(_, group)| {
                group.members.contains_key(&connection) || group.refused.contains_key(&connection)
            })
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
