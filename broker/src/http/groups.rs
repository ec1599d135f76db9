//! Consumer groups, JSON over HTTP, for an operator to look at.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use serde::Deserialize;

use super::plugins::Refused;
use super::{Broke, Route, aside};
use crate::group_view::{Summary, View};

/// Groups listed unless said otherwise, and at most.
const LISTED: usize = 100;
const LISTED_MAX: usize = 1000;

pub(super) const ROUTES: [Route; 2] = [
    ("/v1/groups", || get(list)),
    ("/v1/groups/{group}", || get(show)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: String,
    count: Option<usize>,
}

async fn list(
    State(broker): Broke,
    Query(wanted): Query<After>,
) -> Result<Json<Vec<Summary>>, Refused> {
    aside(broker, move |broker| {
        let count = wanted.count.unwrap_or(LISTED).min(LISTED_MAX);
        Ok(broker.group_summaries(&wanted.after, count))
    })
    .await
}

async fn show(State(broker): Broke, Path(group): Path<String>) -> Result<Json<View>, Refused> {
    aside(broker, move |broker| Ok(broker.group_view(&group)?)).await
}
