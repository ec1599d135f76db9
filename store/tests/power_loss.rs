//! Seeded power losses on simulated files, single-threaded and so replayable:
//! `SLUICE_CRASH_SEED=<n> SLUICE_CRASH_SEEDS=1 cargo test -p sluice-store --test power_loss`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sluice_protocol::message::{Record, RecordFields};
use sluice_store::{
    AppendError, Environment, Fault, FlushMode, ReadRequest, RecordFilter, SimulatedFiles, Store,
    StoreConfig, TestClock,
};

struct All;
impl RecordFilter for All {
    fn matches_tags_code(&self, _: i64) -> bool {
        true
    }
}

type Key = (String, i32);
/// Bodies by queue, in order of queue offset.
type Model = BTreeMap<Key, Vec<Vec<u8>>>;

fn config(mode: FlushMode, rng: &mut SmallRng) -> StoreConfig {
    StoreConfig {
        root: PathBuf::from("/s"),
        commit_log_file_size: 4096 << rng.random_range(0..3),
        consume_queue_file_size: 20 * 16,
        index_slots: 8,
        index_entries: 16,
        flush_mode: mode,
        ..StoreConfig::default()
    }
}

fn open(
    config: &StoreConfig,
    files: &SimulatedFiles,
    clock: &Arc<TestClock>,
) -> Result<Arc<Store>, sluice_store::StoreError> {
    Store::open(
        config.clone(),
        Environment {
            files: Arc::new(files.clone()),
            clock: clock.clone(),
        },
    )
}

fn record(topic: &str, queue_id: i32, body: &[u8], key: &str) -> Vec<u8> {
    let mut out = Vec::new();
    // Some properties look as if a sector of them had been lost.
    let nul = if key.ends_with('3') { "a\0b" } else { "ab" };
    let properties = format!("KEYS\u{1}{key}\u{2}TAGS\u{1}TagA\u{2}X\u{1}{nul}\u{2}");
    RecordFields {
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
    }
    .encode(&mut out)
    .unwrap();
    out
}

fn read_all(store: &Store) -> Model {
    let mut model = Model::new();
    for (topic, queue_id) in store.queues() {
        let bounds = store.queue_bounds(&topic, queue_id).unwrap();
        assert_eq!(bounds.min, 0, "{topic}@{queue_id} lost its beginning");
        let mut bodies = Vec::new();
        let mut offset = 0;
        while offset < bounds.max {
            let request = ReadRequest {
                topic: &topic,
                queue_id,
                offset,
                max_messages: 32,
                max_bytes: 1 << 20,
            };
            let result = store.read(&request, &All);
            assert!(
                !result.records.is_empty(),
                "{topic}@{queue_id} {offset}: {:?}",
                result.status
            );
            for bytes in &result.records {
                let record = Record::parse(bytes).unwrap();
                record.check_crc().unwrap();
                assert_eq!(
                    record.queue_offset(),
                    offset,
                    "{topic}@{queue_id} is not dense"
                );
                assert_eq!(
                    (record.topic(), record.queue_id()),
                    (topic.as_str(), queue_id)
                );
                bodies.push(record.body().to_vec());
                offset += 1;
            }
            assert_eq!(result.next_begin_offset, offset);
        }
        if !bodies.is_empty() {
            model.insert((topic, queue_id), bodies);
        }
    }
    model
}

/// Every message is found by its key, once.
fn check_index(store: &Store, model: &Model) {
    for ((topic, _), bodies) in model {
        for body in bodies {
            let key = String::from_utf8_lossy(&body[..8]).into_owned();
            let found = store.query_by_key(topic, &key, 64, 0, i64::MAX);
            let hits = found
                .records
                .iter()
                .filter(|r| Record::parse(r).unwrap().body() == &body[..])
                .count();
            assert_eq!(hits, 1, "key {key} of {topic}");
        }
    }
}

