//! Appends that are gathered: one write for all of them, and nothing said of them before it.

mod common;

use std::time::Duration;

use common::{Bench, append, record};
use sluice_store::{AppendError, Durability, Fault, FlushMode, Store};

fn gathered(store: &Store, body: &str) -> Result<i64, AppendError> {
    let appended = store.append_gathered("T", 0, &mut record("T", body))?;
    Ok(appended.queue_offset)
}

/// Bodies of all that can be read.
fn bodies(store: &Store) -> Vec<String> {
    while store.dispatch_once() {}
    let max = store.queue_bounds("T", 0).map_or(0, |bounds| bounds.max);
    let found = (0..max).filter_map(|offset| store.message_of("T", 0, offset));
    let body = |record: bytes::Bytes| {
        let record = sluice_protocol::message::Record::parse(&record).unwrap();
        String::from_utf8(record.body().to_vec()).unwrap()
    };
    found.map(body).collect()
}

#[test]
fn what_is_gathered_is_written_in_one_call() {
    let bench = Bench::new();
    let store = bench.open();
    append(&store, "T", "first");
    let calls = bench.files.calls();
    let offsets = std::cell::RefCell::new(Vec::new());
    let gather = || {
        for body in ["a", "b", "c"] {
            offsets.borrow_mut().push(gathered(&store, body).unwrap());
        }
        assert_eq!(bench.files.calls(), calls);
    };
    store.gather(gather).unwrap();
    assert_eq!(bench.files.calls(), calls + 1);
    assert_eq!(offsets.into_inner(), [1, 2, 3]);
    assert_eq!(bodies(&store), ["first", "a", "b", "c"]);
}

#[test]
fn others_that_append_meanwhile_come_behind_and_write_all_of_it() {
    let bench = Bench::new();
    let store = bench.open();
    let gather = || {
        gathered(&store, "mine").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(append(&store, "T", "theirs"), 1));
        });
        assert_eq!(bodies(&store), ["mine", "theirs"]);
        gathered(&store, "mine again").unwrap();
    };
    store.gather(gather).unwrap();
    assert_eq!(bodies(&store), ["mine", "theirs", "mine again"]);
}

#[test]
fn files_end_within_a_gathering_and_large_ones_are_not_kept_back() {
    let bench = Bench::new();
    let store = bench.open();
    let long = "x".repeat(5_000);
    let gather = || {
        for _ in 0..200 {
            gathered(&store, &long).unwrap();
        }
    };
    store.gather(gather).unwrap();
    assert_eq!(bodies(&store).len(), 200);
    store.shutdown().unwrap();
    assert_eq!(bodies(&bench.open()).len(), 200);
}

#[test]
fn a_write_that_fails_is_told_to_all_who_gathered() {
    let bench = Bench::new();
    let store = bench.open();
    append(&store, "T", "kept");
    let gather = || {
        gathered(&store, "lost").unwrap();
        bench.files.fail_at(1, Fault::ShortWrite);
    };
    let refused = store.gather(gather);
    assert!(matches!(refused, Err(AppendError::LogStopped { .. })));
    assert!(matches!(
        gathered(&store, "more"),
        Err(AppendError::LogStopped { .. })
    ));
    drop(store);
    assert_eq!(bodies(&bench.open_without_checkpoint()), ["kept"]);
}

/// The thread whose records another thread failed to write must hear of it.
#[test]
fn a_write_that_failed_elsewhere_is_told_as_well() {
    let bench = Bench::new();
    let store = bench.open();
    let gather = || {
        gathered(&store, "lost").unwrap();
        bench.files.fail_at(1, Fault::Io);
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| store.append("T", 0, &mut record("T", "theirs")));
            assert!(theirs.join().unwrap().is_err());
        });
    };
    assert!(matches!(
        store.gather(gather),
        Err(AppendError::LogStopped { .. })
    ));
}

#[test]
fn a_panic_leaves_nothing_unwritten() {
    let bench = Bench::new();
    let store = bench.open();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.gather(|| {
            gathered(&store, "a").unwrap();
            panic!("on purpose");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(bodies(&store), ["a"]);
    assert_eq!(append(&store, "T", "b"), 1);
}

#[test]
fn with_sync_flush_the_sync_covers_what_was_gathered() {
    let mut bench = Bench::new();
    bench.config.flush_mode = FlushMode::Sync;
    let store = bench.open();
    let gather = || {
        for body in ["0", "1", "2"] {
            gathered(&store, body).unwrap();
        }
    };
    store.gather(gather).unwrap();
    assert!(bodies(&store).is_empty(), "not synced yet");
    assert!(store.flush_once());
    assert_eq!(bodies(&store), ["0", "1", "2"]);
}

/// Nothing else would wake the thread that tells them.
#[test]
fn who_waits_for_what_could_not_be_written_is_told_at_once() {
    let mut bench = Bench::new();
    bench.config.flush_mode = FlushMode::Sync;
    bench.config.flush_interval_ms = 600_000;
    let store = bench.open();
    store.start();
    let (tell, told) = std::sync::mpsc::channel();
    let gather = || {
        let appended = store.append_gathered("T", 0, &mut record("T", "lost"));
        let done = move |durability| tell.send(durability).unwrap();
        store.when_durable(appended.unwrap().end_offset, Box::new(done));
        bench.files.fail_at(1, Fault::ShortWrite);
    };
    assert!(store.gather(gather).is_err());
    let durability = told.recv_timeout(Duration::from_secs(30));
    assert!(
        matches!(durability, Ok(Durability::Failed(_))),
        "{durability:?}"
    );
    // The log has stopped, which a shutdown says.
    assert!(store.shutdown().is_err());
}
