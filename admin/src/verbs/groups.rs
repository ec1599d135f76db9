//! `sluice group`: what groups are and how far they are, over the whole cluster.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use sluice_protocol::body::{ConnectionInfo, MessageQueue, OffsetWrapper, SubscriptionGroupConfig};
use sluice_protocol::topic::{self, DLQ_PREFIX, RETRY_PREFIX};
use sluice_protocol::version;

use super::topic_changes::{having, remove};
use super::{names, some};
use crate::args::{DeleteGroup, ListGroups, OneGroup, Progress, SetGroup};
use crate::cluster::clients::Consumers;
use crate::cluster::{Cluster, Server};
use crate::error::AdminError;
use crate::page::{Page, confirmed};
use crate::table::{Table, date_of};

/// A group of a list. The names are those of a broker's own list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    pub(crate) group: String,
    pub(crate) connected: usize,
    pub(crate) message_model: Option<&'static str>,
    pub(crate) consume_type: Option<&'static str>,
    /// The oldest version of its members.
    pub(crate) version: Option<String>,
    pub(crate) lag: i64,
    pub(crate) tps: f64,
    pub(crate) brokers: Vec<String>,
}

/// A queue that a group reads.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueProgress {
    topic: String,
    broker: String,
    queue_id: i32,
    broker_offset: i64,
    consumer_offset: i64,
    lag: i64,
    consumed_to_ms: Option<i64>,
}

impl QueueProgress {
    fn of((queue, at): (&MessageQueue, &OffsetWrapper)) -> QueueProgress {
        QueueProgress {
            topic: queue.topic.clone(),
            broker: queue.broker_name.clone(),
            queue_id: queue.queue_id,
            broker_offset: at.broker_offset,
            consumer_offset: at.consumer_offset,
            lag: (at.broker_offset - at.consumer_offset).max(0),
            consumed_to_ms: (at.last_timestamp > 0).then_some(at.last_timestamp),
        }
    }
}

/// All groups that are not the system's own, or all.
pub(crate) async fn listed(
    cluster: &Cluster,
    with_system: bool,
    after: &str,
    count: usize,
) -> Result<Vec<Listed>, AdminError> {
    let masters = cluster.masters(&Default::default()).await?;
    let mut brokers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (server, table) in cluster.group_tables(&masters).await {
        for group in table.into_keys() {
            brokers.entry(group).or_default().push(server.name.clone());
        }
    }
    let meant = |group: &String| with_system || !topic::is_system_group(group);
    let groups = brokers.keys().filter(|it| meant(it) && it.as_str() > after);
    let groups: Vec<String> = groups.take(count).cloned().collect();
    let progress = cluster.progress_of_all(&masters).await;
    let consumers = cluster.consumers_of(&masters, &groups).await;
    let listed = groups.into_iter().map(|group| {
        let members = consumers.get(&group);
        let connected = members.map_or(0, |it| it.connections.len());
        let how = members.and_then(|it| it.how.clone());
        let oldest = members.and_then(|it| it.connections.values().map(|one| one.version).min());
        let progress = progress.get(&group);
        Listed {
            brokers: brokers.remove(&group).unwrap_or_default(),
            connected,
            message_model: how.as_ref().map(|how| how.message_model),
            consume_type: how.as_ref().map(|how| how.consume_type),
            version: oldest.map(version::name),
            lag: progress.map_or(0, |it| it.lag()),
            tps: progress.map_or(0.0, |it| it.tps),
            group,
        }
    });
    Ok(listed.collect())
}

pub(crate) async fn list(cluster: &Cluster, wanted: &ListGroups) -> Result<Page, AdminError> {
    let groups = listed(cluster, wanted.all, &wanted.after, wanted.count).await?;
    let headings = [
        "GROUP", ">MEMBERS", "MODEL", ">LAG", ">OUT/S", "VERSION", "BROKERS",
    ];
    let mut table = Table::of(&headings);
    for one in &groups {
        table.row([
            one.group.clone(),
            one.connected.to_string(),
            one.message_model.unwrap_or_default().to_owned(),
            one.lag.to_string(),
            format!("{:.1}", one.tps),
            one.version.clone().unwrap_or_default(),
            one.brokers.join(" "),
        ]);
    }
    let page = Page::of(&json!({ "groups": groups }));
    Ok(match table.is_empty() {
        true => page.line("No groups."),
        false => page.table(table),
    })
}

