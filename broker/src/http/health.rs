//! Whether the broker works, for whoever watches over it: `/healthz` and `/readyz`.
//!
//! Both answer 200, or 503 with a line for each thing that is wrong.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use sluice_store::AppendError;

use super::{Broke, Route};
use crate::Broker;

pub(super) const ROUTES: [Route; 2] = [("/healthz", || get(healthz)), ("/readyz", || get(readyz))];

/// Fails when only a new start, or somebody's hand, can help.
async fn healthz(State(broker): Broke) -> (StatusCode, String) {
    verdict(broken(&broker))
}

/// Fails also while nothing can be sent to it, as with a full disk.
async fn readyz(State(broker): Broke) -> (StatusCode, String) {
    let mut wrong = broken(&broker);
    let writable = broker.store.status().writable;
    if let Err(error) = writable
        && wrong.is_empty()
    {
        wrong.push(format!("messages are not accepted: {error}"));
    }
    verdict(wrong)
}

fn broken(broker: &Broker) -> Vec<String> {
    let status = broker.store.status();
    let queues = status
        .queues_failed
        .map(|error| format!("queues and index are no longer written: {error}"));
    let dispatch = status
        .dispatch_blocked
        .map(|error| format!("messages do not become visible: {error}"));
    // After a failed sync the log takes nothing any more, for nobody knows what the disk has.
    let log = match status.writable {
        Err(error @ AppendError::LogStopped { .. }) => Some(error.to_string()),
        _ => None,
    };
    queues.into_iter().chain(dispatch).chain(log).collect()
}

fn verdict(wrong: Vec<String>) -> (StatusCode, String) {
    if wrong.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let lines = wrong.iter().map(|line| format!("{line}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
}
