//! Topics that are kept by their last key, on simulated files. Crashes replay:
//! `SLUICE_CRASH_SEED=<n> SLUICE_CRASH_SEEDS=1 cargo test -p sluice-store --test compaction`.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::Bench;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sluice_protocol::message::{Record, RecordFields, tags_code};
use sluice_store::{
    AppendError, Boundary, Fault, FileSystem, Open, ReadRequest, ReadStatus, RecordFilter, Store,
    StoreError, inspect,
};

const TOPIC: &str = "state";

struct Tagged(Option<&'static str>);
impl RecordFilter for Tagged {
    fn matches_tags_code(&self, code: i64) -> bool {
        self.0.is_none_or(|tag| code == tags_code(Some(tag)))
    }
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    let config = &mut bench.config;
    config.commit_log_file_size = 4096;
    config.max_message_size = 512;
    // Ten units to a file, and room for a hundred records.
    config.compaction_queue_file_size = 46 * 11;
    config.compaction_log_file_size = 68 * 1024;
    config.file_reserved_time_ms = 1000;
    bench
}

fn try_open(bench: &Bench) -> Result<std::sync::Arc<Store>, StoreError> {
    let store = bench.try_open()?;
    store.keep_by_key(&BTreeSet::from([TOPIC.to_owned()]))?;
    Ok(store)
}

fn open(bench: &Bench) -> std::sync::Arc<Store> {
    try_open(bench).unwrap()
}

fn put(store: &Store, key: &str, body: &str) -> Result<i64, AppendError> {
    let mut bytes = Vec::new();
    let tag = if body.len().is_multiple_of(2) {
        "even"
    } else {
        "odd"
    };
    let properties = format!("KEYS\u{1}{key}\u{2}TAGS\u{1}{tag}\u{2}");
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
        body: body.as_bytes(),
        properties: properties.as_bytes(),
    }
    .encode(&mut bytes)
    .unwrap();
    Ok(store.append(TOPIC, 0, &mut bytes)?.queue_offset)
}

/// Offset, key and body.
type Found = (i64, String, String);

fn parsed(bytes: &[u8]) -> Found {
    let record = Record::parse(bytes).unwrap();
    record.check_crc().unwrap();
    let key = record.property("KEYS").unwrap_or_default().to_owned();
    let body = String::from_utf8(record.body().to_vec()).unwrap();
    (record.queue_offset(), key, body)
}

fn read_all(store: &Store, tag: Option<&'static str>) -> Vec<Found> {
    let mut found = Vec::new();
    let Some(bounds) = store.queue_bounds(TOPIC, 0) else {
        return found;
    };
    let mut offset = 0;
    while offset < bounds.max {
        let request = ReadRequest {
            topic: TOPIC,
            queue_id: 0,
            offset,
            max_messages: 7,
            max_bytes: 1 << 20,
        };
        let result = store.read(&request, &Tagged(tag));
        assert!(
            !matches!(
                result.status,
                ReadStatus::MessageWasRemoving | ReadStatus::Unreadable
            ),
            "{offset}: {:?}",
            result.status
        );
        found.extend(result.records.iter().map(|bytes| parsed(bytes)));
        assert!(
            result.next_begin_offset > offset,
            "{offset}: {:?}",
            result.status
        );
        offset = result.next_begin_offset;
    }
    assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
    found
}

/// All that was sent expires from the commit log but its last file.
fn expire(bench: &Bench, store: &Store) {
    store.dispatch_once();
    store.flush_queues_once().unwrap();
    bench.clock.advance(100_000);
    for _ in 0..10 {
        store.delete_expired_files();
    }
}

/// `rounds` times each of the keys.
fn fill(store: &Store, rounds: usize, keys: usize) {
    for round in 0..rounds {
        for key in 0..keys {
            put(store, &format!("k{key}"), &format!("{key}-{round}")).unwrap();
        }
    }
    store.dispatch_once();
    store.flush_queues_once().unwrap();
}

fn newest(found: &[Found]) -> BTreeMap<String, String> {
    let pairs = found
        .iter()
        .map(|(_, key, body)| (key.clone(), body.clone()));
    pairs.collect()
}