/// Settings, as JSON has them.
fn settings(server: &Server, config: &SubscriptionGroupConfig) -> Value {
    let mut value = serde_json::to_value(config).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.remove("groupName");
        fields.insert("broker".to_owned(), json!(server.name));
    }
    value
}

fn members_json(consumers: &Consumers) -> Vec<Value> {
    let member = |one: &ConnectionInfo| json!({"clientId": one.client_id, "address": one.client_addr, "language": one.language, "version": version::name(one.version)});
    consumers.connections.values().map(member).collect()
}

pub(crate) async fn show(cluster: &Cluster, wanted: &OneGroup) -> Result<Page, AdminError> {
    let group = &*wanted.group;
    let masters = cluster.masters(&Default::default()).await?;
    let configs = cluster.group_configs(&masters, group).await;
    let consumers = cluster.consumers(&masters, group).await;
    if configs.is_empty() && consumers.connections.is_empty() {
        return Err(cluster.no_group(&masters, group).await);
    }
    let progress = cluster.progress(&masters, group, None).await;
    let queues: Vec<QueueProgress> = progress.queues.iter().map(QueueProgress::of).collect();
    let how = consumers.how.as_ref();
    let subscriptions: BTreeMap<&String, Value> = consumers
        .subscriptions
        .iter()
        .map(|(topic, it)| {
            (
                topic,
                json!({"expressionType": it.expression_type, "expression": it.sub_string}),
            )
        })
        .collect();
    let json = json!({
        "group": group, "connected": consumers.connections.len(),
        "messageModel": how.map(|how| how.message_model), "consumeType": how.map(|how| how.consume_type),
        "consumeFromWhere": how.map(|how| how.from_where), "lag": progress.lag(), "tps": progress.tps,
        "settings": configs.iter().map(|(server, config)| settings(server, config)).collect::<Vec<_>>(),
        "members": members_json(&consumers), "subscriptions": subscriptions, "queues": queues,
    });
    let head = match how {
        Some(how) => format!(
            "{}, {}, {}",
            how.message_model, how.consume_type, how.from_where
        ),
        None => "nobody is connected".to_owned(),
    };
    Ok(Page::of(&json)
        .line(format!("group {group}: {head}"))
        .line(format!(
            "lag {}, {:.1} messages a second",
            progress.lag(),
            progress.tps
        ))
        .table(settings_table(&configs))
        .table(members_table(&consumers))
        .table(subscriptions_table(&consumers))
        .table(queues_table(&queues)))
}

fn settings_table(configs: &[(Server, SubscriptionGroupConfig)]) -> Table {
    let headings = [
        "BROKER",
        "MAY CONSUME",
        "MAY BROADCAST",
        "ORDERLY",
        ">RETRIES",
        ">RETRY QUEUES",
    ];
    let mut table = Table::of(&headings);
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    for (server, config) in configs {
        table.row([
            server.name.clone(),
            yes(config.consume_enable),
            yes(config.consume_broadcast_enable),
            yes(config.consume_message_orderly),
            config.retry_max_times.to_string(),
            config.retry_queue_nums.to_string(),
        ]);
    }
    table
}

fn members_table(consumers: &Consumers) -> Table {
    let mut table = Table::of(&["CLIENT", "ADDRESS", "LANGUAGE", "VERSION"]);
    for one in consumers.connections.values() {
        table.row([
            one.client_id.clone(),
            one.client_addr.clone(),
            one.language.clone(),
            version::name(one.version),
        ]);
    }
    table
}

fn subscriptions_table(consumers: &Consumers) -> Table {
    let mut table = Table::of(&["SUBSCRIBED TOPIC", "EXPRESSION"]);
    for (topic, it) in &consumers.subscriptions {
        table.row([
            topic.clone(),
            format!("{} {:?}", it.expression_type, it.sub_string),
        ]);
    }
    table
}

