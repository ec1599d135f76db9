//! Consumer offsets (`consumerOffset.json`) and the journal that keeps answered commits.
//!
//! The JSON file is Java's and is written every few seconds. A commit that comes in between is
//! appended to a journal before it is answered, so that `kill -9` loses none. A journal names the
//! versions of the JSON file it continues: when Java has worked on the directory in between, the
//! versions differ and the journal is left aside, for Java's offsets are the newer ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sluice_protocol::body::DataVersion;
use sluice_store::{FileSystem, Journal};

use crate::config_file::ConfigFile;
use crate::error::BrokerError;

const JOURNAL: &str = "consumerOffset.journal";
/// Separates topic and group in the file's keys; neither may contain it.
const SEPARATOR: char = '@';

type Table = HashMap<String, HashMap<i32, i64>>;

/// Offsets by `topic@group` and queue id: each is the next message to consume.
pub struct Offsets {
    state: Mutex<State>,
    /// Offsets to hand out at a queue's next pull, instead of what the client asks for.
    resets: Mutex<HashMap<(String, i32), i64>>,
    file: ConfigFile,
    files: Arc<dyn FileSystem>,
}

struct State {
    table: Table,
    version: DataVersion,
    journal: Option<Journal>,
    dirty: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    data_version: DataVersion,
    group_topic_map: BTreeMap<String, BTreeSet<String>>,
    offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl std::fmt::Debug for Offsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offsets")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Offsets {
    /// Reads the file, then the journal on top of it.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub fn load(file: ConfigFile, files: Arc<dyn FileSystem>) -> Result<Offsets, BrokerError> {
        let loaded: File = file.load()?.unwrap_or_default();
        let mut table: Table = loaded
            .offset_table
            .into_iter()
            .map(|(key, queues)| (key, queues.into_iter().collect()))
            .collect();
        let journal = files.read(&journal_path(&file)).unwrap_or_default();
        replay(&journal, &loaded.data_version, &mut table);
        let state = State {
            table,
            version: loaded.data_version,
            journal: None,
            dirty: !journal.is_empty(),
        };
        Ok(Offsets {
            state: Mutex::new(state),
            resets: Mutex::default(),
            file,
            files,
        })
    }

    /// The stored offset, or `None`.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.state
            .lock()
            .table
            .get(&key(topic, group))?
            .get(&queue_id)
            .copied()
    }

    /// Stores an offset as it is: the last writer wins, backwards too.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let key = key(topic, group);
        let mut state = self.state.lock();
        let previous = state
            .table
            .entry(key.clone())
            .or_default()
            .insert(queue_id, offset);
        if previous == Some(offset) {
            return;
        }
        state.dirty = true;
        let line = format!("{key} {queue_id} {offset}\n");
        if let Some(journal) = &mut state.journal
            && let Err(error) = journal.append(line.as_bytes())
        {
            // The commit is in memory and in the next JSON file; only a crash before that loses it.
            tracing::error!(%error, "the offset journal can't be written; offsets are kept by the file alone until it can");
            state.journal = None;
        }
    }

    /// Takes the offset that waits to be handed out, if there is one.
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let mut resets = self.resets.lock();
        if resets.is_empty() {
            return None;
        }
        resets.remove(&(key(topic, group), queue_id))
    }

    /// Whether a reset waits to be handed out.
    pub fn has_reset(&self, group: &str, topic: &str, queue_id: i32) -> bool {
        let resets = self.resets.lock();
        !resets.is_empty() && resets.contains_key(&(key(topic, group), queue_id))
    }

    /// Stores an offset and hands it out at the queue's next pull.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.commit(group, topic, queue_id, offset);
        self.resets
            .lock()
            .insert((key(topic, group), queue_id), offset);
    }

    /// Offsets of a group on a topic, by queue.
    pub fn of(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let state = self.state.lock();
        state
            .table
            .get(&key(topic, group))
            .map(|queues| queues.iter().map(|(id, offset)| (*id, *offset)).collect())
            .unwrap_or_default()
    }

    /// Topics on which the group has offsets.
    pub fn topics_of(&self, group: &str) -> BTreeSet<String> {
        self.pairs()
            .filter(|(_, g)| g == group)
            .map(|(topic, _)| topic)
            .collect()
    }

    /// Groups that have offsets on the topic.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        self.pairs()
            .filter(|(t, _)| t == topic)
            .map(|(_, group)| group)
            .collect()
    }

    /// Copies a group's offsets on a topic to another group.
    pub fn clone_group(&self, from: &str, to: &str, topic: &str) {
        for (queue_id, offset) in self.of(from, topic) {
            self.commit(to, topic, queue_id, offset);
        }
    }

    /// Forgets what a group has on all topics.
    pub fn remove_group(&self, group: &str) {
        self.remove_if(|_, g| g == group);
    }

    /// Forgets what all groups have on a topic.
    pub fn remove_topic(&self, topic: &str) {
        self.remove_if(|t, _| t == topic);
    }

    /// Lowers what lies beyond a queue's end to that end: recovery may have shortened the queue,
    /// and a message stored there later must not be skipped.
    pub fn lower_to(&self, end: impl Fn(&str, i32) -> i64) {
        let mut state = self.state.lock();
        let State { table, dirty, .. } = &mut *state;
        for (key, queues) in table.iter_mut() {
            let Some((topic, group)) = key.split_once(SEPARATOR) else {
                continue;
            };
            for (queue_id, offset) in queues.iter_mut() {
                let end = end(topic, *queue_id);
                if *offset > end {
                    tracing::warn!(
                        topic,
                        group,
                        queue_id,
                        offset,
                        end,
                        "stored offset lies beyond the queue's end and is lowered to it"
                    );
                    *offset = end;
                    *dirty = true;
                }
            }
        }
    }

    /// The whole table, as request 43 shows it.
    pub fn all(&self) -> (DataVersion, BTreeMap<String, BTreeMap<i32, i64>>) {
        let state = self.state.lock();
        let table = state.table.iter().map(|(key, queues)| {
            (
                key.clone(),
                queues.iter().map(|(id, offset)| (*id, *offset)).collect(),
            )
        });
        (state.version.clone(), table.collect())
    }

    /// Writes the file if anything has changed, and begins a new journal.
    ///
    /// # Errors
    /// [`BrokerError::Persist`]; the journal then goes on.
    pub fn save(&self, now_ms: i64) -> Result<(), BrokerError> {
        let mut state = self.state.lock();
        if !state.dirty && state.journal.is_some() {
            return Ok(());
        }
        let previous = state.version.clone();
        let mut version = previous.clone();
        version.next(now_ms);
        // The new journal continues both the file that is there and the one about to replace it.
        let entries = state.table.iter().flat_map(|(key, queues)| {
            queues
                .iter()
                .map(move |(id, offset)| format!("{key} {id} {offset}\n"))
        });
        let text: String = std::iter::once(format!("{} {}\n", mark(&previous), mark(&version)))
            .chain(entries)
            .collect();
        let snapshot = File {
            data_version: version.clone(),
            ..snapshot(&state.table)
        };
        state.journal = self
            .begin_journal(&text)
            .map_err(|source| BrokerError::Persist {
                path: journal_path(&self.file),
                source,
            })
            .map(Some)?;
        state.version = version;
        state.dirty = false;
        drop(state);
        self.file
            .save(&snapshot)
            .inspect_err(|_| self.state.lock().dirty = true)
    }

    /// Writes the file for the last time; no journal is needed behind it.
    ///
    /// # Errors
    /// [`BrokerError::Persist`].
    pub fn close(&self, now_ms: i64) -> Result<(), BrokerError> {
        self.state.lock().dirty = true;
        self.save(now_ms)?;
        self.state.lock().journal = None;
        let path = journal_path(&self.file);
        self.files
            .remove_file(&path)
            .map_err(|source| BrokerError::Persist { path, source })
    }

    fn begin_journal(&self, text: &str) -> io::Result<Journal> {
        let path = journal_path(&self.file);
        self.files.replace(&path, text.as_bytes())?;
        Journal::open(&*self.files, &path)
    }

    fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        let keys: Vec<String> = self.state.lock().table.keys().cloned().collect();
        keys.into_iter().filter_map(|key| {
            key.split_once(SEPARATOR)
                .map(|(topic, group)| (topic.to_owned(), group.to_owned()))
        })
    }

    fn remove_if(&self, unwanted: impl Fn(&str, &str) -> bool) {
        let mut state = self.state.lock();
        let before = state.table.len();
        state.table.retain(|key, _| {
            key.split_once(SEPARATOR)
                .is_none_or(|(topic, group)| !unwanted(topic, group))
        });
        state.dirty |= state.table.len() != before;
        self.resets.lock().retain(|(key, _), _| {
            key.split_once(SEPARATOR)
                .is_none_or(|(topic, group)| !unwanted(topic, group))
        });
    }
}

