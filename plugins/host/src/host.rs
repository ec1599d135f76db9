//! All plugins of a broker: what there is, what is bound where, and what paths of messages ask of it.
//!
//! Operators' changes are made one at a time and may take long: guests start meanwhile. Nothing that
//! serves messages, and no list, waits for them: those see what was in force before, then what is after.

mod bind;
mod expressions;
mod put;
mod start;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};

use crate::World;
use crate::binding::{Binding, Bound};
use crate::engine::Engine;
use crate::error::PluginError;
use crate::instance::Module;
use crate::library::{Library, Plugins, Version};
use crate::table::Table;

pub use bind::{Bind, Key};
pub use put::{Compile, Compiled, Listed, Put, check_name};

/// A language's expression among a binding's settings.
const EXPRESSION: &str = "expression";

/// All plugins of a broker.
pub struct Host {
    library: Library,
    compile: Compile,
    engine: OnceLock<Result<Arc<Engine>, String>>,
    /// Held by who changes what is put or bound, also while guests start.
    changing: Mutex<()>,
    /// Names and versions as they are now; replaced whole.
    plugins: RwLock<Arc<Plugins>>,
    modules: RwLock<BTreeMap<String, Module>>,
    /// Content of uploads, and of the components they became: who uploads the same again and again
    /// gets the answer without work.
    uploads: Mutex<HashMap<String, String>>,
    table: Table,
    /// Expressions of subscriptions that plugins have compiled and that somebody still uses.
    spoken: Mutex<Vec<Weak<Bound>>>,
    /// Held while files of state are written.
    saving: Mutex<()>,
    /// Counts changes of what is put and bound.
    generation: AtomicU64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
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
            changing: Mutex::default(),
            plugins: RwLock::new(Arc::new(plugins)),
            modules: RwLock::default(),
            uploads: Mutex::default(),
            table: Table::default(),
            spoken: Mutex::default(),
            saving: Mutex::default(),
            generation: AtomicU64::new(0),
        };
        for binding in bindings {
            host.restore(binding)?;
        }
        Ok(host)
    }

    fn restore(&self, binding: Binding) -> Result<(), PluginError> {
        let plugins = self.plugins();
        let world = version_of(&plugins, &binding.plugin, Some(binding.current))?.world;
        let bound = match self.start(&plugins, binding.clone(), None) {
            Ok(bound) => bound,
            Err(error) => {
                let Binding {
                    topic,
                    group,
                    policy,
                    ..
                } = &binding;
                tracing::error!(%error, topic, group, ?policy, "a bound plugin can't be started; its policy answers");
                Bound::unstarted(binding, None)
            }
        };
        self.table.insert(world, Arc::new(bound));
        Ok(())
    }

    /// Names and versions at this moment.
    fn plugins(&self) -> Arc<Plugins> {
        self.plugins.read().clone()
    }

    /// The engine, made when the first plugin needs it: a broker without plugins has none.
    fn engine(&self) -> Result<&Arc<Engine>, PluginError> {
        let engine = self.engine.get_or_init(|| Engine::new().map(Arc::new));
        engine
            .as_ref()
            .map_err(|cause| PluginError::Engine(cause.clone()))
    }

    fn find(&self, key: &Key) -> Result<(World, Arc<Bound>), PluginError> {
        let wanted = (&*key.plugin, &*key.topic, &*key.group);
        self.table
            .find(wanted)
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

    /// Writes down the state of bindings that has changed; called now and then and at the end.
    ///
    /// # Errors
    /// A file can't be written, which is tried again the next time; the rest was.
    pub fn save_state(&self) -> Result<(), PluginError> {
        let mut result = Ok(());
        for (_, bound) in self.table.all() {
            result = result.and(self.save_state_of(&bound));
        }
        result
    }

    fn save_state_of(&self, bound: &Bound) -> Result<(), PluginError> {
        let _saving = self.saving.lock();
        let Some(kv) = &bound.kv else { return Ok(()) };
        let Some(json) = kv.take_changed() else {
            return Ok(());
        };
        let saved = self.library.save_kv(&bound.spec(), &json);
        if saved.is_err() {
            kv.note_unsaved();
        }
        saved
    }

    /// Frees the instances of guests that were not called since the last time: the broker has a limited
    /// number of them, and whoever calls again gets a new one.
    pub fn rest_idle(&self) {
        let mut guests = Vec::new();
        for (_, bound) in self.table.all() {
            guests.extend(bound.guests());
        }
        self.spoken.lock().retain(|spoken| match spoken.upgrade() {
            Some(bound) => {
                guests.extend(bound.guests());
                true
            }
            None => false,
        });
        guests.iter().for_each(|guest| guest.rest_if_idle());
    }

    /// Grows with every change of what is put and bound: what was compiled before may mean something
    /// else now.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
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

    /// Bindings of a world that hold for a group on any topic.
    pub fn chain_of_group(&self, world: World, group: &str) -> Vec<Arc<Bound>> {
        self.table.of_group(world, group)
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
