//! What waits in the timer, JSON over HTTP.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};

use super::Route;
use super::plugins::Refused;
use crate::Broker;
use crate::timer::Look;

pub(super) const ROUTES: [Route; 1] = [("/v1/timer", || get(look))];

pub(super) fn routes() -> Router<Arc<Broker>> {
    let add = |router: Router<_>, (path, methods): Route| router.route(path, methods());
    ROUTES.into_iter().fold(Router::new(), add)
}

async fn look(State(broker): State<Arc<Broker>>) -> Result<Json<Look>, Refused> {
    let failed = |text: String| Refused(StatusCode::INTERNAL_SERVER_ERROR, text);
    let looked = tokio::task::spawn_blocking(move || broker.look_at_timer()).await;
    let looked = looked.map_err(|cause| {
        tracing::error!(%cause, "a look at the timer panicked");
        failed("it failed for a reason that the broker's log tells".to_owned())
    })?;
    let off = || {
        let text = "the timer is off: timerWheelEnable is false".to_owned();
        Refused(StatusCode::NOT_FOUND, text)
    };
    let look = looked.map_err(|error| failed(error.to_string()))?;
    look.map(Json).ok_or_else(off)
}
