//! The store on the machine's own files, with its threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_protocol::message::{Record, RecordFields};
use sluice_store::{
    Arrival, ArrivalListener, Clock, Durability, Environment, FileSystem, FlushMode, Open,
    ReadRequest, RecordFilter, Store, StoreConfig, StoreError, SystemFiles, TestClock, inspect,
};

const SOON: Duration = Duration::from_secs(20);
const HOUR: i64 = 3_600_000;

struct All;
impl RecordFilter for All {
    fn matches_tags_code(&self, _: i64) -> bool {
        true
    }
}

struct Told(Mutex<Sender<(String, i32, i64)>>);
impl ArrivalListener for Told {
    fn arrived(&self, arrival: &Arrival<'_>) {
        let place = (
            arrival.topic.to_owned(),
            arrival.queue_id,
            arrival.queue_offset,
        );
        let _ = self.0.lock().unwrap().send(place);
    }
}

fn config(root: &Path, flush_mode: FlushMode) -> StoreConfig {
    StoreConfig {
        root: root.to_owned(),
        commit_log_file_size: 16 * 1024,
        consume_queue_file_size: 20 * 16,
        index_slots: 64,
        index_entries: 128,
        // Never full, whatever the disk under the test.
        disk_max_used_percent: 100,
        disk_clean_forcibly_percent: 100,
        disk_warning_percent: 100,
        flush_mode,
        ..StoreConfig::default()
    }
}

fn open(config: &StoreConfig) -> Arc<Store> {
    Store::open(config.clone(), Environment::system()).unwrap()
}

fn record(topic: &str, queue_id: i32, body: &[u8], properties: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = RecordFields {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "10.0.0.1:1".parse().unwrap(),
        store_host: "10.0.0.2:2".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: properties.as_bytes(),
    };
    fields.encode(&mut out).unwrap();
    out
}

fn append(store: &Store, topic: &str, queue_id: i32, body: &str) -> i64 {
    let properties = format!("KEYS\u{1}{body}\u{2}");
    let mut bytes = record(topic, queue_id, body.as_bytes(), &properties);
    let appended = store.append(topic, queue_id, &mut bytes).unwrap();
    appended.end_offset
}

fn bodies(store: &Store, topic: &str, queue_id: i32) -> Vec<String> {
    let bounds = store.queue_bounds(topic, queue_id).unwrap();
    let (mut offset, mut out) = (bounds.min, Vec::new());
    while offset < bounds.max {
        let request = ReadRequest {
            topic,
            queue_id,
            offset,
            max_messages: 32,
            max_bytes: 1 << 20,
        };
        let result = store.read(&request, &All);
        assert!(
            result.next_begin_offset > offset,
            "{topic}@{queue_id} {offset}: {result:?}"
        );
        for bytes in &result.records {
            let record = Record::parse(bytes).unwrap();
            record.check_crc().unwrap();
            out.push(String::from_utf8(record.body().to_vec()).unwrap());
        }
        offset = result.next_begin_offset;
    }
    out
}

fn wait_durable(store: &Store, end: i64) -> Durability {
    let (tell, told) = channel();
    store.when_durable(end, Box::new(move |result| drop(tell.send(result))));
    told.recv_timeout(SOON).expect("an answer")
}

fn hear(store: &Store) -> Receiver<(String, i32, i64)> {
    let (tell, told) = channel();
    store.set_arrival_listener(Arc::new(Told(Mutex::new(tell))));
    told
}

#[test]
fn threads_append_and_everything_arrives_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), FlushMode::Sync);
    let store = open(&config);
    let told = hear(&store);
    store.start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..100 {
                    let end = append(store, "T", thread % 2, &format!("{thread}-{number:03}"));
                    assert_eq!(wait_durable(store, end), Durability::Durable);
                }
            });
        }
    });
    let mut seen: BTreeMap<i32, i64> = BTreeMap::new();
    for _ in 0..400 {
        let (topic, queue_id, offset) = told.recv_timeout(SOON).unwrap();
        let next = seen.entry(queue_id).or_default();
        assert_eq!((topic.as_str(), offset), ("T", *next));
        *next += 1;
    }
    let before: Vec<_> = (0..2).map(|id| bodies(&store, "T", id)).collect();
    for (id, bodies) in before.iter().enumerate() {
        for thread in [id, id + 2] {
            let prefix = format!("{thread}-");
            let mine: Vec<_> = bodies.iter().filter(|b| b.starts_with(&prefix)).collect();
            assert_eq!(mine.len(), 100);
            assert!(mine.is_sorted(), "order of one sender is kept");
        }
    }
    let found = store.query_by_key("T", "3-042", 8, 0, i64::MAX);
    assert_eq!(found.records.len(), 1);
    store.shutdown().unwrap();
    drop(store);
    assert!(!dir.path().join("abort").exists());
    let logs = std::fs::read_dir(dir.path().join("commitlog"))
        .unwrap()
        .count();
    let units = std::fs::read_dir(dir.path().join("consumequeue/T/0"))
        .unwrap()
        .count();
    assert!(
        logs >= 3 && units >= 12,
        "{logs} log files, {units} queue files"
    );

    let report = inspect::check(dir.path()).unwrap();
    assert_eq!(
        (report.records, report.problems, report.clean),
        (400, vec![], true)
    );
    let store = open(&config);
    let after: Vec<_> = (0..2).map(|id| bodies(&store, "T", id)).collect();
    assert_eq!(before, after);
    store.shutdown().unwrap();
}

