//! Messages that a plugin is tried on, laid out as a broker stores them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use sluice_protocol::message::{Record, RecordFields, properties, record};
use sluice_store::inspect::{self, Selection};

use crate::args::Source;
use crate::error::AdminError;
use crate::expectation::Expectation;

/// Messages made up where nothing else is said.
const MADE_UP: usize = 10;
/// Store time of the first message that names none, Unix milliseconds.
const BEGINNING: i64 = 1_700_000_000_000;

/// A message and what is expected of it.
#[derive(Debug)]
pub(crate) struct Sample {
    record: Vec<u8>,
    pub(crate) expectation: Expectation,
}

impl Sample {
    pub(crate) fn record(&self) -> Result<Record<'_>, AdminError> {
        Record::parse(&self.record).map_err(|error| AdminError::Command(error.to_string()))
    }
}

/// A line of a file of messages.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Line {
    topic: String,
    tags: Option<String>,
    keys: Option<String>,
    properties: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
    queue_id: i32,
    queue_offset: Option<i64>,
    store_time: Option<i64>,
    born_time: Option<i64>,
    reconsume_times: i32,
    /// `pass`, `drop` (of a send hook: refused), `hold`, `fail`; of a function its value.
    expect: Option<String>,
    /// The body after a hook.
    expect_body: Option<String>,
    /// Properties after a hook; null where there should be none.
    expect_properties: BTreeMap<String, Option<String>>,
}

/// The messages that `source` names, else those beside the plugin, else some made up.
pub(crate) fn of(source: &Source, beside: Option<&PathBuf>) -> Result<Vec<Sample>, AdminError> {
    if let Some(dir) = &source.store {
        return stored(dir, source);
    }
    if let Some(count) = source.generate {
        return made_up(count);
    }
    match source.messages.as_ref().or(beside) {
        Some(path) => in_file(path),
        None => made_up(MADE_UP),
    }
}

fn in_file(path: &Path) -> Result<Vec<Sample>, AdminError> {
    let text = fs::read_to_string(path).map_err(AdminError::file(path))?;
    let lines = text.lines().enumerate();
    let samples = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            let sample = serde_json::from_str::<Line>(line)
                .map_err(|error| error.to_string())
                .and_then(|line| line.sample(number as i64));
            sample.map_err(|what| AdminError::Content {
                path: path.to_owned(),
                what: format!("line {}: {what}", number + 1),
            })
        });
    samples.collect()
}

impl Line {
    /// `number` is its place among all.
    fn sample(self, number: i64) -> Result<Sample, String> {
        let body = match (self.body, self.body_base64) {
            (Some(_), Some(_)) => return Err("body and bodyBase64: one of them".to_owned()),
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => BASE64_STANDARD
                .decode(text)
                .map_err(|error| format!("bodyBase64: {error}"))?,
            (None, None) => Vec::new(),
        };
        let mut text = Vec::new();
        let own = self.properties.iter().map(|(n, v)| (&**n, v));
        let tags = self.tags.iter().map(|tags| (properties::TAGS, tags));
        let keys = self.keys.iter().map(|keys| (properties::KEYS, keys));
        for (name, value) in tags.chain(keys).chain(own) {
            if name.is_empty() || format!("{name}{value}").contains(['\u{1}', '\u{2}']) {
                return Err(format!("property {name:?} can't be stored"));
            }
            properties::put(&mut text, name, value);
        }
        let store_time = self.store_time.unwrap_or(BEGINNING + number);
        let fields = RecordFields {
            topic: &self.topic,
            queue_id: self.queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: self.born_time.unwrap_or(store_time),
            born_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            store_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &text,
        };
        let mut record = Vec::new();
        fields
            .encode(&mut record)
            .map_err(|error| error.to_string())?;
        let offset = self.queue_offset.unwrap_or(number);
        record::assign(&mut record, offset, 0, store_time);
        Ok(Sample {
            record,
            expectation: Expectation {
                verdict: self.expect,
                body: self.expect_body,
                properties: self.expect_properties,
            },
        })
    }
}

