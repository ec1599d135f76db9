//! `sluice group reset`, `clone`: first a plan, then the move.

use serde::Serialize;
use serde_json::json;
use sluice_protocol::body::MessageQueue;

use super::names;
use crate::args::{CloneGroup, ResetGroup, Scope, Sure, Target};
use crate::cluster::offsets::{Move, narrowed};
use crate::cluster::topics::servers_of;
use crate::cluster::{Cluster, Server};
use crate::error::AdminError;
use crate::page::{Page, confirmed};
use crate::table::Table;

/// A queue of a plan, as JSON has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    broker: String,
    queue_id: i32,
    from: i64,
    to: i64,
    /// Messages between `to` and the end.
    lag: i64,
    moved: bool,
}

/// Where a group is to be on a topic, queue by queue; `lag` is what it will have before it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) moves: Vec<Move>,
    /// The time that stands for all of it, -1 for the end; none if no time does.
    pub(crate) time_ms: Option<i64>,
    ends: Vec<i64>,
}

/// Where the queues of a topic would be for a group.
pub(crate) async fn plan(
    cluster: &Cluster,
    servers: &[Server],
    group: &str,
    topic: &str,
    target: &Target,
    only: &[String],
) -> Result<Plan, AdminError> {
    let bounds = cluster.bounds(servers, topic).await?;
    let queues = narrowed(topic, bounds.keys().cloned().collect(), only)?;
    let committed = cluster.progress(servers, group, Some(topic)).await.queues;
    let at = match target.to_time {
        Some(time) => cluster.offsets_at(servers, &queues, time).await,
        None => Default::default(),
    };
    let mut plan = Plan {
        moves: Vec::new(),
        time_ms: target.stands_for().filter(|_| only.is_empty()),
        ends: Vec::new(),
    };
    for queue in queues {
        let (min, max) = bounds[&queue];
        let to = match target {
            Target {
                to_earliest: true, ..
            } => Some(min),
            Target {
                to_latest: true, ..
            } => Some(max),
            Target {
                to_offset: Some(offset),
                ..
            } => Some(within(*offset, min, max, &queue)?),
            // A broker that did not say where a time is, is not moved.
            Target { .. } => at.get(&queue).map(|offset| (*offset).clamp(min, max)),
        };
        if let Some(to) = to {
            let from = committed.get(&queue).map_or(0, |at| at.consumer_offset);
            plan.moves.push(Move { queue, from, to });
            plan.ends.push(max);
        }
    }
    Ok(plan)
}

fn within(offset: i64, min: i64, max: i64, queue: &MessageQueue) -> Result<i64, AdminError> {
    match (min..=max).contains(&offset) {
        true => Ok(offset),
        false => Err(AdminError::Command(format!(
            "offset {offset} is not in {}:{}, which has {min} to {max}: choose the queues with --queue",
            queue.broker_name, queue.queue_id
        ))),
    }
}

impl Plan {
    /// What of it does not go forward. No time stands for a part of the queues.
    pub(crate) fn backwards(self) -> Plan {
        let of = self.moves.len();
        let both = self.moves.into_iter().zip(self.ends);
        let (moves, ends): (Vec<Move>, Vec<i64>) = both.filter(|(it, _)| it.to <= it.from).unzip();
        Plan {
            time_ms: self.time_ms.filter(|_| moves.len() == of),
            moves,
            ends,
        }
    }

    fn table(&self, moved: &[Move]) -> (Table, Vec<Planned>) {
        let mut table = Table::of(&["BROKER", ">QUEUE", ">FROM", ">TO", ">LAG THERE"]);
        let mut json = Vec::new();
        for (one, end) in self.moves.iter().zip(&self.ends) {
            table.row([
                one.queue.broker_name.clone(),
                one.queue.queue_id.to_string(),
                one.from.to_string(),
                one.to.to_string(),
                (end - one.to).to_string(),
            ]);
            json.push(Planned {
                broker: one.queue.broker_name.clone(),
                queue_id: one.queue.queue_id,
                from: one.from,
                to: one.to,
                lag: end - one.to,
                moved: moved.contains(one),
            });
        }
        (table, json)
    }