fn key(topic: &str, group: &str) -> String {
    let mut key = String::with_capacity(topic.len() + 1 + group.len());
    key.push_str(topic);
    key.push(SEPARATOR);
    key.push_str(group);
    key
}

fn journal_path(file: &ConfigFile) -> PathBuf {
    file.path().with_file_name(JOURNAL)
}

fn mark(version: &DataVersion) -> String {
    format!(
        "{}.{}.{}",
        version.state_version, version.timestamp, version.counter
    )
}

fn snapshot(table: &Table) -> File {
    let mut file = File::default();
    for (key, queues) in table {
        if let Some((topic, group)) = key.split_once(SEPARATOR) {
            file.group_topic_map
                .entry(group.to_owned())
                .or_default()
                .insert(topic.to_owned());
        }
        file.offset_table.insert(
            key.clone(),
            queues.iter().map(|(id, offset)| (*id, *offset)).collect(),
        );
    }
    file
}

/// Lays the journal's lines over the table; a line cut by a crash ends it.
fn replay(journal: &[u8], version: &DataVersion, table: &mut Table) {
    let text = String::from_utf8_lossy(journal);
    let mut lines = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    let Some(marks) = lines.next() else { return };
    if !marks.split(' ').any(|known| known == mark(version)) {
        tracing::warn!(
            "the offset journal continues another consumerOffset.json than the one that is there, and is left aside"
        );
        return;
    }
    for line in lines {
        let mut parts = line.rsplitn(3, ' ');
        let (Some(offset), Some(queue_id), Some(key)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let (Ok(offset), Ok(queue_id)) = (offset.parse(), queue_id.parse()) else {
            return;
        };
        table
            .entry(key.to_owned())
            .or_default()
            .insert(queue_id, offset);
    }
}
