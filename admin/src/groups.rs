//! Consumer groups: `list`, `show`.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use crate::args::{ListGroups, OneGroup};
use crate::connection::{Connection, Shown, escaped};
use crate::error::AdminError;
use crate::table::{Table, date_of};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    group: String,
    connected: usize,
    message_model: Option<String>,
    lag: i64,
    dead_letters: i64,
    troubled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    #[serde(flatten)]
    summary: Summary,
    consume_type: Option<String>,
    consume_from_where: Option<String>,
    consume_enable: bool,
    retry_max_times: i32,
    retry_queue_nums: i32,
    members: Vec<Member>,
    subscriptions: Vec<Subscription>,
    conflicts: Vec<Conflict>,
    #[serde(default)]
    shares: Vec<Share>,
    twins: Vec<Twins>,
    queues: Vec<Queue>,
    queues_left_out: usize,
    retries_waiting: i64,
    letters_dropped: usize,
    plugins: Vec<Plugin>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    client_id: String,
    address: String,
    language: String,
    version: String,
    last_heartbeat_ms: i64,
    subscriptions: BTreeMap<String, Wish>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    expression_type: String,
    expression: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    topic: String,
    #[serde(flatten)]
    wish: Wish,
}

#[derive(Debug, Deserialize)]
struct Conflict {
    topic: String,
    sides: Vec<Side>,
}

