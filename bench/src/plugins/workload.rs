//! The messages that are judged, and the filter as native code.

use anyhow::Result;
use memchr::memchr;
use sluice_protocol::message::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, put};
use sluice_protocol::message::{Record, RecordFields};

/// The same filter in SQL92.
pub(crate) const SQL92: &str = "TAGS = 'TagA' AND region = 'eu-west' AND amount > 100";

const MESSAGES: u64 = 1_024;

/// Different messages, as they lie in the store.
pub(super) struct Workload(Vec<Vec<u8>>);

impl Workload {
    pub fn new() -> Result<Self> {
        Ok(Workload((0..MESSAGES).map(message).collect::<Result<_>>()?))
    }

    pub fn records(&self) -> Result<Vec<Record<'_>>> {
        let parsed = self.0.iter().map(|bytes| Ok(Record::parse(bytes)?));
        parsed.collect()
    }
}

/// 9 of 10 have the tag, 8 of 10 the region, 3 of 4 the amount.
fn properties(number: u64) -> Vec<u8> {
    let mixed = mixed(number);
    let tag = if mixed % 10 < 9 { "TagA" } else { "TagB" };
    let region = if mixed / 10 % 10 < 8 {
        "eu-west"
    } else {
        "us-east"
    };
    let amount = mixed / 100 % 400 + 1;
    let mut text = Vec::new();
    for (name, value) in [
        ("UNIQ_KEY", format!("{mixed:016X}{number:016X}")),
        ("KEYS", format!("order-{number}")),
        ("TAGS", tag.to_owned()),
        ("WAIT", "true".to_owned()),
        ("region", region.to_owned()),
        ("amount", amount.to_string()),
    ] {
        put(&mut text, name, &value);
    }
    text
}

fn message(number: u64) -> Result<Vec<u8>> {
    let text = properties(number);
    let host = "127.0.0.1:10911".parse()?;
    let fields = RecordFields {
        topic: "bench",
        queue_id: 1,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &[7; 256],
        properties: &text,
    };
    let mut bytes = Vec::new();
    fields.encode(&mut bytes)?;
    Ok(bytes)
}

/// SplitMix64: neighbours have nothing in common.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The filter as a native closure would be: the three values are found in the stored properties in
/// one walk, the last of equal names counts.
pub(super) fn native(properties: &[u8]) -> bool {
    let (mut tags, mut region, mut amount) = (None, None, None);
    let mut rest = properties;
    while !rest.is_empty() {
        let end = memchr(PROPERTY_SEPARATOR, rest).unwrap_or(rest.len());
        let piece = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        let Some(at) = memchr(NAME_VALUE_SEPARATOR, piece) else {
            continue;
        };
        let value = Some(&piece[at + 1..]);
        match &piece[..at] {
            b"TAGS" => tags = value,
            b"region" => region = value,
            b"amount" => amount = value,
            _ => {}
        }
    }
    let number = |bytes| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
    tags == Some(b"TagA")
        && region == Some(b"eu-west")
        && amount.and_then(number).is_some_and(|amount| amount > 100)
}

/// The share of messages that pass.
pub(super) fn share(records: &[Record<'_>]) -> f64 {
    let passing = records.iter().filter(|r| native(r.properties())).count();
    passing as f64 / records.len() as f64
}
