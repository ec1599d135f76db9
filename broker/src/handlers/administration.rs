//! SLUICE_ADMINISTRATION (30001, ours): what the HTTP side does, for those who reach the broker by
//! remoting alone. Fields `method`, `path` (with its query) and `token`; body and answer are those of
//! HTTP. The same guard stands before it, but lets nobody pass without the token.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use sluice_protocol::RemotingCommand;
use sluice_remoting::Responder;
use tower::ServiceExt;

use crate::error::Refusal;
use crate::http::Asker;
use crate::{Answer, Broker, http};

/// Largest answer, bytes: it has to fit a frame.
const ANSWER_MAX: usize = 16 << 20;

/// Hands the request to the routes of the HTTP side.
pub fn administration(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let asked = match wanted(broker, &request, responder.connection().peer()) {
        Ok(asked) => asked,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let broker = broker.clone();
    tokio::spawn(async move {
        let answer = ask(&broker, asked).await;
        broker.reply(responder, || answer);
    });
}

fn wanted(
    broker: &Broker,
    request: &RemotingCommand,
    peer: SocketAddr,
) -> Result<Request<Body>, Refusal> {
    if broker.config().http_address.is_none() {
        let text = "administration is off: httpAddress is empty";
        return Err(Refusal::NoPermission(text.to_owned()));
    }
    let field = |name: &'static str| request.ext.get(name);
    let missing = |name| Refusal::InvalidParameter(format!("the field {name} is missing"));
    let mut asked = Request::builder()
        .method(field("method").ok_or_else(|| missing("method"))?)
        .uri(field("path").ok_or_else(|| missing("path"))?)
        .header(header::CONTENT_TYPE, "application/json")
        // Behind a proxy or tunnel every peer of this port looks local: a name that is not makes the
        // guard ask for the token.
        .header(header::HOST, "remoting")
        .extension(ConnectInfo(Asker(peer)));
    if let Some(token) = field("token") {
        asked = asked.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let asked = asked.body(Body::from(request.body.clone()));
    asked.map_err(|error| Refusal::InvalidParameter(format!("method, path or token: {error}")))
}

async fn ask(broker: &Arc<Broker>, asked: Request<Body>) -> Result<Answer, Refusal> {
    let routes = http::routes(broker).map_err(|error| Refusal::System(error.to_string()))?;
    let answer = routes.oneshot(asked).await;
    let answer = answer.unwrap_or_else(|never| match never {});
    let status = answer.status();
    let body = to_bytes(answer.into_body(), ANSWER_MAX)
        .await
        .map_err(|error| Refusal::System(format!("the answer can't be sent: {error}")))?;
    if status.is_success() {
        return Ok(Answer {
            body,
            ..Answer::default()
        });
    }
    Err(refusal(status, &body))
}

fn refusal(status: StatusCode, body: &Bytes) -> Refusal {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = match json["error"].as_str() {
        Some(error) => error.to_owned(),
        None if body.is_empty() => status.to_string(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    match status {
        StatusCode::UNAUTHORIZED => Refusal::NoPermission(text),
        StatusCode::NOT_FOUND => Refusal::NotFound(text),
        status if status.is_client_error() => Refusal::InvalidParameter(text),
        _ => Refusal::System(text),
    }
}