#[test]
fn what_was_written_survives_a_killed_process() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), FlushMode::Async);
    let store = open(&config);
    let mut expected = Vec::new();
    for number in 0..300 {
        let body = format!("{number:05}");
        append(&store, "T", 0, &body);
        expected.push(body);
        if number == 100 {
            store.dispatch_once();
            store.flush_queues_once().unwrap();
        }
    }
    // Looks as if a sector had been lost, and is only a client's choice of bytes.
    let mut odd = record("T", 0, b"odd", "X\u{1}\0\0\0\u{2}");
    store.append("T", 0, &mut odd).unwrap();
    append(&store, "T", 0, "last");
    expected.extend(["odd".to_owned(), "last".to_owned()]);
    drop(store);
    assert!(dir.path().join("abort").exists());

    let store = open(&config);
    assert_eq!(bodies(&store, "T", 0), expected);
    assert_eq!(
        store
            .query_by_key("T", "00250", 8, 0, i64::MAX)
            .records
            .len(),
        1
    );
    append(&store, "T", 0, "more");
    store.shutdown().unwrap();
}

#[test]
fn a_second_owner_is_refused_by_pid() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), FlushMode::Async);
    let store = open(&config);
    let refused = Store::open(config.clone(), Environment::system()).map(drop);
    match refused {
        Err(StoreError::Locked { owner, .. }) => {
            assert_eq!(owner, format!("process {}", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        inspect::check(dir.path()),
        Err(StoreError::Locked { .. })
    ));
    store.shutdown().unwrap();
    open(&config).shutdown().unwrap();
}

#[test]
fn old_files_and_their_queues_go() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        file_reserved_time_ms: HOUR as u64,
        ..config(dir.path(), FlushMode::Async)
    };
    let clock = Arc::new(TestClock::new(1_700_000_000_000));
    let environment = Environment {
        files: Arc::new(SystemFiles),
        clock: clock.clone(),
    };
    let store = Store::open(config, environment).unwrap();
    for number in 0..20 {
        append(&store, "Old", 0, &format!("old {number}"));
    }
    for number in 0..300 {
        append(&store, "T", 0, &format!("{number:05}"));
    }
    clock.advance(2 * HOUR);
    append(&store, "T", 0, "new");
    store.dispatch_once();
    store.flush_queues_once().unwrap();
    store.delete_expired_files();
    store.delete_expired_queues();

    let status = store.status();
    assert!(status.min_offset > 0);
    assert_eq!(
        status.min_offset % (16 * 1024),
        0,
        "whole files are deleted"
    );
    assert_eq!(store.queue_bounds("Old", 0), None);
    assert!(!dir.path().join("consumequeue/Old/0").exists());
    let bounds = store.queue_bounds("T", 0).unwrap();
    assert!(bounds.min > 0);
    assert_eq!(bounds.max, 301);
    let kept = bodies(&store, "T", 0);
    assert_eq!(kept.len() as i64, bounds.max - bounds.min);
    assert_eq!(kept.last().unwrap(), "new");
    assert!(store.earliest_timestamp().unwrap() <= clock.now_ms());
    store.shutdown().unwrap();
}

/// Enough for several log files.
const COUNT: usize = 600;

