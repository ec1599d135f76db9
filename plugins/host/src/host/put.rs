//! Names and their versions: uploads, libraries, what is removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::{Host, version_of};
use crate::error::PluginError;
use crate::instance::{Instance, Module, Place, SetUp, Shared};
use crate::library::{Carrier, Plugins, Version, digest};
use crate::limits::Limits;
use crate::wasm;

/// Versions kept of one plugin.
const VERSIONS_MAX: usize = 100;

/// Uploads whose content is remembered.
const UPLOADS_MAX: usize = 1_000;

/// How libraries begin.
const ELF: &[u8] = b"\x7fELF";

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

impl Host {
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
        let _changing = self.changing.lock();
        let put = self.put_next(name, version, module, || {
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
        let _changing = self.changing.lock();
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
            self.put_next(name, version, module, || Ok(()))
        });
        if put.is_err()
            && self
                .plugins()
                .values()
                .flatten()
                .all(|v| v.sha256 != sha256)
        {
            self.library.remove_module(&sha256);
        }
        put
    }

    /// Makes what has been tried the name's next version, if its newest is not the same.
    fn put_next(
        &self,
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
        let plugins = self.plugins();
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
        let mut changed = (*plugins).clone();
        changed
            .entry(name.to_owned())
            .or_default()
            .push(version.clone());
        self.library.save_plugins(&changed)?;
        *self.plugins.write() = Arc::new(changed);
        self.modules.write().insert(version.sha256.clone(), module);
        self.changed();
        Ok(put(version, true))
    }

    /// The newest version, if it is what this upload becomes.
    fn put_before(&self, name: &str, upload_sha256: &str) -> Option<Put> {
        let component = self.uploads.lock().get(upload_sha256)?.clone();
        let plugins = self.plugins();
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
        let plugins = self.plugins();
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
        let plugins = self.plugins();
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
        let _changing = self.changing.lock();
        let plugins = self.plugins();
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
        let mut changed = (*plugins).clone();
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
        let gone = &shas(&plugins) - &shas(&changed);
        *self.plugins.write() = Arc::new(changed);
        for sha256 in &gone {
            self.modules.write().remove(sha256);
            self.library.remove_module(sha256);
        }
        self.changed();
        Ok(())
    }
}