fn stored(dir: &Path, source: &Source) -> Result<Vec<Sample>, AdminError> {
    let selection = Selection {
        topic: source.topic.clone(),
        limit: Some(source.count as u64),
    };
    let mut samples = Vec::new();
    inspect::visit(dir, &selection, |record| {
        samples.push(Sample {
            record: record.as_bytes().to_vec(),
            expectation: Expectation::default(),
        });
        Ok(())
    })?;
    match (&source.topic, samples.is_empty()) {
        (Some(topic), true) => Err(AdminError::Command(format!(
            "{}: there are no messages of topic {topic:?}",
            dir.display()
        ))),
        _ => Ok(samples),
    }
}

/// Orders, the same every time: some without an amount, some with one that is no number.
fn made_up(count: usize) -> Result<Vec<Sample>, AdminError> {
    let mut random = SmallRng::seed_from_u64(1);
    let orders = (0..count).map(|number| {
        let pick =
            |of: &[&str], random: &mut SmallRng| of[random.random_range(0..of.len())].to_owned();
        let region = pick(&["eu", "us", "cn"], &mut random);
        let amount = match random.random_range(0..10) {
            0 => None,
            1 => Some("many".to_owned()),
            _ => Some(random.random_range(1..1000).to_string()),
        };
        let body = serde_json::json!({ "order": number, "amount": amount, "region": region });
        let amount = amount.map(|amount| ("amount".to_owned(), amount));
        let line = Line {
            topic: "orders".to_owned(),
            tags: Some(pick(&["created", "paid", "shipped"], &mut random)),
            keys: Some(format!("o-{number}")),
            properties: [
                ("orderId".to_owned(), number.to_string()),
                ("region".to_owned(), region),
            ]
            .into_iter()
            .chain(amount)
            .collect(),
            body: Some(body.to_string()),
            ..Line::default()
        };
        line.sample(number as i64).map_err(AdminError::Command)
    });
    orders.collect()
}

impl Default for Line {
    fn default() -> Self {
        Line {
            topic: "orders".to_owned(),
            tags: None,
            keys: None,
            properties: BTreeMap::new(),
            body: None,
            body_base64: None,
            queue_id: 0,
            queue_offset: None,
            store_time: None,
            born_time: None,
            reconsume_times: 0,
            expect: None,
            expect_body: None,
            expect_properties: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Sample>, AdminError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        fs::write(&path, text).unwrap();
        in_file(&path)
    }

    #[test]
    fn a_line_becomes_a_stored_message() {
        let samples = read(
            r#"{"topic":"t","tags":"a","keys":"k","properties":{"p":"1"},"bodyBase64":"AAEC","queueId":3,"queueOffset":7,"storeTime":5,"expect":"pass"}

            {}"#,
        )
        .unwrap();
        let record = samples[0].record().unwrap();
        assert_eq!((record.topic(), record.queue_id()), ("t", 3));
        assert_eq!((record.queue_offset(), record.store_timestamp()), (7, 5));
        assert_eq!(record.body(), [0, 1, 2]);
        for (name, value) in [("TAGS", "a"), ("KEYS", "k"), ("p", "1")] {
            assert_eq!(record.property(name), Some(value));
        }
        assert_eq!(samples[1].record().unwrap().topic(), "orders");
        assert_eq!(samples[1].record().unwrap().queue_offset(), 2);
    }

    #[test]
    fn a_bad_line_is_named() {
        let told = |text: &str| read(text).unwrap_err().to_string();
        assert!(told("{}\n{\"topik\":1}").contains("line 2: "));
        assert!(told("{\"topik\":1}").contains("topik"));
        assert!(told("{\"body\":\"x\",\"bodyBase64\":\"\"}").contains("one of them"));
        assert!(told("{\"properties\":{\"a\":\"\\u0001\"}}").contains("can't be stored"));
        assert!(told("{\"properties\":{\"a\":1}}").contains("string"));
    }

    #[test]
    fn what_is_made_up_is_the_same_every_time() {
        let bytes = || -> Vec<Vec<u8>> {
            let samples = made_up(50).unwrap();
            samples.into_iter().map(|sample| sample.record).collect()
        };
        assert_eq!(bytes(), bytes());
        assert_eq!(bytes().len(), 50);
    }
}
