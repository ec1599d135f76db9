//! Filters that look into records: asked in runs, never about more than fits the answer.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use sluice_protocol::message::Record;
use sluice_store::{ReadRequest, ReadResult, ReadStatus, RecordFilter, Store};

mod common;
use common::{Bench, append};

/// Judges by queue offset, and remembers what it was asked.
struct ByOffset<F> {
    passes: F,
    holds_at: i64,
    asked: RefCell<Vec<Vec<i64>>>,
}

impl<F: Fn(i64) -> bool> RecordFilter for ByOffset<F> {
    fn matches_tags_code(&self, _: i64) -> bool {
        true
    }
    fn needs_record(&self) -> bool {
        true
    }
    fn judge(&self, records: &[Bytes], given: &mut [bool]) -> usize {
        let offset = |record: &Bytes| Record::parse(record).unwrap().queue_offset();
        let offsets: Vec<i64> = records.iter().map(offset).collect();
        for (given, offset) in given.iter_mut().zip(&offsets) {
            *given = (self.passes)(*offset);
        }
        let held = offsets.iter().position(|offset| *offset == self.holds_at);
        self.asked.borrow_mut().push(offsets);
        held.unwrap_or(records.len())
    }
}

fn read(
    store: &Store,
    offset: i64,
    holds_at: i64,
    passes: impl Fn(i64) -> bool,
) -> (ReadResult, Vec<Vec<i64>>) {
    let filter = ByOffset {
        passes,
        holds_at,
        asked: RefCell::default(),
    };
    let request = ReadRequest {
        topic: "T",
        queue_id: 0,
        offset,
        max_messages: 32,
        max_bytes: 1 << 20,
    };
    let result = store.read(&request, &filter);
    (result, filter.asked.into_inner())
}

fn with_messages(count: usize) -> Arc<Store> {
    let store = Bench::new().open();
    for _ in 0..count {
        append(&store, "T", "x");
    }
    while store.dispatch_once() {}
    store
}

fn offsets(result: &ReadResult) -> Vec<i64> {
    let offset = |record: &Bytes| Record::parse(record).unwrap().queue_offset();
    result.records.iter().map(offset).collect()
}

#[test]
fn every_message_is_judged_once_over_all_reads() {
    let store = with_messages(300);
    let (mut at, mut judged, mut given) = (0, Vec::new(), Vec::new());
    while at < 300 {
        let (result, asked) = read(&store, at, -1, |offset| offset % 3 == 0);
        assert!(result.next_begin_offset > at);
        at = result.next_begin_offset;
        given.extend(offsets(&result));
        judged.extend(asked.into_iter().flatten());
    }
    assert_eq!(judged, (0..300).collect::<Vec<_>>());
    assert_eq!(given, (0..300).step_by(3).collect::<Vec<_>>());
}

#[test]
fn a_run_is_as_long_as_the_answer_has_room() {
    let store = with_messages(100);
    let (result, asked) = read(&store, 0, -1, |_| true);
    assert_eq!((result.records.len(), asked.len()), (32, 1));
    let (result, asked) = read(&store, 0, -1, |_| false);
    assert_eq!(result.status, ReadStatus::NoMatchedMessage);
    assert_eq!(result.next_begin_offset, 100);
    assert!(asked.iter().all(|run| run.len() <= 32), "{asked:?}");
}

#[test]
fn a_held_message_is_where_the_next_read_begins() {
    let store = with_messages(50);
    let (result, _) = read(&store, 0, 10, |_| true);
    assert_eq!(offsets(&result), (0..10).collect::<Vec<_>>());
    assert_eq!(result.next_begin_offset, 10);
    let (result, _) = read(&store, 10, 10, |_| true);
    assert_eq!(result.status, ReadStatus::Held);
    assert_eq!(result.next_begin_offset, 10);
    // Nothing behind the held one is given, and what was judged behind it does not count.
    let (result, _) = read(&store, 10, -1, |_| true);
    assert_eq!(offsets(&result)[0], 10);
}
