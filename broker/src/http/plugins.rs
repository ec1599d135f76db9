//! Administration of plugins, JSON over HTTP; `docs/plugins/openapi.json` describes it.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};
use sluice_plugins::filter::Explanation;
use sluice_plugins::logs::Line;
use sluice_plugins::stats::Reading;
use sluice_plugins::{
    Bind, Binding, Canary, Key, LimitsChange, Listed, PluginError, Put, Row, Version, World,
};
use sluice_protocol::message::{MessageId, Record};

use super::{Route, aside, no_place};
use crate::Broker;

/// Largest upload, bytes.
pub(super) const UPLOAD_MAX: usize = 32 << 20;
/// Messages of one `explain`.
const EXPLAINED_MAX: usize = 100;

type Broke = State<Arc<Broker>>;
type Answer<T> = Result<Json<T>, Refused>;

pub(super) const ROUTES: [Route; 12] = [
    ("/v1/plugins", || get(list)),
    ("/v1/plugins/{name}", || put(upload).delete(remove)),
    ("/v1/plugins/{name}/native", || post(native)),
    ("/v1/bindings", || get(bindings).post(bind)),
    ("/v1/bindings/unbind", || post(unbind)),
    ("/v1/bindings/limits", || post(limits)),
    ("/v1/bindings/shadow", || post(shadow)),
    ("/v1/bindings/canary", || post(canary)),
    ("/v1/bindings/promote", || post(promote)),
    ("/v1/bindings/rollback", || post(rollback)),
    ("/v1/bindings/logs", || get(logs)),
    ("/v1/bindings/explain", || get(explain)),
];

/// A request that is not carried out.
pub(super) struct Refused(pub(super) StatusCode, pub(super) String);

impl From<PluginError> for Refused {
    fn from(error: PluginError) -> Self {
        let status = match &error {
            PluginError::NoPlugin(_)
            | PluginError::NoVersion { .. }
            | PluginError::NoBinding { .. } => StatusCode::NOT_FOUND,
            PluginError::InUse { .. } | PluginError::Limit(_) => StatusCode::CONFLICT,
            PluginError::File { .. } | PluginError::Damaged { .. } | PluginError::Engine(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            PluginError::Upload(_)
            | PluginError::Name(_)
            | PluginError::Setting(_)
            | PluginError::Refused { .. }
            | PluginError::Start { .. } => StatusCode::BAD_REQUEST,
        };
        Refused(status, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        (self.0, Json(Body { error: self.1 })).into_response()
    }
}

async fn list(State(broker): Broke) -> Json<Vec<Listed>> {
    Json(broker.plugins.list())
}

async fn upload(State(broker): Broke, Path(name): Path<String>, body: Bytes) -> Answer<Put> {
    let compiling = broker.clone();
    let put = broker.aside_for_uploads.done(move || {
        let put = compiling.plugins.put(&name, &body, compiling.now_ms())?;
        tracing::info!(plugin = name, version = put.version.version, world = %put.version.world, "plugin put");
        Ok::<_, PluginError>(put)
    });
    Ok(Json(put.await.map_err(no_place)??))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Library {
    file: String,
}

/// A library that the operator has put into the broker's directory becomes the next version.
async fn native(
    State(broker): Broke,
    Path(name): Path<String>,
    Json(library): Json<Library>,
) -> Answer<Put> {
    aside(broker, move |broker| {
        let put = broker
            .plugins
            .put_native(&name, &library.file, broker.now_ms())?;
        let Version {
            version,
            sha256,
            world,
            ..
        } = &put.version;
        tracing::info!(plugin = name, version, file = library.file, sha256, %world, "native plugin put");
        Ok(put)
    })
    .await
}

#[derive(Deserialize)]
struct OfVersion {
    version: Option<u32>,
}

async fn remove(
    State(broker): Broke,
    Path(name): Path<String>,
    Query(of): Query<OfVersion>,
) -> Answer<()> {
    aside(broker, move |broker| {
        Ok(broker.plugins.remove(&name, of.version)?)
    })
    .await
}

/// A binding and how it does.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(flatten)]
    binding: Binding,
    world: World,
    breaker: &'static str,
    slow: bool,
    log_lines_dropped: u64,
    versions: Vec<OfOneVersion>,
}

#[derive(Serialize)]
struct OfOneVersion {
    version: u32,
    #[serde(flatten)]
    stats: Reading,
}

pub(super) fn breaker(state: sluice_plugins::breaker::BreakerState) -> &'static str {
    use sluice_plugins::breaker::BreakerState;
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half-open",
    }
}

async fn bindings(State(broker): Broke) -> Json<Vec<Status>> {
    let all = broker.plugins.all_bound();
    let status = all.into_iter().map(|(world, bound)| Status {
        binding: (*bound.spec()).clone(),
        world,
        breaker: breaker(bound.breaker_state()),
        slow: bound.is_slow(),
        log_lines_dropped: bound.logs().dropped(),
        versions: bound
            .readings()
            .into_iter()
            .map(|(version, stats)| OfOneVersion { version, stats })
            .collect(),
    });
    Json(status.collect())
}

/// What waits on the topic, or before a plugin that held it, is read again under the new rules.
fn changed(broker: &Broker, binding: Binding, what: &'static str) -> Binding {
    tracing::info!(
        plugin = binding.plugin,
        topic = binding.topic,
        group = binding.group,
        version = binding.current,
        "{what}"
    );
    broker.long_poll.wake_topic(&binding.topic);
    binding
}