fn queues_table(queues: &[QueueProgress]) -> Table {
    let headings = [
        "TOPIC",
        "BROKER",
        ">QUEUE",
        ">BROKER OFFSET",
        ">CONSUMER OFFSET",
        ">LAG",
        "CONSUMED TO",
    ];
    let mut table = Table::of(&headings);
    for queue in queues {
        table.row([
            queue.topic.clone(),
            queue.broker.clone(),
            queue.queue_id.to_string(),
            queue.broker_offset.to_string(),
            queue.consumer_offset.to_string(),
            queue.lag.to_string(),
            some(queue.consumed_to_ms.map(date_of)),
        ]);
    }
    table
}

pub(crate) async fn progress(cluster: &Cluster, wanted: &Progress) -> Result<Page, AdminError> {
    let group = &*wanted.group;
    let masters = cluster.masters(&Default::default()).await?;
    let topic = wanted.topic.as_deref();
    let progress = cluster.progress(&masters, group, topic).await;
    if progress.queues.is_empty() && cluster.group_configs(&masters, group).await.is_empty() {
        return Err(cluster.no_group(&masters, group).await);
    }
    let queues: Vec<QueueProgress> = progress.queues.iter().map(QueueProgress::of).collect();
    let json =
        json!({"group": group, "lag": progress.lag(), "tps": progress.tps, "queues": queues});
    let page = Page::of(&json);
    Ok(match queues.is_empty() {
        true => page.line(format!("group {group} has no offsets yet")),
        false => page.table(queues_table(&queues)).line(format!(
            "lag {}, {:.1} messages a second",
            progress.lag(),
            progress.tps
        )),
    })
}

impl SetGroup {
    /// A group as it is wanted: what is not named stays as it is.
    fn applied_to(&self, mut config: SubscriptionGroupConfig) -> SubscriptionGroupConfig {
        let set = |value: &mut bool, wanted: Option<bool>| *value = wanted.unwrap_or(*value);
        set(&mut config.consume_enable, self.consume);
        set(&mut config.consume_broadcast_enable, self.broadcast);
        set(&mut config.consume_from_min_enable, self.from_min);
        set(&mut config.consume_message_orderly, self.orderly);
        set(&mut config.notify_consumer_ids_changed_enable, self.notify);
        let number =
            |value: &mut i32, wanted: Option<u16>| *value = wanted.map_or(*value, i32::from);
        number(&mut config.retry_queue_nums, self.retry_queues);
        number(&mut config.retry_max_times, self.retries);
        // Java takes these for changes, and refuses a name without a sign.
        let signed = |name: String| {
            if name.starts_with('+') {
                name
            } else {
                format!("+{name}")
            }
        };
        let attributes = std::mem::take(&mut config.attributes).into_iter();
        config.attributes = attributes
            .map(|(name, value)| (signed(name), value))
            .collect();
        config
    }
}

pub(crate) async fn create(cluster: &Cluster, wanted: &SetGroup) -> Result<Page, AdminError> {
    let group = &wanted.group;
    if !topic::is_valid_group(group) {
        return Err(AdminError::Command(format!(
            "{group:?} is no name of a group: letters, digits, %, |, - and _ are expected, 255 at most"
        )));
    }
    let servers = cluster.masters_of_one(&wanted.scope).await?;
    let known = cluster.group_configs(&servers, group).await;
    let is_there = |server: &Server| known.iter().any(|(of, _)| of == server);
    let lacking: Vec<Server> = servers.into_iter().filter(|it| !is_there(it)).collect();
    if lacking.is_empty() {
        return Err(AdminError::Command(format!(
            "group {group} exists already: `sluice group update {group}` changes it"
        )));
    }
    let config = wanted.applied_to(SubscriptionGroupConfig::named(group));
    let put = lacking.into_iter().map(|server| (server, config.clone()));
    told(cluster, "created", group, put.collect()).await
}

