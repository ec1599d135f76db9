//! What a store does after it was left in a bad way, on simulated files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_protocol::message::Record;
use sluice_store::{
    AppendError, Boundary, Durability, Fault, FileSystem, FlushMode, Open, ReadRequest, ReadStatus,
    RecordFilter, Space, Store, StoreError,
};

mod common;
use common::{Bench, append, try_append};

struct All;
impl RecordFilter for All {
    fn matches_tags_code(&self, _: i64) -> bool {
        true
    }
}

fn append_some(store: &Store, topic: &str, count: usize) -> i64 {
    (0..count)
        .map(|number| append(store, topic, &format!("{number:05}")))
        .last()
        .unwrap()
}

/// Queue offsets that can be read.
fn readable(store: &Store, topic: &str) -> Vec<i64> {
    let Some(bounds) = store.queue_bounds(topic, 0) else {
        return Vec::new();
    };
    let (mut offset, mut out) = (bounds.min, Vec::new());
    while offset < bounds.max {
        let request = ReadRequest {
            topic,
            queue_id: 0,
            offset,
            max_messages: 32,
            max_bytes: 1 << 20,
        };
        let result = store.read(&request, &All);
        out.extend(result.records.iter().map(|bytes| {
            let record = Record::parse(bytes).unwrap();
            assert_eq!((record.topic(), record.queue_id()), (topic, 0));
            record.queue_offset()
        }));
        assert!(result.next_begin_offset > offset, "{result:?}");
        offset = result.next_begin_offset;
    }
    out
}

#[test]
fn a_deleted_topic_stays_deleted_and_its_offsets_go_on() {
    let bench = Bench::new();
    let store = bench.open();
    append_some(&store, "T", 100);
    append_some(&store, "U", 3);
    while store.dispatch_once() {}
    store.flush_queues_once().unwrap();
    store.delete_topic("T").unwrap();
    assert_eq!(readable(&store, "T"), [0; 0]);
    // Nothing more is sent, and the broker is closed in order.
    store.shutdown().unwrap();
    let store = bench.open();
    assert_eq!(store.queues(), [("U".to_owned(), 0)]);
    drop(store);
    // Nor do they come back when everything is dispatched again.
    let store = bench.open_without_checkpoint();
    assert_eq!(store.queues(), [("U".to_owned(), 0)]);

    assert_eq!(append_some(&store, "T", 10), 109);
    while store.dispatch_once() {}
    let new: Vec<i64> = (100..110).collect();
    assert_eq!(readable(&store, "T"), new);
    store.flush_queues_once().unwrap();
    drop(store);
    bench.files.kill_process();
    let store = bench.open();
    assert_eq!(readable(&store, "T"), new);
    drop(store);
    let store = bench.open_without_checkpoint();
    assert_eq!(readable(&store, "T"), new);
    assert_eq!(append(&store, "T", "next"), 110);
    assert_eq!(readable(&store, "U"), [0, 1, 2]);
    store.shutdown().unwrap();
}

#[test]
fn what_is_sent_but_not_dispatched_when_its_topic_goes_is_gone_too() {
    let bench = Bench::new();
    let store = bench.open();
    append_some(&store, "T", 5);
    store.delete_topic("T").unwrap();
    append(&store, "T", "new");
    while store.dispatch_once() {}
    assert_eq!(readable(&store, "T"), [5]);
    drop(store);
    bench.files.kill_process();
    assert_eq!(readable(&bench.open(), "T"), [5]);
}

#[test]
fn offsets_of_an_expired_queue_go_on_after_a_rebuild() {
    let bench = Bench::new();
    let store = bench.open();
    append_some(&store, "Old", 20);
    append_some(&store, "T", 300);
    bench.clock.advance(100 * 3_600_000);
    append(&store, "T", "new");
    while store.dispatch_once() {}
    store.flush_queues_once().unwrap();
    store.delete_expired_files();
    assert!(store.status().min_offset > 0);
    drop(store);
    let store = bench.open_without_checkpoint();
    assert_eq!(readable(&store, "Old"), [0; 0]);
    assert_eq!(append(&store, "Old", "again"), 20);
    assert_eq!(readable(&store, "T").last(), Some(&300));
    store.shutdown().unwrap();
}

#[test]
fn a_queue_that_cannot_be_read_moves_nobody() {
    let bench = Bench::new();
    let store = bench.open();
    append_some(&store, "T", 200);
    while store.dispatch_once() {}
    store.flush_queues_once().unwrap();
    let request = ReadRequest {
        topic: "T",
        queue_id: 0,
        offset: 3,
        max_messages: 1,
        max_bytes: 1 << 20,
    };
    bench
        .files
        .fail_reads(Some(&bench.config.root.join("consumequeue")));
    let failed = store.read(&request, &All);
    assert_eq!(failed.status, ReadStatus::Unreadable);
    assert_eq!(failed.next_begin_offset, 3);
    assert!(store.offset_by_time("T", 0, 1, Boundary::Upper).is_err());
    store.delete_expired_queues();
    bench.files.fail_reads(None);
    assert_eq!(store.read(&request, &All).status, ReadStatus::Found);
    store.shutdown().unwrap();
}

