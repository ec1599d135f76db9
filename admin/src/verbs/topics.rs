//! `sluice topic`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;
use sluice_protocol::body::TopicConfig;
use sluice_protocol::topic::{self, DLQ_PREFIX, RETRY_PREFIX, perm};

use super::some;
use crate::args::{ListTopics, OneTopic, TopicStats};
use crate::cluster::topics::servers_of;
use crate::cluster::{Cluster, Member, Server};
use crate::error::AdminError;
use crate::page::Page;
use crate::table::{Table, date_of};

/// A topic on one broker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OnBroker {
    pub(crate) broker: String,
    pub(crate) read_queues: i32,
    pub(crate) write_queues: i32,
    pub(crate) perm: String,
    pub(crate) order: bool,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl OnBroker {
    pub(super) fn of(server: &Server, config: &TopicConfig) -> OnBroker {
        OnBroker {
            broker: server.name.clone(),
            read_queues: config.read_queue_nums,
            write_queues: config.write_queue_nums,
            perm: perm_text(config.perm),
            order: config.order,
            attributes: config.attributes.clone(),
        }
    }

    fn message_type(&self) -> &str {
        let given = self.attributes.get("message.type");
        given.map_or("", String::as_str)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    topic: String,
    kind: &'static str,
    brokers: Vec<OnBroker>,
}

/// `rw`, `r`, `w`, `none`.
pub(crate) fn perm_text(bits: i32) -> String {
    let letters = [(perm::READ, "r"), (perm::WRITE, "w")];
    let text: String = letters
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, letter)| *letter)
        .collect();
    match text.is_empty() {
        true => "none".to_owned(),
        false => text,
    }
}

/// Each broker and cluster has a topic of its name.
fn own_names(members: &[Member]) -> BTreeSet<String> {
    let names = members
        .iter()
        .flat_map(|member| [member.server.name.clone(), member.cluster.clone()]);
    names.collect()
}

/// What a topic is for.
fn kind(topic: &str, own: &BTreeSet<String>) -> &'static str {
    let is_system = topic::is_system_topic(topic)
        || topic == topic::TRACE_TOPIC
        || topic.ends_with("_REPLY_TOPIC")
        || own.contains(topic);
    match topic {
        _ if topic.starts_with(RETRY_PREFIX) => "retry",
        _ if topic.starts_with(DLQ_PREFIX) => "deadLetter",
        _ if is_system => "system",
        _ => "normal",
    }
}

pub(crate) async fn list(cluster: &Cluster, wanted: &ListTopics) -> Result<Page, AdminError> {
    let members = cluster.members_in(&wanted.scope).await?;
    let own = own_names(&members);
    let masters = cluster.masters(&wanted.scope).await?;
    let mut topics: BTreeMap<String, Vec<OnBroker>> = BTreeMap::new();
    if wanted.scope.is_all() {
        // Also those whose brokers do not answer.
        let named = cluster.topic_names().await?;
        topics.extend(named.into_iter().map(|topic| (topic, Vec::new())));
    }
    for (server, table) in cluster.topic_tables(&masters).await {
        for (topic, config) in table {
            let on = OnBroker::of(&server, &config);
            topics.entry(topic).or_default().push(on);
        }
    }
    let meant = |topic: &str| wanted.part.as_ref().is_none_or(|part| topic.contains(part));
    let listed = topics.into_iter().map(|(topic, brokers)| Listed {
        kind: kind(&topic, &own),
        topic,
        brokers,
    });
    let listed: Vec<Listed> = listed
        .filter(|it| meant(&it.topic) && (wanted.all || it.kind == "normal"))
        .collect();
    let mut table = Table::of(&["TOPIC", ">READ", ">WRITE", "PERM", "TYPE", "BROKERS"]);
    for one in &listed {
        let sum = |of: fn(&OnBroker) -> i32| one.brokers.iter().map(of).sum::<i32>().to_string();
        let brokers: Vec<&str> = one.brokers.iter().map(|on| &*on.broker).collect();
        table.row([
            one.topic.clone(),
            sum(|on| on.read_queues),
            sum(|on| on.write_queues),
            distinct(one.brokers.iter().map(|on| &*on.perm)),
            distinct(one.brokers.iter().map(OnBroker::message_type)),
            brokers.join(" "),
        ]);
    }
    let page = Page::of(&json!({ "topics": listed }));
    Ok(match listed.is_empty() {
        true => page.line("No topics. --all shows the system's own, too."),
        false => page.table(table),
    })
}

