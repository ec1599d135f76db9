//! A broker over simulated files, for models of what crashes may do. A seed replays.

use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sluice_protocol::message::{Record, RecordFields};
use sluice_store::{Environment, SimulatedFiles, Store, TestClock};

use crate::config::FlushDiskType;
use crate::{Broker, BrokerConfig};

/// When every model begins, Unix milliseconds.
pub(crate) const START: i64 = 1_700_000_000_000;
/// Bytes of a commit log file.
pub(crate) const LOG_FILE: i64 = 1 << 14;

/// The machine that a broker runs on.
pub(crate) struct Machine {
    directory: tempfile::TempDir,
    pub(crate) files: SimulatedFiles,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) rng: SmallRng,
    sync: bool,
    set: fn(&mut BrokerConfig),
    take_up: fn(&Arc<Broker>),
    pub(crate) broker: Arc<Broker>,
}

impl Machine {
    /// `set` chooses settings beyond small files; `take_up` is what a start does that the model is about.
    pub(crate) fn new(seed: u64, set: fn(&mut BrokerConfig), take_up: fn(&Arc<Broker>)) -> Machine {
        let mut rng = SmallRng::seed_from_u64(seed);
        let sync = rng.random_bool(0.5);
        let directory = tempfile::tempdir().unwrap();
        let (files, clock) = (SimulatedFiles::new(), Arc::new(TestClock::new(START)));
        let broker = open(config(directory.path(), sync, set), &files, &clock);
        take_up(&broker);
        Machine {
            directory,
            files,
            clock,
            rng,
            sync,
            set,
            take_up,
            broker,
        }
    }

    /// The process dies or the power goes: whether it was the power.
    pub(crate) fn crash(&mut self) -> bool {
        let power = self.rng.random_bool(0.5);
        match power {
            true => self.lose_power(),
            false => self.files.kill_process(),
        }
        power
    }

    /// The power goes.
    pub(crate) fn lose_power(&mut self) {
        self.files.lose_power(self.rng.random());
    }

    /// Starts the broker again.
    pub(crate) fn restart(&mut self) {
        let config = config(self.directory.path(), self.sync, self.set);
        self.broker = open(config, &self.files, &self.clock);
        (self.take_up)(&self.broker);
    }

    /// Whether all of the log is on disk.
    pub(crate) fn is_synced(&self) -> bool {
        let status = self.broker.store.status();
        status.flushed_offset == status.max_offset
    }

    /// Stores a message; answers where.
    pub(crate) fn append(&self, topic: &str, queue_id: i32, body: &[u8], text: &[u8]) -> i64 {
        let host = self.broker.store_host();
        let fields = RecordFields {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: START,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: text,
        };
        let mut bytes = Vec::new();
        fields.encode(&mut bytes).unwrap();
        let appended = self.broker.store.append(topic, queue_id, &mut bytes);
        appended.unwrap().physical_offsets[0]
    }

    /// Looks at each record of the log from a physical offset on; answers where the log ends.
    pub(crate) fn each_record(&self, from: i64, mut look: impl FnMut(&Record<'_>)) -> i64 {
        let mut end = from;
        for bytes in self.broker.store.records_from(from) {
            let record = Record::parse(&bytes).unwrap();
            look(&record);
            end = record.physical_offset() + bytes.len() as i64;
        }
        end
    }
}

fn config(directory: &Path, sync: bool, set: fn(&mut BrokerConfig)) -> BrokerConfig {
    let mut config = BrokerConfig {
        broker_name: "b".to_owned(),
        broker_ip1: "127.0.0.1".to_owned(),
        store_path_root_dir: directory.to_owned(),
        mapped_file_size_commit_log: LOG_FILE as _,
        mapped_file_size_consume_queue: 400,
        max_message_size: 1 << 10,
        max_hash_slot_num: 100,
        max_index_num: 400,
        flush_disk_type: match sync {
            true => FlushDiskType::SyncFlush,
            false => FlushDiskType::AsyncFlush,
        },
        ..BrokerConfig::default()
    };
    set(&mut config);
    config
}

fn open(config: BrokerConfig, files: &SimulatedFiles, clock: &Arc<TestClock>) -> Arc<Broker> {
    let environment = Environment {
        files: Arc::new(files.clone()),
        clock: clock.clone(),
    };
    let store = Store::open(config.store(), environment).unwrap();
    let no_compiler = Box::new(|_: &[u8]| Err("there is no compiler here".to_owned()));
    let (broker, _) = Broker::assemble(config, None, store, 10911, no_compiler).unwrap();
    broker
}

/// Plays so many seeds, or the one that `SLUICE_SEED` names.
pub(crate) fn play(seeds: u64, run: fn(u64)) {
    if let Ok(seed) = std::env::var("SLUICE_SEED") {
        return run(seed.parse().unwrap());
    }
    for seed in 0..seeds {
        let done = std::panic::catch_unwind(|| run(seed));
        assert!(done.is_ok(), "SLUICE_SEED={seed} replays it");
    }
}