#[test]
fn the_newest_of_each_key_outlives_the_commit_log() {
    let bench = bench();
    let store = open(&bench);
    put(&store, "old", "0-19").unwrap();
    fill(&store, 20, 5);
    assert_eq!(
        read_all(&store, None).len(),
        101,
        "nothing was compacted yet"
    );
    store.compact_once();
    let compacted = read_all(&store, None);
    assert!(compacted.len() < 30, "{compacted:?}");
    expire(&bench, &store);
    assert!(store.log_bounds().0 > 0);
    let bounds = store.queue_bounds(TOPIC, 0).unwrap();
    assert_eq!((bounds.min, bounds.max), (0, 101));
    assert_eq!(read_all(&store, None), compacted);
    assert_eq!(newest(&compacted).len(), 6);
    assert!(
        newest(&compacted)
            .values()
            .all(|body| body.ends_with("-19"))
    );
    let report = || inspect::check_in(bench.config.root.as_path(), &environment(&bench)).unwrap();
    store.shutdown().unwrap();
    drop(store);
    assert_eq!(report().problems, Vec::<String>::new());
    assert_eq!(report().compacted, 1);
    let again = open(&bench);
    assert_eq!(read_all(&again, None), compacted);
    // A topic that is deleted leaves nothing, and its offsets go on.
    again.delete_topic(TOPIC).unwrap();
    assert_eq!(again.queue_bounds(TOPIC, 0), None);
    again.begin_to_keep_by_key(TOPIC).unwrap();
    assert_eq!(put(&again, "k0", "new"), Ok(101));
    again.dispatch_once();
    again.flush_queues_once().unwrap();
    assert_eq!(read_all(&again, None), [(101, "k0".into(), "new".into())]);
}

fn environment(bench: &Bench) -> sluice_store::Environment {
    sluice_store::Environment {
        files: std::sync::Arc::new(bench.files.clone()),
        clock: bench.clock.clone(),
    }
}

#[test]
fn filters_and_times_see_what_was_compacted() {
    let bench = bench();
    let store = open(&bench);
    for at in 0..60 {
        bench.clock.advance(10);
        put(&store, &format!("k{}", at % 20), &"x".repeat(at % 2 + 1)).unwrap();
    }
    store.dispatch_once();
    store.flush_queues_once().unwrap();
    let begun = 1_700_000_000_000;
    store.compact_once();
    expire(&bench, &store);
    let all = read_all(&store, None);
    let even = read_all(&store, Some("even"));
    assert!(!even.is_empty() && even.len() < all.len());
    assert!(even.iter().all(|(_, _, body)| body.len() == 2));
    let by_time = |time, boundary| store.offset_by_time(TOPIC, 0, time, boundary).unwrap();
    // What is gone is passed over: the first kept message answers for the time before it.
    let first = all[0].0;
    assert!(first > 0);
    assert_eq!(by_time(begun, Boundary::Lower), first);
    let stored = |offset: i64| begun + 10 * (offset + 1);
    for (offset, _, _) in &all {
        assert_eq!(by_time(stored(*offset), Boundary::Lower), *offset);
        assert_eq!(by_time(stored(*offset), Boundary::Upper), *offset);
        assert_eq!(
            store.store_timestamp(TOPIC, 0, *offset),
            Some(stored(*offset))
        );
        assert_eq!(store.is_kept(TOPIC, 0, *offset).ok(), Some(true));
    }
    assert_eq!(store.is_kept(TOPIC, 0, 0).ok(), Some(false));
    assert_eq!(by_time(begun, Boundary::Upper), 0);
}

#[test]
fn little_memory_takes_more_rounds_and_old_files_become_one() {
    let mut bench = bench();
    // Two keys at a time.
    bench.config.compaction_memory = 128;
    let store = open(&bench);
    fill(&store, 30, 4);
    store.compact_once();
    let compacted = read_all(&store, None);
    assert!(compacted.len() < 40, "{compacted:?}");
    let dir = bench.config.root.join("compaction/compactionLog/state/0");
    let files = || bench.files.list(&dir).unwrap().len();
    assert!(files() <= 4, "{}", files());
    fill(&store, 30, 4);
    store.compact_once();
    assert!(files() <= 4, "{}", files());
    assert_eq!(newest(&read_all(&store, None)).len(), 4);
}