/// Values that brokers have, each once.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: BTreeSet<&str> = values.filter(|value| !value.is_empty()).collect();
    values.into_iter().collect::<Vec<_>>().join("/")
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueBounds {
    broker: String,
    queue: i32,
    min_offset: i64,
    max_offset: i64,
    last_stored_ms: Option<i64>,
}

pub(crate) async fn show(cluster: &Cluster, wanted: &OneTopic) -> Result<Page, AdminError> {
    let topic = &*wanted.topic;
    let servers = servers_of(&cluster.route(topic).await?);
    let configs = cluster.topic_configs(&servers, topic).await;
    let (stats, groups) = (
        cluster.topic_stats(&servers, topic).await,
        cluster.groups_of(&servers, topic).await,
    );
    let brokers: Vec<OnBroker> = configs
        .iter()
        .map(|(server, config)| OnBroker::of(server, config))
        .collect();
    let queues: Vec<QueueBounds> = stats
        .iter()
        .map(|(queue, at)| QueueBounds {
            broker: queue.broker_name.clone(),
            queue: queue.queue_id,
            min_offset: at.min_offset,
            max_offset: at.max_offset,
            last_stored_ms: (at.last_update_timestamp > 0).then_some(at.last_update_timestamp),
        })
        .collect();
    let kept: i64 = queues.iter().map(|it| it.max_offset - it.min_offset).sum();
    let mut settings = Table::of(&["BROKER", ">READ", ">WRITE", "PERM", "ORDER", "ATTRIBUTES"]);
    for on in &brokers {
        let attributes = on.attributes.iter();
        let attributes: Vec<String> = attributes.map(|(k, v)| format!("{k}={v}")).collect();
        settings.row([
            on.broker.clone(),
            on.read_queues.to_string(),
            on.write_queues.to_string(),
            on.perm.clone(),
            if on.order { "yes" } else { "" }.to_owned(),
            attributes.join(" "),
        ]);
    }
    let mut table = Table::of(&[
        "BROKER",
        ">QUEUE",
        ">MIN",
        ">MAX",
        ">MESSAGES",
        "LAST STORED",
    ]);
    for queue in &queues {
        table.row([
            queue.broker.clone(),
            queue.queue.to_string(),
            queue.min_offset.to_string(),
            queue.max_offset.to_string(),
            (queue.max_offset - queue.min_offset).to_string(),
            some(queue.last_stored_ms.map(date_of)),
        ]);
    }
    let readers = match groups.is_empty() {
        true => "No group reads it.".to_owned(),
        false => format!("read by {}", Vec::from_iter(groups.clone()).join(", ")),
    };
    let json = json!({"topic": topic, "brokers": brokers, "queues": queues, "groups": groups, "messages": kept});
    Ok(Page::of(&json)
        .line(format!(
            "topic {topic}: {kept} messages in {} queues",
            queues.len()
        ))
        .table(settings)
        .table(table)
        .line(readers))
}