pub(crate) async fn update(cluster: &Cluster, wanted: &SetGroup) -> Result<Page, AdminError> {
    let servers = cluster.masters_of_one(&wanted.scope).await?;
    let known = cluster.group_configs(&servers, &wanted.group).await;
    if known.is_empty() {
        return Err(cluster.no_group(&servers, &wanted.group).await);
    }
    let put = known
        .into_iter()
        .map(|(server, config)| (server, wanted.applied_to(config)));
    told(cluster, "changed", &wanted.group, put.collect()).await
}

async fn told(
    cluster: &Cluster,
    verb: &str,
    group: &str,
    wanted: Vec<(Server, SubscriptionGroupConfig)>,
) -> Result<Page, AdminError> {
    let done = cluster.put_groups(wanted.clone()).await?;
    let put: Vec<_> = wanted
        .into_iter()
        .filter(|(it, _)| done.contains(it))
        .collect();
    let settings: Vec<Value> = put
        .iter()
        .map(|(server, config)| settings(server, config))
        .collect();
    let mut page = Page::of(&json!({"group": group, "done": verb, "settings": settings}));
    for (server, _) in &put {
        page = page.line(format!("{verb} {group} on {}", server.name));
    }
    Ok(page.table(settings_table(&put)))
}

pub(crate) async fn delete(cluster: &Cluster, wanted: &DeleteGroup) -> Result<Page, AdminError> {
    let group = &*wanted.group;
    let masters = cluster.masters_of_one(&wanted.scope).await?;
    let known = cluster.group_configs(&masters, group).await;
    if known.is_empty() {
        return Err(cluster.no_group(&masters, group).await);
    }
    let on: Vec<Server> = known.into_iter().map(|(server, _)| server).collect();
    let members = cluster.consumers(&on, group).await.connections;
    if !members.is_empty() && !wanted.force {
        let clients: Vec<&str> = members.keys().map(String::as_str).collect();
        return Err(AdminError::Command(format!(
            "group {group} has members online: {}. They would make it anew: stop them first, or say --force",
            clients.join(", ")
        )));
    }
    let with = match wanted.keep_offsets {
        true => "but not its offsets",
        false => "with its offsets, retries and dead letters",
    };
    let question = format!("Delete group {group} on {}, {with}?", names(&on).join(", "));
    if !confirmed(wanted.sure.yes, &question)? {
        return Ok(Page::of(&json!({"group": group, "done": null}))
            .line("Nothing is deleted.")
            .wrong());
    }
    let done = cluster
        .delete_group_on(&on, group, !wanted.keep_offsets)
        .await;
    if !wanted.keep_offsets {
        let of_cluster = wanted.scope.cluster.as_deref();
        delete_own_topics(cluster, &done, group, of_cluster).await;
    }
    let mut page = Page::of(&json!({"group": group, "done": "deleted", "brokers": names(&done)}));
    for server in &done {
        page = page.line(format!("deleted {group} on {}", server.name));
    }
    Ok(page)
}

/// A group's retries and dead letters, where it has some; in the routes as well, unless others have them.
pub(crate) async fn delete_own_topics(
    cluster: &Cluster,
    servers: &[Server],
    group: &str,
    of_cluster: Option<&str>,
) {
    for prefix in [RETRY_PREFIX, DLQ_PREFIX] {
        let topic = format!("{prefix}{group}");
        let (on, elsewhere) = having(cluster, &topic, servers, of_cluster).await;
        if !on.is_empty() {
            remove(cluster, &topic, &on, &elsewhere, of_cluster).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Scope;

    #[test]
    fn what_is_not_named_of_a_group_stays_as_it_is() {
        let wanted = SetGroup {
            group: "g".to_owned(),
            consume: Some(false),
            broadcast: None,
            from_min: None,
            orderly: None,
            retry_queues: Some(2),
            retries: None,
            notify: None,
            scope: Scope::default(),
        };
        let before = SubscriptionGroupConfig {
            retry_max_times: 3,
            ..SubscriptionGroupConfig::named("g")
        };
        let after = wanted.applied_to(before);
        assert!(!after.consume_enable && after.consume_broadcast_enable);
        assert_eq!((after.retry_queue_nums, after.retry_max_times), (2, 3));
    }
}