#[test]
fn a_message_without_a_body_ends_its_key() {
    let bench = bench();
    let store = open(&bench);
    for key in ["a", "b", "c", "a"] {
        put(&store, key, "body").unwrap();
    }
    put(&store, "b", "").unwrap();
    fill(&store, 3, 5);
    store.compact_once();
    let keys: Vec<String> = read_all(&store, None)
        .into_iter()
        .map(|found| found.1)
        .collect();
    assert!(keys.contains(&"a".to_owned()) && keys.contains(&"c".to_owned()));
    assert!(!keys.contains(&"b".to_owned()), "{keys:?}");
}

/// The commit log has none of it any more.
#[test]
fn what_lies_behind_damage_is_kept_aside() {
    let bench = bench();
    let store = open(&bench);
    fill(&store, 11, 4);
    expire(&bench, &store);
    store.shutdown().unwrap();
    drop(store);
    let root = bench.config.root.join("compaction");
    let first = |kind: &str| root.join(kind).join("state/0").join(format!("{:020}", 0));
    let log = bench
        .files
        .open(&first("compactionLog"), Open::Existing)
        .unwrap();
    let mut size = [0; 4];
    log.read_at(0, &mut size).unwrap();
    let second = u64::from(u32::from_be_bytes(size));
    log.write_at(second + 4, &[0xff; 4]).unwrap();
    log.sync().unwrap();
    bench.files.remove_file(&first("compactionCq")).unwrap();
    let store = open(&bench);
    assert_eq!(
        read_all(&store, None)[0].0,
        0,
        "what lies before it is there"
    );
    let aside = bench.config.root.join("quarantine");
    let kept = bench.files.list(&aside).unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let bytes = bench.files.read(&aside.join(&kept[0].name)).unwrap();
    // The third record follows the damaged one as it was.
    let damaged = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    assert_eq!(Record::parse(&bytes[damaged..]).unwrap().queue_offset(), 2);
}

#[test]
fn a_full_disk_keeps_the_commit_log_from_expiring() {
    let mut went_on = 0;
    for at in 1..40 {
        let bench = bench();
        let store = open(&bench);
        fill(&store, 4, 2);
        for at in 0..40 {
            put(&store, "late", &at.to_string()).unwrap();
        }
        store.dispatch_once();
        bench.files.fail_at(at, Fault::NoSpace);
        let failed = store.flush_queues_once().is_err();
        bench.clock.advance(100_000);
        store.delete_expired_files();
        assert_eq!(read_all(&store, None).len(), 48, "call {at}");
        let status = store.status();
        if failed && status.writable.is_ok() && status.queues_failed.is_none() {
            went_on += 1;
            store.flush_queues_once().unwrap();
            store.compact_once();
            assert_eq!(newest(&read_all(&store, None))["late"], "39");
        }
    }
    assert!(went_on > 5, "{went_on}");
}

#[test]
fn files_of_another_size_and_messages_too_large_are_refused() {
    let mut bench = bench();
    bench.config.max_message_size = 128 * 1024;
    bench.config.commit_log_file_size = 1 << 20;
    let refused = try_open(&bench).map(|_| ()).unwrap_err();
    assert!(
        refused.to_string().contains("compactionMappedFileSize"),
        "{refused}"
    );
    let mut bench = self::bench();
    let store = open(&bench);
    fill(&store, 4, 2);
    store.shutdown().unwrap();
    drop(store);
    bench.config.compaction_log_file_size += 46 * 11;
    let refused = bench.try_open().map(|_| ()).unwrap_err();
    assert!(matches!(refused, StoreError::FileSize { .. }), "{refused}");
}

