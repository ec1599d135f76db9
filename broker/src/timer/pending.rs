//! How many messages wait, by topic; `config/timermetrics` for Java's tools.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sluice_protocol::body::DataVersion;

use crate::BrokerError;
use crate::config_file::ConfigFile;

/// Counts by topic.
pub(super) struct Pending {
    counts: Mutex<Counts>,
    file: ConfigFile,
}

#[derive(Default)]
struct Counts {
    by_topic: BTreeMap<String, i64>,
    /// Names of topics that were met while counting, by Java's hash.
    names: HashMap<i32, String>,
    version: DataVersion,
    changed: bool,
}

/// Java's file (`TimerMetrics`).
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    data_version: DataVersion,
    timing_count: BTreeMap<String, Metric>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metric {
    count: i64,
    time_stamp: i64,
}

impl Pending {
    pub(super) fn new(file: ConfigFile) -> Pending {
        Pending {
            counts: Mutex::default(),
            file,
        }
    }

    /// Counts one more (1) or less (-1).
    pub(super) fn add(&self, topic: &str, by: i64) {
        let mut counts = self.counts.lock();
        counts.changed = true;
        match counts.by_topic.get_mut(topic) {
            Some(count) => *count += by,
            None => drop(counts.by_topic.insert(topic.to_owned(), by)),
        }
        if counts.by_topic.get(topic) == Some(&0) {
            counts.by_topic.remove(topic);
        }
    }

    /// [`Pending::add`] for a topic of which the hash is known, and the name if it is asked for.
    pub(super) fn add_hashed(&self, hash: i32, name: impl FnOnce() -> Option<String>, by: i64) {
        let known = self.counts.lock().names.get(&hash).cloned();
        let Some(topic) = known.or_else(name) else {
            return;
        };
        self.add(&topic, by);
        self.counts.lock().names.insert(hash, topic);
    }

    pub(super) fn clear(&self) {
        let mut counts = self.counts.lock();
        counts.by_topic.clear();
        counts.changed = true;
    }

    /// All topics that messages wait for.
    pub(super) fn by_topic(&self) -> BTreeMap<String, i64> {
        self.counts.lock().by_topic.clone()
    }

    /// Writes the file if anything has changed.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn save(&self, now_ms: i64) -> Result<(), BrokerError> {
        let file = {
            let mut counts = self.counts.lock();
            if !std::mem::take(&mut counts.changed) {
                return Ok(());
            }
            counts.version.next(now_ms);
            let metric = |(topic, count): (&String, &i64)| {
                let metric = Metric {
                    count: *count,
                    time_stamp: now_ms,
                };
                (topic.clone(), metric)
            };
            File {
                data_version: counts.version.clone(),
                timing_count: counts.by_topic.iter().map(metric).collect(),
            }
        };
        let saved = self.file.save(&file);
        self.counts.lock().changed |= saved.is_err();
        saved
    }
}
