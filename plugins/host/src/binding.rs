//! A plugin bound to a topic and a group: which version serves, and what happens when it fails.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::breaker::{Breaker, BreakerState};
use crate::error::CallError;
use crate::guest::Guest;
use crate::kv::Kv;
use crate::limits::Limits;
use crate::logs::Logs;
use crate::stats::Reading;

/// What becomes of messages for which there is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// They pass, and an alarm is raised: too much can be repaired.
    #[default]
    Accept,
    /// They are dropped (of a send: refused).
    Reject,
    /// The group's queue waits.
    Suspend,
    /// They go to the group's dead letters.
    DeadLetter,
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        match text {
            "accept" => Ok(Policy::Accept),
            "reject" => Ok(Policy::Reject),
            "suspend" => Ok(Policy::Suspend),
            "dead-letter" => Ok(Policy::DeadLetter),
            _ => Err(format!(
                "{text:?} is no policy; there are accept, reject, suspend and dead-letter"
            )),
        }
    }
}

/// A new version that some messages see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// The version.
    pub version: u32,
    /// Of a hundred messages, chosen by queue and offset, so that a message asked for again is
    /// judged alike. 1..=100.
    pub percent: u8,
}

/// A binding as it is written down; unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binding {
    /// Plugin's name.
    pub plugin: String,
    /// Topic.
    pub topic: String,
    /// Group; empty = all groups (send hooks know none).
    #[serde(default)]
    pub group: String,
    /// Settings for the plugin.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// When it fails.
    #[serde(default)]
    pub policy: Policy,
    /// Place in the chain: lower numbers first, equal ones in the order of binding.
    #[serde(default)]
    pub order: i32,
    /// Whether it may keep state (`kv`).
    #[serde(default)]
    pub kv: bool,
    /// What it may take.
    pub limits: Limits,
    /// The version that serves.
    pub current: u32,
    /// The one before, to go back to.
    #[serde(default)]
    pub previous: Option<u32>,
    /// Runs beside the current one and is only compared.
    #[serde(default)]
    pub shadow: Option<u32>,
    /// Serves a part.
    #[serde(default)]
    pub canary: Option<Canary>,
}

impl Binding {
    /// What identifies it.
    pub fn key(&self) -> (&str, &str, &str) {
        (&self.plugin, &self.topic, &self.group)
    }

    /// Versions it uses.
    pub fn versions(&self) -> impl Iterator<Item = u32> {
        let canary = self.canary.map(|canary| canary.version);
        [Some(self.current), self.previous, self.shadow, canary]
            .into_iter()
            .flatten()
    }
}

/// Guests of the versions in use; none only while a binding is being started.
#[derive(Clone, Default)]
pub(crate) struct Versions {
    pub(crate) current: Option<Arc<Guest>>,
    pub(crate) previous: Option<Arc<Guest>>,
    pub(crate) shadow: Option<Arc<Guest>>,
    pub(crate) canary: Option<(Arc<Guest>, u8)>,
}

impl Versions {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Guest>> {
        let canary = self.canary.as_ref().map(|(guest, _)| guest);
        [
            self.current.as_ref(),
            self.previous.as_ref(),
            self.shadow.as_ref(),
            canary,
        ]
        .into_iter()
        .flatten()
    }

    /// The guest of a version that serves here already, or did before.
    pub(crate) fn serving(&self, version: u32) -> Option<Arc<Guest>> {
        let canary = self.canary.as_ref().map(|(guest, _)| guest);
        // A shadow without state is like any other.
        let shadow = self.shadow.as_ref().filter(|guest| !guest.keeps_state());
        [
            self.current.as_ref(),
            self.previous.as_ref(),
            canary,
            shadow,
        ]
        .into_iter()
        .flatten()
        .find(|guest| guest.version == version)
        .cloned()
    }

    /// The guest of a version that is a shadow here already.
    pub(crate) fn shadowing(&self, version: u32) -> Option<Arc<Guest>> {
        self.shadow.clone().filter(|guest| guest.version == version)
    }
}

/// A binding in force.
pub struct Bound {
    pub(crate) spec: RwLock<Arc<Binding>>,
    pub(crate) versions: RwLock<Arc<Versions>>,
    pub(crate) breaker: Mutex<Breaker>,
    /// Whether the breaker is not closed. While it is, nobody locks it but who failed.
    pub(crate) broken: AtomicBool,
    /// Of a function: the guests for each version and number of arguments.
    pub(crate) functions: Mutex<HashMap<(u32, u32), Arc<Guest>>>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) kv: Option<Arc<Kv>>,
    /// Counts sends, of which a canary sees a part.
    pub(crate) turns: AtomicU32,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("spec", &self.spec.read())
            .finish_non_exhaustive()
    }
}