#[test]
fn dispatch_goes_on_once_the_index_can_be_read_again() {
    let bench = Bench::new();
    let store = bench.open();
    append_some(&store, "T", 5);
    while store.dispatch_once() {}
    store.shutdown().unwrap();
    drop(store);
    // The first message after a start reads the newest file's slots.
    let store = bench.open();
    append(&store, "T", "late");
    bench
        .files
        .fail_reads(Some(&bench.config.root.join("index")));
    assert!(!store.dispatch_once());
    assert!(store.status().dispatch_blocked.is_some());
    assert_eq!(readable(&store, "T").len(), 5);
    bench.files.fail_reads(None);
    assert!(store.dispatch_once());
    assert_eq!(store.status().dispatch_blocked, None);
    assert_eq!(readable(&store, "T").len(), 6);
    store.flush_queues_once().unwrap();
    assert_eq!(store.status().checkpoint_offset, store.status().max_offset);
    let found = store.query_by_key("T", "late", 8, 0, i64::MAX);
    assert_eq!(found.records.len(), 1);
    store.shutdown().unwrap();
}

#[test]
fn a_log_that_lost_its_end_is_refused() {
    let bench = Bench::new();
    let log = bench.config.commit_log_path();
    let store = bench.open();
    append_some(&store, "T", 400);
    store.shutdown().unwrap();
    drop(store);
    let files = bench.files.list(&log).unwrap();
    assert!(files.len() >= 3);
    let last = log.join(&files.last().unwrap().name);
    bench.files.remove_file(&last).unwrap();
    match bench.try_open().map(drop) {
        Err(StoreError::LogShort { path, end, durable }) => {
            assert_eq!(path, log);
            assert!(durable > end && end > 0, "{end} {durable}");
        }
        other => panic!("{other:?}"),
    }
    // Without a checkpoint the queues still know that there were messages.
    bench.files.remove_dir_all(&log).unwrap();
    bench
        .files
        .remove_file(&bench.config.root.join("checkpoint"))
        .unwrap();
    assert!(matches!(
        bench.try_open(),
        Err(StoreError::LogShort { end: 0, .. })
    ));
}

#[test]
fn a_file_that_was_being_made_is_made_again() {
    let bench = Bench::new();
    let store = bench.open();
    append_some(&store, "T", 5);
    store.shutdown().unwrap();
    let next = bench
        .config
        .commit_log_path()
        .join(format!("{:020}", 16384));
    bench.files.open(&next, Open::Sparse(5000)).unwrap();
    let store = bench.open();
    assert_eq!(append_some(&store, "T", 200), 204);
    while store.dispatch_once() {}
    assert_eq!(readable(&store, "T").len(), 205);
    store.shutdown().unwrap();
}

#[test]
fn what_was_visible_after_a_kill_survives_the_power_loss_that_follows() {
    for seed in 0..20 {
        let mut bench = Bench::new();
        bench.config.flush_mode = FlushMode::Sync;
        let store = bench.open();
        append_some(&store, "T", 400);
        drop(store);
        bench.files.kill_process();
        let store = bench.open();
        assert_eq!(readable(&store, "T").len(), 400);
        drop(store);
        bench.files.lose_power(seed);
        assert_eq!(readable(&bench.open(), "T").len(), 400, "seed {seed}");
    }
}

/// Spoils a field of the record at `at` and starts anew from the log alone.
fn with_field(at: u64, bytes: &[u8]) -> Vec<i64> {
    let bench = Bench::new();
    let store = bench.open();
    let ends: Vec<i64> = (0..5)
        .map(|number| {
            append(&store, "T", &number.to_string());
            store.status().max_offset
        })
        .collect();
    store.shutdown().unwrap();
    let log = bench.config.commit_log_path().join(format!("{:020}", 0));
    let file = bench.files.open(&log, Open::Existing).unwrap();
    file.write_at(ends[2] as u64 + at, bytes).unwrap();
    let store = bench.open_without_checkpoint();
    let found = readable(&store, "T");
    store.shutdown().unwrap();
    found
}