/// Writes records and spoils one in the first file.
fn spoilt(dir: &Path, close: bool) -> (StoreConfig, usize) {
    let config = config(dir, FlushMode::Async);
    let store = open(&config);
    let mut spoil = 0;
    for number in 0..COUNT {
        let end = append(&store, "T", 0, &format!("{number:05}"));
        if number == 20 {
            spoil = end as usize;
        }
    }
    if close {
        store.shutdown().unwrap();
    }
    drop(store);
    let path = dir.join("commitlog/00000000000000000000");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[spoil..spoil + 60].fill(0xEE);
    std::fs::write(&path, bytes).unwrap();
    (config, COUNT)
}

#[test]
fn damage_without_marks_is_set_aside_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (config, count) = spoilt(dir.path(), false);
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let store = open(&config);
    let found = bodies(&store, "T", 0);
    assert_eq!(found.len(), count - 1);
    assert!(!found.contains(&"00021".to_owned()));
    assert_eq!(found.last().unwrap(), "00599");
    let aside = std::fs::read_dir(dir.path().join("quarantine"))
        .unwrap()
        .count();
    assert_eq!(aside, 1);
    store.shutdown().unwrap();
}

#[test]
fn a_missing_file_does_not_take_later_ones_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = spoilt(dir.path(), false);
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    std::fs::remove_file(dir.path().join("commitlog/00000000000000016384")).unwrap();
    let store = open(&config);
    let found = bodies(&store, "T", 0);
    assert_eq!(found.first().unwrap(), "00000");
    assert_eq!(found.last().unwrap(), "00599");
    store.shutdown().unwrap();
}

#[test]
fn repair_drops_nothing_good() {
    let dir = tempfile::tempdir().unwrap();
    let (config, count) = spoilt(dir.path(), true);
    let before = inspect::check(dir.path()).unwrap();
    assert_eq!(before.problems.len(), 1, "{before:?}");
    let after = inspect::repair(dir.path()).unwrap();
    assert_eq!(after.problems, Vec::<String>::new());
    let store = open(&config);
    let found = bodies(&store, "T", 0);
    assert_eq!(found.len(), count - 1);
    assert_eq!(found.last().unwrap(), "00599");
    assert_eq!(
        store
            .query_by_key("T", "00250", 8, 0, i64::MAX)
            .records
            .len(),
        1
    );
    store.shutdown().unwrap();
}

#[test]
fn a_log_file_of_full_size_has_real_blocks_at_once() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        commit_log_file_size: 64 << 20,
        ..config(dir.path(), FlushMode::Async)
    };
    let store = open(&config);
    append(&store, "T", 0, "one");
    let file = std::fs::metadata(dir.path().join("commitlog/00000000000000000000")).unwrap();
    assert_eq!(file.len(), 64 << 20);
    assert!(file.blocks() * 512 >= 64 << 20, "{} blocks", file.blocks());
    store.shutdown().unwrap();
}

#[test]
fn who_waits_within_a_gathering_is_answered_by_the_one_wake_up_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&StoreConfig {
        flush_interval_ms: 3_600_000,
        ..config(dir.path(), FlushMode::Sync)
    });
    store.start();
    let (tell, told) = channel();
    let gather = || {
        for body in ["one", "two"] {
            let mut bytes = record("T", 0, body.as_bytes(), "");
            let appended = store.append_gathered("T", 0, &mut bytes).unwrap();
            let tell = tell.clone();
            let done = move |result| drop(tell.send(result));
            store.when_durable(appended.end_offset, Box::new(done));
        }
    };
    store.gather(gather).unwrap();
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(SOON), Ok(Durability::Durable));
    }
    store.shutdown().unwrap();
}

struct Panics;
impl ArrivalListener for Panics {
    fn arrived(&self, _: &Arrival<'_>) {
        panic!("a listener's mistake");
    }
}

