//! What a broker has: `put`, `list`, `show`, `rm`.

use std::path::Path;

use serde_json::json;
use sluice_plugins::PluginError;
use ureq::http::Method;

use crate::answers::{Plugin, Put as Done, Status};
use crate::args::{List, Put, Rm, Show};
use crate::bindings;
use crate::connection::{Answer, Body, Connection, Shown, escaped};
use crate::error::AdminError;
use crate::subject;
use crate::table::{Table, bytes, date, one};

pub(crate) fn put(broker: &Connection, wanted: &Put) -> Result<Shown, AdminError> {
    let answer = match (&wanted.name, wanted.native) {
        (Some(name), true) => name_library(broker, name, &wanted.path)?,
        _ => upload(broker, wanted)?,
    };
    let done: Done = answer.read()?;
    let what = format!("{}@{}", done.name, done.version.version);
    let text = match done.new {
        true => format!(
            "{what} is put: {}, {}, sha256 {}",
            one(done.version.world),
            bytes(done.version.size),
            done.version.sha256
        ),
        false => format!("{what} has this content already"),
    };
    Ok(Shown {
        json: answer.text,
        text,
    })
}

fn upload(broker: &Connection, wanted: &Put) -> Result<Answer, AdminError> {
    let (name, module) = subject::module(&wanted.path)?;
    let name = wanted.name.as_deref().unwrap_or(&name);
    let path = format!("/v1/plugins/{}", escaped(name));
    broker.ask(Method::PUT, &path, Body::Module(&module))
}

/// A library is never uploaded: whoever may write into the broker's folder has put it there.
fn name_library(broker: &Connection, name: &str, file: &Path) -> Result<Answer, AdminError> {
    let path = format!("/v1/plugins/{}/native", escaped(name));
    broker.post(&path, &json!({ "file": file }))
}

pub(crate) fn list(broker: &Connection, wanted: &List) -> Result<Shown, AdminError> {
    if wanted.bindings {
        return bindings::list(broker, &crate::args::Bindings { name: None });
    }
    let answer = broker.get("/v1/plugins")?;
    let plugins: Vec<Plugin> = answer.read()?;
    let mut table = Table::of(&["NAME", "KIND", ">VERSIONS", ">NEWEST", ">SIZE", "PUT"]);
    for plugin in plugins {
        let Some(newest) = plugin.versions.last() else {
            continue;
        };
        table.row([
            plugin.name,
            newest.world.to_string(),
            plugin.versions.len().to_string(),
            newest.version.to_string(),
            bytes(newest.size),
            date(newest.put_ms.max(0) as u64),
        ]);
    }
    let text = match table.is_empty() {
        true => "no plugins".to_owned(),
        false => table.to_string(),
    };
    Ok(Shown {
        json: answer.text,
        text,
    })
}

/// A plugin, if the broker has it.
pub(crate) fn find(broker: &Connection, name: &str) -> Result<Plugin, AdminError> {
    let plugins: Vec<Plugin> = broker.get("/v1/plugins")?.read()?;
    let found = plugins.into_iter().find(|plugin| plugin.name == name);
    found.ok_or_else(|| PluginError::NoPlugin(name.to_owned()).into())
}

pub(crate) fn show(broker: &Connection, wanted: &Show) -> Result<Shown, AdminError> {
    let plugin = find(broker, &wanted.name)?;
    let all = bindings::of_plugin(broker, &wanted.name)?;
    let mut versions = Table::of(&[">VERSION", "KIND", ">SIZE", "PUT", "GRANTS", "SHA256"]);
    for version in &plugin.versions {
        versions.row([
            version.version.to_string(),
            version.world.to_string(),
            bytes(version.size),
            date(version.put_ms.max(0) as u64),
            if version.wants_kv { "kv" } else { "" }.to_owned(),
            version.sha256.clone(),
        ]);
    }
    let text = match all.statuses.is_empty() {
        true => format!("{}\n{versions}\nbound nowhere", plugin.name),
        false => {
            let bound: Vec<String> = all.statuses.iter().map(lines).collect();
            format!("{}\n{versions}\n{}", plugin.name, bound.join("\n"))
        }
    };
    let json = serde_json::json!({
        "name": plugin.name,
        "versions": plugin.versions,
        "bindings": all.json,
    });
    Ok(Shown {
        json: json.to_string(),
        text,
    })
}

/// A binding with its settings and limits.
fn lines(status: &Status) -> String {
    let binding = &status.binding;
    let params: Vec<String> = binding
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let limits: Vec<String> = binding
        .limits
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let params = match params.is_empty() {
        true => "-".to_owned(),
        false => params.join(" "),
    };
    format!(
        "{}\n  settings  {params}\n  policy    {}, order {}\n  limits    {}",
        binding.describe(),
        bindings::policy(binding.policy),
        binding.order,
        limits.join(" ")
    )
}

pub(crate) fn remove(broker: &Connection, wanted: &Rm) -> Result<Shown, AdminError> {
    let name = &wanted.plugin.name;
    let path = format!("/v1/plugins/{}", escaped(name));
    let (path, what) = match wanted.plugin.version {
        None => (path, name.clone()),
        Some(version) => (
            format!("{path}?version={version}"),
            format!("{name}@{version}"),
        ),
    };
    let answer = broker.ask(Method::DELETE, &path, Body::None)?;
    Ok(Shown {
        json: answer.text,
        text: format!("{what} is removed"),
    })
}
