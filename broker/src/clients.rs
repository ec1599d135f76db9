//! Who is connected: consumers by group, producers by group.

mod led;
pub mod share;
mod wishes;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use sluice_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use sluice_protocol::language::Language;
use sluice_remoting::Connection;

pub use self::led::Led;
pub use self::share::Share;
pub use self::wishes::{
    CONFLICTS_SHOWN, Client, Conflict, Side, Unequal, Wish, Wishes, conflicts, wishes,
};

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
    /// With whom it shares queues once the group is split; `None` where none ever is, and of a producer.
    pub share: Option<Arc<Share>>,
    /// It came into a share that was there before while it ran: the queues on which it is led already.
    pub led: Option<Arc<Led>>,
}

/// What becomes of a member that disagrees with others.
pub enum OnConflict<'a> {
    /// It is a member as any other.
    Warn,
    /// It is kept out, for this reason.
    Refuse(&'static str),
    /// It is kept out, for this reason, with whomever it agrees.
    Full(&'static str),
    /// The group is split into shares.
    Split {
        /// It is already, though nobody of it may be here.
        already: bool,
        /// Prepares a share for a member; nobody of the group is served meanwhile.
        enter: &'a dyn Fn(&Entering<'_>) -> Entered,
    },
}

/// A member goes into a share.
#[derive(Debug)]
pub struct Entering<'a> {
    /// The member's client id.
    pub client_id: &'a str,
    /// Where it goes.
    pub share: &'a Share,
    /// Under which name its progress is so far: the group's, or that of another share.
    pub from: &'a str,
    /// Nobody else is or was in that other share: it ends.
    pub ends: bool,
}

/// What a share is for a member that comes into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// Nobody had it before.
    New,
    /// It has progress.
    Known,
}

/// Under which name a connection's progress in a group is kept.
#[derive(Debug, Clone)]
pub enum Seat {
    /// The group's.
    Group,
    /// Its share's.
    Share(Arc<Share>),
    /// The group is split, and the connection is none of its members, or not yet.
    Nowhere,
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
    /// What it subscribes to, by topic; of a split group what all do, and nobody is served by it.
    pub subscriptions: BTreeMap<String, SubscriptionData>,
    members: HashMap<u64, Member>,
    /// Connections that are kept out, because they subscribe differently.
    refused: HashMap<u64, Refused>,
    /// Each member is served by its own subscription.
    split: bool,
    /// Shares that nobody but this one connection was ever in.
    founded: HashMap<String, u64>,
}

