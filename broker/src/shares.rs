//! What a split group's shares are in this broker: where a connection's progress is kept, how a share begins
//! and when it ends. See [`crate::clients::share`].
//!
//! What must hold: a share begins, before any of its members is served, where the group is; from then on
//! nothing but its own members and a reset moves it. So it misses nothing of what it asked for.

mod retries;

use std::borrow::Cow;

use sluice_protocol::topic::RETRY_PREFIX;

pub(crate) use self::retries::{RETRY_SHARE, mark};
use crate::Broker;
use crate::clients::share::group_of;
use crate::clients::{Entered, Entering, OnConflict, Seat, Share};
use crate::config::SubscriptionConflict;
use crate::error::Refusal;

/// Shares of one group; whoever would need one more is kept out.
const SHARES_MAX: usize = 64;

/// The refusal of whoever is no member of a split group: nobody knows what it subscribes to.
pub(crate) fn no_seat(group: &str) -> Refusal {
    Refusal::System(format!(
        "the consumer group[{group}] serves each member by its own subscription (subscriptionConflict), and this connection is no member: no heartbeat of it has come yet"
    ))
}

impl Broker {
    /// Under which name a connection's progress in a group is kept.
    pub(crate) fn seat(&self, group: &str, connection: u64) -> Seat {
        if !self.serves_each {
            return Seat::Group;
        }
        let seat = self.consumers.with(group, |group| group.seat(connection));
        seat.unwrap_or_else(|| match self.offsets.is_split(group) {
            true => Seat::Nowhere,
            false => Seat::Group,
        })
    }

    /// The name itself.
    ///
    /// # Errors
    /// The group is split, and nobody knows what the connection's client subscribes to.
    pub(crate) fn reader<'a>(
        &self,
        group: &'a str,
        connection: u64,
    ) -> Result<Cow<'a, str>, Refusal> {
        match self.seat(group, connection) {
            Seat::Group => Ok(group.into()),
            Seat::Share(share) => Ok(share.name.clone().into()),
            Seat::Nowhere => Err(no_seat(group)),
        }
    }

    /// Where a member has to go on that came into a share while it ran: told once for each queue, and only if
    /// it is not there.
    pub(crate) fn lead(
        &self,
        group: &str,
        share: &Share,
        connection: u64,
        (topic, queue_id): (&str, i32),
        at: i64,
    ) -> Option<i64> {
        let led = self
            .consumers
            .with(group, |group| group.led(connection))??;
        let place = led.begin(topic, queue_id).then(|| {
            let stored = self.offsets.get(&share.name, topic, queue_id);
            stored.filter(|place| *place != at)
        });
        place.flatten()
    }

    /// Whether a position of a member says nothing of its share: it has not been led there yet.
    pub(crate) fn is_unled(
        &self,
        group: &str,
        connection: u64,
        topic: &str,
        queue_id: i32,
    ) -> bool {
        if !self.serves_each {
            return false;
        }
        let led = self.consumers.with(group, |group| group.led(connection));
        led.flatten().is_some_and(|led| !led.has(topic, queue_id))
    }

    /// Names under which a group has progress on a topic, now or soon: its own, or those of shares.
    pub(crate) fn readers(&self, group: &str, topic: &str) -> Vec<String> {
        let mut shares = self.offsets.shares_of(group);
        shares.retain(|share| {
            !self.offsets.of(share, topic).is_empty() || self.is_wanted(share, topic)
        });
        match shares.is_empty() {
            true => vec![group.to_owned()],
            false => shares,
        }
    }

    /// Whether a connected member of the share subscribes to the topic.
    fn is_wanted(&self, share: &str, topic: &str) -> bool {
        let wanted = |group: &crate::clients::ConsumerGroup| {
            group.has_share(|own| own.name == share && own.subscriptions.contains_key(topic))
        };
        self.consumers.with(group_of(share), wanted) == Some(true)
    }

    /// What becomes of a member of the group that disagrees with others.
    pub(crate) fn on_conflict<'a>(
        &self,
        group: &str,
        share: Option<&Share>,
        enter: &'a dyn Fn(&Entering<'_>) -> Entered,
    ) -> OnConflict<'a> {
        let Some(share) = share else {
            return match self.config().subscription_conflict {
                SubscriptionConflict::Refuse => OnConflict::Refuse("subscriptionConflict"),
                _ => OnConflict::Warn,
            };
        };
        let shares = self.offsets.shares_of(group);
        if shares.len() >= SHARES_MAX && !shares.contains(&share.name) {
            return OnConflict::Full("subscriptionConflict: the group has 64 shares already");
        }
        let differs = || {
            let other = |other: &Share| other.name != share.name;
            self.consumers.with(group, |group| group.has_share(other)) == Some(true)
        };
        if shares.is_empty() && differs() && self.pops(group) {
            return OnConflict::Refuse(
                "subscriptionConflict: the group pops, and pops have one progress for all",
            );
        }
        OnConflict::Split {
            already: !shares.is_empty(),
            enter,
        }
    }

    /// Whether members of the group pop, as far as that is known.
    fn pops(&self, group: &str) -> bool {
        self.pop.queues.has_group(group)
            || self.request_modes.pops(group)
            || !self.in_flight(group).is_empty()
    }

    /// # Errors
    /// The group is split: it can't pop.
    pub(crate) fn check_pops(&self, group: &str) -> Result<(), Refusal> {
        if !self.serves_each || !self.offsets.is_split(group) {
            return Ok(());
        }
        Err(Refusal::NoPermission(format!(
            "the consumer group[{group}] can not pop: its members subscribe differently, and each is served by its own subscription (subscriptionConflict), while pops have one progress for all"
        )))
    }

    /// Prepares a share for a member that comes into it.
    pub(crate) fn enter_share(&self, entering: &Entering<'_>) -> Entered {
        let Entering {
            client_id,
            share,
            from,
            ends,
        } = entering;
        let retries = format!("{RETRY_PREFIX}{}", group_of(&share.name));
        let topics = share.subscriptions.keys().map(String::as_str);
        let new = self
            .offsets
            .begin_share(&share.name, from, &retries, topics);
        self.locks.hand_over(from, &share.name, client_id);
        if *ends {
            self.offsets.forget_share(from);
        }
        match new {
            true => {
                tracing::info!(share = share.name, client_id, from, "a share begins");
                Entered::New
            }
            false => Entered::Known,
        }
    }

    /// Forgets shares that have no members, when retention has deleted all that they had not read: the
    /// group would wait for them for ever.
    pub(crate) fn forget_gone_shares(&self) {
        for (group, shares) in self.offsets.all_shares() {
            for share in shares {
                if !self.has_expired(&share) {
                    continue;
                }
                self.consumers.still(&group, |members| {
                    let is_it = |own: &Share| own.name == share;
                    if members.is_some_and(|members| members.has_share(is_it)) {
                        return;
                    }
                    tracing::info!(
                        share,
                        "a share without members ends: what it had not read is deleted"
                    );
                    self.offsets.forget_share(&share);
                });
            }
        }
    }

    /// Whether something that the share had not read is deleted, and nothing is left of it.
    fn has_expired(&self, share: &str) -> bool {
        let topics = self.offsets.topics_of(share);
        let own = topics
            .iter()
            .filter(|topic| !topic.starts_with(RETRY_PREFIX));
        let mut expired = false;
        for topic in own {
            for (id, offset) in self.offsets.of(share, topic) {
                let bounds = self.bounds(topic, id);
                expired |= offset < bounds.min;
                if offset.max(bounds.min) < bounds.max {
                    return false;
                }
            }
        }
        expired
    }
}
