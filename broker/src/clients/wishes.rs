//! What each member of a group subscribes to itself, and who disagrees.
//!
//! Members of one group share its queues. When they subscribe differently, each takes queues of which the
//! other wants other messages, and the group's one subscription is that of the last heartbeat: both
//! miss messages. RocketMQ says nothing; here it is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;
use sluice_protocol::body::SubscriptionData;

use super::Member;

/// What a member wants, by topic.
pub type Wishes = BTreeMap<String, Wish>;

/// What a member wants of a topic. Tags are equal in any order.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// `TAG`, `SQL92`, a plugin's language, or `class filter`.
    pub expression_type: String,
    /// As the member wrote it.
    pub expression: String,
}

impl Wish {
    /// Its parts: tags in order, or the one expression.
    pub(super) fn meaning(&self) -> BTreeSet<&str> {
        match &*self.expression_type {
            "TAG" if self.expression.is_empty() => ["*"].into(),
            "TAG" => self.expression.split("||").map(str::trim).collect(),
            _ => [&*self.expression].into(),
        }
    }
}

impl PartialEq for Wish {
    fn eq(&self, other: &Wish) -> bool {
        self.expression_type == other.expression_type
            && (self.expression == other.expression || self.meaning() == other.meaning())
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.expression_type, self.expression)
    }
}

/// What a heartbeat's subscriptions say.
pub fn wishes(subscriptions: &[SubscriptionData]) -> Wishes {
    let wish = |subscription: &SubscriptionData| Wish {
        expression_type: match subscription.class_filter_mode {
            true => "class filter".to_owned(),
            false if subscription.expression_type.is_empty() => "TAG".to_owned(),
            false => subscription.expression_type.clone(),
        },
        expression: subscription.sub_string.clone(),
    };
    let of_topic =
        |subscription: &SubscriptionData| (subscription.topic.clone(), wish(subscription));
    subscriptions.iter().map(of_topic).collect()
}

/// Two members of a group that disagree about a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Unequal {
    /// The topic; the first of several.
    pub topic: String,
    /// Who came later, and what it wants.
    pub later: (Client, Option<Wish>),
    /// Who was there.
    pub earlier: (Client, Option<Wish>),
}

impl Unequal {
    pub(super) fn between(later: &Member, earlier: &Member) -> Option<Unequal> {
        if later.wishes == earlier.wishes {
            return None;
        }
        let topic = topics(&[later, earlier])
            .find(|topic| later.wishes.get(*topic) != earlier.wishes.get(*topic))?;
        let side = |member: &Member| (Client::of(member), member.wishes.get(topic).cloned());
        Some(Unequal {
            topic: topic.to_owned(),
            later: side(later),
            earlier: side(earlier),
        })
    }
}

impl fmt::Display for Unequal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = |wish: &Option<Wish>| match wish {
            Some(wish) => format!("wants {wish}"),
            None => "does not subscribe to it".to_owned(),
        };
        let (earlier, later) = (&self.earlier, &self.later);
        write!(
            f,
            "of topic {}, {} {}, while {} {}",
            self.topic,
            later.0,
            wanted(&later.1),
            earlier.0,
            wanted(&earlier.1)
        )
    }
}

/// A member by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// Its client id.
    pub client_id: String,
    /// Where it connects from.
    pub address: SocketAddr,
}

impl Client {
    fn of(member: &Member) -> Client {
        Client {
            client_id: member.client_id.clone(),
            address: member.connection.peer(),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.client_id, self.address)
    }
}

/// Topics about which members disagree that one answer tells.
pub const CONFLICTS_SHOWN: usize = 100;

/// A topic about which members disagree.
#[derive(Debug, Clone, Serialize)]
pub struct Conflict {
    /// The topic.
    pub topic: String,
    /// Who wants what.
    pub sides: Vec<Side>,
}

/// Members that agree.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// What they want; `None`: they do not subscribe to the topic.
    pub wish: Option<Wish>,
    /// Who they are.
    pub clients: Vec<Client>,
}

/// Topics about which the members disagree, so many at most.
pub fn conflicts(members: &[Member], most: usize) -> Vec<Conflict> {
    let Some(first) = members.first() else {
        return Vec::new();
    };
    if members.iter().all(|member| member.wishes == first.wishes) {
        return Vec::new();
    }
    let all: Vec<&Member> = members.iter().collect();
    let conflicts = topics(&all).map(|topic| Conflict {
        topic: topic.to_owned(),
        sides: sides(members, topic),
    });
    conflicts
        .filter(|conflict| conflict.sides.len() > 1)
        .take(most)
        .collect()
}

fn sides(members: &[Member], topic: &str) -> Vec<Side> {
    let mut sides: Vec<Side> = Vec::new();
    for member in members {
        let wish = member.wishes.get(topic);
        let client = Client::of(member);
        match sides.iter_mut().find(|side| side.wish.as_ref() == wish) {
            Some(side) => side.clients.push(client),
            None => sides.push(Side {
                wish: wish.cloned(),
                clients: vec![client],
            }),
        }
    }
    sides
}

/// All that any of them subscribes to, each once.
fn topics<'a>(members: &[&'a Member]) -> impl Iterator<Item = &'a str> {
    let topics: BTreeSet<&str> = members
        .iter()
        .flat_map(|member| member.wishes.keys().map(String::as_str))
        .collect();
    topics.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(expression_type: &str, expression: &str) -> Wish {
        Wish {
            expression_type: expression_type.to_owned(),
            expression: expression.to_owned(),
        }
    }

    #[test]
    fn tags_mean_the_same_in_any_order() {
        assert_eq!(wish("TAG", "a || b"), wish("TAG", "b||a"));
        assert_eq!(wish("TAG", ""), wish("TAG", "*"));
        assert_ne!(wish("TAG", "a"), wish("TAG", "a || b"));
        assert_ne!(wish("SQL92", "a || b"), wish("SQL92", "b || a"));
        assert_ne!(wish("TAG", "a"), wish("SQL92", "a"));
    }
}
