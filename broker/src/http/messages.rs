//! Single messages, JSON over HTTP, for an operator to look at.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use serde::Deserialize;

use super::plugins::Refused;
use super::{Broke, Route, aside};
use crate::message_life::Lives;

pub(super) const ROUTES: [Route; 1] = [("/v1/messages/{id}", || get(show))];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    topic: Option<String>,
}

async fn show(
    State(broker): Broke,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Lives>, Refused> {
    aside(broker, move |broker| {
        Ok(broker.lives(&id, wanted.topic.as_deref())?)
    })
    .await
}
