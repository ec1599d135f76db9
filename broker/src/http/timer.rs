//! What waits in the timer, JSON over HTTP.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::plugins::Refused;
use super::{Broke, Route, aside};
use crate::timer::Look;

pub(super) const ROUTES: [Route; 1] = [("/v1/timer", || get(look))];

async fn look(State(broker): Broke) -> Result<Json<Look>, Refused> {
    let look = aside(broker, |broker| Ok(broker.look_at_timer()?)).await?;
    let off = || {
        let text = "the timer is off: timerWheelEnable is false".to_owned();
        Refused(StatusCode::NOT_FOUND, text)
    };
    look.0.map(Json).ok_or_else(off)
}