pub(crate) async fn route(cluster: &Cluster, wanted: &OneTopic) -> Result<Page, AdminError> {
    let route = cluster.route(&wanted.topic).await?;
    let mut table = Table::of(&["CLUSTER", "BROKER", "ADDRESSES", ">READ", ">WRITE", "PERM"]);
    for data in &route.broker_datas {
        let queues = route.queue_datas.iter();
        let queues = queues.filter(|queues| queues.broker_name == data.broker_name);
        let addresses = data.broker_addrs.iter();
        let addresses: Vec<String> = addresses.map(|(id, at)| format!("{id}:{at}")).collect();
        for queues in queues {
            table.row([
                data.cluster.clone(),
                data.broker_name.clone(),
                addresses.join(" "),
                queues.read_queue_nums.to_string(),
                queues.write_queue_nums.to_string(),
                perm_text(queues.perm),
            ]);
        }
    }
    let page = Page::of(&json!({"topic": wanted.topic, "route": route})).table(table);
    Ok(match &route.order_topic_conf {
        Some(conf) => page.line(format!("ordered: {conf}")),
        None => page,
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flow {
    pub(crate) topic: String,
    /// None reads the topic when it is empty.
    pub(crate) group: Option<String>,
    pub(crate) lag: Option<i64>,
    pub(crate) in_tps: f64,
    pub(crate) out_tps: Option<f64>,
    pub(crate) in_24h: i64,
    pub(crate) out_24h: Option<i64>,
}

/// What goes in and out of topics: counts of brokers, and the lag of groups.
pub(crate) async fn flows(cluster: &Cluster, only: Option<&str>) -> Result<Vec<Flow>, AdminError> {
    let own = own_names(&cluster.members().await?);
    let masters = cluster.masters(&Default::default()).await?;
    let tables = cluster.topic_tables(&masters).await;
    let known: BTreeSet<&String> = tables.iter().flat_map(|(_, table)| table.keys()).collect();
    let topics: Vec<&String> = match only {
        Some(topic) => known.into_iter().filter(|it| *it == topic).collect(),
        None => known
            .into_iter()
            .filter(|it| kind(it, &own) == "normal")
            .collect(),
    };
    if let (Some(topic), true) = (only, topics.is_empty()) {
        return Err(cluster.no_topic(topic).await);
    }
    let progress = cluster.progress_of_all(&masters).await;
    // By topic and group, how much the group is behind.
    let mut lags: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for (group, progress) in &progress {
        for (queue, at) in &progress.queues {
            let behind = (at.broker_offset - at.consumer_offset).max(0);
            *lags.entry((&queue.topic, group)).or_default() += behind;
        }
    }
    let mut counts = Vec::new();
    let mut rows = Vec::new();
    for topic in topics {
        let groups = lags.range((topic.as_str(), "")..);
        let groups = groups.take_while(|((of, _), _)| of == topic);
        let groups: Vec<_> = groups.map(|((_, group), lag)| (*group, *lag)).collect();
        let put = counts.len();
        counts.push(("TOPIC_PUT_NUMS", topic.clone()));
        if groups.is_empty() {
            rows.push((topic, None, put, None));
        }
        for (group, lag) in groups {
            rows.push((topic, Some((group, lag)), put, Some(counts.len())));
            counts.push(("GROUP_GET_NUMS", format!("{topic}@{group}")));
        }
    }
    let sums = cluster.counted(&masters, &counts).await;
    let flow =
        |(topic, group, put, got): (&String, Option<(&str, i64)>, usize, Option<usize>)| Flow {
            topic: topic.clone(),
            group: group.map(|(group, _)| group.to_owned()),
            lag: group.map(|(_, lag)| lag),
            in_tps: sums[put].stats_minute.tps,
            out_tps: got.map(|got| sums[got].stats_minute.tps),
            in_24h: sums[put].stats_day.sum,
            out_24h: got.map(|got| sums[got].stats_day.sum),
        };
    Ok(rows.into_iter().map(flow).collect())
}

pub(crate) async fn stats(cluster: &Cluster, wanted: &TopicStats) -> Result<Page, AdminError> {
    let flows = flows(cluster, wanted.topic.as_deref()).await?;
    let headings = [
        "TOPIC", ">IN/S", ">IN 24H", "GROUP", ">OUT/S", ">OUT 24H", ">LAG",
    ];
    let mut table = Table::of(&headings);
    for flow in &flows {
        table.row([
            flow.topic.clone(),
            format!("{:.1}", flow.in_tps),
            flow.in_24h.to_string(),
            flow.group.clone().unwrap_or_default(),
            some(flow.out_tps.map(|tps| format!("{tps:.1}"))),
            some(flow.out_24h),
            some(flow.lag),
        ]);
    }
    let page = Page::of(&json!({ "flows": flows }));
    Ok(match table.is_empty() {
        true => page.line("No topics."),
        false => page.table(table),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_told_by_kind() {
        let own = BTreeSet::from(["broker-a".to_owned()]);
        let kinds = [
            "orders",
            "%RETRY%g",
            "%DLQ%g",
            "broker-a",
            "rmq_sys_x",
            "TBW102",
        ];
        let kinds = kinds.map(|topic| kind(topic, &own));
        assert_eq!(
            kinds,
            [
                "normal",
                "retry",
                "deadLetter",
                "system",
                "system",
                "system"
            ]
        );
    }

    #[test]
    fn permissions_are_words() {
        assert_eq!(
            [6, 4, 2, 0, 7].map(perm_text),
            ["rw", "r", "w", "none", "rw"]
        );
    }
}
