//! Messages that wait for their delivery time: `list`.

use std::fmt::Write;

use serde::Deserialize;

use crate::args::ListTimer;
use crate::connection::{Connection, Shown};
use crate::error::AdminError;
use crate::table::{Table, date};

/// The timer as a broker tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timer {
    pending: i64,
    unfiled: i64,
    lag_ms: i64,
    stuck: Option<String>,
    topics: Vec<Waiting>,
    more: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    topic: String,
    pending: i64,
    next_ms: Option<u64>,
}

pub(crate) fn list(broker: &Connection, wanted: &ListTimer) -> Result<Shown, AdminError> {
    let answer = broker.get("/v1/timer")?;
    let timer: Timer = answer.read()?;
    let mut table = Table::of(&["TOPIC", ">PENDING", "NEXT"]);
    let of_topic = |waiting: &&Waiting| {
        let topic = wanted.topic.as_ref();
        topic.is_none_or(|topic| *topic == waiting.topic)
    };
    for waiting in timer.topics.iter().filter(of_topic) {
        table.row([
            waiting.topic.clone(),
            waiting.pending.to_string(),
            waiting.next_ms.map_or("later".to_owned(), date),
        ]);
    }
    Ok(Shown {
        json: answer.text,
        text: told(&timer, &table),
    })
}

/// Writing to a String can't fail.
fn told(timer: &Timer, table: &Table) -> String {
    let mut text = format!(
        "{} messages wait, {} more are not filed yet; the timer is {} ms late.",
        timer.pending, timer.unfiled, timer.lag_ms
    );
    if let Some(stuck) = &timer.stuck {
        let _ = write!(text, "\nIt can't go on: {stuck}");
    }
    if !table.is_empty() {
        let _ = write!(text, "\n{table}");
    }
    if timer.more {
        text.push_str("\nThere are more topics.");
    }
    text
}
