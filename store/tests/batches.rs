//! Topics of batch consume queues: what is stored, read, queued again and checked.

use std::sync::Arc;

use bytes::Bytes;
use sluice_protocol::message::batch::{self, BatchItem};
use sluice_protocol::message::{Record, RecordFields, inner_batch, properties, tags_code};
use sluice_store::{
    Appended, Boundary, Environment, FileSystem, Open, QueueBounds, QueueType, ReadRequest,
    ReadResult, ReadStatus, RecordFilter, Store, inspect,
};

mod common;
use common::{Bench, append};

const TOPIC: &str = "B";

/// Reads by tag and by body.
struct Wanted {
    tag: Option<&'static str>,
    /// A message whose body contains it passes the second test.
    body: Option<&'static str>,
    whole: bool,
}

impl RecordFilter for Wanted {
    fn matches_tags_code(&self, code: i64) -> bool {
        self.tag.is_none_or(|tag| tags_code(Some(tag)) == code)
    }
    fn needs_record(&self) -> bool {
        self.body.is_some()
    }
    fn takes_batches(&self) -> bool {
        self.whole
    }
    fn judge(&self, records: &[Bytes], given: &mut [bool]) -> usize {
        for (bytes, given) in records.iter().zip(given) {
            let record = Record::parse(bytes).unwrap();
            let text = String::from_utf8_lossy(record.body());
            *given = self.body.is_none_or(|body| text.contains(body));
        }
        records.len()
    }
}

const ALL: Wanted = Wanted {
    tag: None,
    body: None,
    whole: true,
};
const APART: Wanted = Wanted {
    tag: None,
    body: None,
    whole: false,
};

fn encoded(body: &[u8], text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    RecordFields {
        topic: TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "10.0.0.1:1".parse().unwrap(),
        store_host: "10.0.0.2:2".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: text.as_bytes(),
    }
    .encode(&mut out)
    .unwrap();
    out
}

/// An inner batch of messages, each a tag and a body.
fn batch_of(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (tag, text) in messages {
        let properties = format!("TAGS\u{1}{tag}\u{2}");
        let item = BatchItem {
            flag: 0,
            body: text.as_bytes(),
            properties: properties.as_bytes(),
        };
        batch::put(&mut body, item);
    }
    let count = messages.len();
    let text = format!("UNIQ_KEY\u{1}k{count}\u{2}INNER_NUM\u{1}{count}\u{2}");
    let mut out = encoded(&body, &text);
    inner_batch::set_flags(&mut out, inner_batch::PACKED);
    out
}

fn append_batch(store: &Store, messages: &[(&str, &str)]) -> Appended {
    store
        .append_batched(TOPIC, 0, &mut batch_of(messages))
        .unwrap()
}

fn append_one(store: &Store, text: &str) -> Appended {
    let mut record = encoded(text.as_bytes(), "TAGS\u{1}a\u{2}");
    store.append_batched(TOPIC, 0, &mut record).unwrap()
}

/// Three, one, and two messages.
fn fill(store: &Store) {
    append_batch(store, &[("a", "one"), ("b", "two"), ("a", "three")]);
    append_one(store, "four");
    append_batch(store, &[("b", "five"), ("c", "six")]);
    while store.dispatch_once() {}
}

fn read(store: &Store, offset: i64, max_messages: usize, filter: &Wanted) -> ReadResult {
    let request = ReadRequest {
        topic: TOPIC,
        queue_id: 0,
        offset,
        max_messages,
        max_bytes: 1 << 20,
    };
    store.read(&request, filter)
}

/// Queue offsets and bodies of single messages; of a batch its own offset.
fn given(result: &ReadResult) -> Vec<(i64, String)> {
    let one = |bytes: &Bytes| {
        let record = Record::parse(bytes).unwrap();
        record.check_crc().unwrap();
        let text = match inner_batch::is_packed(&record) {
            true => format!("{} packed", inner_batch::message_count(bytes)),
            false => String::from_utf8(record.body().to_vec()).unwrap(),
        };
        (record.queue_offset(), text)
    };
    result.records.iter().map(one).collect()
}

fn texts(pairs: &[(i64, &str)]) -> Vec<(i64, String)> {
    pairs
        .iter()
        .map(|(at, text)| (*at, text.to_string()))
        .collect()
}