async fn bind(State(broker): Broke, Json(wanted): Json<Bind>) -> Answer<Binding> {
    aside(broker, move |broker| {
        let binding = broker.plugins.bind(wanted)?;
        Ok(changed(broker, binding, "plugin bound"))
    })
    .await
}

async fn unbind(State(broker): Broke, Json(key): Json<Key>) -> Answer<()> {
    aside(broker, move |broker| {
        let binding = (*broker.plugins.bound(&key)?.spec()).clone();
        broker.plugins.unbind(&key)?;
        changed(broker, binding, "plugin unbound");
        Ok(())
    })
    .await
}

#[derive(Deserialize)]
struct WithLimits {
    #[serde(flatten)]
    key: Key,
    limits: LimitsChange,
}

async fn limits(State(broker): Broke, Json(wanted): Json<WithLimits>) -> Answer<Binding> {
    aside(broker, move |broker| {
        let binding = broker.plugins.set_limits(&wanted.key, wanted.limits)?;
        Ok(changed(broker, binding, "plugin limits set"))
    })
    .await
}

#[derive(Deserialize)]
struct WithVersion {
    #[serde(flatten)]
    key: Key,
    version: Option<u32>,
    percent: Option<u8>,
}

async fn shadow(State(broker): Broke, Json(wanted): Json<WithVersion>) -> Answer<Binding> {
    aside(broker, move |broker| {
        let binding = broker.plugins.shadow(&wanted.key, wanted.version)?;
        Ok(changed(broker, binding, "plugin shadowed"))
    })
    .await
}

/// A version and a percentage begin a canary, neither ends it.
async fn canary(State(broker): Broke, Json(wanted): Json<WithVersion>) -> Answer<Binding> {
    aside(broker, move |broker| {
        let canary = match (wanted.version, wanted.percent) {
            (Some(version), Some(percent)) => Some(Canary { version, percent }),
            (None, None) => None,
            _ => {
                let text = "a canary has a version and a percentage";
                return Err(PluginError::Setting(text.to_owned()).into());
            }
        };
        let binding = broker.plugins.canary(&wanted.key, canary)?;
        Ok(changed(broker, binding, "plugin canary set"))
    })
    .await
}

async fn promote(State(broker): Broke, Json(wanted): Json<WithVersion>) -> Answer<Binding> {
    aside(broker, move |broker| {
        let binding = broker.plugins.promote(&wanted.key, wanted.version)?;
        Ok(changed(broker, binding, "plugin promoted"))
    })
    .await
}

async fn rollback(State(broker): Broke, Json(key): Json<Key>) -> Answer<Binding> {
    aside(broker, move |broker| {
        let binding = broker.plugins.rollback(&key)?;
        Ok(changed(broker, binding, "plugin rolled back"))
    })
    .await
}

#[derive(Deserialize)]
struct Since {
    #[serde(flatten)]
    key: Key,
    #[serde(default)]
    from: String,
}

/// The lines from a number on.
async fn logs(State(broker): Broke, Query(since): Query<Since>) -> Answer<Vec<Line>> {
    let from = since.from.parse().unwrap_or(0);
    Ok(Json(broker.plugins.bound(&since.key)?.logs().since(from)))
}

#[derive(Deserialize)]
struct Explain {
    topic: String,
    #[serde(default)]
    group: String,
    #[serde(rename = "queueId")]
    queue_id: i32,
    offset: i64,
    count: Option<usize>,
}

/// What each filter bound there says of a stored message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    queue_offset: i64,
    message_id: String,
    tags: Option<String>,
    keys: Option<String>,
    passes: bool,
    filters: Vec<ByPlugin>,
}

#[derive(Serialize)]
struct ByPlugin {
    plugin: String,
    #[serde(flatten)]
    explanation: Explanation,
}

async fn explain(State(broker): Broke, Query(wanted): Query<Explain>) -> Answer<Vec<Explained>> {
    aside(broker, move |broker| {
        let count = wanted.count.unwrap_or(10).min(EXPLAINED_MAX) as i64;
        let offsets = wanted.offset..wanted.offset.saturating_add(count);
        let message = |at| broker.store.message_of(&wanted.topic, wanted.queue_id, at);
        let stored = offsets.filter_map(message);
        let chain = broker.plugins.filters(&wanted.topic, &wanted.group);
        Ok(stored
            .filter_map(|bytes| {
                let record = Record::parse(&bytes).ok()?;
                let row = Row::from(&record);
                let filters: Vec<ByPlugin> = chain
                    .iter()
                    .map(|bound| ByPlugin {
                        plugin: bound.spec().plugin.clone(),
                        explanation: bound.explain(&row),
                    })
                    .collect();
                let pass = sluice_plugins::filter::Judgement::Pass;
                Some(Explained {
                    queue_offset: record.queue_offset(),
                    message_id: MessageId {
                        store_host: record.store_host(),
                        physical_offset: record.physical_offset(),
                    }
                    .to_string(),
                    tags: record.property("TAGS").map(str::to_owned),
                    keys: record.property("KEYS").map(str::to_owned),
                    passes: filters.iter().all(|f| f.explanation.verdict == pass),
                    filters,
                })
            })
            .collect())
    })
    .await
}