#[test]
fn a_record_whose_place_cannot_be_true_is_set_aside() {
    let others = [0, 1, 2, 4];
    // QUEUEOFFSET: negative, beyond all that was ever written, more than there is room for.
    assert_eq!(with_field(20, &[0x80]), others);
    assert_eq!(with_field(20, &[0x20]), others);
    assert_eq!(with_field(27, &[5]), others);
    // QUEUEID.
    assert_eq!(with_field(12, &[0x80]), others);
    // The topic: behind 84 + 4 bytes, a body of one byte, and its own length.
    assert_eq!(with_field(90, b"/"), others);
    assert_eq!(with_field(90, b"."), others);
    assert_eq!(with_field(90, b"\0"), others);
}

struct OnlyTags(i64);
impl RecordFilter for OnlyTags {
    fn matches_tags_code(&self, code: i64) -> bool {
        code == self.0
    }
}

/// Lets a queue's first unit point into an extension as Java writes it.
fn with_extension(bench: &Bench, tags_code: i64) -> Arc<Store> {
    let store = bench.open();
    append(&store, "T", "one");
    store.shutdown().unwrap();
    drop(store);
    let dir = |kind: &str| bench.config.root.join(kind).join("T/0");
    let unit = bench.files.open(
        &dir("consumequeue").join(format!("{:020}", 0)),
        Open::Existing,
    );
    // The second unit of the second file.
    let size = bench.config.consume_queue_ext_file_size;
    let address = (size as i64 + 34).wrapping_add(i64::MIN);
    unit.unwrap().write_at(12, &address.to_be_bytes()).unwrap();
    let extension = dir("consumequeue_ext").join(format!("{size:020}"));
    let file = bench.files.open(&extension, Open::Sparse(size)).unwrap();
    file.write_at(34, &34_i16.to_be_bytes()).unwrap();
    file.write_at(36, &tags_code.to_be_bytes()).unwrap();
    bench.open()
}

fn status(store: &Store, filter: &dyn RecordFilter) -> ReadStatus {
    let request = ReadRequest {
        topic: "T",
        queue_id: 0,
        offset: 0,
        max_messages: 8,
        max_bytes: 1 << 20,
    };
    store.read(&request, filter).status
}

#[test]
fn tags_are_read_from_javas_extension_and_no_message_is_lost_without_it() {
    let mut bench = Bench::new();
    bench.config.consume_queue_ext_file_size = 4096;
    let store = with_extension(&bench, 77);
    assert_eq!(status(&store, &OnlyTags(77)), ReadStatus::Found);
    assert_eq!(status(&store, &OnlyTags(78)), ReadStatus::NoMatchedMessage);
    store.shutdown().unwrap();
    drop(store);
    // Another file size: the address is not where a unit begins.
    bench.config.consume_queue_ext_file_size = 4100;
    let store = bench.open();
    assert_eq!(status(&store, &OnlyTags(78)), ReadStatus::Found);
    store.shutdown().unwrap();
    drop(store);
    bench.config.consume_queue_ext_file_size = 4096;
    let gone = bench.config.root.join("consumequeue_ext");
    bench.files.remove_dir_all(&gone).unwrap();
    let store = bench.open();
    assert_eq!(status(&store, &OnlyTags(78)), ReadStatus::Found);
    store.shutdown().unwrap();
}

#[test]
fn a_durable_waiter_is_never_told_it_was_too_slow() {
    let mut bench = Bench::new();
    bench.config.flush_mode = FlushMode::Sync;
    let store = bench.open();
    append(&store, "T", "one");
    let (tell, told) = std::sync::mpsc::channel();
    let end = store.status().max_offset;
    for end in [end, end + 1] {
        let tell = tell.clone();
        let done = move |durability| tell.send(durability).unwrap();
        store.when_durable(end, Box::new(done));
    }
    // Not synced yet, so nobody sees it.
    assert!(store.record_at(0).is_none());
    bench.clock.advance(60_000);
    store.flush_once();
    assert!(store.record_at(0).is_some());
    store.expire_waiters();
    let answers: Vec<_> = told.try_iter().collect();
    assert_eq!(answers, [Durability::Durable, Durability::TimedOut]);
}

#[test]
fn a_file_set_aside_whole_does_not_stop_retention() {
    let bench = Bench::new();
    let store = bench.open();
    append_some(&store, "T", 400);
    store.shutdown().unwrap();
    drop(store);
    let log = bench.config.commit_log_path();
    for number in [0, 1] {
        let path = log.join(format!("{:020}", number * 16384));
        let file = bench.files.open(&path, Open::Existing).unwrap();
        file.write_at(0, &[0xEE; 16384]).unwrap();
    }
    let store = bench.open_without_checkpoint();
    bench.clock.advance(100 * 3_600_000);
    store.delete_expired_files();
    assert_eq!(store.status().min_offset, 2 * 16384);
    store.shutdown().unwrap();
}