#[test]
fn each_message_has_an_offset_and_each_record_a_unit() {
    let bench = Bench::new();
    let store = bench.open();
    assert_eq!(store.queue_bounds(TOPIC, 0), None);
    let first = append_batch(&store, &[("a", "one"), ("b", "two")]);
    assert_eq!((first.queue_offset, first.messages), (0, 2));
    let second = append_one(&store, "three");
    assert_eq!((second.queue_offset, second.messages), (2, 1));
    while store.dispatch_once() {}
    let bounds = QueueBounds { min: 0, max: 3 };
    assert_eq!(store.queue_bounds(TOPIC, 0), Some(bounds));
    let third = append_batch(&store, &[("a", "four"), ("b", "five")]);
    for (appended, said) in [
        (first.clone(), [Some("2"), Some("0")]),
        (second, [None; 2]),
        (third, [Some("2"), Some("3")]),
    ] {
        let bytes = store.record_at(appended.physical_offsets[0]).unwrap();
        let record = Record::parse(&bytes).unwrap();
        let names = [properties::INNER_NUM, properties::INNER_BASE];
        assert_eq!(names.map(|name| record.property(name)), said);
    }
    let unit = store.unit_at(TOPIC, 0, 1).unwrap();
    assert_eq!(unit.physical_offset, first.physical_offsets[0]);
}

#[test]
fn a_batch_is_read_whole_or_apart() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    let whole = read(&store, 0, 32, &ALL);
    let packed = texts(&[(0, "3 packed"), (3, "four"), (4, "2 packed")]);
    assert_eq!((given(&whole), whole.next_begin_offset), (packed, 6));
    // Java too answers with the whole of what holds the offset.
    let within = read(&store, 1, 1, &ALL);
    assert_eq!(given(&within), texts(&[(0, "3 packed")]));
    assert_eq!(within.next_begin_offset, 3);
    let apart = read(&store, 1, 32, &APART);
    let expected = [
        (1, "two"),
        (2, "three"),
        (3, "four"),
        (4, "five"),
        (5, "six"),
    ];
    assert_eq!(given(&apart), texts(&expected));
    let some = read(&store, 3, 2, &APART);
    assert_eq!(given(&some), texts(&[(3, "four")]));
    assert_eq!(some.next_begin_offset, 4);
    assert_eq!(
        read(&store, 6, 1, &ALL).status,
        ReadStatus::OffsetOverflowOne
    );
}

#[test]
fn a_message_of_a_batch_is_found_by_its_offset() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    for (offset, text) in [(2, "three"), (3, "four"), (5, "six")] {
        let bytes = store.message_of(TOPIC, 0, offset).unwrap();
        assert_eq!(Record::parse(&bytes).unwrap().body(), text.as_bytes());
    }
    assert_eq!(store.message_of(TOPIC, 0, 6), None);
}

#[test]
fn a_filter_judges_the_messages_of_a_batch() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    let wanted = |tag, body, whole| {
        let result = read(&store, 0, 32, &Wanted { tag, body, whole });
        assert_eq!(result.next_begin_offset, 6);
        given(&result)
    };
    assert_eq!(wanted(Some("c"), None, false), texts(&[(5, "six")]));
    assert_eq!(wanted(Some("c"), None, true), texts(&[(4, "2 packed")]));
    let five = texts(&[(4, "five")]);
    assert_eq!(wanted(None, Some("fi"), false), five);
    assert_eq!(wanted(Some("b"), Some("fi"), false), five);
    assert_eq!(wanted(None, Some("tw"), true), texts(&[(0, "3 packed")]));
    assert_eq!(wanted(Some("d"), None, true), []);
}

#[test]
fn offsets_are_found_by_time() {
    let bench = Bench::new();
    let store = bench.open();
    let first = append_batch(&store, &[("a", "one"), ("a", "two")]).store_timestamp;
    bench.clock.advance(1000);
    append_batch(&store, &[("a", "three"), ("a", "four")]);
    while store.dispatch_once() {}
    let at = |time, boundary| store.offset_by_time(TOPIC, 0, time, boundary).unwrap();
    assert_eq!(at(first, Boundary::Lower), 0);
    assert_eq!(at(first + 1, Boundary::Lower), 2);
    assert_eq!(at(first + 1, Boundary::Upper), 1);
    assert_eq!(at(first + 5000, Boundary::Lower), 4);
}

#[test]
fn queues_are_the_same_after_a_clean_stop_a_crash_and_from_the_log_alone() {
    let mut bench = Bench::new();
    bench.config.batch_consume_queue_file_size = 46 * 2;
    let store = bench.open();
    fill(&store);
    let expected = given(&read(&store, 0, 32, &APART));
    store.shutdown().unwrap();
    drop(store);
    let file = bench
        .config
        .root
        .join("batchconsumequeue/B/0/00000000000000000000");
    let bytes = bench.files.read(&file).unwrap();
    assert_eq!(bytes.len(), 92);
    assert_eq!(
        bytes[28..46],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 255, 255, 255, 255, 0, 0, 0, 0]
    );
    assert_eq!(bytes[46 + 28..46 + 38], [0, 0, 0, 0, 0, 0, 0, 3, 0, 1]);
    let clean = bench.open();
    assert_eq!(given(&read(&clean, 0, 32, &APART)), expected);
    append_one(&clean, "seven");
    clean.flush_once();
    drop(clean);
    bench.files.kill_process();
    let killed = bench.open();
    let all = given(&read(&killed, 0, 32, &APART));
    assert_eq!(all[..6], expected);
    assert_eq!(all[6..], texts(&[(6, "seven")]));
    drop(killed);
    let rebuilt = bench.open_without_checkpoint();
    assert_eq!(given(&read(&rebuilt, 0, 32, &APART)), all);
}

