//! Ordered pops: which messages of a queue a group has in hand (`consumerOrderInfo.json`).
//!
//! A queue is blocked while a message of its last pop is neither acked nor due again; then the next
//! pop begins at the first that is not acked. Between two writes of the file, changes are appended to
//! a journal, so that a killed process forgets no block. Writing the file takes several syncs, during
//! which changes go on: they are appended to the old journal, and gathered for the new one, which
//! replaces the old only when it holds them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sluice_protocol::fastjson;
use sluice_store::{FileSystem, Journal};

use super::receipt;
use crate::config_file::{ConfigFile, Mark};
use crate::error::BrokerError;

/// An order nobody has popped for this long is forgotten (`CLEAN_SPAN_FROM_LAST`), milliseconds.
const IDLE_MS: i64 = 24 * 3_600_000;
/// Positions that the map of what is acked has.
const BITS: usize = 64;

type Queues = BTreeMap<i32, Order>;
/// By `topic@group` and queue id.
type Table = BTreeMap<String, Queues>;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    table: Table,
}

/// One line of the journal: what a queue's order has become.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    queue: i32,
    order: Option<Order>,
}

impl Line {
    fn text(&self) -> Vec<u8> {
        let mut text = fastjson::to_vec(self).expect("numbers and texts have a JSON");
        text.push(b'\n');
        text
    }
}

/// What a queue's last pop has taken (`OrderInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Order {
    /// Names the try; the same try gets the same messages again.
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    attempt_id: Option<String>,
    /// Bit i: the i-th message is acked.
    #[serde(rename = "cm")]
    acked: i64,
    /// Milliseconds.
    #[serde(rename = "i")]
    invisible_time: Option<i64>,
    /// When it was popped last, Unix milliseconds.
    #[serde(rename = "l")]
    last_ms: i64,
    /// The first offset, then the distances of the others from it.
    #[serde(rename = "o")]
    offsets: Vec<i64>,
    /// How often messages were popped before, by offset.
    #[serde(rename = "oc", skip_serializing_if = "Option::is_none")]
    counts: Option<BTreeMap<i64, i32>>,
    /// When messages are due that have an invisible time of their own, by offset.
    #[serde(rename = "ot", skip_serializing_if = "Option::is_none")]
    due: Option<BTreeMap<i64, i64>>,
    /// Unix milliseconds.
    #[serde(rename = "popTime")]
    pop_time: i64,
}

impl Order {
    fn all_offsets(&self) -> impl Iterator<Item = i64> {
        let first = self.offsets.first().copied().unwrap_or(0);
        let rest = self.offsets.iter().skip(1);
        self.offsets
            .first()
            .copied()
            .into_iter()
            .chain(rest.map(move |distance| first.saturating_add(*distance)))
            .take(BITS)
    }

    fn is_acked(&self, at: usize) -> bool {
        self.acked & (1 << at) != 0
    }

    /// When the block ends, if no ack comes: the latest of the times at which a message is due that
    /// is not acked. `None` if it does not block.
    fn blocked_until(&self, now_ms: i64) -> Option<i64> {
        let usual = self
            .pop_time
            .saturating_add(self.invisible_time.unwrap_or(0));
        let due = |offset| {
            let own = self.due.as_ref().and_then(|due| due.get(&offset));
            own.copied().unwrap_or(usual)
        };
        self.all_offsets()
            .enumerate()
            .filter(|(at, _)| !self.is_acked(*at))
            .map(|(_, offset)| due(offset))
            .max()
            .filter(|until| now_ms < *until)
    }

    /// Where the next pop begins.
    fn next_offset(&self) -> Option<i64> {
        let open = self
            .all_offsets()
            .enumerate()
            .find(|(at, _)| !self.is_acked(*at));
        let last = || self.all_offsets().last().map(|offset| offset + 1);
        open.map(|(_, offset)| offset).or_else(last)
    }

