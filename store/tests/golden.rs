//! Files beside the log, byte by byte as the classes of RocketMQ wrote them.
//!
//! The vectors lie in `tests/golden/<version>/store-files.txt`; what they were made of stands there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_protocol::message::RecordFields;
use sluice_store::{Environment, FlushMode, Store, StoreConfig, SystemFiles, TestClock};

/// When the vectors' story begins, Unix milliseconds.
const TIME: i64 = 1_700_000_000_000;

/// The vector of a file, and the other columns of its line.
fn vector(version: &str, name: &str) -> (Vec<u8>, Vec<String>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden")
        .join(version)
        .join("store-files.txt");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    let mut columns = line.expect("a line of that name").split('\t');
    let hex = columns.next().expect("bytes");
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    let bytes = (0..hex.len()).step_by(2).map(digits).collect();
    (bytes, columns.map(str::to_owned).collect())
}

struct Story {
    store: Arc<Store>,
    clock: Arc<TestClock>,
    time: i64,
}

impl Story {
    /// Appends a record that begins at `offset` and has `size` bytes, at `TIME + after`.
    fn append(&mut self, offset: i64, size: usize, after: i64, properties: &str) {
        self.clock.advance(TIME + after - self.time);
        self.time = TIME + after;
        let mut fields = RecordFields {
            topic: "orders",
            queue_id: i32::from(!properties.contains("TAGS")),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "10.0.0.1:1".parse().unwrap(),
            store_host: "10.0.0.2:2".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &[],
            properties: properties.as_bytes(),
        };
        let body = vec![b'x'; size - fields.encoded_size()];
        fields.body = &body;
        let mut record = Vec::new();
        fields.encode(&mut record).unwrap();
        let appended = self
            .store
            .append("orders", fields.queue_id, &mut record)
            .unwrap();
        assert_eq!(appended.end_offset, offset + size as i64);
    }
}

/// Stores what the vectors tell of, closes the store, and leaves its files.
fn tell(root: &Path) {
    let clock = Arc::new(TestClock::new(TIME));
    let config = StoreConfig {
        root: root.to_owned(),
        commit_log_file_size: 64 * 1024,
        consume_queue_file_size: 20 * 16,
        index_slots: 5,
        index_entries: 4,
        disk_max_used_percent: 100,
        disk_clean_forcibly_percent: 100,
        disk_warning_percent: 100,
        flush_mode: FlushMode::Async,
        ..StoreConfig::default()
    };
    let env = Environment {
        clock: clock.clone(),
        files: Arc::new(SystemFiles),
    };
    let mut story = Story {
        store: Store::open(config, env).unwrap(),
        clock,
        time: TIME,
    };
    // Fills an index file: the vector's is the next one, which takes its first time from it.
    for offset in [0, 1024, 2048] {
        story.append(offset, 1024, 0, "KEYS\u{1}k0");
    }
    story.append(3072, 1024, 0, "");
    story.append(4096, 116, 1000, "KEYS\u{1}k1\u{2}TAGS\u{1}TagA");
    story.append(4096 + 116, 4096 - 116, 1000, "");
    story.append(8192, 4096, 5000, "KEYS\u{1}k2");
    story.append(12288, 4096, 9000, "KEYS\u{1}k1");
    story.store.start();
    story.store.shutdown().unwrap();
}

/// The newest file of a directory, by name.
fn newest_file(dir: &Path) -> Vec<u8> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    fs::read(files.max().expect("a file")).unwrap()
}

#[test]
fn files_beside_the_log_are_javas() {
    let dir = tempfile::tempdir().unwrap();
    tell(dir.path());
    let index = newest_file(&dir.path().join("index"));
    let queue = newest_file(&dir.path().join("consumequeue/orders/0"));
    let checkpoint = fs::read(dir.path().join("checkpoint")).unwrap();
    for version in ["5.3.3", "4.9.8"] {
        let (mut java, _) = vector(version, "index");
        // Java counts the first entry's seconds from the end of the file before and adds them to the
        // beginning of this one when it reads: late by what lay between. Ours are right.
        let first_seconds = 40 + 4 * 5 + 20 + 12;
        assert_eq!(java[first_seconds..first_seconds + 4], [0, 0, 0, 1]);
        java[first_seconds + 3] = 0;
        assert_eq!(index, java, "{version}");
        let (unit, _) = vector(version, "unit");
        assert_eq!(queue[..20], unit, "{version}");

        // Three times, one behind the other, and Java's size: what else is ours Java does not read.
        let (java, size) = vector(version, "checkpoint");
        assert_eq!(size, [checkpoint.len().to_string()], "{version}");
        for (at, behind) in [(0, 0), (8, 1), (16, 2)] {
            let number = |bytes: &[u8]| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
            assert_eq!(number(&java), TIME + behind, "{version}");
            assert_eq!(number(&checkpoint), TIME + 9000, "{version} at {at}");
        }
    }
}
