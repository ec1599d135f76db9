//! Plugins on disk: modules by content, their versions by name, what is bound.
//!
//! ```text
//! plugins/
//!   key                       32 random bytes: machine code is only taken with this broker's mark
//!   modules/<sha-256>.wasm    the component; never changed
//!   compiled/<sha-256>.code   mark (32 bytes) and machine code; can be made again
//!   native/                   libraries that the operator puts here; only read
//!   loaded/<sha-256>.so       copies of those that are versions; never changed
//!   kv/<sha-256 of binding>   a binding's state
//!   plugins.json              names, versions
//!   bindings.json             what is bound where
//! ```
//!
//! Files are written beside, synced, renamed, and the directory is synced.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::World;
use crate::binding::Binding;
use crate::error::PluginError;
use crate::trust;

/// Machine code of other settings or another wasmtime is not tried: part of the mark.
const REVISION: &str = concat!("sluice plugin code 1, host ", env!("CARGO_PKG_VERSION"));
const MARK: usize = 32;

/// How a version's code comes into the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// A component: uploaded, compiled here, limited in everything.
    #[default]
    Wasm,
    /// A library from the operator's directory: trusted.
    Native,
}

/// An immutable version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// 1, 2, 3 ... for each name.
    pub version: u32,
    /// SHA-256 of the component or library, hexadecimal.
    pub sha256: String,
    /// What it came as.
    #[serde(default)]
    pub carrier: Carrier,
    /// A library's file in the operator's directory, which may have changed or gone since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it is.
    pub world: World,
    /// Bytes of the component or library.
    pub size: u64,
    /// When it came, Unix milliseconds.
    pub put_ms: i64,
    /// It imports `kv` and can be bound only with that grant.
    #[serde(default)]
    pub wants_kv: bool,
}

/// Everything that has a name.
pub(crate) type Plugins = BTreeMap<String, Vec<Version>>;

/// The directory.
#[derive(Debug)]
pub(crate) struct Library {
    root: PathBuf,
    key: [u8; MARK],
}

/// SHA-256, hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Library {
    /// Opens the directory, made if it is not there.
    pub(crate) fn open(root: &Path) -> Result<Library, PluginError> {
        for name in ["", "modules", "compiled", "kv"] {
            let dir = root.join(name);
            fs::create_dir_all(&dir).map_err(|source| file_error(&dir, source))?;
        }
        for name in ["native", "loaded"] {
            // Writable by nobody else, whatever this process's mask: see `trust`.
            let dir = root.join(name);
            let made = DirBuilder::new().recursive(true).mode(0o755).create(&dir);
            made.map_err(|source| file_error(&dir, source))?;
        }
        let key = key(&root.join("key"))?;
        Ok(Library {
            root: root.to_owned(),
            key,
        })
    }

    fn module_path(&self, sha256: &str) -> PathBuf {
        self.root.join("modules").join(format!("{sha256}.wasm"))
    }

    fn code_path(&self, sha256: &str) -> PathBuf {
        self.root.join("compiled").join(format!("{sha256}.code"))
    }

    pub(crate) fn plugins(&self) -> Result<Plugins, PluginError> {
        read_json(&self.root.join("plugins.json"))
    }

    pub(crate) fn save_plugins(&self, plugins: &Plugins) -> Result<(), PluginError> {
        write_json(&self.root.join("plugins.json"), plugins)
    }

    pub(crate) fn bindings(&self) -> Result<Vec<Binding>, PluginError> {
        read_json(&self.root.join("bindings.json"))
    }

    pub(crate) fn save_bindings(&self, bindings: &[Binding]) -> Result<(), PluginError> {
        write_json(&self.root.join("bindings.json"), &bindings)
    }

    /// Keeps a component under its content's name.
    pub(crate) fn keep_module(&self, component: &[u8]) -> Result<String, PluginError> {
        let sha256 = digest(component);
        let path = self.module_path(&sha256);
        if !path.exists() {
            replace(&path, &[component])?;
        }
        Ok(sha256)
    }

    /// The component of that content.
    pub(crate) fn module(&self, sha256: &str) -> Result<Vec<u8>, PluginError> {
        let path = self.module_path(sha256);
        let component = fs::read(&path).map_err(|source| file_error(&path, source))?;
        if digest(&component) != sha256 {
            return Err(PluginError::Damaged {
                path,
                what: "its content is not that of its name".to_owned(),
            });
        }
        Ok(component)
    }

    /// Where the operator puts libraries.
    pub(crate) fn native_directory(&self) -> PathBuf {
        self.root.join("native")
    }

    /// A library of the operator's, as it is now.
    pub(crate) fn native_file(&self, file: &str) -> Result<Vec<u8>, PluginError> {
        trust::read(&self.native_directory(), file)
    }

    /// The copy of a library under its content's name, whence it is loaded; made when it is not there,
    /// as long as the operator's file has that content.
    pub(crate) fn native(&self, sha256: &str, file: &str) -> Result<PathBuf, PluginError> {
        let path = self.loaded_path(sha256);
        if path.exists() {
            let content = trust::read(&self.root.join("loaded"), &format!("{sha256}.so"))?;
            return match digest(&content) == sha256 {
                true => Ok(path),
                false => Err(changed(path)),
            };
        }
        let content = self.native_file(file)?;
        if digest(&content) != sha256 {
            return Err(changed(self.native_directory().join(file)));
        }
        replace(&path, &[&content])?;
        Ok(path)
    }

    fn loaded_path(&self, sha256: &str) -> PathBuf {
        self.root.join("loaded").join(format!("{sha256}.so"))
    }

    pub(crate) fn remove_module(&self, sha256: &str) {
        let kept = [
            self.module_path(sha256),
            self.code_path(sha256),
            self.loaded_path(sha256),
        ];
        for path in kept {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(?path, %error, "a plugin's file can't be removed");
            }
        }
    }

    /// Keeps machine code, marked as made here.
    pub(crate) fn keep_code(&self, sha256: &str, code: &[u8]) -> Result<(), PluginError> {
        let mark = self.mark(sha256, code).finalize().into_bytes();
        replace(&self.code_path(sha256), &[&mark, code])
    }

    /// Machine code made here of that component; `None` when there is none or it is not ours.
    pub(crate) fn code(&self, sha256: &str) -> Option<Vec<u8>> {
        let path = self.code_path(sha256);
        let mut bytes = fs::read(&path).ok()?;
        if bytes.len() < MARK {
            return None;
        }
        let code = bytes.split_off(MARK);
        if self.mark(sha256, &code).verify_slice(&bytes).is_err() {
            tracing::warn!(
                ?path,
                "machine code without this broker's mark is made again"
            );
            return None;
        }
        Some(code)
    }

    fn mark(&self, sha256: &str, code: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of any length.
        let mut mark = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length");
        for part in [REVISION.as_bytes(), sha256.as_bytes(), code] {
            mark.update(part);
        }
        mark
    }

    fn kv_path(&self, binding: &Binding) -> PathBuf {
        let (plugin, topic, group) = binding.key();
        let name = digest(format!("{plugin}\0{topic}\0{group}").as_bytes());
        self.root.join("kv").join(name)
    }

    /// A binding's state; `None` when there is none yet.
    pub(crate) fn kv(&self, binding: &Binding) -> Result<Option<Vec<u8>>, PluginError> {
        let path = self.kv_path(binding);
        match fs::read(&path) {
            Ok(json) => Ok(Some(json)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(file_error(&path, source)),
        }
    }

    pub(crate) fn save_kv(&self, binding: &Binding, json: &[u8]) -> Result<(), PluginError> {
        replace(&self.kv_path(binding), &[json])
    }
}