impl Bound {
    /// A binding without guests: its policy answers.
    pub(crate) fn unstarted(binding: Binding, kv: Option<Arc<Kv>>) -> Bound {
        Bound {
            spec: RwLock::new(Arc::new(binding)),
            versions: RwLock::default(),
            breaker: Mutex::new(Breaker::default()),
            broken: AtomicBool::new(false),
            functions: Mutex::default(),
            logs: Arc::new(Logs::default()),
            kv,
            turns: AtomicU32::new(0),
        }
    }

    /// As it is written down now.
    pub fn spec(&self) -> Arc<Binding> {
        self.spec.read().clone()
    }

    /// Whether it is for this group.
    pub(crate) fn holds(&self, group: &str) -> bool {
        let spec = self.spec.read();
        spec.group.is_empty() || spec.group == group
    }

    pub(crate) fn policy(&self) -> Policy {
        self.spec.read().policy
    }

    /// The versions in use at this moment: one block sees one set of them.
    pub(crate) fn versions(&self) -> Arc<Versions> {
        self.versions.read().clone()
    }

    /// Whether calls to it should not be made on a thread that serves connections. The version before
    /// is not called.
    pub fn is_slow(&self) -> bool {
        let versions = self.versions();
        let canary = versions.canary.as_ref().map(|(guest, _)| guest);
        [versions.current.as_ref(), versions.shadow.as_ref(), canary]
            .into_iter()
            .flatten()
            .any(|guest| guest.is_slow())
    }

    /// All guests, those of functions too.
    pub(crate) fn guests(&self) -> Vec<Arc<Guest>> {
        let versions = self.versions();
        let mut guests: Vec<Arc<Guest>> = versions.all().cloned().collect();
        guests.extend(self.functions.lock().values().cloned());
        guests
    }

    /// Version numbers in use and what each did since it was started.
    pub fn readings(&self) -> Vec<(u32, Reading)> {
        let versions = self.versions();
        let mut readings: Vec<(u32, Reading)> = Vec::new();
        for guest in versions.all() {
            if readings
                .iter()
                .all(|(version, _)| *version != guest.version)
            {
                readings.push((guest.version, guest.stats().read()));
            }
        }
        readings
    }

    /// What its guests said.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The breaker, as an operator sees it.
    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.lock().state()
    }

    pub(crate) fn admit(&self) -> bool {
        !self.broken.load(Ordering::Acquire) || self.breaker.lock().admit(Instant::now())
    }

    /// Counts how a block went.
    pub(crate) fn note(&self, failure: Option<&str>) {
        match failure {
            Some(cause) => self.failed(cause),
            None if self.broken.load(Ordering::Acquire) => self.succeeded(),
            None => {}
        }
    }

    fn succeeded(&self) {
        let mut breaker = self.breaker.lock();
        if breaker.succeeded() {
            tracing::info!(binding = %self.label(), "plugin serves again");
        }
        self.broken.store(false, Ordering::Release);
    }

    fn failed(&self, cause: &str) {
        let mut breaker = self.breaker.lock();
        if breaker.failed(Instant::now()) {
            self.broken.store(true, Ordering::Release);
            let policy = self.policy();
            tracing::error!(binding = %self.label(), cause, ?policy, "plugin fails again and again; its policy answers");
        } else {
            tracing::warn!(binding = %self.label(), cause, "plugin failed");
        }
    }

    /// A guest of this function for so many arguments; its numbers are those of the binding.
    pub(crate) fn function_guest(&self, args: u32) -> Result<Guest, CallError> {
        let versions = self.versions();
        let current = versions.current.as_ref();
        let current = current
            .ok_or_else(|| CallError::Start("the plugin could not be started".to_owned()))?;
        current.with_arguments(args)
    }

    /// A block is asked about again elsewhere, and counted there; but a probe has failed.
    pub(crate) fn note_deferred(&self) {
        let mut breaker = self.breaker.lock();
        if breaker.state() == BreakerState::HalfOpen {
            breaker.failed(Instant::now());
        }
    }

    /// A number of 0..100 that goes round, coarsely mixed.
    pub(crate) fn turn(&self) -> u8 {
        (self.turns.fetch_add(37, Ordering::Relaxed) % 100) as u8
    }

    fn label(&self) -> String {
        let spec = self.spec();
        let (plugin, topic, group) = spec.key();
        format!("{plugin}@{} on {topic}/{group}", spec.current)
    }
}
