//! The HTTP side: administration of plugins, transactions, the timer, dead letters, messages and groups,
//! metrics and health.
//!
//! Open to this machine alone by default (`httpAddress`). Who comes from elsewhere, if it listens
//! there, must show the token that lies in the broker's `plugins/token`. Health is told to everybody, and so
//! are the metrics at the address that Java's settings name.

pub(crate) mod content;
mod dead_letters;
mod groups;
mod guard;
mod health;
mod listener;
mod messages;
mod metrics;
mod plugins;
mod timer;
mod transactions;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use sluice_remoting::BoundedListener;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use self::listener::Asker;
use self::listener::HttpListener;
use self::plugins::Refused;
use crate::Broker;
use crate::config::MetricsExporter;
use crate::error::{BrokerError, Refusal};

type Broke = State<Arc<Broker>>;

/// A path, and what may be done there.
type Route = (&'static str, fn() -> MethodRouter<Arc<Broker>>);

/// Paths of one part.
fn router(routes: impl IntoIterator<Item = Route>) -> Router<Arc<Broker>> {
    let add = |router: Router<_>, (path, methods): Route| router.route(path, methods());
    routes.into_iter().fold(Router::new(), add)
}

const METRICS: &str = "/metrics";
/// Where [`OPENAPI`] is served.
const DESCRIPTION: &str = "/openapi.json";
/// All of this side in OpenAPI.
const OPENAPI: &str = include_str!("../../docs/plugins/openapi.json");

async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// All paths, behind the guard. Who calls it says who asks: `ConnectInfo<Asker>`.
pub(crate) fn routes(broker: &Arc<Broker>) -> Result<Router, BrokerError> {
    let guard = guard::Guard::load(broker)?;
    Ok(Router::new()
        .merge(router(plugins::ROUTES).layer(DefaultBodyLimit::max(plugins::UPLOAD_MAX)))
        .merge(router(transactions::ROUTES))
        .merge(router(dead_letters::ROUTES))
        .merge(router(messages::ROUTES))
        .merge(router(groups::ROUTES))
        .merge(router(timer::ROUTES))
        .route(METRICS, get(metrics::metrics))
        .route(DESCRIPTION, get(description))
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
        .merge(router(health::ROUTES))
        .with_state(broker.clone()))
}

/// What a Java broker serves with `metricsExporterType=PROM`, to whoever asks.
fn exported(broker: &Arc<Broker>) -> Router {
    Router::new()
        .route(METRICS, get(metrics::metrics))
        .with_state(broker.clone())
}

/// Does what reads the log, writes files or starts guests, on a thread that may wait.
async fn aside<T: Send + 'static>(
    broker: Arc<Broker>,
    work: impl FnOnce(&Broker) -> Result<T, Refused> + Send + 'static,
) -> Result<Json<T>, Refused> {
    let working = broker.clone();
    let done = broker.aside_for_operators.done(move || work(&working));
    let done = done.await.map_err(no_place)?;
    done.map(Json)
}

/// Why work aside has not begun, or not ended.
fn no_place(refusal: Refusal) -> Refused {
    let status = match refusal {
        Refusal::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused(status, refusal.to_string())
}

impl From<BrokerError> for Refused {
    fn from(error: BrokerError) -> Self {
        Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::InvalidParameter(_) => StatusCode::BAD_REQUEST,
            Refusal::NotFound(_)
            | Refusal::TopicNotExist(_)
            | Refusal::NoSuchTopic(_)
            | Refusal::GroupNotExist(_)
            | Refusal::NoSuchGroup(_) => StatusCode::NOT_FOUND,
            Refusal::NoPermission(_) | Refusal::Busy(_) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refused(status, refusal.to_string())
    }
}

/// A listener and the task that serves it.
pub(crate) struct Http {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Http {
    /// Serves `httpAddress`; `None` when there is none, or when it is taken and so the broker's other
    /// duties go on without.
    pub(crate) async fn start(broker: &Arc<Broker>) -> Result<Option<Http>, BrokerError> {
        let Some(wanted) = broker.config().http_address.clone() else {
            return Ok(None);
        };
        let address: SocketAddr = wanted.parse().map_err(|_| {
            BrokerError::Config(format!(
                "httpAddress = {wanted:?}: an IP address and a port are expected, as in 127.0.0.1:10915"
            ))
        })?;
        Ok(Http::serve(
            address,
            routes(broker)?,
            "plugins can't be administered over HTTP",
        )
        .await)
    }

    /// Serves the metrics where Java's settings say; `None` when they say nowhere, or it is taken.
    pub(crate) async fn start_exporter(broker: &Arc<Broker>) -> Option<Http> {
        let config = broker.config();
        match config.metrics_exporter_type {
            MetricsExporter::Disable => return None,
            MetricsExporter::Prom => {}
            MetricsExporter::OtlpGrpc | MetricsExporter::Log => {
                tracing::warn!(
                    "metricsExporterType: of Java's exporters this broker has PROM alone; metrics are not exported"
                );
                return None;
            }
        }
        let host = config.metrics_prom_exporter_host.as_deref();
        let host = host.unwrap_or(&config.broker_ip1);
        let port = config.metrics_prom_exporter_port;
        let found = tokio::net::lookup_host((host, port)).await.ok();
        let Some(address) = found.and_then(|mut found| found.next()) else {
            tracing::warn!(
                host,
                "metricsPromExporterHost has no address; metrics are not exported"
            );
            return None;
        };
        Http::serve(address, exported(broker), "metrics are not exported").await
    }

    /// `None` when nothing can listen there, which is said together with what is `missed` then.
    async fn serve(address: SocketAddr, routes: Router, missed: &str) -> Option<Http> {
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%address, %error, "{missed}");
                return None;
            }
        };
        let address = listener.local_addr().unwrap_or(address);
        let listener = HttpListener(BoundedListener::new(listener));
        let service = routes.into_make_service_with_connect_info::<Asker>();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let until = async move {
                let _ = stopped.await;
            };
            let served = axum::serve(listener, service).with_graceful_shutdown(until);
            if let Err(error) = served.await {
                tracing::error!(%error, "the HTTP side ended");
            }
        });
        Some(Http {
            address,
            stop: Some(stop),
            serving,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening; what is under way gets a moment to end.
    pub(crate) async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let moment = std::time::Duration::from_millis(500);
        if tokio::time::timeout(moment, &mut self.serving)
            .await
            .is_err()
        {
            self.serving.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_is_described_and_no_other() {
        let described: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let described = described["paths"].as_object().unwrap().keys();
        let described: BTreeSet<&str> = described.map(String::as_str).collect();
        let served = plugins::ROUTES
            .into_iter()
            .chain(transactions::ROUTES)
            .chain(dead_letters::ROUTES)
            .chain(messages::ROUTES)
            .chain(groups::ROUTES)
            .chain(timer::ROUTES);
        let served = served.map(|(path, _)| path);
        let unguarded = health::ROUTES.into_iter().map(|(path, _)| path);
        let served = served.chain(unguarded).chain([METRICS, DESCRIPTION]);
        let served: BTreeSet<&str> = served.collect();
        assert_eq!(described, served);
    }
}
