//! The hot functions of a send and a pull, one by one, 1 KB bodies: `cargo bench -p sluice-bench`.

use bytes::{Bytes, BytesMut};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use sluice_filters::sql92::NoFunctions;
use sluice_filters::{BLOCK_ROWS_MAX, MessageFilter, Sql92, TagFilter, Verdict};
use sluice_protocol::code::{request, response};
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::message::{Record, RecordFields, properties};
use sluice_protocol::{RemotingCommand, Serialization};
use sluice_store::{Environment, FlushMode, ReadRequest, RecordFilter, Store, StoreConfig};

const BODY: &[u8] = &[7; 1024];
const PROPERTIES: &str =
    "UNIQ_KEY\u{1}7F0000010BD018B4AAC27A1B2C3D0001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA";

fn main() {
    divan::main();
}

fn send_request(serialization: Serialization) -> RemotingCommand {
    let header = SendMessageRequestHeader {
        producer_group: "bench".into(),
        topic: "bench".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 1,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: PROPERTIES.into(),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
    };
    let mut command =
        RemotingCommand::request(request::SEND_MESSAGE_V2, 7).with_body(Bytes::from_static(BODY));
    command.serialization = serialization;
    header.encode_v2(&mut command.ext);
    command
}

fn fields() -> RecordFields<'static> {
    RecordFields {
        topic: "bench",
        queue_id: 1,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: "127.0.0.1:50000".parse().expect("an address"),
        store_host: "127.0.0.1:10911".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: BODY,
        properties: PROPERTIES.as_bytes(),
    }
}

#[divan::bench(args = [Serialization::Json, Serialization::RocketMq])]
fn decode_send(bencher: Bencher, serialization: Serialization) {
    let frame = send_request(serialization).encode();
    bencher.bench(|| {
        let command = RemotingCommand::decode(black_box(&frame)).expect("a command");
        SendMessageRequestHeader::decode(&command.ext).expect("a header")
    });
}

#[divan::bench(args = [Serialization::Json, Serialization::RocketMq])]
fn encode_send_answer(bencher: Bencher, serialization: Serialization) {
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        let mut answer = RemotingCommand::request(response::SUCCESS, 7).response(response::SUCCESS);
        answer.serialization = serialization;
        answer.ext.put("msgId", "7F00000100002A9F0000000000000000");
        answer.ext.put("queueId", "1");
        answer.ext.put("queueOffset", "123456");
        answer.ext.put("MSG_REGION", "DefaultRegion");
        answer.ext.put("TRACE_ON", "true");
        out.clear();
        answer.encode_head(0, &mut out).expect("it fits");
        black_box(&out);
    });
}

#[divan::bench]
fn lay_out_record(bencher: Bencher) {
    let mut out = Vec::with_capacity(4096);
    let fields = fields();
    bencher.counter(BytesCount::of_slice(BODY)).bench_local(|| {
        out.clear();
        fields.encode(black_box(&mut out)).expect("a record")
    });
}

#[divan::bench]
fn parse_record(bencher: Bencher) {
    let mut bytes = Vec::new();
    fields().encode(&mut bytes).expect("a record");
    bencher.bench(|| {
        Record::parse(black_box(&bytes))
            .expect("a record")
            .property(properties::TAGS)
    });
}

#[divan::bench(args = ["*", "TagA", "TagB || TagC || TagD || TagE"])]
fn match_tags(bencher: Bencher, expression: &str) {
    let filter = TagFilter::parse(expression).expect("an expression");
    bencher.bench(|| filter.may_match_tags_code(black_box(2_598_919)));
}

/// Six properties, two of which the expressions want.
const SIX_PROPERTIES: &str = "UNIQ_KEY\u{1}7F0000010BD018B4AAC27A1B2C3D0001\u{2}CLUSTER\u{1}DefaultCluster\u{2}\
     TAGS\u{1}TagA\u{2}WAIT\u{1}true\u{2}region\u{1}eu\u{2}amount\u{1}250\u{2}";

/// A block of stored messages; the time of one is a 64th of what is shown.
#[divan::bench(args = [
    "region = 'eu' AND amount > 100",
    "region IN ('eu', 'us', 'cn') AND amount BETWEEN 99.5 AND 1000.0",
    "region = 'us' OR UNIQ_KEY CONTAINS '2C3D'",
])]
fn judge_sql92(bencher: Bencher, expression: &str) {
    let filter = Sql92::compile(expression, &NoFunctions).expect("an expression");
    let mut bytes = Vec::new();
    let fields = RecordFields {
        properties: SIX_PROPERTIES.as_bytes(),
        ..fields()
    };
    fields.encode(&mut bytes).expect("a record");
    let records = [Record::parse(&bytes).expect("a record"); BLOCK_ROWS_MAX];
    let mut verdicts = [Verdict::Drop; BLOCK_ROWS_MAX];
    bencher
        .counter(ItemsCount::new(BLOCK_ROWS_MAX))
        .bench_local(|| filter.judge(black_box(&records), black_box(&mut verdicts)));
}

/// What a subscription costs once.
#[divan::bench]
fn compile_sql92(bencher: Bencher) {
    let expression = "region = 'eu' AND amount > 100";
    bencher.bench(|| Sql92::compile(black_box(expression), &NoFunctions));
}

fn store() -> (tempfile::TempDir, std::sync::Arc<Store>) {
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

/// Append alone; the disk is not waited for.
#[divan::bench(sample_size = 100, sample_count = 500)]
fn append(bencher: Bencher) {
    let (_directory, store) = store();
    let mut record = Vec::new();
    fields().encode(&mut record).expect("a record");
    bencher
        .with_inputs(|| record.clone())
        .bench_local_refs(|record| store.append("bench", 1, record).expect("an append"));
}

/// As many as are appended before each dispatch, and before each flush of queues.
const TOGETHER: usize = 1_000;

fn append_together(store: &Store) {
    let mut record = Vec::new();
    fields().encode(&mut record).expect("a record");
    for _ in 0..TOGETHER {
        store.append("bench", 1, &mut record).expect("an append");
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

/// Append and dispatch; the disk is not waited for.
#[divan::bench(sample_size = 100, sample_count = 500)]
fn append_and_dispatch(bencher: Bencher) {
    let (_directory, store) = store();
    let mut record = Vec::new();
    fields().encode(&mut record).expect("a record");
    bencher.counter(BytesCount::of_slice(BODY)).bench_local(|| {
        store.append("bench", 1, &mut record).expect("an append");
        store.dispatch_once()
    });
}

struct All;
impl RecordFilter for All {
    fn matches_tags_code(&self, _: i64) -> bool {
        true
    }
}

#[divan::bench]
fn read_32_of_the_tail(bencher: Bencher) {
    let (_directory, store) = store();
    let mut record = Vec::new();
    fields().encode(&mut record).expect("a record");
    for _ in 0..1_000 {
        store.append("bench", 1, &mut record).expect("an append");
    }
    while store.dispatch_once() {}
    let request = ReadRequest {
        topic: "bench",
        queue_id: 1,
        offset: 900,
        max_messages: 32,
        max_bytes: 1 << 18,
    };
    bencher.bench(|| store.read(black_box(&request), &All));
}
