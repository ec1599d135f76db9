//! What is bound where, and which version serves there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EXPRESSION, Host, version_of};
use crate::World;
use crate::binding::{Binding, Bound, Canary, Policy};
use crate::error::PluginError;
use crate::limits::{Limits, LimitsChange};

/// Bindings of one broker.
const BINDINGS_MAX: usize = 64;

/// What is to be bound.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bind {
    /// Plugin's name.
    pub plugin: String,
    /// Its version; the newest when absent.
    pub version: Option<u32>,
    /// Topic.
    pub topic: String,
    /// Group; empty = all.
    pub group: String,
    /// Settings.
    pub params: BTreeMap<String, String>,
    /// When it fails.
    pub policy: Policy,
    /// Place in the chain.
    pub order: i32,
    /// Grants state.
    pub kv: bool,
    /// Limits other than those of its world.
    pub limits: LimitsChange,
}

/// Names a binding.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Key {
    /// Plugin's name.
    pub plugin: String,
    /// Topic.
    pub topic: String,
    /// Group; empty = all.
    pub group: String,
}

impl Host {
    /// Binds a plugin, in the place of a binding of the same key.
    ///
    /// # Errors
    /// No such version, settings it refuses, a missing grant, too many bindings. What was bound
    /// before then stays in force.
    pub fn bind(&self, wanted: Bind) -> Result<Binding, PluginError> {
        let _changing = self.changing.lock();
        let plugins = self.plugins();
        let version = version_of(&plugins, &wanted.plugin, wanted.version)?;
        if wanted.topic.is_empty() {
            return Err(PluginError::Setting("a topic is missing".to_owned()));
        }
        let key = (&*wanted.plugin, &*wanted.topic, &*wanted.group);
        let replaced = self.table.find(key).map(|(_, bound)| bound);
        let before = replaced.as_ref().map(|bound| bound.spec());
        if replaced.is_none() && self.bindings().len() >= BINDINGS_MAX {
            return Err(PluginError::Limit(format!(
                "{BINDINGS_MAX} bindings are in force, more are not taken"
            )));
        }
        let binding = Binding {
            plugin: wanted.plugin,
            topic: wanted.topic,
            group: wanted.group,
            params: wanted.params,
            policy: wanted.policy,
            order: wanted.order,
            kv: wanted.kv,
            limits: wanted.limits.of(Limits::of(version.world)),
            current: version.version,
            previous: before
                .map(|before| before.current)
                .filter(|before| *before != version.version),
            shadow: None,
            canary: None,
        };
        let world = version.world;
        self.check(world, &binding)?;
        let bound = self.start(&plugins, binding.clone(), replaced.as_deref())?;
        self.save_with(&binding)?;
        self.table.insert(world, Arc::new(bound));
        self.changed();
        if let Some(replaced) = replaced {
            self.save_last_state(&replaced);
        }
        Ok(binding)
    }

    fn check(&self, world: World, binding: &Binding) -> Result<(), PluginError> {
        binding.limits.check().map_err(PluginError::Setting)?;
        let refuse = |text: &str| Err(PluginError::Setting(text.to_owned()));
        match (world, binding.policy) {
            (World::SendHook, Policy::Suspend | Policy::DeadLetter) => refuse(
                "a send hook accepts or rejects what it fails on; suspend and dead-letter are for what a group consumes",
            ),
            (World::SendHook, _) if !binding.group.is_empty() => {
                refuse("a send hook is bound to a topic; a group does not send")
            }
            (World::Language, _) if !binding.params.contains_key(EXPRESSION) => {
                refuse("a language is bound with its expression: --set expression=…")
            }
            _ => Ok(()),
        }
    }

    /// Takes a binding out of force; messages under way with it are finished.
    ///
    /// # Errors
    /// Nothing is bound there, or it can't be written.
    pub fn unbind(&self, key: &Key) -> Result<(), PluginError> {
        let _changing = self.changing.lock();
        let (world, bound) = self.find(key)?;
        let mut bindings = self.bindings();
        let spec = bound.spec();
        bindings.retain(|binding| binding.key() != spec.key());
        self.library.save_bindings(&bindings)?;
        self.table.remove(world, &spec);
        self.changed();
        self.save_last_state(&bound);
        Ok(())
    }

    /// A binding that is out of force keeps its state for the next of its key.
    fn save_last_state(&self, bound: &Bound) {
        if let Err(error) = self.save_state_of(bound) {
            tracing::error!(%error, "the last state of a binding can't be written");
        }
    }