fn changed(path: PathBuf) -> PluginError {
    PluginError::Damaged {
        path,
        what: "its content has changed since it became a version".to_owned(),
    }
}

fn file_error(path: &Path, source: io::Error) -> PluginError {
    PluginError::File {
        path: path.to_owned(),
        source,
    }
}

fn key(path: &Path) -> Result<[u8; MARK], PluginError> {
    let found = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; MARK];
            File::open("/dev/urandom")
                .and_then(|mut random| io::Read::read_exact(&mut random, &mut key))
                .map_err(|source| file_error(path, source))?;
            replace(path, &[&key])?;
            key.to_vec()
        }
        Err(source) => return Err(file_error(path, source)),
    };
    <[u8; MARK]>::try_from(found).map_err(|found| PluginError::Damaged {
        path: path.to_owned(),
        what: format!("{} bytes, {MARK} are expected", found.len()),
    })
}

fn read_json<T: DeserializeOwned + Default>(path: &Path) -> Result<T, PluginError> {
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(source) => return Err(file_error(path, source)),
    };
    serde_json::from_slice(&json).map_err(|error| PluginError::Damaged {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), PluginError> {
    let json = serde_json::to_vec_pretty(value).map_err(|error| PluginError::Damaged {
        path: path.to_owned(),
        what: error.to_string(),
    })?;
    replace(path, &[&json])
}

/// Replaces a file whole: after a crash there is the old or the new one. Only the owner reads it.
fn replace(path: &Path, parts: &[&[u8]]) -> Result<(), PluginError> {
    let beside = path.with_extension("tmp");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| file_error(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_machine_code_of_this_library_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::open(dir.path()).unwrap();
        let sha256 = library.keep_module(b"component").unwrap();
        library.keep_code(&sha256, b"code").unwrap();
        assert_eq!(library.code(&sha256).as_deref(), Some(&b"code"[..]));
        assert_eq!(library.module(&sha256).unwrap(), b"component");
        let path = library.code_path(&sha256);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(library.code(&sha256), None);
        // Nor that of another one.
        let other = tempfile::tempdir().unwrap();
        let other = Library::open(other.path()).unwrap();
        other.keep_code(&sha256, b"code").unwrap();
        fs::copy(other.code_path(&sha256), &path).unwrap();
        assert_eq!(library.code(&sha256), None);
        // The key stays.
        assert_eq!(Library::open(dir.path()).unwrap().key, library.key);
    }

    #[test]
    fn a_changed_module_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::open(dir.path()).unwrap();
        let sha256 = library.keep_module(b"component").unwrap();
        fs::write(library.module_path(&sha256), b"other").unwrap();
        let error = library.module(&sha256).unwrap_err().to_string();
        assert!(error.contains(&sha256), "{error}");
    }
}