    /// How often each of the new messages was popped before.
    fn counts_after(&self, attempt_id: Option<&str>, offsets: &[i64]) -> BTreeMap<i64, i32> {
        let before = self.counts.clone().unwrap_or_default();
        if self.attempt_id.is_some() && self.attempt_id.as_deref() == attempt_id {
            return before;
        }
        let known: Vec<i64> = self.all_offsets().collect();
        let again = offsets.iter().filter(|offset| known.contains(offset));
        again
            .map(|offset| (*offset, before.get(offset).map_or(1, |count| count + 1)))
            .collect()
    }
}

/// What a pop in order has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub(crate) attempt_id: Option<&'a str>,
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) queue_id: i32,
    /// Unix milliseconds.
    pub(crate) pop_time: i64,
    /// Milliseconds.
    pub(crate) invisible_time: i64,
    pub(crate) offsets: &'a [i64],
}

/// What an ack in order means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// The group goes on at this offset.
    Next(i64),
    /// The message has been popped again meanwhile: the ack comes too late.
    Late,
    /// The message is none of the last pop's.
    Unknown,
}

/// Orders of all queues that are popped in order.
pub(crate) struct ConsumerOrder {
    state: Mutex<State>,
    /// Held by whoever writes the file, one at a time; the mark of the text that is there.
    saving: Mutex<Mark>,
    file: ConfigFile,
    files: Arc<dyn FileSystem>,
}

#[derive(Default)]
struct State {
    table: Table,
    journal: Option<Journal>,
    /// Journal lines since the table was copied for a new journal, while that is being written.
    since: Option<Vec<u8>>,
    dirty: bool,
}

impl std::fmt::Debug for ConsumerOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

fn key(topic: &str, group: &str) -> String {
    format!("{topic}@{group}")
}

impl State {
    fn order(&self, topic: &str, group: &str, queue_id: i32) -> Option<&Order> {
        self.table.get(&key(topic, group))?.get(&queue_id)
    }

    fn set(&mut self, topic: &str, group: &str, queue: i32, order: Option<Order>) {
        self.dirty = true;
        let line = Line {
            key: key(topic, group),
            queue,
            order,
        };
        let text = line.text();
        if let Some(since) = &mut self.since {
            since.extend_from_slice(&text);
        }
        if let Some(journal) = &self.journal
            && let Err(error) = journal.append(&text)
        {
            // It is in memory and in the next file; only a crash before that loses it.
            tracing::error!(%error, "the journal of ordered pops can't be written");
            self.journal = None;
        }
        put(&mut self.table, line);
    }
}

fn put(table: &mut Table, line: Line) {
    let queues = table.entry(line.key).or_default();
    match line.order {
        Some(order) => queues.insert(line.queue, order),
        None => queues.remove(&line.queue),
    };
}

