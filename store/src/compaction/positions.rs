//! How far each queue has been compacted: Java's `position-checkpoint`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{At, StoreError};
use crate::files::FileSystem;

pub(crate) struct Positions {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    known: Mutex<BTreeMap<String, i64>>,
}

fn name(topic: &str, queue_id: i32) -> String {
    format!("{topic}_{queue_id}")
}

fn is_of(name: &str, topic: &str) -> bool {
    let id = name
        .strip_prefix(topic)
        .and_then(|rest| rest.strip_prefix('_'));
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Positions {
    pub(crate) fn open(files: Arc<dyn FileSystem>, path: PathBuf) -> Result<Self, StoreError> {
        let text = match files.exists(&path) {
            true => files.read(&path).at("read", &path)?,
            false => Vec::new(),
        };
        Ok(Positions {
            files,
            path,
            known: Mutex::new(parse(&String::from_utf8_lossy(&text))),
        })
    }

    /// The last offset that was compared with those before; -1 before the first round.
    pub(crate) fn get(&self, topic: &str, queue_id: i32) -> i64 {
        let known = self.known.lock();
        known.get(&name(topic, queue_id)).copied().unwrap_or(-1)
    }

    /// Notes how far a queue has come, on disk first.
    pub(crate) fn set(&self, topic: &str, queue_id: i32, offset: i64) -> Result<(), StoreError> {
        self.change(|known| {
            known.insert(name(topic, queue_id), offset);
        })
    }

    /// Forgets a topic's queues, on disk first.
    pub(crate) fn remove(&self, topic: &str) -> Result<(), StoreError> {
        self.change(|known| known.retain(|name, _| !is_of(name, topic)))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, i64>)) -> Result<(), StoreError> {
        let mut known = self.known.lock();
        let mut changed = known.clone();
        change(&mut changed);
        if changed == *known {
            return Ok(());
        }
        let text = text(&changed);
        let written = self.files.replace(&self.path, text.as_bytes());
        written.at("write", &self.path)?;
        *known = changed;
        Ok(())
    }
}

/// Names of topics have no character that JSON would escape.
fn text(known: &BTreeMap<String, i64>) -> String {
    let lines: Vec<String> = known
        .iter()
        .map(|(name, offset)| format!("\t\t\"{name}\":{offset}"))
        .collect();
    format!(
        "{{\n\t\"queueOffsetMap\":{{\n{}\n\t}}\n}}",
        lines.join(",\n")
    )
}

/// Every name with a number. What is none of both says nothing about an offset.
fn parse(text: &str) -> BTreeMap<String, i64> {
    let parts: Vec<&str> = text.split('"').collect();
    let pairs = parts.chunks(2).zip(parts.iter().skip(2).step_by(2));
    pairs
        .filter_map(|(pair, behind)| {
            let number = behind.trim_start().strip_prefix(':')?.trim_start();
            let digits = number.find(|c: char| !c.is_ascii_digit() && c != '-');
            let number = &number[..digits.unwrap_or(number.len())];
            Some((pair.get(1)?.to_string(), number.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_s_text_is_read_and_ours_is_the_same() {
        let java = "{\n\t\"empty\":false,\n\t\"queueOffsetMap\":{\n\t\t\"orders_0\":41,\n\t\t\"%RETRY%g_11\":-1\n\t}\n}";
        let known = parse(java);
        let expected = [("%RETRY%g_11", -1), ("orders_0", 41)];
        assert!(
            known
                .iter()
                .map(|(name, at)| (name.as_str(), *at))
                .eq(expected)
        );
        assert_eq!(parse(&text(&known)), known);
        assert_eq!(parse(&java.replace(['\n', '\t'], "")), known);
        assert!(is_of("a_1_0", "a_1") && !is_of("a_1_0", "a") && is_of("a_1", "a"));
        assert!(parse("").is_empty() && parse("{\"queueOffsetMap\":{}}").is_empty());
    }
}
