//! Transactions that await a decision: `list`, `show`, `commit`, `rollback`.

use std::fmt::Write;

use serde::Deserialize;

use crate::args::{ListTx, OneTx};
use crate::connection::{Answer, Body, Connection, Shown, escaped};
use crate::content::Content;
use crate::error::AdminError;
use crate::table::{Table, date_of};

/// A transaction as a broker tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    id: String,
    topic: String,
    queue_id: i32,
    group: String,
    keys: Option<String>,
    body_size: usize,
    born_ms: i64,
    checks: u32,
    next_check_ms: i64,
    producers: usize,
    born_host: String,
}

pub(crate) fn list(broker: &Connection, wanted: &ListTx) -> Result<Shown, AdminError> {
    let mut path = format!("/v1/transactions?count={}", wanted.count);
    for (name, value) in [("group", &wanted.group), ("topic", &wanted.topic)] {
        if let Some(value) = value {
            let _ = write!(path, "&{name}={}", escaped(value));
        }
    }
    let answer = broker.get(&path)?;
    let all: Vec<Transaction> = answer.read()?;
    let headings = [
        "ID",
        "TOPIC",
        "GROUP",
        "KEYS",
        "BORN",
        ">CHECKS",
        ">PRODUCERS",
    ];
    let mut table = Table::of(&headings);
    for transaction in all {
        table.row([
            transaction.id,
            transaction.topic,
            transaction.group,
            transaction.keys.unwrap_or_default(),
            date_of(transaction.born_ms),
            transaction.checks.to_string(),
            transaction.producers.to_string(),
        ]);
    }
    let text = match table.is_empty() {
        true => "No transaction awaits a decision.".to_owned(),
        false => table.to_string(),
    };
    Ok(Shown {
        json: answer.text,
        text,
    })
}

pub(crate) fn show(broker: &Connection, wanted: &OneTx) -> Result<Shown, AdminError> {
    let answer = broker.get(&format!("/v1/transactions/{}", escaped(&wanted.id)))?;
    let transaction: Transaction = answer.read()?;
    let content: Content = answer.read()?;
    Ok(Shown {
        text: describe(&transaction) + &content.describe(transaction.body_size),
        json: answer.text,
    })
}

/// Writing to a String can't fail.
fn describe(transaction: &Transaction) -> String {
    let mut text = String::new();
    let asked = match transaction.checks {
        0 => "has not been asked yet".to_owned(),
        1 => "was asked once".to_owned(),
        times => format!("was asked {times} times"),
    };
    let _ = writeln!(text, "transaction {}", transaction.id);
    let _ = writeln!(
        text,
        "for {} queue {}, sent by {} at {}",
        transaction.topic,
        transaction.queue_id,
        transaction.born_host,
        date_of(transaction.born_ms)
    );
    let _ = writeln!(
        text,
        "producer group {} {asked}, next at {}; {} connected",
        transaction.group,
        date_of(transaction.next_check_ms),
        transaction.producers
    );
    text
}

pub(crate) fn commit(broker: &Connection, wanted: &OneTx) -> Result<Shown, AdminError> {
    decided(decide(broker, wanted, "commit")?, "committed")
}

pub(crate) fn rollback(broker: &Connection, wanted: &OneTx) -> Result<Shown, AdminError> {
    decided(decide(broker, wanted, "rollback")?, "rolled back")
}

fn decide(broker: &Connection, wanted: &OneTx, step: &str) -> Result<Answer, AdminError> {
    let path = format!("/v1/transactions/{}/{step}", escaped(&wanted.id));
    broker.ask(ureq::http::Method::POST, &path, Body::None)
}

fn decided(answer: Answer, done: &str) -> Result<Shown, AdminError> {
    let transaction: Transaction = answer.read()?;
    Ok(Shown {
        text: format!(
            "transaction {} of group {} for {} is {done}",
            transaction.id, transaction.group, transaction.topic
        ),
        json: answer.text,
    })
}
