//! Seeded power losses on simulated files, single-threaded and so replayable:
//! `SLUICE_CRASH_SEED=<n> SLUICE_CRASH_SEEDS=1 cargo test -p sluice-store --test power_loss`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sluice_protocol::message::batch::{self, BatchItem};
use sluice_protocol::message::view::records as records_of;
use sluice_protocol::message::{Record, RecordFields, inner_batch};
use sluice_store::{
    AppendError, Durability, Environment, Fault, FileSystem, FlushMode, QueueType, ReadRequest,
    RecordFilter, SimulatedFiles, Store, StoreConfig, TestClock,
};

struct All;
impl RecordFilter for All {
    fn matches_tags_code(&self, _: i64) -> bool {
        true
    }
    fn takes_batches(&self) -> bool {
        false
    }
}

/// A topic of batch consume queues.
const BATCH: &str = "B";
const TOPICS: [&str; 3] = ["T0", "T1", BATCH];

type Key = (String, i32);

/// What a queue holds, or should.
#[derive(Debug, Clone, Default)]
struct Messages {
    /// Queue offset of the first.
    first: i64,
    bodies: Vec<Vec<u8>>,
    /// Where each of them lies in the log, as far as the append told; 0 where it did not.
    places: Vec<i64>,
    /// Those below this offset may or may not have been deleted: the call failed.
    perhaps_deleted: Option<i64>,
    /// All has expired or was lost with the rest: the next offset is one of these.
    restarts_within: Option<RangeInclusive<i64>>,
}

impl Messages {
    fn end(&self) -> i64 {
        self.first + self.bodies.len() as i64
    }
    /// Whether all messages below `offset` lie in the part of the log that ends at `place`.
    fn lie_below(&self, offset: i64, place: i64) -> bool {
        let count = (offset - self.first).clamp(0, self.places.len() as i64);
        self.places[..count as usize].iter().all(|at| *at < place)
    }
    fn delete_below(&mut self, offset: i64) {
        let gone = (offset - self.first).clamp(0, self.bodies.len() as i64);
        self.bodies.drain(..gone as usize);
        self.places.drain(..gone as usize);
        self.first = offset;
        self.perhaps_deleted = None;
    }
}

type Model = BTreeMap<Key, Messages>;

/// Ends of queues that were promised to survive.
#[derive(Default)]
struct Promised {
    /// The death of the process.
    kill: BTreeMap<Key, i64>,
    /// A power loss too.
    power_loss: BTreeMap<Key, i64>,
}

fn config(mode: FlushMode, rng: &mut SmallRng) -> StoreConfig {
    StoreConfig {
        root: PathBuf::from("/s"),
        commit_log_file_size: 4096 << rng.random_range(0..3),
        consume_queue_file_size: 20 * 16,
        batch_consume_queue_file_size: 46 * 8,
        queue_types: [(BATCH.to_owned(), QueueType::Batch)].into(),
        index_slots: 8,
        index_entries: 16,
        flush_mode: mode,
        file_reserved_time_ms: 8000,
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
    // Some properties look as if a sector of them had been lost.
    let nul = if key.ends_with('3') { "a\0b" } else { "ab" };
    let properties = format!("KEYS\u{1}{key}\u{2}TAGS\u{1}TagA\u{2}X\u{1}{nul}\u{2}");
    encoded((topic, queue_id), body, &properties)
}

fn encoded((topic, queue_id): (&str, i32), body: &[u8], properties: &str) -> Vec<u8> {
    let mut out = Vec::new();
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

/// An inner batch of the messages that the records hold.
fn pack(key: &Key, records: &[u8], count: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for record in records_of(records) {
        let record = record.unwrap();
        let item = BatchItem {
            flag: 0,
            body: record.body(),
            properties: record.properties(),
        };
        batch::put(&mut body, item);
    }
    let text = format!("UNIQ_KEY\u{1}u\u{2}INNER_NUM\u{1}{count}\u{2}");
    let mut out = encoded((&key.0, key.1), &body, &text);
    inner_batch::set_flags(&mut out, inner_batch::PACKED);
    out
}

/// All that can be read; none of it may end behind `limit` in the log.
fn read_all(store: &Store, limit: i64) -> Model {
    let mut model = Model::new();
    for (topic, queue_id) in store.queues() {
        let bounds = store.queue_bounds(&topic, queue_id).unwrap();
        let mut bodies = Vec::new();
        let mut offset = bounds.min;
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
                assert!(
                    record.physical_offset() + record.size() as i64 <= limit,
                    "{topic}@{queue_id} {offset} is visible too early"
                );
                bodies.push(record.body().to_vec());
                offset += 1;
            }
            assert_eq!(result.next_begin_offset, offset);
        }
        if !bodies.is_empty() {
            let messages = Messages {
                first: bounds.min,
                bodies,
                ..Messages::default()
            };
            model.insert((topic, queue_id), messages);
        }
    }
    model
}