/// Why a connection is kept out.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// With whom it disagrees.
    pub unequal: Option<Unequal>,
    reason: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", self.reason)?;
        match &self.unequal {
            Some(unequal) => write!(f, ": {unequal}"),
            None => Ok(()),
        }
    }
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
            split: false,
            founded: HashMap::new(),
        }
    }

    /// Whether each member is served by its own subscription.
    pub fn is_split(&self) -> bool {
        self.split
    }

    /// Where a connection's progress is kept.
    pub fn seat(&self, connection: u64) -> Seat {
        if !self.split {
            return Seat::Group;
        }
        let member = self.members.get(&connection);
        let share = member.and_then(|member| member.share.clone());
        share.map_or(Seat::Nowhere, Seat::Share)
    }

    /// What a connection is served by.
    pub fn subscription(&self, connection: u64, topic: &str) -> Option<&SubscriptionData> {
        if !self.split {
            return self.subscriptions.get(topic);
        }
        let member = self.members.get(&connection)?;
        member.share.as_ref()?.subscriptions.get(topic)
    }

    /// What the members are served by on a topic: one subscription, or each its own.
    pub fn subscriptions_to(&self, topic: &str) -> Vec<SubscriptionData> {
        if !self.split {
            return self.subscriptions.get(topic).cloned().into_iter().collect();
        }
        let shares = self.members.values().filter_map(|one| one.share.as_ref());
        shares
            .filter_map(|share| share.subscriptions.get(topic).cloned())
            .collect()
    }

    /// Those with whom a connection shares the queues, itself among them, ordered by client id; of a split
    /// group nobody, if the connection is none of its members.
    pub fn members_beside(&self, connection: u64) -> Vec<Member> {
        let mut members = self.members();
        if self.split {
            let of = |member: &Member| member.share.as_ref().map(|share| share.name.clone());
            let own = self.members.get(&connection).and_then(of);
            members.retain(|member| own.is_some() && of(member) == own);
        }
        members
    }

    /// Why a connection is kept out, if it is.
    pub fn refusal(&self, connection: u64) -> Option<&Refused> {
        self.refused.get(&connection)
    }

    /// Whether a connected member has such a share.
    pub fn has_share(&self, is_such: impl Fn(&Share) -> bool) -> bool {
        let mut shares = self.members.values().filter_map(|one| one.share.as_ref());
        shares.any(|share| is_such(share))
    }

    /// On which queues a connection has been led, if it has to be.
    pub fn led(&self, connection: u64) -> Option<Arc<Led>> {
        self.members.get(&connection)?.led.clone()
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
        let members = &self.members;
        let of_another = |topic: &String| {
            let mut members = members.values();
            self.split && members.any(|member| member.wishes.contains_key(topic))
        };
        self.subscriptions.retain(|topic, _| {
            let mut wanted = wanted.iter();
            wanted.any(|subscription| subscription.topic == *topic) || of_another(topic)
        });
        changed || self.subscriptions.len() != before
    }

    /// Splits the group if it has to be, and brings the member into its share. True if that is news to the
    /// others: they share queues with other members now.
    fn share_out(
        &mut self,
        group: &str,
        member: &mut Member,
        is_unequal: bool,
        already: bool,
        enter: &dyn Fn(&Entering<'_>) -> Entered,
    ) -> bool {
        let Some(share) = &member.share else {
            return false;
        };
        let id = member.connection.id();
        let before = self.members.get(&id);
        let was_split = self.split;
        if !was_split && !already && !is_unequal {
            return false;
        }
        self.split = true;
        let runs = before.is_some();
        let led = before.and_then(|before| before.led.clone());
        let known = before.and_then(|before| before.share.clone());
        let known = known.filter(|_| was_split);
        if known.as_ref().is_some_and(|known| known.name == share.name) {
            member.led = led;
            return false;
        }
        if !was_split {
            let others = self
                .members
                .values()
                .filter(|one| one.connection.id() != id);
            for other in others {
                if let Some(share) = &other.share {
                    enter(&Entering {
                        client_id: &other.client_id,
                        share,
                        from: group,
                        ends: false,
                    });
                }
            }
        }
        let from = known.as_ref().map_or(group, |known| &*known.name);
        let entered = enter(&Entering {
            client_id: &member.client_id,
            share,
            from,
            ends: self.founded.remove(from) == Some(id),
        });
        match entered {
            Entered::New => self.founded.insert(share.name.clone(), id),
            Entered::Known => self.founded.remove(&share.name),
        };
        member.led = (runs && entered == Entered::Known).then(Arc::default);
        true
    }
}

/// Consumers by group.
#[derive(Debug, Default)]
pub struct Consumers {
    groups: RwLock<HashMap<String, ConsumerGroup>>,
}

impl Consumers {
    /// Takes a heartbeat over. A member that is refused, because it came later and disagrees with another,
    /// is kept out until they agree.
    pub fn register(
        &self,
        data: &ConsumerData,
        mut member: Member,
        conflict: &OnConflict<'_>,
    ) -> Registered {
        let id = member.connection.id();
        let mut groups = self.groups.write();
        let group = groups
            .entry(data.group_name.clone())
            .or_insert_with(|| ConsumerGroup::new(data));
        let (unequal, twin) = group.meet(&member);
        let reason = match conflict {
            OnConflict::Refuse(reason) if unequal.is_some() => Some(*reason),
            OnConflict::Full(reason) => Some(*reason),
            _ => None,
        };
        if let Some(reason) = reason {
            let refused = Refused { unequal, reason };
            let before = group.refused.insert(id, refused.clone());
            let news = before.as_ref() != Some(&refused);
            return Registered {
                changed: group.members.remove(&id).is_some(),
                refused: true,
                unequal: refused.unequal.filter(|_| news),
                twin: None,
            };
        }
        group.refused.remove(&id);
        let moved = match conflict {
            OnConflict::Split { already, enter } => {
                let name = &data.group_name;
                group.share_out(name, &mut member, unequal.is_some(), *already, enter)
            }
            _ => false,
        };
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        let entered = group.members.insert(id, member).is_none();
        let changed = group.subscribe(&data.subscription_data_set);
        Registered {
            changed: entered || changed || moved,
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
        group.founded.retain(|_, founder| *founder != connection);
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

    /// All groups that have members.
    pub fn all(&self) -> BTreeMap<String, ConsumerGroup> {
        let groups = self.groups.read();
        let copy = |(name, group): (&String, &ConsumerGroup)| (name.clone(), group.clone());
        groups.iter().map(copy).collect()
    }

    /// Looks at a group without copying it.
    pub fn with<T>(&self, group: &str, look: impl FnOnce(&ConsumerGroup) -> T) -> Option<T> {
        self.groups.read().get(group).map(look)
    }

    /// Does something about a group, or about one that has no members, while nobody comes in or leaves.
    pub fn still<T>(&self, group: &str, act: impl FnOnce(Option<&ConsumerGroup>) -> T) -> T {
        act(self.groups.write().get(group))
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
