//! The ways of a new version into service and back: `shadow`, `canary`, `promote`, `rollback`.

use serde_json::{Value, json};

use crate::args::{Canary, Named, Promote, Rollback, Shadow, Where};
use crate::bindings::{described, find, key};
use crate::connection::{Connection, Shown};
use crate::error::AdminError;

/// Moves a version to another place in a binding.
fn move_version(
    broker: &Connection,
    step: &str,
    (name, place): (&str, &Where),
    version: Value,
    percent: Value,
) -> Result<Shown, AdminError> {
    let status = find(broker, name, place)?;
    let mut request = json!(key(&status.binding));
    request["version"] = version;
    request["percent"] = percent;
    described(broker.post(&format!("/v1/bindings/{step}"), &request)?)
}

/// Nothing to end it, the version to begin it.
fn begun(wanted: &Named, off: bool) -> Result<Option<u32>, AdminError> {
    match (wanted.version, off) {
        (_, true) => Ok(None),
        (Some(version), false) => Ok(Some(version)),
        (None, false) => Err(AdminError::Command(format!(
            "which version? as in {}@2, or --off",
            wanted.name
        ))),
    }
}

pub(crate) fn shadow(broker: &Connection, wanted: &Shadow) -> Result<Shown, AdminError> {
    let version = begun(&wanted.plugin, wanted.off)?;
    let of = (&*wanted.plugin.name, &wanted.place);
    move_version(broker, "shadow", of, json!(version), Value::Null)
}

pub(crate) fn canary(broker: &Connection, wanted: &Canary) -> Result<Shown, AdminError> {
    let version = begun(&wanted.plugin, wanted.off)?;
    let of = (&*wanted.plugin.name, &wanted.place);
    move_version(broker, "canary", of, json!(version), json!(wanted.percent))
}

pub(crate) fn promote(broker: &Connection, wanted: &Promote) -> Result<Shown, AdminError> {
    let of = (&*wanted.plugin.name, &wanted.place);
    let version = json!(wanted.plugin.version);
    move_version(broker, "promote", of, version, Value::Null)
}

pub(crate) fn rollback(broker: &Connection, wanted: &Rollback) -> Result<Shown, AdminError> {
    let status = find(broker, &wanted.name, &wanted.place)?;
    described(broker.post("/v1/bindings/rollback", &key(&status.binding))?)
}
