//! A store on simulated files, for the tests of this folder; each uses what it needs.
#![allow(dead_code)]

use std::path::PathBuf;
use std::sync::Arc;

use sluice_protocol::message::RecordFields;
use sluice_store::{
    AppendError, Environment, FileSystem, FlushMode, SimulatedFiles, Store, StoreConfig,
    StoreError, TestClock,
};

/// A store directory and what is needed to open it again and again.
pub struct Bench {
    pub files: SimulatedFiles,
    pub clock: Arc<TestClock>,
    pub config: StoreConfig,
}

impl Bench {
    pub fn new() -> Self {
        Bench {
            files: SimulatedFiles::new(),
            clock: Arc::new(TestClock::new(1_700_000_000_000)),
            config: StoreConfig {
                root: PathBuf::from("/s"),
                commit_log_file_size: 16 * 1024,
                consume_queue_file_size: 20 * 16,
                index_slots: 64,
                index_entries: 128,
                flush_mode: FlushMode::Async,
                ..StoreConfig::default()
            },
        }
    }
    pub fn try_open(&self) -> Result<Arc<Store>, StoreError> {
        let environment = Environment {
            files: Arc::new(self.files.clone()),
            clock: self.clock.clone(),
        };
        Store::open(self.config.clone(), environment)
    }
    pub fn open(&self) -> Arc<Store> {
        self.try_open().unwrap()
    }
    /// `kill -9`, then a start that believes nothing but the log.
    pub fn open_without_checkpoint(&self) -> Arc<Store> {
        self.files.kill_process();
        self.files
            .remove_file(&self.config.root.join("checkpoint"))
            .unwrap();
        self.open()
    }
}

pub fn append(store: &Store, topic: &str, body: &str) -> i64 {
    try_append(store, topic, body).unwrap()
}

pub fn try_append(store: &Store, topic: &str, body: &str) -> Result<i64, AppendError> {
    let appended = store.append(topic, 0, &mut record(topic, body))?;
    Ok(appended.queue_offset)
}

/// A record with its body as its key, for queue 0.
pub fn record(topic: &str, body: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let properties = format!("KEYS\u{1}{body}\u{2}");
    RecordFields {
        topic,
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
    bytes
}
