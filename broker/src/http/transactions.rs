//! Undecided transactions, JSON over HTTP: looked at, and decided by an operator.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use sluice_protocol::message::Record;

use super::content::Content;
use super::plugins::Refused;
use super::{Broke, Route, aside};
use crate::Broker;
use crate::transactions::{Decision, Undecided};

/// Transactions listed unless said otherwise, and at most.
const LISTED: usize = 100;
const LISTED_MAX: usize = 1000;

pub(super) const ROUTES: [Route; 4] = [
    ("/v1/transactions", || get(list)),
    ("/v1/transactions/{id}", || get(show)),
    ("/v1/transactions/{id}/commit", || post(commit)),
    ("/v1/transactions/{id}/rollback", || post(roll_back)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    group: Option<String>,
    topic: Option<String>,
    count: Option<usize>,
}

async fn list(
    State(broker): Broke,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Undecided>>, Refused> {
    aside(broker, move |broker| {
        let count = wanted.count.unwrap_or(LISTED).min(LISTED_MAX);
        Ok(broker.undecided(wanted.group.as_deref(), wanted.topic.as_deref(), count))
    })
    .await
}

/// One transaction, with what its message says.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    transaction: Undecided,
    #[serde(flatten)]
    content: Content,
}

fn found(broker: &Broker, id: &str) -> Result<(Undecided, bytes::Bytes), Refused> {
    broker.undecided_by_id(id).ok_or_else(|| {
        let text = format!("no undecided transaction has the id {id:?}");
        Refused(StatusCode::NOT_FOUND, text)
    })
}

fn parsed(bytes: &[u8]) -> Result<Record<'_>, Refused> {
    let unreadable = |error| Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}"));
    Record::parse(bytes).map_err(unreadable)
}

async fn show(State(broker): Broke, Path(id): Path<String>) -> Result<Json<Shown>, Refused> {
    aside(broker, move |broker| {
        let (transaction, bytes) = found(broker, &id)?;
        Ok(Shown {
            transaction,
            content: Content::of(&parsed(&bytes)?),
        })
    })
    .await
}

async fn commit(State(broker): Broke, Path(id): Path<String>) -> Result<Json<Undecided>, Refused> {
    aside(broker, move |broker| decide(broker, &id, Decision::Commit)).await
}

async fn roll_back(
    State(broker): Broke,
    Path(id): Path<String>,
) -> Result<Json<Undecided>, Refused> {
    aside(broker, move |broker| {
        decide(broker, &id, Decision::Rollback)
    })
    .await
}

/// Answers the transaction as it was, when the decision is as durable as a message would be.
fn decide(broker: &Broker, id: &str, decision: Decision) -> Result<Undecided, Refused> {
    let (transaction, bytes) = found(broker, id)?;
    let failed = |text: String| Refused(StatusCode::INTERNAL_SERVER_ERROR, text);
    let decided = broker
        .decide(&parsed(&bytes)?, decision)
        .map_err(|error| failed(error.to_string()))?;
    if decided.is_none() {
        let text = format!("the transaction {id:?} has been decided meanwhile");
        return Err(Refused(StatusCode::CONFLICT, text));
    }
    if broker.flushes_in_sync() && !broker.store.flush_once() {
        return Err(failed(
            "decided, but the log can't be synced: it may be undecided after a start".to_owned(),
        ));
    }
    tracing::info!(
        id,
        group = transaction.group,
        topic = transaction.topic,
        ?decision,
        "an operator decided a transaction"
    );
    Ok(transaction)
}