    /// Changes some of a binding's limits from the next call on.
    ///
    /// # Errors
    /// Out of bounds, or nothing is bound there.
    pub fn set_limits(
        &self,
        key: &Key,
        change: impl Into<LimitsChange>,
    ) -> Result<Binding, PluginError> {
        let change = change.into();
        self.change(key, |binding| {
            binding.limits = change.of(binding.limits);
            binding.limits.check().map_err(PluginError::Setting)
        })
    }

    /// Runs a version beside the one that serves and compares; none ends it.
    ///
    /// # Errors
    /// No such version, it does not start, or nothing is bound there.
    pub fn shadow(&self, key: &Key, version: Option<u32>) -> Result<Binding, PluginError> {
        self.change(key, |binding| {
            binding.shadow = version;
            Ok(())
        })
    }

    /// Lets a version serve a part of the messages; none ends it.
    ///
    /// # Errors
    /// As [`Host::shadow`]; a percentage outside 1..=100.
    pub fn canary(&self, key: &Key, canary: Option<Canary>) -> Result<Binding, PluginError> {
        if let Some(canary) = canary
            && !(1..=100).contains(&canary.percent)
        {
            return Err(PluginError::Setting(format!(
                "percent = {}: 1 to 100 is possible",
                canary.percent
            )));
        }
        self.change(key, |binding| {
            binding.canary = canary;
            Ok(())
        })
    }

    /// Lets a version serve all messages. Without a version: the canary, else the shadow, else the
    /// newest. The one that served until now stays warm.
    ///
    /// # Errors
    /// As [`Host::shadow`].
    pub fn promote(&self, key: &Key, version: Option<u32>) -> Result<Binding, PluginError> {
        let newest = version_of(&self.plugins(), &key.plugin, None)?.version;
        self.change(key, |binding| {
            let tried = binding.canary.map(|canary| canary.version);
            let version = version.or(tried).or(binding.shadow).unwrap_or(newest);
            if version != binding.current {
                binding.previous = Some(binding.current);
                binding.current = version;
            }
            (binding.canary, binding.shadow) = (None, None);
            Ok(())
        })
    }

    /// Ends a canary or shadow if there is one; else the version before serves again, at once.
    ///
    /// # Errors
    /// There is nothing to go back to, or nothing is bound there.
    pub fn rollback(&self, key: &Key) -> Result<Binding, PluginError> {
        self.change(key, |binding| {
            if binding.canary.take().is_some() | binding.shadow.take().is_some() {
                return Ok(());
            }
            let previous = binding.previous.ok_or_else(|| {
                PluginError::Setting("there is no version before this one".to_owned())
            })?;
            binding.previous = Some(binding.current);
            binding.current = previous;
            Ok(())
        })
    }

    /// Changes a binding: everything that needs time or may fail comes first, then one pointer
    /// moves. Messages are judged by the versions before or after, never by neither.
    fn change(
        &self,
        key: &Key,
        edit: impl FnOnce(&mut Binding) -> Result<(), PluginError>,
    ) -> Result<Binding, PluginError> {
        let _changing = self.changing.lock();
        let plugins = self.plugins();
        let (world, bound) = self.find(key)?;
        let mut binding = (*bound.spec()).clone();
        edit(&mut binding)?;
        check_trial(world, &binding)?;
        let versions = self.versions(&plugins, &binding, &bound)?;
        self.save_with(&binding)?;
        for guest in versions.all() {
            if guest.limits() != binding.limits {
                guest.set_limits(binding.limits);
            }
        }
        bound.functions.lock().clear();
        *bound.spec.write() = Arc::new(binding.clone());
        *bound.versions.write() = Arc::new(versions);
        self.changed();
        Ok(binding)
    }

    fn save_with(&self, binding: &Binding) -> Result<(), PluginError> {
        let mut bindings = self.bindings();
        match bindings.iter_mut().find(|b| b.key() == binding.key()) {
            Some(before) => *before = binding.clone(),
            None => bindings.push(binding.clone()),
        }
        self.library.save_bindings(&bindings)
    }
}

/// Only what is asked message by message can be tried beside another version.
fn check_trial(world: World, binding: &Binding) -> Result<(), PluginError> {
    let tried = binding.shadow.is_some() || binding.canary.is_some();
    match world {
        World::Function | World::AllocateStrategy if tried => Err(PluginError::Setting(format!(
            "{} is a {world}, which has neither shadow nor canary; promote its new version",
            binding.plugin
        ))),
        _ => Ok(()),
    }
}
