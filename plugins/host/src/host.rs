//! Everything an operator does with plugins: put, bind, try beside the old, promote, roll back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sluice_filters::MessageFilter;

use crate::World;
use crate::binding::{Binding, Bound, Canary, Policy, Versions};
use crate::breaker::Breaker;
use crate::engine::Engine;
use crate::error::{CallError, PluginError};
use crate::guest::{Guest, Making};
use crate::instance::{Instance, Module, Place, SetUp, Shared};
use crate::kv::Kv;
use crate::language::Spoken;
use crate::library::{Carrier, Library, Plugins, Version, digest};
use crate::limits::{Limits, LimitsChange};
use crate::logs::Logs;
use crate::stats::Stats;
use crate::table::Table;
use crate::{native, wasm};

/// Bindings of one broker.
const BINDINGS_MAX: usize = 64;
/// Versions kept of one plugin.
const VERSIONS_MAX: usize = 100;
/// Uploads whose content is remembered.
const UPLOADS_MAX: usize = 1_000;
/// How libraries begin.
const ELF: &[u8] = b"\x7fELF";
/// A language's expression among a binding's settings.
const EXPRESSION: &str = "expression";

/// Makes a component and machine code of an upload, away from this process; the error is for the
/// uploader.
pub type Compile = Box<dyn Fn(&[u8]) -> Result<Compiled, String> + Send + Sync>;

/// What [`Compile`] makes.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The component.
    pub component: Vec<u8>,
    /// Its machine code, see `wasmtime::Engine::precompile_component`.
    pub machine_code: Vec<u8>,
}

/// All plugins of a broker.
pub struct Host {
    library: Library,
    compile: Compile,
    engine: OnceLock<Result<Arc<Engine>, String>>,
    /// Names and versions; held while anything is changed.
    plugins: Mutex<Plugins>,
    modules: RwLock<BTreeMap<String, Module>>,
    /// Content of uploads, and of the components they became: who uploads the same again and again
    /// gets the answer without work.
    uploads: Mutex<HashMap<String, String>>,
    table: Table,
    /// Counts changes of what is put and bound.
    generation: AtomicU64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

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

/// A plugin and its versions.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Oldest first.
    pub versions: Vec<Version>,
}

/// What [`Host::put`] did.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Put {
    /// The plugin.
    pub name: String,
    /// The version that holds the upload.
    #[serde(flatten)]
    pub version: Version,
    /// False when the newest version had that content already.
    pub new: bool,
}

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

/// Whether a plugin can have this name.
///
/// # Errors
/// [`PluginError::Name`].
pub fn check_name(name: &str) -> Result<(), PluginError> {
    let good = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if good {
        Ok(())
    } else {
        Err(PluginError::Name(name.to_owned()))
    }
}

