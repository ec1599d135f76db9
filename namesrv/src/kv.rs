//! Key-value settings by namespace (`kvConfig.json`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sluice_protocol::fastjson;

use crate::NamesrvError;

/// Namespace of ordered topics: brokers learn from it, clients find it in routes.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Settings, kept in a file that is replaced at every change.
#[derive(Debug)]
pub struct KvConfig {
    table: RwLock<Table>,
    /// Held while the file is written; readers go on meanwhile.
    saving: Mutex<()>,
    path: Option<PathBuf>,
}

type Table = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Content {
    config_table: Table,
}

impl KvConfig {
    /// Reads the file; a missing one is empty.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub fn load(path: Option<PathBuf>) -> Result<KvConfig, NamesrvError> {
        let table = path.as_deref().map_or_else(|| Ok(Table::new()), read)?;
        Ok(KvConfig {
            table: RwLock::new(table),
            saving: Mutex::default(),
            path,
        })
    }

    /// One value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.table.read().get(namespace)?.get(key).cloned()
    }

    /// All values of a namespace.
    pub fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.table.read().get(namespace).cloned()
    }

    /// Sets a value.
    ///
    /// # Errors
    /// The file can't be written; the value is then not set.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), NamesrvError> {
        self.change(|table| {
            table
                .entry(namespace.to_owned())
                .or_default()
                .insert(key.to_owned(), value.to_owned());
        })
    }

    /// Drops a value.
    ///
    /// # Errors
    /// The file can't be written; the value is then still set.
    pub fn remove(&self, namespace: &str, key: &str) -> Result<(), NamesrvError> {
        self.change(|table| {
            if let Some(values) = table.get_mut(namespace) {
                values.remove(key);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Table)) -> Result<(), NamesrvError> {
        let _one = self.saving.lock();
        let mut content = Content {
            config_table: self.table.read().clone(),
        };
        change(&mut content.config_table);
        if let Some(path) = &self.path {
            let text = fastjson::to_vec_pretty(&content).map_err(|error| wrong(path, &error))?;
            replace(path, &text).map_err(|error| wrong(path, &error))?;
        }
        *self.table.write() = content.config_table;
        Ok(())
    }
}

fn wrong(path: &Path, what: &dyn std::fmt::Display) -> NamesrvError {
    NamesrvError::KvFile {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

fn read(path: &Path) -> Result<Table, NamesrvError> {
    match fs::read(path) {
        Ok(text) => fastjson::from_slice::<Content>(&text)
            .map(|content| content.config_table)
            .map_err(|error| wrong(path, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Table::new()),
        Err(error) => Err(wrong(path, &error)),
    }
}

/// Writes beside, syncs, renames, syncs the directory: a crash leaves the old or the new content.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    // The parent of a bare file name is the empty path, which can't be opened.
    let named = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = named.unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let beside = path.with_extension("json.tmp");
    let mut file = File::create(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any text is kept, also one that could break out of the file's syntax.
    #[test]
    fn settings_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep").join("kvConfig.json");
        let kv = KvConfig::load(Some(path.clone())).unwrap();
        let keys = ["plain", "\u{1}x y", "\u{1}\":{", "\"", "订单"];
        for key in keys {
            kv.put("n", key, "1").unwrap();
            kv.put(key, "k", key).unwrap();
        }
        kv.remove("n", "plain").unwrap();
        let again = KvConfig::load(Some(path)).unwrap();
        assert_eq!(again.get("n", "plain"), None);
        for key in &keys[1..] {
            assert_eq!(again.get("n", key).as_deref(), Some("1"), "{key:?}");
            assert_eq!(again.get(key, "k").as_deref(), Some(*key), "{key:?}");
        }
    }

    #[test]
    fn a_file_without_a_directory_lies_here() {
        let name = format!("kv-{}.json", std::process::id());
        let kv = KvConfig::load(Some(PathBuf::from(&name))).unwrap();
        let put = kv.put("n", "k", "v");
        let read = KvConfig::load(Some(PathBuf::from(&name)));
        fs::remove_file(&name).unwrap();
        put.unwrap();
        assert_eq!(read.unwrap().get("n", "k").as_deref(), Some("v"));
    }

    #[test]
    fn a_change_that_can_not_be_kept_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        let kv = KvConfig::load(None).unwrap();
        let kv = KvConfig {
            path: Some(path.join("kvConfig.json")),
            ..kv
        };
        let error = kv.put("n", "k", "v").unwrap_err().to_string();
        assert!(error.contains("kvConfig.json"), "{error}");
        assert_eq!(kv.get("n", "k"), None);
    }

    #[test]
    fn a_broken_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kvConfig.json");
        fs::write(&path, "{\"configTable\":{").unwrap();
        let error = KvConfig::load(Some(path)).unwrap_err().to_string();
        assert!(
            error.contains("kvConfig.json") && error.contains("byte 16"),
            "{error}"
        );
    }
}