    /// As a page: what will be, or what was done.
    fn page(&self, group: &str, topic: &str, members: &[String], moved: Option<&[Move]>) -> Page {
        let (table, queues) = self.table(moved.unwrap_or_default());
        let json = json!({"group": group, "topic": topic, "queues": queues, "members": members, "moved": moved.is_some()});
        let page = Page::of(&json).table(table);
        match moved {
            None => page.line("Nothing is moved (--dry-run)."),
            Some(moved) => {
                let of = self.moves.len();
                let page = page.line(format!(
                    "moved {group} on {} of {of} queues of {topic}",
                    moved.len()
                ));
                match moved.len() == of {
                    true => page,
                    false => page.wrong(),
                }
            }
        }
    }
}

/// Shows the plan and asks; whether it is to be done.
fn agreed(plan: &Plan, sure: Sure, group: &str, note: &str) -> Result<bool, AdminError> {
    if !sure.yes {
        eprint!("{}", plan.table(&[]).0);
    }
    confirmed(sure.yes, &format!("{note}Move group {group}?"))
}

/// The brokers of a change that serve a topic.
async fn serving(cluster: &Cluster, topic: &str, scope: &Scope) -> Result<Vec<Server>, AdminError> {
    let meant = cluster.masters_of_one(scope).await?;
    let mut servers = servers_of(&cluster.route(topic).await?);
    servers.retain(|server| meant.contains(server));
    match servers.is_empty() {
        true => Err(AdminError::Command(format!(
            "topic {topic} is on none of {}: `sluice topic route {topic}` shows where it is",
            names(&meant).join(", ")
        ))),
        false => Ok(servers),
    }
}

pub(crate) async fn reset(cluster: &Cluster, wanted: &ResetGroup) -> Result<Page, AdminError> {
    let (group, topic) = (&*wanted.group, &*wanted.topic);
    let servers = serving(cluster, topic, &wanted.scope).await?;
    if cluster.group_configs(&servers, group).await.is_empty() {
        return Err(cluster.no_group(&servers, group).await);
    }
    let plan = plan(
        cluster,
        &servers,
        group,
        topic,
        &wanted.target,
        &wanted.queues,
    )
    .await?;
    let members = cluster.consumers(&servers, group).await.connections;
    let members: Vec<String> = members.into_keys().collect();
    let note = match members.is_empty() {
        true => String::new(),
        false => format!(
            "{} members are online ({}); they go on from there. ",
            members.len(),
            members.join(", ")
        ),
    };
    if wanted.dry_run {
        let page = plan.page(group, topic, &members, None);
        return Ok(match note.is_empty() {
            true => page,
            false => page.line(note),
        });
    }
    if !agreed(&plan, wanted.sure, group, &note)? {
        return Ok(plan
            .page(group, topic, &members, Some(&[]))
            .line("Nothing is moved.")
            .wrong());
    }
    let moved = cluster
        .move_group(&servers, group, &plan.moves, plan.time_ms)
        .await;
    let page = plan.page(group, topic, &members, Some(&moved));
    Ok(match note.is_empty() {
        true => page,
        false => page.line(note),
    })
}

pub(crate) async fn clone(cluster: &Cluster, wanted: &CloneGroup) -> Result<Page, AdminError> {
    let (from, to, topic) = (&*wanted.from, &*wanted.to, &*wanted.topic);
    let servers = serving(cluster, topic, &wanted.scope).await?;
    let members = cluster.consumers(&servers, to).await.connections;
    if !members.is_empty() {
        let clients: Vec<&str> = members.keys().map(String::as_str).collect();
        return Err(AdminError::Command(format!(
            "group {to} has members online: {}. They would store their own offsets over these: stop them first",
            clients.join(", ")
        )));
    }
    let plan = of_other(cluster, &servers, from, to, topic).await?;
    if wanted.dry_run {
        return Ok(plan.page(to, topic, &[], None));
    }
    if !agreed(&plan, wanted.sure, to, "")? {
        return Ok(plan
            .page(to, topic, &[], Some(&[]))
            .line("Nothing is moved.")
            .wrong());
    }
    let moved = cluster.commit_all(&servers, to, &plan.moves).await;
    Ok(plan.page(to, topic, &[], Some(&moved)))
}