/// The version asked for, or the newest.
fn version_of<'a>(
    plugins: &'a Plugins,
    name: &str,
    version: Option<u32>,
) -> Result<&'a Version, PluginError> {
    let versions = plugins
        .get(name)
        .ok_or_else(|| PluginError::NoPlugin(name.to_owned()))?;
    let found = match version {
        None => versions.last(),
        Some(wanted) => versions.iter().find(|v| v.version == wanted),
    };
    found.ok_or_else(|| PluginError::NoVersion {
        name: name.to_owned(),
        version: version.map_or("any".to_owned(), |v| v.to_string()),
        has: versions
            .iter()
            .map(|v| v.version.to_string())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

impl Host {
    /// Opens a directory of plugins and puts its bindings in force. A binding that can't be started
    /// is logged and its policy answers until it can: messages are never passed as if it were not there.
    ///
    /// # Errors
    /// A file can't be read or is damaged.
    pub fn open(root: &Path, compile: Compile) -> Result<Host, PluginError> {
        let library = Library::open(root)?;
        let plugins = library.plugins()?;
        let bindings = library.bindings()?;
        let host = Host {
            library,
            compile,
            engine: OnceLock::new(),
            plugins: Mutex::new(plugins),
            modules: RwLock::default(),
            uploads: Mutex::default(),
            table: Table::default(),
            generation: AtomicU64::new(0),
        };
        for binding in bindings {
            host.restore(binding)?;
        }
        Ok(host)
    }

    fn restore(&self, binding: Binding) -> Result<(), PluginError> {
        let plugins = self.plugins.lock();
        let world = version_of(&plugins, &binding.plugin, Some(binding.current))?.world;
        let bound = self.unstarted(binding)?;
        let spec = bound.spec();
        match self.versions(&plugins, &spec, &bound) {
            Ok(versions) => *bound.versions.write() = Arc::new(versions),
            Err(error) => {
                tracing::error!(%error, topic = spec.topic, group = spec.group, policy = ?spec.policy, "a bound plugin can't be started; its policy answers");
            }
        }
        self.table.insert(world, Arc::new(bound));
        Ok(())
    }

    /// The engine, made when the first plugin needs it: a broker without plugins has none.
    fn engine(&self) -> Result<&Arc<Engine>, PluginError> {
        let engine = self.engine.get_or_init(|| Engine::new().map(Arc::new));
        engine
            .as_ref()
            .map_err(|cause| PluginError::Engine(cause.clone()))
    }

    /// Takes an upload: compiles it, tries it, and keeps it as the name's next version.
    ///
    /// # Errors
    /// It is no plugin, or of another world than the name's versions before; the text says what and
    /// where. Nothing is kept then.
    pub fn put(&self, name: &str, upload: &[u8], now_ms: i64) -> Result<Put, PluginError> {
        check_name(name)?;
        let upload_sha256 = digest(upload);
        if let Some(put) = self.put_before(name, &upload_sha256) {
            return Ok(put);
        }
        if upload.starts_with(ELF) {
            return Err(PluginError::Upload(format!(
                "it is a native library; those are not uploaded, the operator puts them into {}",
                self.library.native_directory().display()
            )));
        }
        let compiled = (self.compile)(upload).map_err(PluginError::Upload)?;
        // SAFETY: made this moment by our own compiler, with the settings of this engine.
        let module = unsafe { wasm::Module::load(self.engine()?, &compiled.machine_code) };
        let module = Module::Wasm(module.map_err(PluginError::Upload)?);
        self.try_out(&module)?;
        let sha256 = digest(&compiled.component);
        let version = Version {
            version: 0,
            sha256: sha256.clone(),
            carrier: Carrier::Wasm,
            file: None,
            world: module.world(),
            size: compiled.component.len() as u64,
            put_ms: now_ms,
            wants_kv: module.wants_kv(),
        };
        let mut plugins = self.plugins.lock();
        let put = self.put_next(&mut plugins, name, version, module, || {
            self.library.keep_module(&compiled.component)?;
            self.library.keep_code(&sha256, &compiled.machine_code)
        })?;
        self.remember(upload_sha256, sha256);
        Ok(put)
    }

    /// Makes a library in the operator's directory, `native/` beside the modules, the name's next
    /// version. What is loaded, now and after restarts, is a copy of the file as it is now.
    ///
    /// # Errors
    /// The file lies elsewhere or others may write it, it is no plugin of this ABI, or of another world
    /// than the name's versions before. Nothing is registered then.
    pub fn put_native(&self, name: &str, file: &str, now_ms: i64) -> Result<Put, PluginError> {
        check_name(name)?;
        let content = self.library.native_file(file)?;
        let sha256 = digest(&content);
        let mut plugins = self.plugins.lock();
        let put = self.native_module(&sha256, file).and_then(|module| {
            let version = Version {
                version: 0,
                sha256: sha256.clone(),
                carrier: Carrier::Native,
                file: Some(file.to_owned()),
                world: module.world(),
                size: content.len() as u64,
                put_ms: now_ms,
                wants_kv: module.wants_kv(),
            };
            self.put_next(&mut plugins, name, version, module, || Ok(()))
        });
        if put.is_err() && plugins.values().flatten().all(|v| v.sha256 != sha256) {
            self.library.remove_module(&sha256);
        }
        put
    }

    /// Makes what has been tried the name's next version, if its newest is not the same.
    fn put_next(
        &self,
        plugins: &mut Plugins,
        name: &str,
        mut version: Version,
        module: Module,
        keep: impl FnOnce() -> Result<(), PluginError>,
    ) -> Result<Put, PluginError> {
        let put = |version: Version, new: bool| Put {
            name: name.to_owned(),
            version,
            new,
        };
        let versions = plugins.get(name).map_or(&[][..], Vec::as_slice);
        if let Some(last) = versions.last() {
            if last.world != version.world {
                return Err(PluginError::Upload(format!(
                    "{name:?} is a {}, the upload is a {}",
                    last.world, version.world
                )));
            }
            if last.sha256 == version.sha256 {
                return Ok(put(last.clone(), false));
            }
        }
        if versions.len() >= VERSIONS_MAX {
            return Err(PluginError::Limit(format!(
                "{name:?} has {VERSIONS_MAX} versions; remove some"
            )));
        }
        version.version = versions.last().map_or(1, |last| last.version + 1);
        keep()?;
        let mut changed = plugins.clone();
        changed
            .entry(name.to_owned())
            .or_default()
            .push(version.clone());
        self.library.save_plugins(&changed)?;
        *plugins = changed;
        self.modules.write().insert(version.sha256.clone(), module);
        self.changed();
        Ok(put(version, true))
    }

    /// The newest version, if it is what this upload becomes.
    fn put_before(&self, name: &str, upload_sha256: &str) -> Option<Put> {
        let component = self.uploads.lock().get(upload_sha256)?.clone();
        let plugins = self.plugins.lock();
        let last = plugins.get(name)?.last()?;
        (last.sha256 == component).then(|| Put {
            name: name.to_owned(),
            version: last.clone(),
            new: false,
        })
    }

    fn remember(&self, upload_sha256: String, component_sha256: String) {
        let mut uploads = self.uploads.lock();
        if uploads.len() >= UPLOADS_MAX {
            uploads.clear();
        }
        uploads.insert(upload_sha256, component_sha256);
    }

    /// Instantiates once without setting up: a start function that traps or runs for ever, an
    /// import or export of another type is found here and not on the path of a message.
    fn try_out(&self, module: &Module) -> Result<(), PluginError> {
        let started = Instance::start(
            module,
            &Place::default(),
            &SetUp::Later,
            Limits::of(module.world()),
            &Shared::default(),
        );
        match started {
            Ok(_) => Ok(()),
            Err(error) => Err(PluginError::Upload(format!(
                "the trial start failed: {error}"
            ))),
        }
    }

    /// All plugins.
    pub fn list(&self) -> Vec<Listed> {
        let plugins = self.plugins.lock();
        let listed = |(name, versions): (&String, &Vec<Version>)| Listed {
            name: name.clone(),
            versions: versions.clone(),
        };
        plugins.iter().map(listed).collect()
    }

    /// The component of a version.
    ///
    /// # Errors
    /// No such version, it is a library, or its file can't be read.
    pub fn component(&self, name: &str, version: Option<u32>) -> Result<Vec<u8>, PluginError> {
        let plugins = self.plugins.lock();
        let found = version_of(&plugins, name, version)?;
        match found.carrier {
            Carrier::Wasm => self.library.module(&found.sha256),
            Carrier::Native => Err(PluginError::Setting(format!(
                "{name}@{} is a native library and has no component",
                found.version
            ))),
        }
    }

    /// Removes a version, or a plugin whole.
    ///
    /// # Errors
    /// A binding uses it, or there is none.
    pub fn remove(&self, name: &str, version: Option<u32>) -> Result<(), PluginError> {
        let mut plugins = self.plugins.lock();
        version_of(&plugins, name, version)?;
        let users: Vec<String> = self
            .bindings()
            .iter()
            .filter(|binding| binding.plugin == name)
            .filter(|binding| version.is_none_or(|wanted| binding.versions().any(|v| v == wanted)))
            .map(|binding| format!("topic {:?} group {:?}", binding.topic, binding.group))
            .collect();
        if !users.is_empty() {
            let what = version.map_or(name.to_owned(), |version| format!("{name}@{version}"));
            return Err(PluginError::InUse {
                what,
                by: users.join(", "),
            });
        }
        let mut changed = plugins.clone();
        let versions = changed.entry(name.to_owned()).or_default();
        versions.retain(|v| version.is_some_and(|wanted| v.version != wanted));
        if versions.is_empty() {
            changed.remove(name);
        }
        self.library.save_plugins(&changed)?;
        let shas = |plugins: &Plugins| -> BTreeSet<String> {
            plugins
                .values()
                .flatten()
                .map(|v| v.sha256.clone())
                .collect()
        };
        for gone in shas(&plugins).difference(&shas(&changed)) {
            self.modules.write().remove(gone);
            self.library.remove_module(gone);
        }
        *plugins = changed;
        self.changed();
        Ok(())
    }

    /// Binds a plugin, in the place of a binding of the same key.
    ///
    /// # Errors
    /// No such version, settings it refuses, a missing grant, too many bindings. What was bound
    /// before then stays in force.
    pub fn bind(&self, wanted: Bind) -> Result<Binding, PluginError> {
        let plugins = self.plugins.lock();
        let version = version_of(&plugins, &wanted.plugin, wanted.version)?;
        if wanted.topic.is_empty() {
            return Err(PluginError::Setting("a topic is missing".to_owned()));
        }
        let bindings = self.bindings();
        let key = (&*wanted.plugin, &*wanted.topic, &*wanted.group);
        let before = bindings.iter().find(|binding| binding.key() == key);
        if before.is_none() && bindings.len() >= BINDINGS_MAX {
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
        let bound = self.start(&plugins, binding.clone())?;
        self.save_with(&binding)?;
        self.table.insert(world, Arc::new(bound));
        self.changed();
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
        let _changing = self.plugins.lock();
        let (world, bound) = self.find(key)?;
        let mut bindings = self.bindings();
        let spec = bound.spec();
        bindings.retain(|binding| binding.key() != spec.key());
        self.library.save_bindings(&bindings)?;
        self.table.remove(world, &spec);
        self.changed();
        Ok(())
    }

    fn find(&self, key: &Key) -> Result<(World, Arc<Bound>), PluginError> {
        let wanted = (&*key.plugin, &*key.topic, &*key.group);
        self.table
            .all()
            .into_iter()
            .find(|(_, bound)| bound.spec.read().key() == wanted)
            .ok_or_else(|| PluginError::NoBinding {
                plugin: key.plugin.clone(),
                topic: key.topic.clone(),
                group: key.group.clone(),
            })
    }

    /// A binding in force.
    ///
    /// # Errors
    /// There is none.
    pub fn bound(&self, key: &Key) -> Result<Arc<Bound>, PluginError> {
        self.find(key).map(|(_, bound)| bound)
    }

    /// Every binding in force.
    pub fn all_bound(&self) -> Vec<(World, Arc<Bound>)> {
        self.table.all()
    }

    /// Every binding in force, as it is written down.
    pub fn bindings(&self) -> Vec<Binding> {
        let all = self.table.all();
        all.iter()
            .map(|(_, bound)| (*bound.spec()).clone())
            .collect()
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
        let newest = {
            let plugins = self.plugins.lock();
            version_of(&plugins, &key.plugin, None)?.version
        };
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
        let plugins = self.plugins.lock();
        let (_, bound) = self.find(key)?;
        let mut binding = (*bound.spec()).clone();
        edit(&mut binding)?;
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

    fn start(&self, plugins: &Plugins, binding: Binding) -> Result<Bound, PluginError> {
        let bound = self.unstarted(binding)?;
        let versions = self.versions(plugins, &bound.spec(), &bound)?;
        *bound.versions.write() = Arc::new(versions);
        Ok(bound)
    }

    fn unstarted(&self, binding: Binding) -> Result<Bound, PluginError> {
        let kv = match binding.kv {
            false => None,
            true => Some(Arc::new(self.load_kv(&binding)?)),
        };
        Ok(Bound {
            spec: RwLock::new(Arc::new(binding)),
            versions: RwLock::default(),
            breaker: Mutex::new(Breaker::default()),
            broken: AtomicBool::new(false),
            functions: Mutex::default(),
            logs: Arc::new(Logs::default()),
            kv,
            turns: AtomicU32::new(0),
        })
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

    /// Guests for all versions a binding uses; those that run already are kept.
    fn versions(
        &self,
        plugins: &Plugins,
        binding: &Binding,
        bound: &Bound,
    ) -> Result<Versions, PluginError> {
        let running = bound.versions();
        let guest = |version: u32| match running.running(version) {
            Some(guest) => Ok(guest),
            None => self.guest(plugins, binding, bound, version).map(Arc::new),
        };
        let canary = match binding.canary {
            None => None,
            Some(canary) => Some((guest(canary.version)?, canary.percent)),
        };
        Ok(Versions {
            current: Some(guest(binding.current)?),
            previous: binding.previous.map(guest).transpose()?,
            shadow: binding.shadow.map(guest).transpose()?,
            canary,
        })
    }

    fn guest(
        &self,
        plugins: &Plugins,
        binding: &Binding,
        bound: &Bound,
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
                logs: bound.logs.clone(),
                kv: bound.kv.clone(),
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

    fn native_module(&self, sha256: &str, file: &str) -> Result<Module, PluginError> {
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

    /// Writes down the state of bindings that has changed; called now and then and at the end.
    ///
    /// # Errors
    /// A file can't be written; the rest was.
    pub fn save_state(&self) -> Result<(), PluginError> {
        let mut result = Ok(());
        for (_, bound) in self.table.all() {
            let Some(json) = bound.kv.as_ref().and_then(|kv| kv.take_changed()) else {
                continue;
            };
            let saved = self.library.save_kv(&bound.spec(), &json);
            result = result.and(saved);
        }
        result
    }

    /// Grows with every change of what is put and bound: what was compiled before may mean something
    /// else now.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Lets a plugin compile an expression of its own language; the language's name is the plugin's.
    ///
    /// # Errors
    /// A text for the subscriber: there is no such language, or what the plugin says of the expression.
    pub fn compile(
        &self,
        language: &str,
        expression: &str,
        topic: &str,
        group: &str,
    ) -> Result<Arc<dyn MessageFilter>, String> {
        let plugins = self.plugins.lock();
        let found = plugins
            .get(language)
            .and_then(|versions| versions.last())
            .filter(|version| version.world == World::Language);
        let Some(found) = found else {
            let others = plugins.iter().filter(|(_, versions)| {
                versions.first().is_some_and(|v| v.world == World::Language)
            });
            let mut known = vec!["TAG", "SQL92"];
            known.extend(others.map(|(name, _)| &**name));
            return Err(format!(
                "expression type `{language}` is unknown; known: {}",
                known.join(", ")
            ));
        };
        let binding = Binding {
            plugin: language.to_owned(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            params: [(EXPRESSION.to_owned(), expression.to_owned())].into(),
            policy: Policy::Accept,
            order: 0,
            kv: false,
            limits: Limits::of(World::Language),
            current: found.version,
            previous: None,
            shadow: None,
            canary: None,
        };
        let bound = self.start(&plugins, binding);
        match bound {
            Ok(bound) => Ok(Arc::new(Spoken(bound))),
            Err(PluginError::Refused { why, .. }) => Err(why),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Filters and bound languages that hold for a topic and group, in the order of their chain.
    pub fn filters(&self, topic: &str, group: &str) -> Vec<Arc<Bound>> {
        let mut filters = self.table.bound(World::Filter, topic, group);
        let languages = self.table.bound(World::Language, topic, group);
        if !languages.is_empty() {
            filters.extend(languages);
            filters.sort_by_key(|bound| bound.spec.read().order);
        }
        filters
    }

    /// Bindings of a world that hold for a topic and group, in the order of their chain; empty and
    /// free of cost when there are none.
    #[inline]
    pub fn chain(&self, world: World, topic: &str, group: &str) -> Vec<Arc<Bound>> {
        self.table.bound(world, topic, group)
    }

    /// Whether anything of that world is bound anywhere.
    pub fn has_any(&self, world: World) -> bool {
        self.table.has_any(world)
    }

    /// Whether anything of that world is bound to the topic.
    pub fn has(&self, world: World, topic: &str) -> bool {
        self.table.has(world, topic)
    }
}