/// Java deletes a topic and leaves its compacted messages; when the topic comes back they must not stand
/// for the new ones.
#[test]
fn what_java_left_of_a_deleted_topic_is_dropped() {
    let bench = bench();
    let store = open(&bench);
    fill(&store, 20, 2);
    let kept = bench.files.copy();
    let dir = bench.config.root.join("compaction");
    store.delete_topic(TOPIC).unwrap();
    store.shutdown().unwrap();
    drop(store);
    // As if nobody knew of the deletion, and the offsets began anew.
    let mut anew = self::bench();
    let store = open(&anew);
    bench.clock.advance(1);
    anew.clock.advance(5_000);
    for at in 0..50 {
        put(&store, "new", &format!("n{at}")).unwrap();
    }
    store.dispatch_once();
    store.shutdown().unwrap();
    drop(store);
    anew.files.remove_dir_all(&dir).unwrap();
    copy_below(&kept, &anew.files, &dir);
    anew.config.file_reserved_time_ms = 1;
    let store = open(&anew);
    let found = read_all(&store, None);
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(|(_, key, _)| key == "new"), "{found:?}");
    store.compact_once();
    expire(&anew, &store);
    assert!(
        read_all(&store, None)
            .iter()
            .all(|(_, key, _)| key == "new")
    );
}

/// Java replaces what was compacted in steps; whichever was its last, nothing is missing.
#[test]
fn what_a_killed_java_broker_left_is_settled() {
    for killed_after in 0..=14 {
        let bench = bench();
        let store = open(&bench);
        fill(&store, 11, 4);
        store.shutdown().unwrap();
        drop(store);
        let files = &bench.files;
        let old = files.copy();
        let store = open(&bench);
        store.compact_once();
        let compacted = read_all(&store, None);
        store.shutdown().unwrap();
        drop(store);
        // Four full files become one, which Java calls by the name of the first, and the last one stays.
        let made = bench.files.copy();
        let root = bench.config.root.join("compaction");
        let dirs = ["compactionLog", "compactionCq"].map(|kind| root.join(kind).join("state/0"));
        let name = |at: u64| format!("{:020}", at * bench.config.compaction_log_file_size);
        let replaced: Vec<String> = (0..4).map(name).collect();
        for dir in &dirs {
            files.remove_dir_all(dir).unwrap();
            copy_below(&old, files, dir);
        }
        files
            .remove_file(&root.join("position-checkpoint"))
            .unwrap();
        let mut steps = Vec::new();
        for dir in &dirs {
            let path = |name: &str| dir.join(name);
            let old_name = |name: &str| dir.join(format!("{name}.delete"));
            if dir == &dirs[0] {
                for name in &replaced {
                    steps.push(Step::Rename(path(name), old_name(name)));
                }
                let new = made.read(&path(&name(0))).unwrap();
                steps.push(Step::Put(path(&name(0)), new));
                steps.extend(replaced.iter().map(|name| Step::Remove(old_name(name))));
            } else {
                let new = made.read(&path(&name(0))).unwrap();
                let doomed = replaced
                    .iter()
                    .map(|name| Step::Rename(path(name), old_name(name)));
                steps.extend(doomed);
                steps.push(Step::Put(path(&name(0)), new));
            }
        }
        for step in steps.into_iter().take(killed_after) {
            match step {
                Step::Rename(from, to) => files.rename(&from, &to).unwrap(),
                Step::Put(path, bytes) => files.put(&path, &bytes).unwrap(),
                Step::Remove(path) => files.remove_file(&path).unwrap(),
            }
        }
        // What Java's place in the commit log would tell is gone as well.
        let store = open(&bench);
        expire(&bench, &store);
        assert_eq!(
            newest(&read_all(&store, None)),
            newest(&compacted),
            "{killed_after}"
        );
        store.shutdown().unwrap();
        drop(store);
        let report = inspect::check_in(bench.config.root.as_path(), &environment(&bench));
        assert_eq!(
            report.unwrap().problems,
            Vec::<String>::new(),
            "{killed_after}"
        );
    }
}

enum Step {
    Rename(PathBuf, PathBuf),
    Put(PathBuf, Vec<u8>),
    Remove(PathBuf),
}

fn copy_below(from: &dyn FileSystem, to: &dyn FileSystem, dir: &std::path::Path) {
    for entry in from.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            copy_below(from, to, &path);
        } else {
            to.put(&path, &from.read(&path).unwrap()).unwrap();
        }
    }
}

/// What was sent: offset to key and body.
type Sent = BTreeMap<i64, (String, String)>;