impl ConsumerOrder {
    /// Reads the file, then the journal on top of it, if it continues that file.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub(crate) fn load(
        file: ConfigFile,
        files: Arc<dyn FileSystem>,
    ) -> Result<ConsumerOrder, BrokerError> {
        let (loaded, mark): (File, Mark) = file.load_marked()?.unwrap_or_default();
        let mut table = loaded.table;
        let journal = files.read(&journal_path(&file)).unwrap_or_default();
        replay(&journal, mark, &mut table);
        let state = State {
            table,
            journal: None,
            since: None,
            dirty: !journal.is_empty(),
        };
        Ok(ConsumerOrder {
            state: Mutex::new(state),
            saving: Mutex::new(mark),
            file,
            files,
        })
    }

    /// Until when the queue gives nothing, Unix milliseconds; `None`: it may be popped. The try that
    /// has the messages is not blocked by them.
    pub(crate) fn blocked_until(
        &self,
        attempt_id: Option<&str>,
        topic: &str,
        group: &str,
        queue_id: i32,
        now_ms: i64,
    ) -> Option<i64> {
        let state = self.state.lock();
        let order = state.order(topic, group, queue_id)?;
        if order.attempt_id.is_some() && order.attempt_id.as_deref() == attempt_id {
            return None;
        }
        order.blocked_until(now_ms)
    }

    /// How many messages of a queue block it: popped in order, and not acked.
    pub(crate) fn in_flight(&self, topic: &str, group: &str, queue_id: i32, now_ms: i64) -> usize {
        let state = self.state.lock();
        let order = state.order(topic, group, queue_id);
        let blocks = order.filter(|order| order.blocked_until(now_ms).is_some());
        blocks.map_or(0, |order| {
            let count = order.all_offsets().count();
            (0..count).filter(|at| !order.is_acked(*at)).count()
        })
    }

    /// A pop has taken messages; what is to be said of earlier pops of them is added to `counts`.
    pub(crate) fn take(&self, taken: Taken<'_>, now_ms: i64, counts: &mut String) {
        let Taken {
            topic,
            group,
            queue_id,
            offsets,
            ..
        } = taken;
        let first = offsets.first().copied().unwrap_or(0);
        let mut state = self.state.lock();
        let before = state
            .order(topic, group, queue_id)
            .map(|order| order.counts_after(taken.attempt_id, offsets));
        let order = Order {
            attempt_id: taken.attempt_id.map(str::to_owned),
            acked: 0,
            invisible_time: Some(taken.invisible_time),
            last_ms: now_ms,
            offsets: std::iter::once(first)
                .chain(offsets.iter().skip(1).map(|offset| offset - first))
                .collect(),
            counts: before.clone(),
            due: None,
            pop_time: taken.pop_time,
        };
        state.set(topic, group, queue_id, Some(order));
        drop(state);
        let before = before.unwrap_or_default();
        for (offset, count) in &before {
            receipt::put_count(counts, topic, queue_id, *offset, *count);
        }
        // A message that is new has the least.
        let least = match before.len() == offsets.len() {
            true => before.values().copied().min().unwrap_or(0),
            false => 0,
        };
        receipt::put_least_count(counts, topic, queue_id, least);
    }

    /// Marks a message as acked.
    pub(crate) fn ack(
        &self,
        (topic, group, queue_id): (&str, &str, i32),
        offset: i64,
        pop_time: i64,
    ) -> Acked {
        let mut state = self.state.lock();
        let Some(order) = state.order(topic, group, queue_id) else {
            return Acked::Next(offset.saturating_add(1));
        };
        if order.offsets.is_empty() {
            return Acked::Unknown;
        }
        if order.pop_time != pop_time {
            return Acked::Late;
        }
        let Some(at) = order.all_offsets().position(|known| known == offset) else {
            return Acked::Unknown;
        };
        let mut order = order.clone();
        order.acked |= 1 << at;
        let next = order.next_offset();
        state.set(topic, group, queue_id, Some(order));
        next.map_or(Acked::Unknown, Acked::Next)
    }

    /// Gives a message a time of its own at which it is due.
    pub(crate) fn set_due(
        &self,
        (topic, group, queue_id): (&str, &str, i32),
        offset: i64,
        pop_time: i64,
        due_ms: i64,
    ) {
        let mut state = self.state.lock();
        let Some(order) = state.order(topic, group, queue_id) else {
            return;
        };
        if order.pop_time != pop_time || !order.all_offsets().any(|known| known == offset) {
            return;
        }
        let mut order = order.clone();
        order.due.get_or_insert_default().insert(offset, due_ms);
        state.set(topic, group, queue_id, Some(order));
    }

    /// Forgets what a queue's last pop has taken: its offset was reset.
    pub(crate) fn clear(&self, topic: &str, group: &str, queue_id: i32) {
        let mut state = self.state.lock();
        if state.order(topic, group, queue_id).is_some() {
            state.set(topic, group, queue_id, None);
        }
    }

    /// Writes the file if anything has changed, and begins a new journal; forgets what `is_kept`
    /// denies a topic, group and queue, and what nobody has popped for a day. Pops need not wait for it.
    ///
    /// # Errors
    /// [`BrokerError::Persist`]; the journal then goes on.
    pub(crate) fn save(
        &self,
        now_ms: i64,
        is_kept: impl Fn(&str, &str, i32) -> bool,
    ) -> Result<(), BrokerError> {
        let mut on_disk = self.saving.lock();
        let Some(snapshot) = self.begin_snapshot(now_ms, is_kept) else {
            return Ok(());
        };
        let written = self.write(&snapshot, &mut on_disk);
        let mut state = self.state.lock();
        state.since = None;
        state.dirty |= written.is_err();
        written
    }

    /// The orders as they are now, if they have changed; from here on changes are gathered.
    fn begin_snapshot(
        &self,
        now_ms: i64,
        is_kept: impl Fn(&str, &str, i32) -> bool,
    ) -> Option<File> {
        let mut state = self.state.lock();
        if !state.dirty && state.journal.is_some() {
            return None;
        }
        state.table.retain(|key, queues| {
            let Some((topic, group)) = key.split_once('@') else {
                return false;
            };
            queues.retain(|id, order| {
                is_kept(topic, group, *id) && now_ms - order.last_ms <= IDLE_MS
            });
            !queues.is_empty()
        });
        state.dirty = false;
        state.since = Some(Vec::new());
        Some(File {
            table: state.table.clone(),
        })
    }

    /// `on_disk` is the mark of the text that the file has, and then of the one it has got.
    fn write(&self, snapshot: &File, on_disk: &mut Mark) -> Result<(), BrokerError> {
        let text = self.file.text(snapshot)?;
        let mark = Mark::of(&text);
        // The new journal continues both the file that is there and the one about to replace it.
        let journal = journal_text(*on_disk, mark, &snapshot.table);
        self.begin_journal(&journal)
            .map_err(|source| BrokerError::Persist {
                path: journal_path(&self.file),
                source,
            })?;
        self.file.save_text(&text)?;
        *on_disk = mark;
        Ok(())
    }

    /// Puts a new journal in the place of the old one, with all that has changed meanwhile.
    fn begin_journal(&self, text: &[u8]) -> io::Result<()> {
        let path = journal_path(&self.file);
        let temporary = path.with_extension("journal.tmp");
        let journal = Journal::begin(&*self.files, &temporary)?;
        journal.append(text)?;
        journal.sync()?;
        let mut state = self.state.lock();
        journal.append(&state.since.take().unwrap_or_default())?;
        self.files.rename(&temporary, &path)?;
        state.journal = Some(journal);
        Ok(())
    }
}

