//! A broker's answers, as far as they are shown. Fields that a newer broker adds are passed over.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use sluice_plugins::{Canary, Policy, Version, World};

/// A plugin and its versions, oldest first.
#[derive(Debug, Deserialize)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) versions: Vec<Version>,
}

/// A plugin's version that was put.
#[derive(Debug, Deserialize)]
pub(crate) struct Put {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) version: Version,
    pub(crate) new: bool,
}

/// A binding.
#[derive(Debug, Deserialize)]
pub(crate) struct Binding {
    pub(crate) plugin: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) policy: Policy,
    pub(crate) order: i32,
    pub(crate) limits: serde_json::Map<String, serde_json::Value>,
    pub(crate) current: u32,
    pub(crate) previous: Option<u32>,
    pub(crate) shadow: Option<u32>,
    pub(crate) canary: Option<Canary>,
}

/// A binding and how it does.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(flatten)]
    pub(crate) binding: Binding,
    pub(crate) world: World,
    pub(crate) breaker: String,
    pub(crate) slow: bool,
    pub(crate) log_lines_dropped: u64,
    pub(crate) versions: Vec<Numbers>,
}

/// What a version did since it was started for a binding.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Numbers {
    pub(crate) version: u32,
    pub(crate) calls: u64,
    pub(crate) rows: u64,
    pub(crate) passed: u64,
    pub(crate) dropped: u64,
    pub(crate) changed: u64,
    pub(crate) failed_rows: u64,
    pub(crate) by_policy: u64,
    pub(crate) traps: u64,
    pub(crate) timeouts: u64,
    pub(crate) differing: u64,
    pub(crate) instances: u64,
    pub(crate) busy_ns: u64,
    pub(crate) memory_high_water: u64,
    pub(crate) histogram: Vec<u64>,
    pub(crate) counters: BTreeMap<String, u64>,
}

/// A line that a plugin said.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) time_ms: u64,
    pub(crate) level: String,
    pub(crate) text: String,
}

/// A stored message and what is said of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    pub(crate) queue_offset: i64,
    pub(crate) message_id: String,
    pub(crate) tags: Option<String>,
    pub(crate) keys: Option<String>,
    pub(crate) passes: bool,
    pub(crate) filters: Vec<ByPlugin>,
}

/// What one plugin says of it.
#[derive(Debug, Deserialize)]
pub(crate) struct ByPlugin {
    pub(crate) plugin: String,
    pub(crate) version: Option<u32>,
    pub(crate) verdict: String,
    pub(crate) failure: Option<String>,
}

impl Binding {
    /// Where it holds.
    pub(crate) fn place(&self) -> String {
        match &*self.group {
            "" => format!("topic {}, all groups", self.topic),
            group => format!("topic {}, group {group}", self.topic),
        }
    }

    /// Which version serves, and what is tried beside it. Writing to a String can't fail.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{}@{} serves {}", self.plugin, self.current, self.place());
        if let Some(canary) = self.canary {
            let _ = write!(
                text,
                "; canary @{} for {} %",
                canary.version, canary.percent
            );
        }
        if let Some(shadow) = self.shadow {
            let _ = write!(text, "; shadow @{shadow}");
        }
        if let Some(previous) = self.previous {
            let _ = write!(text, "; before it @{previous}");
        }
        text
    }

    /// What a version is to it.
    pub(crate) fn role(&self, version: u32) -> String {
        let canary = self.canary.filter(|canary| canary.version == version);
        let roles = [
            (self.current == version).then(|| "current".to_owned()),
            canary.map(|canary| format!("canary {} %", canary.percent)),
            (self.shadow == Some(version)).then(|| "shadow".to_owned()),
            (self.previous == Some(version)).then(|| "before".to_owned()),
        ];
        let roles: Vec<String> = roles.into_iter().flatten().collect();
        roles.join(", ")
    }
}

impl Numbers {
    /// Mean time of a call.
    pub(crate) fn mean(&self) -> String {
        match self.busy_ns.checked_div(self.calls) {
            None => "-".to_owned(),
            Some(ns) => crate::table::time(ns),
        }
    }
}