/// A plan to be where another group is.
pub(crate) async fn of_other(
    cluster: &Cluster,
    servers: &[Server],
    from: &str,
    to: &str,
    topic: &str,
) -> Result<Plan, AdminError> {
    let mut source = cluster.progress(servers, from, Some(topic)).await.queues;
    let at_zero = source.iter().filter(|(_, at)| at.consumer_offset == 0);
    let at_zero: Vec<MessageQueue> = at_zero.map(|(queue, _)| queue.clone()).collect();
    let begun = cluster.with_offset(servers, from, &at_zero).await;
    source.retain(|queue, at| at.consumer_offset != 0 || begun.contains(queue));
    if source.is_empty() {
        return Err(AdminError::Command(format!(
            "group {from} has no offsets on topic {topic}: `sluice group progress {from}` shows those it has"
        )));
    }
    let committed = cluster.progress(servers, to, Some(topic)).await.queues;
    let mut plan = Plan {
        moves: Vec::new(),
        time_ms: None,
        ends: Vec::new(),
    };
    for (queue, at) in source {
        plan.ends.push(at.broker_offset);
        plan.moves.push(Move {
            from: committed.get(&queue).map_or(0, |at| at.consumer_offset),
            to: at.consumer_offset,
            queue,
        });
    }
    Ok(plan)
}

impl Target {
    /// The time that means the same for all queues.
    fn stands_for(&self) -> Option<i64> {
        match self {
            Target { to_time, .. } if to_time.is_some() => *to_time,
            Target {
                to_earliest: true, ..
            } => Some(0),
            Target {
                to_latest: true, ..
            } => Some(-1),
            Target { .. } => None,
        }
    }

    /// Behind the newest message.
    pub(crate) fn latest() -> Target {
        Target {
            to_time: None,
            to_earliest: false,
            to_latest: true,
            to_offset: None,
        }
    }

    /// The first message stored at a time or later.
    pub(crate) fn time(ms: i64) -> Target {
        Target {
            to_time: Some(ms),
            to_latest: false,
            ..Target::latest()
        }
    }

    /// An offset.
    pub(crate) fn offset(offset: i64) -> Target {
        Target {
            to_offset: Some(offset),
            to_latest: false,
            ..Target::latest()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stands_for_all_but_an_offset() {
        assert_eq!(Target::latest().stands_for(), Some(-1));
        assert_eq!(Target::time(7).stands_for(), Some(7));
        assert_eq!(Target::offset(7).stands_for(), None);
    }

    fn going(queue_id: i32, from: i64, to: i64) -> Move {
        let queue = MessageQueue {
            topic: "T".to_owned(),
            broker_name: "broker-a".to_owned(),
            queue_id,
        };
        Move { queue, from, to }
    }

    #[test]
    fn what_goes_forward_can_be_left_out() {
        let plan = |moves: &[Move]| Plan {
            moves: moves.to_vec(),
            time_ms: Some(7),
            ends: vec![9; moves.len()],
        };
        let (back, forward, same) = (going(0, 5, 2), going(1, 2, 5), going(2, 4, 4));
        let left = plan(&[back.clone(), forward, same.clone()]).backwards();
        assert_eq!(left.moves, [back.clone(), same]);
        assert_eq!((left.ends.len(), left.time_ms), (2, None));
        assert_eq!(plan(&[back]).backwards().time_ms, Some(7));
    }

    #[test]
    fn an_offset_that_a_queue_does_not_have_is_refused() {
        let queue = MessageQueue {
            topic: "T".to_owned(),
            broker_name: "broker-a".to_owned(),
            queue_id: 1,
        };
        assert_eq!(within(3, 2, 3, &queue).unwrap(), 3);
        let error = within(4, 2, 3, &queue).unwrap_err().to_string();
        assert!(
            error.starts_with("offset 4 is not in broker-a:1, which has 2 to 3"),
            "{error}"
        );
    }
}