#[test]
fn a_check_compares_units_with_the_log() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    store.shutdown().unwrap();
    drop(store);
    let check = || {
        let files = Arc::new(bench.files.clone());
        let clock = bench.clock.clone();
        let report = inspect::check_in(&*bench.config.root, &Environment { files, clock });
        report.unwrap()
    };
    let report = check();
    assert_eq!((report.records, report.queues), (3, 1));
    assert_eq!(report.problems, [""; 0]);
    let path = bench
        .config
        .root
        .join("batchconsumequeue/B/0/00000000000000000000");
    let file = bench.files.open(&path, Open::Existing).unwrap();
    // The first unit says that there are two messages.
    file.write_at(36, &[0, 2]).unwrap();
    let problems = check().problems;
    let words = "1 messages of the commit log are not in the queue, the first at offset 0";
    assert!(
        problems.len() == 1 && problems[0].contains(words),
        "{problems:?}"
    );
}

/// As in Java, where nothing but the topic's type says so.
#[test]
fn what_came_alone_is_queued_again_by_the_topic_s_type() {
    let mut bench = Bench::new();
    bench.config.queue_types = [(TOPIC.to_owned(), QueueType::Batch)].into();
    let store = bench.open();
    append_one(&store, "alone");
    append_batch(&store, &[("a", "one"), ("a", "two")]);
    while store.dispatch_once() {}
    let expected = texts(&[(0, "alone"), (1, "one"), (2, "two")]);
    assert_eq!(given(&read(&store, 0, 32, &APART)), expected);
    drop(store);
    let rebuilt = bench.open_without_checkpoint();
    assert_eq!(given(&read(&rebuilt, 0, 32, &APART)), expected);
    let simple = bench.config.root.join("consumequeue/B");
    assert!(!bench.files.exists(&simple));
}

#[test]
fn queues_of_another_type_than_the_topic_s_are_refused() {
    let mut bench = Bench::new();
    let store = bench.open();
    fill(&store);
    append(&store, "S", "simple");
    store.shutdown().unwrap();
    drop(store);
    for (topic, kind, words) in [
        (
            TOPIC,
            QueueType::Simple,
            "should be SimpleCQ (queue.type), but these are BatchCQ",
        ),
        (
            "S",
            QueueType::Batch,
            "should be BatchCQ (queue.type), but these are SimpleCQ",
        ),
    ] {
        bench.config.queue_types = [(topic.to_owned(), kind)].into();
        let refused = bench.try_open().map(drop).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    bench.config.queue_types.clear();
    drop(bench.open());
    let both = bench
        .config
        .root
        .join("consumequeue/B/0/00000000000000000000");
    bench.files.open(&both, Open::Sparse(320)).unwrap();
    let refused = bench.try_open().map(drop).unwrap_err().to_string();
    assert!(refused.contains("queues of topic B"), "{refused}");
}

#[test]
fn a_deleted_topic_may_come_back_with_queues_of_the_other_type() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    store.delete_topic(TOPIC).unwrap();
    let offset = append(&store, TOPIC, "simple");
    assert_eq!(offset, 6);
    while store.dispatch_once() {}
    assert_eq!(given(&read(&store, 6, 32, &APART)), texts(&[(6, "simple")]));
    store.shutdown().unwrap();
    drop(store);
    let again = bench.open();
    assert_eq!(given(&read(&again, 6, 32, &APART)), texts(&[(6, "simple")]));
}

#[test]
fn what_expires_leaves_the_queue_where_it_ends() {
    let mut bench = Bench::new();
    bench.config.file_reserved_time_ms = 1000;
    bench.config.batch_consume_queue_file_size = 46 * 4;
    let store = bench.open();
    let long = "x".repeat(900);
    let messages = [("a", long.as_str()); 3];
    for _ in 0..20 {
        append_batch(&store, &messages);
    }
    while store.dispatch_once() {}
    store.flush_queues_once().unwrap();
    bench.clock.advance(60_000);
    append_one(&store, "young");
    while store.dispatch_once() {}
    store.flush_queues_once().unwrap();
    store.delete_expired_files();
    let bounds = store.queue_bounds(TOPIC, 0).unwrap();
    assert!(bounds.min > 0 && bounds.min % 3 == 0, "{bounds:?}");
    assert_eq!(bounds.max, 61);
    let first = read(&store, bounds.min, 3, &APART);
    assert_eq!(given(&first)[0].0, bounds.min);
    assert_eq!(
        read(&store, 0, 3, &APART).status,
        ReadStatus::OffsetTooSmall
    );
    drop(store);
    let again = bench.open_without_checkpoint();
    assert_eq!(again.queue_bounds(TOPIC, 0), Some(bounds));
}
