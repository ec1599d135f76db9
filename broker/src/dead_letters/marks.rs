//! What an operator did with dead letters (`config/deadLetters.json`, ours alone).
//!
//! A log gives no single message back, so a letter that is dropped stays where it is until retention
//! takes it; the mark says that nobody needs to look at it any more. A mark is by the letter's place in
//! the log, and goes with it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sluice_protocol::message::Record;

use crate::config_file::ConfigFile;
use crate::error::BrokerError;

/// Most letters that are marked at a time.
pub(super) const MARKS_MAX: usize = 100_000;

pub(super) type Table = BTreeMap<i64, Mark>;

/// Marks by the letter's physical offset.
#[derive(Debug)]
pub(crate) struct Marks {
    table: Mutex<Table>,
    /// Held by whoever writes the file, one at a time.
    saving: Mutex<()>,
    file: ConfigFile,
}

/// What was done with a letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Mark {
    pub(crate) group: String,
    /// When the letter was stored: after a power loss another message may lie at its place.
    pub(crate) stored_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dropped_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resent: Option<Resent>,
}

/// That a letter was sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Resent {
    pub(crate) times: u32,
    /// The last time.
    pub(crate) at_ms: i64,
    /// Where it went then.
    pub(crate) topic: String,
    /// The message that it became. Written when that is stored: without it, the broker ended
    /// meanwhile, and it may be stored or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    marks: Table,
}

impl Marks {
    /// Reads the file.
    ///
    /// # Errors
    /// It is there but can't be read.
    pub(crate) fn load(file: ConfigFile) -> Result<Marks, BrokerError> {
        let loaded: File = file.load()?.unwrap_or_default();
        Ok(Marks {
            table: Mutex::new(loaded.marks),
            saving: Mutex::default(),
            file,
        })
    }

    /// What was done with a letter.
    pub(super) fn of(&self, letter: &Record<'_>) -> Option<Mark> {
        let table = self.table.lock();
        let mark = table.get(&letter.physical_offset())?;
        (mark.stored_ms == letter.store_timestamp()).then(|| mark.clone())
    }

    /// How many of a group's letters are dropped.
    pub(super) fn dropped(&self, group: &str) -> usize {
        let table = self.table.lock();
        let dropped = |mark: &&Mark| mark.group == group && mark.dropped_ms.is_some();
        table.values().filter(dropped).count()
    }

    /// Changes marks, on disk first; those of letters before `log_start` are forgotten.
    ///
    /// # Errors
    /// The file can't be written; nothing has changed.
    pub(super) fn change(
        &self,
        log_start: i64,
        change: impl FnOnce(&mut Table),
    ) -> Result<(), BrokerError> {
        let _one = self.saving.lock();
        let mut marks = self.table.lock().clone();
        change(&mut marks);
        marks.retain(|offset, mark| {
            *offset >= log_start && (mark.dropped_ms.is_some() || mark.resent.is_some())
        });
        let file = File { marks };
        self.file.save(&file)?;
        *self.table.lock() = file.marks;
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.table.lock().len()
    }
}

/// The mark of a letter, made if there is none that is its own.
pub(super) fn entry<'a>(table: &'a mut Table, group: &str, letter: &Record<'_>) -> &'a mut Mark {
    let fresh = Mark {
        group: group.to_owned(),
        stored_ms: letter.store_timestamp(),
        ..Mark::default()
    };
    let mark = table
        .entry(letter.physical_offset())
        .or_insert_with(|| fresh.clone());
    if mark.stored_ms != letter.store_timestamp() {
        *mark = fresh;
    }
    mark
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use sluice_protocol::message::RecordFields;
    use sluice_protocol::message::record::assign;
    use sluice_store::SystemFiles;

    use super::*;

    fn open(root: &Path) -> Marks {
        let files = Arc::new(SystemFiles);
        Marks::load(ConfigFile::new(root, "deadLetters.json", files)).unwrap()
    }

    fn letter(physical: i64, stored_ms: i64) -> Vec<u8> {
        let host = "127.0.0.1:10911".parse().unwrap();
        let mut bytes = Vec::new();
        let fields = RecordFields {
            topic: "%DLQ%g",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 1,
            prepared_transaction_offset: 0,
            body: b"x",
            properties: b"",
        };
        fields.encode(&mut bytes).unwrap();
        assign(&mut bytes, 0, physical, stored_ms);
        bytes
    }

    #[test]
    fn a_mark_outlives_the_process_and_goes_with_its_letter() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (letter(100, 7), letter(300, 8));
        let (first, second) = (
            Record::parse(&first).unwrap(),
            Record::parse(&second).unwrap(),
        );
        let marks = open(root.path());
        let dropped = marks.change(0, |table| {
            entry(table, "g", &first).dropped_ms = Some(9);
            entry(table, "g", &second).dropped_ms = Some(9);
        });
        dropped.unwrap();
        let marks = open(root.path());
        assert_eq!(marks.of(&first).unwrap().dropped_ms, Some(9));
        assert_eq!(marks.dropped("g"), 2);
        let another = letter(300, 99);
        let another = Record::parse(&another).unwrap();
        assert_eq!(
            marks.of(&another),
            None,
            "at the place of a letter that was lost"
        );
        marks
            .change(200, |table| {
                entry(table, "g", &second).dropped_ms = None;
            })
            .unwrap();
        assert_eq!(open(root.path()).len(), 0);
    }
}
