//! From a version on disk to guests that run.

use std::sync::Arc;

use super::{EXPRESSION, Host, version_of};
use crate::binding::{Binding, Bound, Versions};
use crate::error::{CallError, PluginError};
use crate::guest::{Guest, Making};
use crate::instance::{Module, Place, SetUp, Shared};
use crate::kv::Kv;
use crate::library::{Carrier, Plugins, Version};
use crate::logs::Logs;
use crate::stats::Stats;
use crate::{World, native, wasm};

/// What the guests of a binding are told of it.
fn place(binding: &Binding) -> Place {
    let params = binding.params.iter();
    Place {
        topic: binding.topic.clone(),
        group: binding.group.clone(),
        params: params
            .filter(|(name, _)| *name != EXPRESSION)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    }
}

impl Host {
    /// A binding with its guests. One that takes another's place goes on with its state.
    pub(super) fn start(
        &self,
        plugins: &Plugins,
        binding: Binding,
        replaced: Option<&Bound>,
    ) -> Result<Bound, PluginError> {
        let kv = match (binding.kv, replaced.and_then(|bound| bound.kv.clone())) {
            (false, _) => None,
            (true, Some(kv)) => Some(kv),
            (true, None) => Some(Arc::new(self.load_kv(&binding)?)),
        };
        let bound = Bound::unstarted(binding, kv);
        let versions = self.versions(plugins, &bound.spec(), &bound)?;
        *bound.versions.write() = Arc::new(versions);
        Ok(bound)
    }

    fn load_kv(&self, binding: &Binding) -> Result<Kv, PluginError> {
        match self.library.kv(binding)? {
            None => Ok(Kv::default()),
            Some(json) => Kv::from_json(&json).map_err(|error| {
                PluginError::Setting(format!(
                    "the state of {:?} on {:?} can't be read: {error}",
                    binding.plugin, binding.topic
                ))
            }),
        }
    }

    /// Guests for all versions a binding uses; those that run already are kept. A shadow works on a copy
    /// of the state: what it keeps must not change what serves.
    pub(super) fn versions(
        &self,
        plugins: &Plugins,
        binding: &Binding,
        bound: &Bound,
    ) -> Result<Versions, PluginError> {
        let running = bound.versions();
        let start = |version, kv| {
            let guest = self.guest(plugins, binding, (bound.logs.clone(), kv), version);
            guest.map(Arc::new)
        };
        let serving = |version: u32| match running.serving(version) {
            Some(guest) => Ok(guest),
            None => start(version, bound.kv.clone()),
        };
        let shadow = |version: u32| match running.shadowing(version) {
            Some(guest) => Ok(guest),
            None => start(version, bound.kv.as_ref().map(|kv| Arc::new(kv.copy()))),
        };
        let canary = match binding.canary {
            None => None,
            Some(canary) => Some((serving(canary.version)?, canary.percent)),
        };
        Ok(Versions {
            current: Some(serving(binding.current)?),
            previous: binding.previous.map(serving).transpose()?,
            shadow: binding.shadow.map(shadow).transpose()?,
            canary,
        })
    }

    fn guest(
        &self,
        plugins: &Plugins,
        binding: &Binding,
        (logs, kv): (Arc<Logs>, Option<Arc<Kv>>),
        version: u32,
    ) -> Result<Guest, PluginError> {
        let found = version_of(plugins, &binding.plugin, Some(version))?;
        let label = format!("{}@{version}", binding.plugin);
        if found.wants_kv && !binding.kv {
            return Err(PluginError::Setting(format!(
                "{label} keeps state (it imports kv): bind it with --grant kv"
            )));
        }
        let set_up = match found.world {
            World::Language => {
                let expression = binding.params.get(EXPRESSION);
                SetUp::Compile(expression.cloned().unwrap_or_default())
            }
            World::Function => SetUp::Later,
            _ => SetUp::Configure,
        };
        let started = Guest::start(Making {
            module: self.module(found)?,
            label: label.clone(),
            version,
            place: place(binding),
            set_up,
            limits: binding.limits,
            shared: Shared {
                stats: Arc::new(Stats::default()),
                logs,
                kv,
            },
        });
        started.map_err(|error| match error {
            CallError::Refused(why) => PluginError::Refused { plugin: label, why },
            other => PluginError::Start {
                plugin: label,
                why: other.to_string(),
            },
        })
    }

    /// The loaded module of a version: from memory, or loaded again.
    fn module(&self, version: &Version) -> Result<Module, PluginError> {
        let sha256 = &version.sha256;
        if let Some(module) = self.modules.read().get(sha256) {
            return Ok(module.clone());
        }
        let module = match version.carrier {
            Carrier::Wasm => Module::Wasm(self.wasm_module(sha256)?),
            Carrier::Native => {
                let file = version.file.as_deref().unwrap_or_default();
                self.native_module(sha256, file)?
            }
        };
        self.modules.write().insert(sha256.clone(), module.clone());
        Ok(module)
    }

    pub(super) fn native_module(&self, sha256: &str, file: &str) -> Result<Module, PluginError> {
        let path = self.library.native(sha256, file)?;
        let library = native::Library::load(&path);
        let library = library.map_err(|why| PluginError::Upload(format!("{file}: {why}")))?;
        Ok(Module::Native(library))
    }

    /// From machine code on disk, or compiled again.
    fn wasm_module(&self, sha256: &str) -> Result<wasm::Module, PluginError> {
        let engine = self.engine()?;
        let kept = self.library.code(sha256).and_then(|code| {
            // SAFETY: the mark says that this broker's compiler has made it, and it was read once.
            let loaded = unsafe { wasm::Module::load(engine, &code) };
            // Of another build of this program: it is made again.
            loaded
                .inspect_err(|why| tracing::info!(sha256, why, "machine code is made again"))
                .ok()
        });
        if let Some(module) = kept {
            return Ok(module);
        }
        let component = self.library.module(sha256)?;
        let compiled = (self.compile)(&component).map_err(PluginError::Upload)?;
        self.library.keep_code(sha256, &compiled.machine_code)?;
        // SAFETY: made this moment by our own compiler, with the settings of this engine.
        let loaded = unsafe { wasm::Module::load(engine, &compiled.machine_code) };
        loaded.map_err(PluginError::Upload)
    }
}