struct Run {
    bench: Bench,
    rng: SmallRng,
    sent: Sent,
    /// Below it everything survives a power loss.
    promised: i64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut bench = bench();
        bench.config.compaction_memory = 64 * 8;
        Run {
            bench,
            rng: SmallRng::seed_from_u64(seed),
            sent: Sent::new(),
            promised: 0,
        }
    }

    /// Steps until a call goes wrong, if one is to.
    fn live(&mut self, store: &Store) {
        for _ in 0..self.rng.random_range(5..60) {
            match self.rng.random_range(0..10) {
                0 => {
                    let next = self.sent.keys().next_back().map_or(0, |last| last + 1);
                    if store.dispatch_once() | store.flush_once()
                        && store.flush_queues_once().is_ok()
                    {
                        self.promised = self.promised.max(next);
                    }
                }
                1 => store.compact_once(),
                2 => {
                    self.bench.clock.advance(2_000);
                    store.delete_expired_files();
                }
                _ => self.send(store),
            }
        }
    }

    fn send(&mut self, store: &Store) {
        for _ in 0..self.rng.random_range(1..6) {
            self.bench.clock.advance(1);
            let key = format!("k{}", self.rng.random_range(0..12));
            let body = match self.rng.random_range(0..12) {
                0 => String::new(),
                _ => format!("{}", self.rng.random_range(0..1_000_000)),
            };
            if let Ok(offset) = put(store, &key, &body) {
                self.sent.insert(offset, (key, body));
            }
        }
        store.dispatch_once();
    }

    /// What is read was sent, and no newest message of a key is missing.
    fn check(&mut self, store: &Store, seed: u64) {
        let bounds = store.queue_bounds(TOPIC, 0);
        let end = bounds.map_or(0, |bounds| bounds.max);
        assert!(
            end >= self.promised,
            "seed {seed}: {end} of {}",
            self.promised
        );
        // What was lost with the power may be sent again, under the same offsets.
        self.sent.retain(|offset, _| *offset < end);
        let found = read_all(store, None);
        for (offset, key, body) in &found {
            let sent = self.sent.get(offset);
            assert_eq!(
                sent,
                Some(&(key.clone(), body.clone())),
                "seed {seed}: offset {offset}"
            );
        }
        let offsets: BTreeSet<i64> = found.iter().map(|found| found.0).collect();
        let mut newest = BTreeMap::new();
        for (offset, (key, body)) in &self.sent {
            newest.insert(key, (*offset, body));
        }
        for (key, (offset, body)) in newest {
            if body.is_empty() {
                // While the end of a key is not read itself, nothing before it is either.
                let ended = offsets.contains(&offset);
                let older = found.iter().any(|found| found.1 == *key);
                assert!(ended || !older, "seed {seed}: {key} came back");
            } else {
                assert!(
                    offsets.contains(&offset),
                    "seed {seed}: {key} at {offset} is lost"
                );
            }
        }
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..6 {
        let Ok(store) = try_open(&run.bench) else {
            // The fault struck the start itself.
            run.bench.files.lose_power(run.rng.random());
            continue;
        };
        run.check(&store, seed);
        if run.rng.random_bool(0.7) {
            let fault = [
                Fault::PowerOff,
                Fault::PowerOff,
                Fault::Io,
                Fault::NoSpace,
                Fault::ShortWrite,
            ][run.rng.random_range(0..5)];
            let calls = run.rng.random_range(1..400);
            run.bench.files.fail_at(calls, fault);
        }
        run.live(&store);
        match run.rng.random_range(0..3) {
            0 => drop(store.shutdown()),
            1 => {
                run.bench.files.kill_process();
                run.bench
                    .files
                    .fail_at(run.rng.random_range(1..300), Fault::PowerOff);
            }
            _ => run.bench.files.lose_power(run.rng.random()),
        }
        drop(store);
    }
    run.bench.files.lose_power(run.rng.random());
    let store = open(&run.bench);
    run.check(&store, seed);
    store.shutdown().unwrap();
    drop(store);
    let report = inspect::check_in(run.bench.config.root.as_path(), &environment(&run.bench));
    assert_eq!(
        report.unwrap().problems,
        Vec::<String>::new(),
        "seed {seed}"
    );
}

#[test]
fn no_newest_message_is_lost_by_crashes() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("SLUICE_CRASH_SEED").unwrap_or(0);
    let seeds: u64 = number("SLUICE_CRASH_SEEDS").unwrap_or(400);
    (first..first + seeds).for_each(run);
}