fn journal_text(old: Mark, new: Mark, table: &Table) -> Vec<u8> {
    let mut text = format!("{old} {new}\n").into_bytes();
    for (key, queues) in table {
        for (queue, order) in queues {
            let line = Line {
                key: key.clone(),
                queue: *queue,
                order: Some(order.clone()),
            };
            text.extend(line.text());
        }
    }
    text
}

fn journal_path(file: &ConfigFile) -> PathBuf {
    file.path().with_file_name("consumerOrderInfo.journal")
}

/// Lays the journal's lines over the table; a line cut by a crash ends it.
fn replay(journal: &[u8], mark: Mark, table: &mut Table) {
    let mut lines = journal.split_inclusive(|byte| *byte == b'\n');
    let marks = lines.next().unwrap_or_default().trim_ascii();
    let mark = mark.to_string();
    if !marks
        .split(|byte| *byte == b' ')
        .any(|known| known == mark.as_bytes())
    {
        return;
    }
    for line in lines {
        let line = line
            .strip_suffix(b"\n")
            .and_then(|line| fastjson::from_slice(line).ok());
        match line {
            Some(line) => put(table, line),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sluice_store::SystemFiles;

    use super::*;

    fn open(root: &Path) -> ConsumerOrder {
        let files: Arc<dyn FileSystem> = Arc::new(SystemFiles);
        let file = ConfigFile::new(root, "consumerOrderInfo.json", files.clone());
        let orders = ConsumerOrder::load(file, files).unwrap();
        orders.save(0, |_, _, _| true).unwrap();
        orders
    }

    fn take(orders: &ConsumerOrder, attempt: &str, pop_time: i64, offsets: &[i64]) -> String {
        let taken = Taken {
            attempt_id: Some(attempt),
            topic: "t",
            group: "g",
            queue_id: 0,
            pop_time,
            invisible_time: 1000,
            offsets,
        };
        let mut counts = String::new();
        orders.take(taken, pop_time, &mut counts);
        counts
    }

    const QUEUE: (&str, &str, i32) = ("t", "g", 0);

    #[test]
    fn a_queue_is_blocked_until_all_is_acked_or_due() {
        let root = tempfile::tempdir().unwrap();
        let orders = open(root.path());
        let blocked = |attempt, now| orders.blocked_until(attempt, "t", "g", 0, now);
        assert_eq!(blocked(None, 0), None);
        assert_eq!(take(&orders, "a", 100, &[5, 7]), "0 0 0");
        assert_eq!(blocked(None, 200), Some(1100));
        assert_eq!(blocked(Some("b"), 200), Some(1100));
        assert_eq!(blocked(Some("a"), 200), None, "the same try");
        assert_eq!(orders.ack(QUEUE, 5, 99), Acked::Late);
        assert_eq!(orders.ack(QUEUE, 6, 100), Acked::Unknown);
        assert_eq!(orders.ack(QUEUE, 7, 100), Acked::Next(5));
        assert_eq!(blocked(None, 200), Some(1100));
        orders.set_due(QUEUE, 5, 100, 5000);
        assert_eq!(blocked(None, 2000), Some(5000));
        assert_eq!(blocked(None, 5000), None);
        assert_eq!(
            take(&orders, "b", 6000, &[5, 7, 8]),
            "0 qo0%5 1;0 qo0%7 1;0 0 0"
        );
        assert_eq!(
            take(&orders, "b", 6001, &[5, 7]),
            "0 qo0%5 1;0 qo0%7 1;0 0 1"
        );
        assert_eq!(orders.ack(QUEUE, 5, 6001), Acked::Next(7));
        assert_eq!(orders.ack(QUEUE, 7, 6001), Acked::Next(8));
        assert_eq!(blocked(None, 6002), None);
    }

    #[test]
    fn a_killed_process_forgets_no_block_and_a_java_broker_s_file_counts_more_than_the_journal() {
        let root = tempfile::tempdir().unwrap();
        let orders = open(root.path());
        take(&orders, "a", 100, &[5, 7]);
        orders.ack(QUEUE, 5, 100);
        drop(orders);
        let orders = open(root.path());
        assert_eq!(orders.blocked_until(None, "t", "g", 0, 200), Some(1100));
        assert_eq!(orders.ack(QUEUE, 7, 100), Acked::Next(8));
        drop(orders);
        let java =
            r#"{"table":{"t@g":{0:{"popTime":9000,"i":1000,"l":9000,"o":[9],"cm":0,"a":"x"}}}}"#;
        std::fs::write(root.path().join("config/consumerOrderInfo.json"), java).unwrap();
        let orders = open(root.path());
        assert_eq!(orders.blocked_until(None, "t", "g", 0, 9001), Some(10_000));
    }

    #[test]
    fn what_is_popped_while_the_file_is_written_is_in_the_journal_that_follows() {
        let root = tempfile::tempdir().unwrap();
        let orders = open(root.path());
        take(&orders, "a", 100, &[5]);
        let snapshot = orders.begin_snapshot(200, |_, _, _| true).unwrap();
        assert_eq!(orders.ack(QUEUE, 5, 100), Acked::Next(6));
        take(&orders, "b", 300, &[6, 7]);
        orders.write(&snapshot, &mut orders.saving.lock()).unwrap();
        orders.ack(QUEUE, 6, 300);
        drop(orders);
        let orders = open(root.path());
        assert_eq!(orders.blocked_until(None, "t", "g", 0, 400), Some(1300));
        assert_eq!(orders.ack(QUEUE, 7, 300), Acked::Next(8));
    }
}
