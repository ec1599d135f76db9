//! The consumer groups of this broker (`subscriptionGroup.json`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sluice_protocol::body::{DataVersion, SubscriptionGroupConfig};
use sluice_protocol::topic;

use crate::config_file::ConfigFile;
use crate::error::BrokerError;

/// Consumer groups by name.
#[derive(Debug)]
pub struct Groups {
    table: RwLock<HashMap<String, Arc<SubscriptionGroupConfig>>>,
    /// Group, topic, and bits of what is forbidden between them; bit 1 is reading.
    forbidden: Mutex<BTreeMap<String, BTreeMap<String, i32>>>,
    version: Mutex<DataVersion>,
    auto_create: bool,
    file: ConfigFile,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    data_version: DataVersion,
    forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Index of the bit that forbids reading (`SubscriptionForbidden`).
const READ_FORBIDDEN: i32 = 1;

impl Groups {
    /// Reads the file and adds the system groups.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub fn load(file: ConfigFile, auto_create: bool) -> Result<Groups, BrokerError> {
        let loaded: File = file.load()?.unwrap_or_default();
        let mut table: HashMap<_, _> = loaded
            .subscription_group_table
            .into_iter()
            .map(|(name, group)| (name, Arc::new(group)))
            .collect();
        for name in topic::SYSTEM_GROUPS {
            table
                .entry((*name).to_owned())
                .or_insert_with(|| Arc::new(SubscriptionGroupConfig::named(name)));
        }
        let (forbidden, version) = (
            Mutex::new(loaded.forbidden_table),
            Mutex::new(loaded.data_version),
        );
        Ok(Groups {
            table: RwLock::new(table),
            forbidden,
            version,
            auto_create,
            file,
        })
    }

    /// The group, if there is one.
    pub fn get(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.table.read().get(name).cloned()
    }

    /// The group, created with defaults if that is allowed and the name is valid. The flag tells
    /// whether it is new and has to be written.
    pub fn get_or_create(
        &self,
        name: &str,
        now_ms: i64,
    ) -> Option<(Arc<SubscriptionGroupConfig>, bool)> {
        if let Some(group) = self.get(name) {
            return Some((group, false));
        }
        if !(self.auto_create || topic::is_system_group(name)) || !topic::is_valid_group(name) {
            return None;
        }
        let mut table = self.table.write();
        let group = table
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(SubscriptionGroupConfig::named(name)))
            .clone();
        drop(table);
        self.bump(now_ms);
        Some((group, true))
    }

    /// Creates or replaces a group.
    pub fn put(&self, group: SubscriptionGroupConfig, now_ms: i64) {
        self.table
            .write()
            .insert(group.group_name.clone(), Arc::new(group));
        self.bump(now_ms);
    }

    /// Forgets a group; true if it was there.
    pub fn remove(&self, name: &str, now_ms: i64) -> bool {
        self.forbidden.lock().remove(name);
        let removed = self.table.write().remove(name).is_some();
        if removed {
            self.bump(now_ms);
        }
        removed
    }

    /// Whether the group may not read the topic.
    pub fn is_read_forbidden(&self, group: &str, topic: &str) -> bool {
        let forbidden = self.forbidden.lock();
        forbidden
            .get(group)
            .and_then(|topics| topics.get(topic))
            .is_some_and(|bits| bits & (1 << READ_FORBIDDEN) != 0)
    }

    /// Allows or forbids a group to read a topic.
    pub fn set_readable(&self, group: &str, topic: &str, readable: bool, now_ms: i64) {
        let mut forbidden = self.forbidden.lock();
        if readable {
            // Nothing is kept of what is as it would be anyway.
            let Some(topics) = forbidden.get_mut(group) else {
                return;
            };
            if let Some(bits) = topics.get_mut(topic) {
                *bits &= !(1 << READ_FORBIDDEN);
            }
            topics.retain(|_, bits| *bits != 0);
            if topics.is_empty() {
                forbidden.remove(group);
            }
        } else {
            let topics = forbidden.entry(group.to_owned()).or_default();
            *topics.entry(topic.to_owned()).or_default() |= 1 << READ_FORBIDDEN;
        }
        drop(forbidden);
        self.bump(now_ms);
    }

    /// All groups, by name.
    pub fn all(&self) -> BTreeMap<String, Arc<SubscriptionGroupConfig>> {
        self.table
            .read()
            .iter()
            .map(|(name, group)| (name.clone(), group.clone()))
            .collect()
    }

    /// What is forbidden: group, topic, bits.
    pub fn forbidden(&self) -> BTreeMap<String, BTreeMap<String, i32>> {
        self.forbidden.lock().clone()
    }

    /// Version of the table: it changes with every change.
    pub fn version(&self) -> DataVersion {
        self.version.lock().clone()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`BrokerError::Persist`].
    pub fn save(&self) -> Result<(), BrokerError> {
        let table = self
            .table
            .read()
            .iter()
            .map(|(name, group)| (name.clone(), SubscriptionGroupConfig::clone(group)))
            .collect();
        self.file.save(&File {
            data_version: self.version(),
            forbidden_table: self.forbidden(),
            subscription_group_table: table,
        })
    }

    fn bump(&self, now_ms: i64) {
        self.version.lock().next(now_ms);
    }
}
