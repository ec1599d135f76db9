//! The offset file of a broadcasting consumer, as Java's clients write and read it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sluice_allocation::MessageQueue;
use sluice_protocol::body::ResetOffsetBody;

use crate::body;
use crate::error::ClientError;

/// `offsets.json` in the directory of one client and group, with `offsets.json.bak` beside it.
#[derive(Debug)]
pub(crate) struct OffsetFile {
    directory: PathBuf,
}

impl OffsetFile {
    pub fn new(directory: PathBuf) -> Self {
        OffsetFile { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("offsets.json")
    }

    fn backup(&self) -> PathBuf {
        self.directory.join("offsets.json.bak")
    }

    /// Reads the file, or its backup when it is missing or broken; empty when neither was ever
    /// written.
    pub fn load(&self) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        match read(&self.path()) {
            Ok(Some(table)) => return Ok(table),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "offset file is unreadable, taking its backup"),
        }
        match read(&self.backup()) {
            Ok(Some(table)) => Ok(table),
            Ok(None) if self.path().exists() => Err(ClientError::OffsetFile {
                path: self.path(),
                what: "it is unreadable and has no backup".to_owned(),
            }),
            Ok(None) => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file; what it was before becomes the backup. Never leaves a half-written one.
    pub fn save(&self, table: BTreeMap<MessageQueue, i64>) -> Result<(), ClientError> {
        let text = encode(&table);
        self.replace(&text)
            .map_err(|error| ClientError::OffsetFile {
                path: self.path(),
                what: error.to_string(),
            })
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let temporary = self.directory.join("offsets.json.tmp");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::rename(self.path(), self.backup()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&temporary, self.path())
    }
}

fn read(path: &Path) -> Result<Option<BTreeMap<MessageQueue, i64>>, ClientError> {
    let wrong = |what: String| ClientError::OffsetFile {
        path: path.to_owned(),
        what,
    };
    let bytes = match fs::read(path) {
        Ok(bytes) if bytes.is_empty() => return Err(wrong("it is empty".to_owned())),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    // One table of offsets by queue looks like the other.
    let table: ResetOffsetBody = body::read(&bytes).map_err(wrong)?;
    Ok(Some(table.offset_table))
}

/// Objects as keys and tabs, byte for byte as Java's pretty printer has it.
fn encode(table: &BTreeMap<MessageQueue, i64>) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let entry = |(queue, offset): (&MessageQueue, &i64)| {
        let (broker, topic) = (text(&queue.broker_name), text(&queue.topic));
        let id = queue.queue_id;
        format!(
            "{{\n\t\t\t\"brokerName\":{broker},\n\t\t\t\"queueId\":{id},\n\t\t\t\"topic\":{topic}\n\t\t}}:{offset}"
        )
    };
    let entries: Vec<_> = table.iter().map(entry).collect();
    format!("{{\n\t\"offsetTable\":{{{}\n\t}}\n}}", entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(i32, i64)]) -> BTreeMap<MessageQueue, i64> {
        let queue = |queue_id| MessageQueue {
            topic: "T".to_owned(),
            broker_name: "b-a".to_owned(),
            queue_id,
        };
        entries
            .iter()
            .map(|(id, offset)| (queue(*id), *offset))
            .collect()
    }

    #[test]
    fn the_text_is_javas() {
        assert_eq!(
            encode(&table(&[(0, 5)])),
            "{\n\t\"offsetTable\":{{\n\t\t\t\"brokerName\":\"b-a\",\n\t\t\t\"queueId\":0,\n\t\t\t\"topic\":\"T\"\n\t\t}:5\n\t}\n}"
        );
    }

    #[test]
    fn a_broken_file_is_replaced_by_its_backup() {
        let root = tempfile::tempdir().unwrap();
        let file = OffsetFile::new(root.path().join("c/g"));
        assert!(file.load().unwrap().is_empty());
        file.save(table(&[(0, 5)])).unwrap();
        file.save(table(&[(0, 6), (1, 1)])).unwrap();
        assert_eq!(file.load().unwrap(), table(&[(0, 6), (1, 1)]));
        fs::write(file.path(), "{\"offsetTable\":{{").unwrap();
        assert_eq!(file.load().unwrap(), table(&[(0, 5)]));
        fs::remove_file(file.path()).unwrap();
        assert_eq!(file.load().unwrap(), table(&[(0, 5)]));
    }

    #[test]
    fn a_broken_file_without_backup_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let file = OffsetFile::new(root.path().to_owned());
        fs::write(file.path(), "nonsense").unwrap();
        assert!(
            file.load()
                .unwrap_err()
                .to_string()
                .contains("offsets.json")
        );
    }
}