#[test]
fn a_thread_that_panics_stops_the_log_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&config(dir.path(), FlushMode::Sync));
    store.set_arrival_listener(Arc::new(Panics));
    store.start();
    append(&store, "T", 0, "one");
    let deadline = std::time::Instant::now() + SOON;
    let refused = loop {
        match store.status().writable {
            Err(refused) => break refused.to_string(),
            Ok(()) => assert!(std::time::Instant::now() < deadline),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(
        refused.contains("store-dispatch") && refused.contains("a listener's mistake"),
        "{refused}"
    );
}

/// Overwrites a part of a file.
fn overwrite(path: &Path, at: usize, with: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(with, at as u64).unwrap();
}

/// A store of three log files, with an index of Java's size, closed in order; one topic deleted.
fn whole(dir: &Path) -> StoreConfig {
    let config = StoreConfig {
        index_slots: 5_000_000,
        index_entries: 20_000_000,
        ..config(dir, FlushMode::Async)
    };
    let store = open(&config);
    append(&store, "Gone", 0, "gone");
    for number in 0..COUNT {
        append(&store, "T", 0, &format!("{number:05}"));
    }
    while store.dispatch_once() {}
    store.delete_topic("Gone").unwrap();
    store.shutdown().unwrap();
    config
}

fn log_file(dir: &Path, number: usize) -> std::path::PathBuf {
    dir.join("commitlog")
        .join(format!("{:020}", number * 16 * 1024))
}

/// Whether check says all of `words`, one problem each, and repair leaves nothing to say.
fn found_and_repaired(spoil: impl Fn(&Path), words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let config = whole(dir.path());
    assert_eq!(
        inspect::check(dir.path()).unwrap().problems,
        Vec::<String>::new()
    );
    spoil(dir.path());
    let problems = inspect::check(dir.path()).unwrap().problems;
    for word in words {
        let told = problems.iter().filter(|problem| problem.contains(word));
        assert_eq!(told.count(), 1, "{word}: {problems:?}");
    }
    let repaired = inspect::repair(dir.path()).unwrap();
    assert_eq!(repaired.problems, Vec::<String>::new());
    assert_eq!((repaired.clean, repaired.queues), (true, 1));
    open(&config).shutdown().unwrap();
}

#[test]
fn check_goes_on_behind_damage() {
    found_and_repaired(
        |dir| {
            overwrite(&log_file(dir, 0), 3000, &[0xEE; 60]);
            overwrite(&log_file(dir, 1), 3000, &[0xEE; 60]);
            overwrite(&log_file(dir, 2), 12_000, &[0; 4384]);
        },
        &[
            "00000000000000000000 at",
            "00000000000000016384 at",
            "00000000000000032768 at",
        ],
    );
}

#[test]
fn check_misses_a_file() {
    found_and_repaired(
        |dir| std::fs::remove_file(log_file(dir, 1)).unwrap(),
        &["the file is missing"],
    );
}

#[test]
fn check_misses_the_end_of_the_log() {
    found_and_repaired(
        |dir| {
            let mut number = 0;
            while log_file(dir, number + 1).exists() {
                number += 1;
            }
            std::fs::remove_file(log_file(dir, number)).unwrap();
        },
        &["were on disk up to", "is not in the commit log"],
    );
}

#[test]
fn check_compares_queues_and_index_with_the_log() {
    found_and_repaired(
        |dir| {
            let unit = dir.join(format!("consumequeue/T/0/{:020}", 320));
            overwrite(&unit, 20 + 12, &[9; 8]);
            let index = std::fs::read_dir(dir.join("index")).unwrap().next();
            overwrite(
                &index.unwrap().unwrap().path(),
                20_000_040 + 20 * 7,
                &[1; 4],
            );
        },
        &["the first at offset 17", "keys are missing", "slots"],
    );
}

#[test]
fn check_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), FlushMode::Async);
    let store = open(&config);
    append(&store, "T", 0, "one");
    store.shutdown().unwrap();
    let next = log_file(dir.path(), 1);
    std::fs::write(&next, b"").unwrap();
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert_eq!(
        inspect::check(dir.path()).unwrap().problems,
        Vec::<String>::new()
    );
    assert!(next.exists() && !dir.path().join("checkpoint").exists());
}

/// Units of a long queue are in its files alone, and those in the page cache: a read there must not be
/// sent to threads that wait for disks, where the system can tell.
#[test]
fn what_the_page_cache_has_is_hot() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        commit_log_file_size: 1 << 20,
        consume_queue_file_size: 20 * 1_000,
        ..config(dir.path(), FlushMode::Async)
    };
    let store = open(&config);
    for at in 0..500 {
        append(&store, "long", 0, &at.to_string());
    }
    store.dispatch_once();
    store.flush_queues_once().unwrap();
    assert_eq!(bodies(&store, "long", 0).len(), 500);
    let file = dir.path().join("consumequeue/long/0/00000000000000000000");
    let file = SystemFiles.open(&file, Open::Existing).unwrap();
    let can_tell = file.read_cached_at(0, &mut [0; 20]).unwrap();
    assert_eq!(store.is_hot("long", 0, 0, 32), can_tell);
    assert!(
        store.is_hot("long", 0, 499, 32),
        "the queue's end is in memory"
    );
    assert!(!file.read_cached_at(20 * 1_000, &mut [0; 20]).unwrap());
    store.shutdown().unwrap();
}
