//! Undecided transactions, JSON over HTTP: looked at, and decided by an operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sluice_protocol::message::{Record, properties};

use super::Route;
use super::plugins::Refused;
use crate::Broker;
use crate::transactions::{Decision, Undecided};

/// Transactions listed unless said otherwise, and at most.
const LISTED: usize = 100;
const LISTED_MAX: usize = 1000;
/// Bytes of a body that are shown.
const BODY_SHOWN: usize = 1024;

type Broke = State<Arc<Broker>>;

pub(super) const ROUTES: [Route; 4] = [
    ("/v1/transactions", || get(list)),
    ("/v1/transactions/{id}", || get(show)),
    ("/v1/transactions/{id}/commit", || post(commit)),
    ("/v1/transactions/{id}/rollback", || post(roll_back)),
];

pub(super) fn routes() -> Router<Arc<Broker>> {
    let add = |router: Router<_>, (path, methods): Route| router.route(path, methods());
    ROUTES.into_iter().fold(Router::new(), add)
}

/// Does what reads the log, on a thread that may wait.
async fn aside<T: Send + 'static>(
    broker: Arc<Broker>,
    work: impl FnOnce(&Broker) -> Result<T, Refused> + Send + 'static,
) -> Result<Json<T>, Refused> {
    match tokio::task::spawn_blocking(move || work(&broker)).await {
        Ok(result) => result.map(Json),
        Err(cause) => {
            tracing::error!(%cause, "a look at transactions panicked");
            let text = "it failed for a reason that the broker's log tells";
            Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, text.to_owned()))
        }
    }
}

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
    properties: BTreeMap<String, String>,
    /// The first bytes of it as text.
    body: String,
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
        let record = parsed(&bytes)?;
        let body = record.body();
        Ok(Shown {
            transaction,
            properties: properties::iter(record.properties())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: String::from_utf8_lossy(&body[..body.len().min(BODY_SHOWN)]).into_owned(),
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