#[test]
fn messages_are_kept_for_ever_if_the_time_is_long_enough() {
    let mut bench = Bench::new();
    bench.config.file_reserved_time_ms = u64::MAX;
    let store = bench.open();
    append_some(&store, "T", 400);
    while store.dispatch_once() {}
    store.flush_queues_once().unwrap();
    store.delete_expired_files();
    assert_eq!(store.status().min_offset, 0);
    store.shutdown().unwrap();
}

#[test]
fn a_full_disk_refuses_messages_until_there_is_room() {
    let bench = Bench::new();
    let space = |free| Space { total: 100, free };
    let store = bench.open();
    bench.files.set_space(space(5));
    store.clean_once();
    match store.status().writable {
        Err(AppendError::DiskFull {
            used_percent,
            limit_percent,
            ..
        }) => assert_eq!((used_percent, limit_percent), (95, 90)),
        other => panic!("{other:?}"),
    }
    bench.files.set_space(space(50));
    store.clean_once();
    assert_eq!(append(&store, "T", "one"), 0);

    // The next file finds no room although the share in use looks harmless.
    let before = store.status().max_offset;
    append(&store, "T", "more");
    let size = store.status().max_offset - before;
    let left = || 16384 - store.status().max_offset % 16384;
    while left() >= size + 8 {
        append(&store, "T", "more");
    }
    bench.files.fail_at(1, Fault::NoSpace);
    let refused = try_append(&store, "T", "more").err();
    assert!(
        matches!(refused, Some(AppendError::DiskFull { .. })),
        "{refused:?}"
    );
    assert!(store.status().writable.is_err());
    store.clean_once();
    append(&store, "T", "more");
    store.shutdown().unwrap();
}

/// Thirty of these fill a file.
fn append_long(store: &Store, count: usize) {
    for _ in 0..count {
        append(store, "T", &"x".repeat(400));
    }
}

/// Names of the files in a directory of the commit log, by their index.
fn numbers(bench: &Bench, dir: &str) -> Vec<u64> {
    let names = bench.files.list(Path::new(dir)).unwrap();
    let starts = names.iter().map(|entry| entry.name.parse::<u64>().unwrap());
    starts
        .map(|start| start / bench.config.commit_log_file_size)
        .collect()
}

#[test]
fn a_log_in_several_directories_takes_turns_and_misses_none_in_silence() {
    const A_FULL: Space = Space {
        total: 100,
        free: 10,
    };
    let mut bench = Bench::new();
    bench.config.commit_log_dir = Some(PathBuf::from("/b,/a"));
    let store = bench.open();
    append_long(&store, 200);
    while store.dispatch_once() {}
    assert!(store.log_bounds().1 > 4 * bench.config.commit_log_file_size as i64);
    let (a, b) = (numbers(&bench, "/a"), numbers(&bench, "/b"));
    assert!(a.iter().all(|number| number % 2 == 0), "{a:?}");
    assert!(b.iter().all(|number| number % 2 == 1), "{b:?}");

    // A full disk is passed over; the store goes on as long as one has room.
    bench.files.set_space_of(Path::new("/a"), A_FULL);
    store.clean_once();
    append_long(&store, 100);
    while store.dispatch_once() {}
    assert_eq!(numbers(&bench, "/a"), a);
    let last = *numbers(&bench, "/b").last().unwrap();
    drop(store);
    bench.files.kill_process();

    // Read only: nothing new, nothing lost.
    bench.config.read_only_commit_log_dirs = Some(PathBuf::from("/b"));
    bench.config.commit_log_dir = Some(PathBuf::from("/a,/b,/c"));
    let store = bench.open();
    let all: Vec<i64> = (0..300).collect();
    assert_eq!(readable(&store, "T"), all);
    append_long(&store, 100);
    assert_eq!(*numbers(&bench, "/b").last().unwrap(), last);
    assert!(!numbers(&bench, "/c").is_empty());
    store.shutdown().unwrap();

    // A disk that is not mounted is missed, also the one with the oldest files.
    bench.config.commit_log_dir = Some(PathBuf::from("/a,/b,/c"));
    bench.config.read_only_commit_log_dirs = Some(PathBuf::from("/old"));
    let refused = bench.try_open().map(drop).unwrap_err().to_string();
    assert!(refused.contains("holds no file of the log"), "{refused}");
    bench.config.commit_log_dir = Some(PathBuf::from("/a,/c"));
    bench.config.read_only_commit_log_dirs = None;
    let refused = bench.try_open().map(drop).unwrap_err().to_string();
    assert!(refused.contains("is a disk not mounted?"), "{refused}");
    bench.config.commit_log_dir = Some(PathBuf::from("/a,/b,/c"));
    let store = bench.open();
    let all: Vec<i64> = (0..400).collect();
    assert_eq!(readable(&store, "T"), all);
}
