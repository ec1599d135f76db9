//! A message's way: `show`.

use std::fmt::Write;

use serde::Deserialize;

use crate::args::OneMessage;
use crate::connection::{Connection, Shown, escaped};
use crate::content::Content;
use crate::error::AdminError;
use crate::table::{Table, date_of};

#[derive(Debug, Deserialize)]
struct Lives {
    messages: Vec<Life>,
    more: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Life {
    #[serde(flatten)]
    record: Place,
    unique_key: Option<String>,
    born_ms: i64,
    born_host: String,
    store_host: String,
    body_size: usize,
    #[serde(flatten)]
    content: Content,
    state: String,
    way: Vec<Place>,
    groups: Vec<OfGroup>,
    groups_left_out: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    id: String,
    kind: String,
    topic: String,
    queue_id: i32,
    queue_offset: i64,
    stored_ms: i64,
    reconsume_times: i32,
    group: Option<String>,
    to: Option<String>,
    due_ms: Option<i64>,
    done: Option<bool>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfGroup {
    group: String,
    state: String,
    before: Option<i64>,
    due_ms: Option<i64>,
    retries: i32,
    letter: Option<String>,
    filtered_by: Option<String>,
}

/// What no broker knows.
const UNKNOWN: &str =
    "Not known here: whether a consumer that went past it did its work, to which client and when it
was given (a message trace tells), and what the offsets of broadcasting clients are.\n";

pub(crate) fn show(broker: &Connection, wanted: &OneMessage) -> Result<Shown, AdminError> {
    let mut path = format!("/v1/messages/{}", escaped(&wanted.id));
    if let Some(topic) = &wanted.topic {
        let _ = write!(path, "?topic={}", escaped(topic));
    }
    let answer = broker.get(&path)?;
    let lives: Lives = answer.read()?;
    let shown: Vec<String> = lives.messages.iter().map(describe).collect();
    let mut text = shown.join("\n");
    if lives.more {
        text.push_str("\nThere are more messages with this key.\n");
    }
    text.push_str(UNKNOWN);
    Ok(Shown {
        json: answer.text,
        text,
    })
}

/// Writing to a String can't fail.
fn describe(life: &Life) -> String {
    let mut text = String::new();
    let Place {
        id,
        topic,
        queue_id,
        queue_offset,
        ..
    } = &life.record;
    let _ = writeln!(text, "message {id}: {}", state(life));
    let _ = writeln!(
        text,
        "in {topic} queue {queue_id} offset {queue_offset}, unique key {}",
        life.unique_key.as_deref().unwrap_or("-")
    );
    let _ = writeln!(
        text,
        "sent by {} at {}, stored by {} at {}",
        life.born_host,
        date_of(life.born_ms),
        life.store_host,
        date_of(life.record.stored_ms)
    );
    text.push_str(&life.content.describe(life.body_size));
    text.push_str("its way:\n");
    let mut way = Table::of(&["STORED", "ID", "AS", "IN", ">QUEUE", ">OFFSET", ""]);
    for place in &life.way {
        way.row([
            date_of(place.stored_ms),
            place.id.clone(),
            kind(place),
            place.topic.clone(),
            place.queue_id.to_string(),
            place.queue_offset.to_string(),
            remark(place),
        ]);
    }
    text.push_str(&way.to_string());
    if life.groups.is_empty() {
        text.push_str("No group reads its topic.\n");
        return text;
    }
    let mut groups = Table::of(&["GROUP", ">RETRIES", "STATE"]);
    for group in &life.groups {
        groups.row([
            group.group.clone(),
            group.retries.to_string(),
            group_state(group),
        ]);
    }
    text.push_str(&groups.to_string());
    if life.groups_left_out > 0 {
        let _ = writeln!(text, "and {} more groups", life.groups_left_out);
    }
    text
}

fn state(life: &Life) -> String {
    let due = life.way.iter().find_map(|place| place.due_ms);
    let text = match &*life.state {
        "readable" => "consumers can read it",
        "delayed" => return format!("waits until {}", due.map_or("?".to_owned(), date_of)),
        "half" => "its producer has not committed it",
        "rolledBack" => "its producer rolled it back, or what was committed has expired",
        "givenUp" => "its producer never decided",
        "expired" => "only copies of it are kept",
        other => other,
    };
    text.to_owned()
}

fn kind(place: &Place) -> String {
    let text = match &*place.kind {
        "message" => "message",
        "committed" => "committed transaction",
        "delayed" => "delayed",
        "half" => "half message",
        "givenUp" => "given up",
        "retry" => return format!("retry {}", place.reconsume_times),
        "deadLetter" => "dead letter",
        "resent" => "sent again",
        other => other,
    };
    text.to_owned()
}

fn remark(place: &Place) -> String {
    let mut parts = Vec::new();
    if let Some(due) = place.due_ms {
        parts.push(format!("due {}", date_of(due)));
    }
    if let Some(to) = &place.to {
        parts.push(format!("for {to}"));
    }
    match (place.done, &*place.kind) {
        (Some(true), "half") => parts.push("decided".to_owned()),
        (Some(false), "half") => parts.push("undecided".to_owned()),
        (Some(true), _) => parts.push("delivered".to_owned()),
        (Some(false), _) => parts.push("waits".to_owned()),
        (None, _) => {}
    }
    if let Some(group) = &place.group {
        parts.push(format!("of {group}"));
    }
    parts.extend(place.reason.clone());
    parts.join(", ")
}

fn group_state(group: &OfGroup) -> String {
    let due = group.due_ms.map_or("?".to_owned(), date_of);
    let text = match &*group.state {
        "past" => "went past it".to_owned(),
        "waiting" => format!(
            "has not come to it: {} messages are before it",
            group.before.unwrap_or(0)
        ),
        "inFlight" => format!("has popped it, it comes back at {due}"),
        "retried" if group.due_ms.is_some() => format!("gave it back, gets it again at {due}"),
        "retried" => "is to get it again, has not yet".to_owned(),
        "dead" => format!(
            "has it among its dead letters: {}",
            group.letter.as_deref().unwrap_or("?")
        ),
        "broadcast" => "broadcasts: its clients keep their offsets".to_owned(),
        "unknown" => "has no offset on its queue".to_owned(),
        other => other.to_owned(),
    };
    match &group.filtered_by {
        Some(filter) if filter == "subscription" => {
            format!("{text}; its subscription does not want it")
        }
        Some(plugin) => format!("{text}; the plugin {plugin} keeps it back"),
        None => text,
    }
}