/// Every message is found by its key, once.
fn check_index(store: &Store, model: &Model) {
    // Keys of the messages of an inner batch are not indexed, as in Java.
    for ((topic, _), messages) in model.iter().filter(|((topic, _), _)| topic != BATCH) {
        for body in &messages.bodies {
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

/// Queues and index of the closed store are what the log alone would make of them.
fn compare_with_rebuilt(config: &StoreConfig, files: &SimulatedFiles, clock: &Arc<TestClock>) {
    let copy = files.copy();
    copy.remove_file(&config.root.join("checkpoint")).unwrap();
    copy.put(&config.root.join("abort"), b"1").unwrap();
    let rebuilt = open(config, &copy, clock).unwrap();
    let kept = open(config, &files.copy(), clock).unwrap();
    for (topic, id) in kept.queues() {
        let bounds = kept.queue_bounds(&topic, id).unwrap();
        if bounds.min == bounds.max {
            continue;
        }
        assert_eq!(rebuilt.queue_bounds(&topic, id), Some(bounds));
        for offset in bounds.min..bounds.max {
            assert_eq!(
                kept.unit_at(&topic, id, offset),
                rebuilt.unit_at(&topic, id, offset),
                "{topic}@{id} {offset}"
            );
        }
    }
    if kept.status().min_offset == 0 {
        assert_eq!(index_bytes(config, files), index_bytes(config, &copy));
    }
}

/// Header, slots and used entries of every index file.
fn index_bytes(config: &StoreConfig, files: &SimulatedFiles) -> Vec<(String, Vec<u8>)> {
    let dir = config.root.join("index");
    let made = files.list(&dir).unwrap().into_iter();
    let whole = made.filter(|entry| entry.size > 0).map(|entry| {
        let mut bytes = files.read(&dir.join(&entry.name)).unwrap();
        let count = i32::from_be_bytes(bytes[36..40].try_into().unwrap());
        // The time of the last entry: to the second only, after a rewind.
        bytes[8..16].fill(0);
        bytes.truncate(40 + 4 * config.index_slots as usize + 20 * count as usize);
        (entry.name, bytes)
    });
    // One that was made for an entry that then was not kept.
    whole
        .filter(|(_, bytes)| bytes[36..40] != [0, 0, 0, 0])
        .collect()
}

/// One store at work, and what it has promised.
struct Run {
    config: StoreConfig,
    files: SimulatedFiles,
    clock: Arc<TestClock>,
    rng: SmallRng,
    serial: u32,
    sent: Model,
    promised: Arc<Mutex<Promised>>,
    /// Highest lower end of the log so far.
    expired_below: i64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mode = if rng.random_bool(0.7) {
            FlushMode::Sync
        } else {
            FlushMode::Async
        };
        Run {
            config: config(mode, &mut rng),
            files: SimulatedFiles::new(),
            clock: Arc::new(TestClock::new(1_700_000_000_000)),
            rng,
            serial: 0,
            sent: Model::new(),
            promised: Arc::default(),
            expired_below: 0,
        }
    }

    fn open(&self) -> Result<Arc<Store>, sluice_store::StoreError> {
        open(&self.config, &self.files, &self.clock)
    }

    fn some_fault(&mut self) -> Fault {
        [
            Fault::PowerOff,
            Fault::Io,
            Fault::ShortWrite,
            Fault::NoSpace,
        ][self.rng.random_range(0..4)]
    }

    fn work(&mut self, store: &Store) {
        for _ in 0..self.rng.random_range(1..30) {
            self.clock.advance(self.rng.random_range(0..700));
            match self.rng.random_range(0..48) {
                0..4 => drop(store.flush_queues_once()),
                4..12 => drop(store.dispatch_once()),
                12..20 => {
                    if store.flush_once() {
                        self.promise_all_sent();
                    }
                }
                20 => store.delete_expired_files(),
                21 => store.delete_expired_queues(),
                22 if store.status().writable.is_ok() => self.delete_topic(store),
                _ => self.send(store),
            }
        }
    }

    fn promise_all_sent(&self) {
        let mut promised = self.promised.lock().unwrap();
        for (key, messages) in &self.sent {
            promised.kill.insert(key.clone(), messages.end());
            promised.power_loss.insert(key.clone(), messages.end());
        }
    }

    fn delete_topic(&mut self, store: &Store) {
        let topic = TOPICS[self.rng.random_range(0..3)];
        let deleted = store.delete_topic(topic);
        for (key, messages) in &mut self.sent {
            if key.0 != topic || messages.restarts_within.is_some() {
                continue;
            }
            match deleted {
                Ok(()) => messages.delete_below(messages.end()),
                Err(_) => messages.perhaps_deleted = Some(messages.end()),
            }
        }
    }

    fn send(&mut self, store: &Store) {
        let key = (
            TOPICS[self.rng.random_range(0..3)].to_owned(),
            self.rng.random_range(0..2),
        );
        let mut bytes = Vec::new();
        let mut bodies = Vec::new();
        for _ in 0..self.rng.random_range(1..3) {
            self.serial += 1;
            let name = format!("{:08}", self.serial);
            let mut body = name.clone().into_bytes();
            body.resize(8 + self.rng.random_range(0..700), b'x');
            bytes.extend(record(&key.0, key.1, &body, &name));
            bodies.push(body);
        }
        let packed = key.0 == BATCH && self.rng.random_bool(0.5);
        if packed {
            bytes = pack(&key, &bytes, bodies.len());
        }
        let queue = self.sent.entry(key.clone()).or_default();
        let was_writable = store.status().writable.is_ok();
        let appended = match &*key.0 {
            BATCH => store.append_batched(BATCH, key.1, &mut bytes),
            topic => store.append(topic, key.1, &mut bytes),
        };
        match appended {
            Ok(appended) => {
                let next = appended.queue_offset;
                if let Some(within) = queue.restarts_within.take() {
                    assert!(
                        within.contains(&next),
                        "{key:?} goes on at {next}, not in {within:?}"
                    );
                    queue.first = next;
                }
                assert_eq!(next, queue.end());
                assert_eq!(appended.messages, bodies.len());
                let places = appended.physical_offsets;
                queue.places.extend(match packed {
                    true => vec![places[0]; bodies.len()],
                    false => places,
                });
                queue.bodies.extend(bodies);
                self.await_durability(store, key, appended.end_offset);
            }
            // The write that failed may have reached the disk in part.
            Err(AppendError::LogStopped { .. }) if was_writable => {
                queue.places.extend(bodies.iter().map(|_| 0));
                queue.bodies.extend(bodies);
            }
            Err(_) => {}
        }
    }

    fn await_durability(&self, store: &Store, key: Key, end_offset: i64) {
        let end = self.sent[&key].end();
        let mut promised = self.promised.lock().unwrap();
        promised.kill.insert(key.clone(), end);
        drop(promised);
        if self.config.flush_mode == FlushMode::Async {
            return;
        }
        let promised = Arc::clone(&self.promised);
        let done = move |durability| {
            if durability == Durability::Durable {
                promised.lock().unwrap().power_loss.insert(key, end);
            }
        };
        store.when_durable(end_offset, Box::new(done));
    }

    /// Nothing may be seen that a power loss could take back, if the mode says so.
    fn check_visible(&self, store: &Store) {
        if self.config.flush_mode == FlushMode::Sync {
            read_all(store, store.status().flushed_offset);
        }
    }

    /// Ends the process; answers whether it took the power with it.
    fn die(&mut self) -> bool {
        let power_lost = self.rng.random_bool(0.8);
        if power_lost {
            self.files.lose_power(self.rng.random());
        } else {
            self.files.kill_process();
        }
        power_lost
    }

    fn crash(&mut self) {
        let store = self.open().unwrap();
        if self.rng.random_bool(0.5) {
            let fault = self.some_fault();
            self.files.fail_at(self.rng.random_range(1..80), fault);
        }
        self.work(&store);
        self.check_visible(&store);
        self.expired_below = self.expired_below.max(store.status().min_offset);
        if self.rng.random_bool(0.2) && store.shutdown().is_ok() {
            self.promise_all_sent();
        }
        drop(store);
        let mut power_lost = self.die();
        // Recovery may fail too, more than once.
        for _ in 0..self.rng.random_range(0..3) {
            let fault = self.some_fault();
            self.files.fail_at(self.rng.random_range(1..25), fault);
            drop(self.open());
            power_lost |= self.die();
        }
        let store = self.open().unwrap();
        self.check_recovered(&store, power_lost);
        let whole = self.is_whole(&store);
        store.shutdown().unwrap();
        drop(store);
        if whole {
            compare_with_rebuilt(&self.config, &self.files, &self.clock);
        }
    }

    /// Whether no expired file of the log came back whose queue and index files did not.
    fn is_whole(&self, store: &Store) -> bool {
        store.status().min_offset >= self.expired_below
    }

    fn check_recovered(&mut self, store: &Store, power_lost: bool) {
        let found = read_all(store, store.status().flushed_offset);
        // A file of the log may come back after its queue files have expired with it.
        let expired = self.expired_below.max(store.status().min_offset);
        for (key, messages) in &found {
            let sent = self.sent.get_mut(key).expect("sent");
            if let Some(offset) = sent.perhaps_deleted.take()
                && messages.first >= offset
            {
                sent.delete_below(offset);
            }
            assert!(
                messages.first >= sent.first && sent.lie_below(messages.first, expired),
                "{key:?} begins at {} instead of {}: {:?} expired below {expired}, log from {}",
                messages.first,
                sent.first,
                sent.places,
                store.status().min_offset
            );
            assert!(
                sent.bodies[(messages.first - sent.first) as usize..].starts_with(&messages.bodies),
                "{key:?} holds what was never sent there"
            );
        }
        let promised = std::mem::take(&mut *self.promised.lock().unwrap());
        let promised = if power_lost {
            promised.power_loss
        } else {
            promised.kill
        };
        for (key, &end) in &promised {
            let sent = &self.sent[key];
            let deleted = end <= sent.perhaps_deleted.unwrap_or(sent.first);
            let gone = !found.contains_key(key) && sent.lie_below(end, expired);
            assert!(
                deleted || gone || found.get(key).map_or(0, Messages::end) >= end,
                "{key:?} lost acknowledged messages"
            );
        }
        if self.is_whole(store) {
            check_index(store, &found);
        }
        // No queue goes on behind what the log has ever had room for.
        let room = store.status().max_offset / 22;
        for (key, sent) in &mut self.sent {
            let Some(messages) = found.get(key) else {
                // Expired, deleted or lost.
                let perhaps_expired = expired > 0 && !sent.bodies.is_empty();
                let perhaps_deleted = sent.perhaps_deleted.take();
                if perhaps_expired || perhaps_deleted.is_some() {
                    let most = sent.end().max(perhaps_deleted.unwrap_or(0));
                    let least = if perhaps_expired {
                        promised.get(key).map_or(0, |&end| end.min(most))
                    } else {
                        0
                    };
                    sent.restarts_within = Some(least.max(sent.first).min(room)..=most);
                }
                sent.bodies.clear();
                sent.places.clear();
                sent.first = sent.first.min(room);
                continue;
            };
            let kept = messages.end() - sent.first;
            sent.bodies.truncate(kept as usize);
            sent.places.truncate(kept as usize);
        }
        self.promise_all_sent();
    }
}

fn crash(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..run.rng.random_range(1..4) {
        run.crash();
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