#[derive(Debug, Deserialize)]
struct Side {
    wish: Option<Wish>,
    clients: Vec<Client>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    client_id: String,
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Share {
    share: String,
    clients: Vec<String>,
    subscriptions: BTreeMap<String, Wish>,
    lag: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Twins {
    client_id: String,
    addresses: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    share: Option<String>,
    topic: String,
    queue_id: i32,
    broker_offset: i64,
    consumer_offset: Option<i64>,
    lag: Option<i64>,
    in_flight: usize,
    owner: Option<String>,
    owner_by: Option<String>,
    consumed_to_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Plugin {
    plugin: String,
    version: u32,
    topic: String,
    group: String,
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.expression_type, self.expression)
    }
}

pub(crate) fn list(broker: &Connection, wanted: &ListGroups) -> Result<Shown, AdminError> {
    let path = format!(
        "/v1/groups?count={}&after={}",
        wanted.count,
        escaped(&wanted.after)
    );
    let answer = broker.get(&path)?;
    let all: Vec<Summary> = answer.read()?;
    let headings = [
        "GROUP",
        ">MEMBERS",
        "MODEL",
        ">LAG",
        ">DEAD LETTERS",
        "TROUBLE",
    ];
    let mut table = Table::of(&headings);
    for group in all {
        let trouble = match group.troubled {
            true => "members disagree: see group show",
            false => "",
        };
        table.row([
            group.group,
            group.connected.to_string(),
            group.message_model.unwrap_or_default(),
            group.lag.to_string(),
            group.dead_letters.to_string(),
            trouble.to_owned(),
        ]);
    }
    let text = match table.is_empty() {
        true => "No groups.".to_owned(),
        false => table.to_string(),
    };
    Ok(Shown {
        json: answer.text,
        text,
    })
}

pub(crate) fn show(broker: &Connection, wanted: &OneGroup) -> Result<Shown, AdminError> {
    let answer = broker.get(&format!("/v1/groups/{}", escaped(&wanted.group)))?;
    let view: View = answer.read()?;
    Ok(Shown {
        text: [
            head(&view),
            trouble(&view),
            members(&view),
            subscriptions(&view),
            shares(&view),
            queues(&view),
        ]
        .concat(),
        json: answer.text,
    })
}

/// Writing to a String can't fail.
fn head(view: &View) -> String {
    let Summary {
        group,
        message_model,
        lag,
        dead_letters,
        ..
    } = &view.summary;
    let mut text = String::new();
    let _ = match message_model {
        Some(model) => writeln!(
            text,
            "group {group}: {model}, {}, {}",
            view.consume_type.as_deref().unwrap_or("?"),
            view.consume_from_where.as_deref().unwrap_or("?")
        ),
        None => writeln!(text, "group {group}: nobody is connected"),
    };
    if !view.consume_enable {
        text.push_str("it must not consume (consumeEnable)\n");
    }
    let _ = writeln!(
        text,
        "lag {lag}, retries that wait {}, dead letters {dead_letters} ({} dropped); up to {} retries, {} retry queues",
        view.retries_waiting, view.letters_dropped, view.retry_max_times, view.retry_queue_nums
    );
    for plugin in &view.plugins {
        let whose = match plugin.group.is_empty() {
            true => "all groups",
            false => "this group",
        };
        let _ = writeln!(
            text,
            "plugin {}@{} on {}, of {whose}",
            plugin.plugin, plugin.version, plugin.topic
        );
    }
    text
}

fn trouble(view: &View) -> String {
    let mut text = String::new();
    for conflict in &view.conflicts {
        let topic = &conflict.topic;
        let _ = match view.shares.is_empty() {
            true => writeln!(text, "TROUBLE: members disagree about {topic}:"),
            false => writeln!(text, "members want of {topic}, and get, each its own:"),
        };
        for side in &conflict.sides {
            let wish = match &side.wish {
                Some(wish) => format!("want {wish}"),
                None => "do not subscribe to it".to_owned(),
            };
            let clients: Vec<String> = side.clients.iter().map(name).collect();
            let _ = writeln!(text, "  {wish}: {}", clients.join(", "));
        }
    }
    for twins in &view.twins {
        let _ = writeln!(
            text,
            "TROUBLE: one client id, several connections: {} ({})",
            twins.client_id,
            twins.addresses.join(", ")
        );
    }
    text
}

fn name(client: &Client) -> String {
    format!("{} ({})", client.client_id, client.address)
}

fn members(view: &View) -> String {
    let headings = [
        "CLIENT",
        "ADDRESS",
        "LANGUAGE",
        "VERSION",
        "LAST HEARTBEAT",
        "TOPICS",
    ];
    let mut table = Table::of(&headings);
    for member in &view.members {
        let topics: Vec<&str> = member.subscriptions.keys().map(String::as_str).collect();
        table.row([
            member.client_id.clone(),
            member.address.clone(),
            member.language.clone(),
            member.version.clone(),
            date_of(member.last_heartbeat_ms),
            topics.join(" "),
        ]);
    }
    unless_empty(&table)
}

fn subscriptions(view: &View) -> String {
    let mut table = Table::of(&["SUBSCRIBED TOPIC", "EXPRESSION"]);
    for subscription in &view.subscriptions {
        table.row([subscription.topic.clone(), subscription.wish.to_string()]);
    }
    unless_empty(&table)
}

/// Who is served alike, when the group's members are not.
fn shares(view: &View) -> String {
    let mut table = Table::of(&["SHARE", ">LAG", "SUBSCRIPTIONS", "CLIENTS"]);
    for share in &view.shares {
        let wishes = share.subscriptions.iter();
        let wishes = wishes.filter(|(topic, _)| !topic.starts_with("%RETRY%"));
        let wishes: Vec<String> = wishes
            .map(|(topic, wish)| format!("{topic}: {wish}"))
            .collect();
        table.row([
            share.share.clone(),
            share.lag.to_string(),
            wishes.join(", "),
            match share.clients.is_empty() {
                true => "nobody is connected".to_owned(),
                false => share.clients.join(" "),
            },
        ]);
    }
    unless_empty(&table)
}

fn queues(view: &View) -> String {
    let is_split = !view.shares.is_empty();
    let mut headings = vec![
        "TOPIC",
        ">QUEUE",
        ">BROKER OFFSET",
        ">CONSUMER OFFSET",
        ">LAG",
        ">IN FLIGHT",
        "OWNER",
        "CONSUMED TO",
    ];
    if is_split {
        headings.push("SHARE");
    }
    let mut table = Table::of(&headings);
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    for queue in &view.queues {
        let owner = match (&queue.owner, queue.owner_by.as_deref()) {
            (Some(owner), Some(by)) => format!("{owner} (by {by})"),
            _ => String::new(),
        };
        let mut row = vec![
            queue.topic.clone(),
            queue.queue_id.to_string(),
            queue.broker_offset.to_string(),
            number(queue.consumer_offset),
            number(queue.lag),
            queue.in_flight.to_string(),
            owner,
            queue.consumed_to_ms.map(date_of).unwrap_or_default(),
        ];
        if is_split {
            row.push(queue.share.clone().unwrap_or_default());
        }
        table.row(row);
    }
    let mut text = unless_empty(&table);
    if view.queues_left_out > 0 {
        let _ = writeln!(text, "and {} more queues", view.queues_left_out);
    }
    text
}

fn unless_empty(table: &Table) -> String {
    match table.is_empty() {
        true => String::new(),
        false => format!("\n{table}"),
    }
}
