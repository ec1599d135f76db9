//! The store without its threads: it dispatches when it is told to, and the disk is not waited for.

use std::hint::black_box;
use std::sync::Arc;

use sluice_store::{Environment, FlushMode, ReadRequest, RecordFilter, Store, StoreConfig};
use tempfile::TempDir;

use crate::Call;
use crate::inputs::{PROPERTIES, QUEUE, TOPIC, record};

/// A store, and one message to be put into it.
struct Filling {
    store: Arc<Store>,
    record: Vec<u8>,
    _directory: TempDir,
}

impl Filling {
    fn new() -> Filling {
        let directory = tempfile::tempdir().expect("a directory");
        let config = StoreConfig {
            root: directory.path().to_owned(),
            flush_mode: FlushMode::Async,
            commit_log_file_size: 1 << 28,
            ..StoreConfig::default()
        };
        Filling {
            store: Store::open(config, Environment::system()).expect("a store"),
            record: record(PROPERTIES),
            _directory: directory,
        }
    }

    fn append(&mut self) {
        let appended = self.store.append(TOPIC, QUEUE, &mut self.record);
        black_box(appended).expect("an append");
    }
}

pub fn append() -> Call {
    let mut filling = Filling::new();
    Box::new(move || filling.append())
}

pub fn append_and_dispatch() -> Call {
    let mut filling = Filling::new();
    Box::new(move || {
        filling.append();
        filling.store.dispatch_once();
    })
}

struct All;

impl RecordFilter for All {
    fn matches_tags_code(&self, _: i64) -> bool {
        true
    }
}

pub fn read_32_of_the_tail() -> Call {
    let mut filling = Filling::new();
    (0..1_000).for_each(|_| filling.append());
    while filling.store.dispatch_once() {}
    let request = ReadRequest {
        topic: TOPIC,
        queue_id: QUEUE,
        offset: 968,
        max_messages: 32,
        max_bytes: 1 << 18,
    };
    Box::new(move || {
        let read = filling.store.read(black_box(&request), &All);
        assert_eq!(black_box(read).records.len(), 32);
    })
}
