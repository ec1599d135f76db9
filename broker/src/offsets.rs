//! Consumer offsets (`consumerOffset.json`) and the journal that keeps answered commits.
//!
//! The JSON file is Java's and is written every few seconds. A commit that comes in between is
//! appended to a journal before it is answered, so that `kill -9` loses none. A journal names the
//! texts of the JSON file it continues: when Java has worked on the directory in between, the text
//! is another and the journal is left aside, for Java's offsets are the newer ones.
//!
//! A share of a split group (see [`crate::clients::share`]) has offsets under its own name.
//!
//! Writing the file takes several syncs, during which commits go on: they are appended to the old
//! journal, and gathered for the new one, which replaces the old only when it holds them.

mod shares;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sluice_protocol::body::DataVersion;
use sluice_store::{FileSystem, Journal};

use crate::clients::share;
use crate::config_file::{ConfigFile, Mark};
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
    /// Held by whoever writes the file, one at a time; the mark of the text that is there.
    saving: Mutex<Mark>,
    file: ConfigFile,
    files: Arc<dyn FileSystem>,
}

struct State {
    table: Table,
    /// Names of shares by group: those of split groups.
    shares: BTreeMap<String, BTreeSet<String>>,
    version: DataVersion,
    journal: Option<Journal>,
    /// Journal lines since the table was copied for a new journal, while that is being written.
    since: Option<String>,
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
        let (loaded, mark): (File, Mark) = file.load_marked()?.unwrap_or_default();
        let mut table: Table = loaded
            .offset_table
            .into_iter()
            .map(|(key, queues)| (key, queues.into_iter().collect()))
            .collect();
        let journal = files.read(&journal_path(&file)).unwrap_or_default();
        replay(&journal, mark, &mut table);
        let state = State {
            shares: shares::names_in(&table),
            table,
            version: loaded.data_version,
            journal: None,
            since: None,
            dirty: !journal.is_empty(),
        };
        Ok(Offsets {
            state: Mutex::new(state),
            resets: Mutex::default(),
            saving: Mutex::new(mark),
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
        let mut state = self.state.lock();
        state.put(group, topic, queue_id, offset);
        if share::digest_of(group).is_some() {
            state.follow_shares(share::group_of(group), topic, queue_id);
        }
    }

    /// Stores an offset that came along with a pull. While a reset waits to be handed out, the
    /// client can't know of it, and the reset stays.
    pub fn commit_unless_reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        if !self.has_reset(group, topic, queue_id) {
            self.commit(group, topic, queue_id, offset);
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
            .filter(|(t, group)| t == topic && share::digest_of(group).is_none())
            .map(|(_, group)| group)
            .collect()
    }

    /// Forgets what a group has on all topics.
    pub fn remove_group(&self, group: &str) {
        self.remove_if(|_, g| share::group_of(g) == group);
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

    /// Writes the file if anything has changed, and begins a new journal. Commits need not wait
    /// for it.
    ///
    /// # Errors
    /// [`BrokerError::Persist`]; the journal then goes on.
    pub fn save(&self, now_ms: i64) -> Result<(), BrokerError> {
        self.save_over(&mut self.saving.lock(), now_ms)
    }

    /// Writes the file for the last time; no journal is needed behind it.
    ///
    /// # Errors
    /// [`BrokerError::Persist`].
    pub fn close(&self, now_ms: i64) -> Result<(), BrokerError> {
        let mut on_disk = self.saving.lock();
        self.state.lock().dirty = true;
        self.save_over(&mut on_disk, now_ms)?;
        self.state.lock().journal = None;
        let path = journal_path(&self.file);
        self.files
            .remove_file(&path)
            .map_err(|source| BrokerError::Persist { path, source })
    }

    /// `on_disk` is the mark of the text that the file has, and then of the one it has got.
    fn save_over(&self, on_disk: &mut Mark, now_ms: i64) -> Result<(), BrokerError> {
        let Some(snapshot) = self.begin_snapshot(now_ms) else {
            return Ok(());
        };
        let written = self.write(&snapshot, on_disk);
        let mut state = self.state.lock();
        state.since = None;
        state.dirty |= written.is_err();
        written
    }

    /// The table as it is now, if it has changed; from here on commits are gathered.
    fn begin_snapshot(&self, now_ms: i64) -> Option<File> {
        let mut state = self.state.lock();
        if !state.dirty && state.journal.is_some() {
            return None;
        }
        state.version.next(now_ms);
        state.dirty = false;
        state.since = Some(String::new());
        Some(snapshot(&state))
    }

    fn write(&self, snapshot: &File, on_disk: &mut Mark) -> Result<(), BrokerError> {
        let text = self.file.text(snapshot)?;
        let mark = Mark::of(&text);
        // The new journal continues both the file that is there and the one about to replace it.
        let journal = journal_text(*on_disk, mark, snapshot);
        self.begin_journal(&journal)
            .map_err(|source| BrokerError::Persist {
                path: journal_path(&self.file),
                source,
            })?;
        self.file.save_text(&text)?;
        *on_disk = mark;
        Ok(())
    }

    /// Puts a new journal in the place of the old one, with all that was committed meanwhile.
    fn begin_journal(&self, text: &str) -> io::Result<()> {
        let path = journal_path(&self.file);
        let temporary = path.with_extension("journal.tmp");
        let journal = Journal::begin(&*self.files, &temporary)?;
        journal.append(text.as_bytes())?;
        journal.sync()?;
        let mut state = self.state.lock();
        journal.append(state.since.take().unwrap_or_default().as_bytes())?;
        self.files.rename(&temporary, &path)?;
        state.journal = Some(journal);
        drop(state);
        path.parent()
            .map_or(Ok(()), |directory| self.files.sync_dir(directory))
    }

    /// Topics by the groups that have offsets on them.
    pub fn topics_by_group(&self) -> BTreeMap<String, Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (topic, group) in self.pairs() {
            groups.entry(group).or_default().push(topic);
        }
        groups
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
        if state.table.len() != before {
            state.dirty = true;
            state.shares = shares::names_in(&state.table);
        }
        self.resets.lock().retain(|(key, _), _| {
            key.split_once(SEPARATOR)
                .is_none_or(|(topic, group)| !unwanted(topic, group))
        });
    }
}

impl State {
    fn put(&mut self, name: &str, topic: &str, queue_id: i32, offset: i64) {
        let key = key(topic, name);
        let queues = self.table.entry(key.clone()).or_default();
        if queues.insert(queue_id, offset) == Some(offset) {
            return;
        }
        self.dirty = true;
        if share::digest_of(name).is_some() {
            let shares = self.shares.entry(share::group_of(name).to_owned());
            let shares = shares.or_default();
            if !shares.contains(name) {
                shares.insert(name.to_owned());
            }
        }
        let line = format!("{key} {queue_id} {offset}\n");
        if let Some(since) = &mut self.since {
            since.push_str(&line);
        }
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.append(line.as_bytes())
        {
            // The commit is in memory and in the next JSON file; only a crash before that loses it.
            tracing::error!(%error, "the offset journal can't be written; offsets are kept by the file alone until it can");
            self.journal = None;
        }
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

fn journal_text(previous: Mark, next: Mark, snapshot: &File) -> String {
    let lines = snapshot.offset_table.iter().flat_map(|(key, queues)| {
        queues
            .iter()
            .map(move |(id, offset)| format!("{key} {id} {offset}\n"))
    });
    std::iter::once(format!("{previous} {next}\n"))
        .chain(lines)
        .collect()
}

fn snapshot(state: &State) -> File {
    let mut file = File {
        data_version: state.version.clone(),
        ..File::default()
    };
    for (key, queues) in &state.table {
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
fn replay(journal: &[u8], mark: Mark, table: &mut Table) {
    let text = String::from_utf8_lossy(journal);
    let mut lines = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    let Some(marks) = lines.next() else { return };
    let mark = mark.to_string();
    if !marks.split(' ').any(|known| known == mark) {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sluice_store::SystemFiles;

    use super::*;

    pub(super) fn open(root: &Path) -> Offsets {
        let files: Arc<dyn FileSystem> = Arc::new(SystemFiles);
        let file = ConfigFile::new(root, "consumerOffset.json", files.clone());
        Offsets::load(file, files).unwrap()
    }

    fn json(root: &Path) -> std::path::PathBuf {
        root.join("config/consumerOffset.json")
    }

    /// Dropped without [`Offsets::close`], as by `kill -9`.
    #[test]
    fn commits_since_the_last_save_survive_a_kill() {
        let root = tempfile::tempdir().unwrap();
        let offsets = open(root.path());
        offsets.save(1).unwrap();
        offsets.commit("g", "t", 0, 5);
        offsets.save(2).unwrap();
        offsets.commit("g", "t", 0, 7);
        offsets.commit("g", "t", 1, 9);
        drop(offsets);
        let offsets = open(root.path());
        assert_eq!(offsets.of("g", "t"), [(0, 7), (1, 9)].into());
        offsets.save(3).unwrap();
        drop(offsets);
        assert_eq!(open(root.path()).of("g", "t"), [(0, 7), (1, 9)].into());
    }

    #[test]
    fn a_kill_between_journal_and_file_loses_nothing() {
        let root = tempfile::tempdir().unwrap();
        let offsets = open(root.path());
        offsets.commit("g", "t", 0, 5);
        offsets.save(1).unwrap();
        let old = std::fs::read(json(root.path())).unwrap();
        offsets.commit("g", "t", 0, 6);
        offsets.save(2).unwrap();
        offsets.commit("g", "t", 0, 8);
        drop(offsets);
        std::fs::write(json(root.path()), old).unwrap();
        assert_eq!(open(root.path()).get("g", "t", 0), Some(8));
    }

    #[test]
    fn a_file_that_somebody_else_has_written_wins_over_the_journal() {
        let root = tempfile::tempdir().unwrap();
        let offsets = open(root.path());
        offsets.commit("g", "t", 0, 5);
        offsets.save(1).unwrap();
        offsets.commit("g", "t", 0, 6);
        drop(offsets);
        let text = std::fs::read_to_string(json(root.path())).unwrap();
        assert!(text.contains("0:5"), "{text}");
        std::fs::write(json(root.path()), text.replace("0:5", "0:50")).unwrap();
        assert_eq!(open(root.path()).get("g", "t", 0), Some(50));
    }

    #[test]
    fn commits_during_a_save_are_in_the_new_journal() {
        let root = tempfile::tempdir().unwrap();
        let offsets = open(root.path());
        offsets.save(1).unwrap();
        offsets.commit("g", "t", 0, 5);
        let snapshot = offsets.begin_snapshot(2).unwrap();
        offsets.commit("g", "t", 0, 6);
        offsets
            .write(&snapshot, &mut offsets.saving.lock())
            .unwrap();
        drop(offsets);
        assert_eq!(open(root.path()).get("g", "t", 0), Some(6));
    }

    #[test]
    fn a_waiting_reset_is_not_overwritten_by_what_a_pull_carries() {
        let root = tempfile::tempdir().unwrap();
        let offsets = open(root.path());
        offsets.reset("g", "t", 0, 3);
        offsets.commit_unless_reset("g", "t", 0, 100);
        assert_eq!(offsets.get("g", "t", 0), Some(3));
        assert_eq!(offsets.take_reset("g", "t", 0), Some(3));
        offsets.commit_unless_reset("g", "t", 0, 4);
        assert_eq!(offsets.get("g", "t", 0), Some(4));
    }
}
