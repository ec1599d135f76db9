//! For any message, batch, identifier, properties or settings: what is written is read back alike.

use std::fmt::Write;
use std::net::SocketAddr;

use proptest::prelude::*;
use sluice_protocol::java_properties;
use sluice_protocol::message::batch::{self, BatchItem};
use sluice_protocol::message::record::{self, RecordFields};
use sluice_protocol::message::{MessageId, Record, properties, view};

fn host() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    prop_oneof![v4, v6]
}

/// Up to 127 bytes are a V1 record, more are a V2 record.
fn topic() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_%|-]{1,127}",
        "[a-zA-Z0-9_%|-]{128,300}",
        "\\PC{0,60}"
    ]
}

fn bytes(size: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..size)
}

/// A text that can be a property's name or value.
fn part() -> impl Strategy<Value = String> {
    "[^\u{1}\u{2}]{1,12}"
}

/// As `java.util.Properties` escapes keys and values, or more than it must.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0C' => out.push_str("\\f"),
            '\\' | '=' | ':' | '#' | '!' | ' ' => out.extend(['\\', c]),
            c if c.is_ascii() => out.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                write!(out, "\\u{unit:04x}").expect("memory takes every write");
            }),
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records(topic in topic(), numbers in any::<[i32; 3]>(), sys_flag in any::<i32>(), born_host in host(), store_host in host(), times in any::<[i64; 5]>(), body in bytes(200), properties in bytes(200)) {
        let [queue_id, flag, reconsume_times] = numbers;
        let [born_timestamp, prepared_transaction_offset, queue_offset, physical_offset, store_timestamp] = times;
        let fields = RecordFields { topic: &topic, queue_id, flag, sys_flag, born_timestamp, born_host, store_host, reconsume_times, prepared_transaction_offset, body: &body, properties: &properties };
        let mut out = Vec::new();
        let size = fields.encode(&mut out).unwrap();
        prop_assert_eq!((size, out.len()), (fields.encoded_size(), size));
        record::assign(&mut out, queue_offset, physical_offset, store_timestamp);

        let twice = out.repeat(2);
        let read: Vec<Record<'_>> = view::records(&twice).map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), 2);
        for record in read {
            record.check_crc().unwrap();
            prop_assert_eq!(record.as_bytes(), &out);
            prop_assert_eq!((record.topic(), record.body(), record.properties()), (&*topic, &*body, &*properties));
            prop_assert_eq!((record.queue_id(), record.flag(), record.reconsume_times()), (queue_id, flag, reconsume_times));
            prop_assert_eq!((record.born_host(), record.store_host()), (born_host, store_host));
            prop_assert_eq!((record.born_timestamp(), record.store_timestamp()), (born_timestamp, store_timestamp));
            prop_assert_eq!((record.queue_offset(), record.physical_offset()), (queue_offset, physical_offset));
            prop_assert_eq!(record.prepared_transaction_offset(), prepared_transaction_offset);
            let hosts = 0x10 | 0x20;
            prop_assert_eq!(record.sys_flag() & !hosts, sys_flag & !hosts);
        }
        let damaged = &out[..out.len() - 1];
        prop_assert!(Record::parse(damaged).is_err());
    }

    #[test]
    fn batches(items in prop::collection::vec((any::<i32>(), bytes(60), bytes(60)), 0..6)) {
        let items: Vec<BatchItem<'_>> = items.iter().map(|(flag, body, properties)| BatchItem { flag: *flag, body, properties }).collect();
        let mut body = Vec::new();
        items.iter().for_each(|item| batch::put(&mut body, *item));
        let read: Result<Vec<_>, _> = batch::iter(&body).collect();
        prop_assert_eq!(read.as_ref(), Ok(&items));
    }

    #[test]
    fn message_ids(store_host in host(), physical_offset in any::<i64>()) {
        let id = MessageId { store_host, physical_offset };
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
    }

    #[test]
    fn properties_strings(pairs in prop::collection::vec((part(), part()), 0..8)) {
        let mut text = Vec::new();
        pairs.iter().for_each(|(name, value)| properties::put(&mut text, name, value));
        let read: Vec<(String, String)> = properties::iter(&text).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(&read, &pairs);
        for (name, _) in &pairs {
            let last = pairs.iter().rfind(|(other, _)| other == name);
            prop_assert_eq!(properties::find(&text, name), last.map(|(_, value)| &**value));
            let rest = properties::without(&text, &[name]);
            prop_assert_eq!(properties::find(&rest, name), None);
        }
    }

    #[test]
    fn settings(pairs in prop::collection::vec((any::<String>(), any::<String>()), 0..6), separator in prop::sample::select(vec!["=", ":", " ", " = ", "\t:"]), end in prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n# note\n"])) {
        let pairs: Vec<_> = pairs.into_iter().filter(|(key, _)| !key.is_empty()).collect();
        let text: String = pairs.iter().map(|(key, value)| format!("{}{separator}{}{end}", escaped(key), escaped(value))).collect();
        let read: Vec<_> = java_properties::parse(&text).into_iter().map(|read| (read.key, read.value)).collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn any_settings_are_read(text in any::<String>()) {
        let lines = 1 + text.matches(['\n', '\r']).count();
        for read in java_properties::parse(&text) {
            prop_assert!((1..=lines).contains(&read.line));
        }
    }
}
