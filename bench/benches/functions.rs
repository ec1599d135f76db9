//! The hot functions of a send and a pull, one by one: `cargo bench -p sluice-bench`.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use sluice_instructions::{ALL, HotFunction, inputs};
use sluice_store::{Environment, FlushMode, Store, StoreConfig};

fn main() {
    divan::main();
}

#[divan::bench(args = ALL, sample_count = 500)]
fn hot(bencher: Bencher, function: &HotFunction) {
    let call = function.set_up();
    bencher.bench_local(call);
}

/// As many as are appended before each dispatch, and before each flush of queues.
const TOGETHER: usize = 1_000;

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let directory = tempfile::tempdir().expect("a directory");
    let config = StoreConfig {
        root: directory.path().to_owned(),
        flush_mode: FlushMode::Async,
        commit_log_file_size: 1 << 28,
        ..StoreConfig::default()
    };
    let store = Store::open(config, Environment::system()).expect("a store");
    (directory, store)
}

fn append_together(store: &Store) {
    let mut record = inputs::record(inputs::PROPERTIES);
    for _ in 0..TOGETHER {
        store
            .append(inputs::TOPIC, inputs::QUEUE, &mut record)
            .expect("an append");
    }
}

/// Dispatch alone: queue and index; the time of one is a thousandth of what is shown.
#[divan::bench(sample_size = 1, sample_count = 100)]
fn dispatch(bencher: Bencher) {
    let (_directory, store) = store();
    bencher
        .counter(ItemsCount::new(TOGETHER))
        .with_inputs(|| append_together(&store))
        .bench_local_values(|()| store.dispatch_once());
}

/// Queue and index to the disk, syncs included; the log is synced before.
#[divan::bench(sample_size = 1, sample_count = 100)]
fn flush_queues(bencher: Bencher) {
    let (_directory, store) = store();
    bencher
        .counter(ItemsCount::new(TOGETHER))
        .with_inputs(|| {
            append_together(&store);
            store.flush_once();
            store.dispatch_once();
        })
        .bench_local_values(|()| store.flush_queues_once());
}