fn work(
    store: &Store,
    clock: &TestClock,
    rng: &mut SmallRng,
    serial: &mut u32,
    sent: &mut Model,
    acked: &mut BTreeMap<Key, usize>,
) {
    for _ in 0..rng.random_range(1..30) {
        clock.advance(rng.random_range(0..700));
        match rng.random_range(0..12) {
            0 => drop(store.flush_queues_once()),
            1 | 2 => drop(store.dispatch_once()),
            3 | 4 => {
                if store.flush_once() {
                    for (key, bodies) in sent.iter() {
                        acked.insert(key.clone(), bodies.len());
                    }
                }
            }
            _ => {
                let key = (
                    format!("T{}", rng.random_range(0..2)),
                    rng.random_range(0..2),
                );
                let mut bytes = Vec::new();
                let mut bodies = Vec::new();
                for _ in 0..rng.random_range(1..3) {
                    *serial += 1;
                    let mut body = format!("{serial:08}").into_bytes();
                    body.resize(8 + rng.random_range(0..700), b'x');
                    bytes.extend(record(&key.0, key.1, &body, &format!("{serial:08}")));
                    bodies.push(body);
                }
                let queue = sent.entry(key.clone()).or_default();
                let was_writable = store.status().writable.is_ok();
                match store.append(&key.0, key.1, &mut bytes) {
                    Ok(appended) => {
                        assert_eq!(appended.queue_offset, queue.len() as i64);
                        queue.extend(bodies);
                    }
                    // The write that failed may have reached the disk in part.
                    Err(AppendError::LogStopped { .. }) if was_writable => queue.extend(bodies),
                    Err(_) => {}
                }
            }
        }
    }
}

fn crash(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mode = if rng.random_bool(0.7) {
        FlushMode::Sync
    } else {
        FlushMode::Async
    };
    let config = config(mode, &mut rng);
    let files = SimulatedFiles::new();
    let clock = Arc::new(TestClock::new(1_700_000_000_000));
    let (mut sent, mut acked, mut serial) = (Model::new(), BTreeMap::new(), 0);
    for _ in 0..rng.random_range(1..4) {
        let store = open(&config, &files, &clock).unwrap();
        if rng.random_bool(0.5) {
            let fault = [
                Fault::PowerOff,
                Fault::Io,
                Fault::ShortWrite,
                Fault::NoSpace,
            ][rng.random_range(0..4)];
            files.fail_at(rng.random_range(1..80), fault);
        }
        work(&store, &clock, &mut rng, &mut serial, &mut sent, &mut acked);
        if rng.random_bool(0.2) && store.shutdown().is_ok() {
            for (key, bodies) in &sent {
                acked.insert(key.clone(), bodies.len());
            }
        }
        drop(store);
        files.lose_power(rng.random());
        // The power may fail during recovery too, more than once.
        for _ in 0..rng.random_range(0..3) {
            files.fail_at(rng.random_range(1..25), Fault::PowerOff);
            drop(open(&config, &files, &clock));
            files.lose_power(rng.random());
        }
        let store = open(&config, &files, &clock).unwrap();
        let found = read_all(&store);
        for (key, bodies) in &found {
            let all = sent.get(key).map_or(&[][..], |all| &all[..]);
            assert!(
                all.starts_with(bodies),
                "{key:?} holds what was never sent there"
            );
        }
        for (key, count) in &acked {
            assert!(
                found.get(key).map_or(0, Vec::len) >= *count,
                "{key:?} lost acknowledged messages"
            );
        }
        check_index(&store, &found);
        sent = found;
        for (key, bodies) in &sent {
            acked.insert(key.clone(), bodies.len());
        }
        store.shutdown().unwrap();
    }
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[test]
fn nothing_acknowledged_is_lost() {
    let first = from_env("SLUICE_CRASH_SEED", 1);
    for seed in first..first + from_env("SLUICE_CRASH_SEEDS", 10_000) {
        let run = std::panic::catch_unwind(|| crash(seed));
        assert!(
            run.is_ok(),
            "replay: SLUICE_CRASH_SEED={seed} SLUICE_CRASH_SEEDS=1 cargo test -p sluice-store --test power_loss"
        );
    }
}
