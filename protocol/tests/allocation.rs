//! No input makes a decoder take more memory than a small multiple of it. Alone in its file, and so
//! in its process: the allocator of the process counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::Value;
use sluice_protocol::body::{HeartbeatData, LockBatchRequestBody, RegisterBrokerBody};
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::message::{MessageId, batch, properties, view};
use sluice_protocol::{RemotingCommand, fastjson, frame, java_properties};

/// Memory that any input may take, bytes.
const FREE: usize = 256 * 1024;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most memory held at a time while `decode` runs, beyond what was held before.
fn peak<T>(decode: impl FnOnce() -> T) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    black_box(decode());
    PEAK.load(Ordering::Relaxed) - before
}

#[track_caller]
fn within<T>(what: &str, times: usize, input: &[u8], decode: impl FnOnce(&[u8]) -> T) {
    let peak = peak(|| decode(input));
    let limit = FREE + times * input.len();
    assert!(
        peak <= limit,
        "{what}: {peak} bytes for {} of input, {} times as many",
        input.len(),
        peak / input.len().max(1)
    );
}

fn command(form: u8, header: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(4 + header.len() as u32);
    out.put_u32(u32::from(form) << 24 | header.len() as u32);
    out.put_slice(header);
    out.freeze()
}

fn binary_header(field: &[u8], times: usize) -> Vec<u8> {
    let mut header = vec![0; 17];
    header.put_i32((field.len() * times) as i32);
    header.put_slice(&field.repeat(times));
    header
}

fn packed(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
    for part in parts {
        out.write_all(part).expect("memory takes every write");
    }
    out.finish().expect("memory takes every write")
}

fn commands() {
    let json = |item: &str| format!("{{\"extFields\":{{{}\"z\":1}}}}", item.repeat(80_000));
    let headers = [
        (0, json("\"a\":1,").into_bytes()),
        (0, json("\"\":\"\",").into_bytes()),
        (0, json("\"a\":1e308,").into_bytes()),
        (0, json("\"a\":1e-308,").into_bytes()),
        (0, format!("{{\"x\":{}", "[".repeat(900_000)).into_bytes()),
        (1, binary_header(b"\0\x01a\0\0\0\x01b", 100_000)),
        (1, binary_header(b"\0\0\0\0\0\0", 100_000)),
        (1, binary_header(b"\x7f\xff\x7f\xff\xff\xff", 10)),
    ];
    for (at, (form, header)) in headers.iter().enumerate() {
        let frame = command(*form, header);
        within(&format!("command {at}"), 48, &frame, |_| {
            RemotingCommand::decode(&frame)
                .map(|command| SendMessageRequestHeader::decode(&command.ext))
        });
    }
    within("announced frame", 1, &[0, 0xFF, 0xFF, 0xFF], |bytes| {
        frame::split(&mut BytesMut::from(bytes), 1 << 24)
    });
}

fn json_bodies() {
    let copies = "{\"$ref\":\"$.a\"},".repeat(20_000);
    let bodies = [
        format!("[{}0]", "0,".repeat(200_000)),
        format!("[{}0]", "{},".repeat(200_000)),
        format!("{{{}0:0}}", "{}:0,".repeat(100_000)),
        format!("{{\"a\":[{}0],\"b\":[{copies}0]}}", "0,".repeat(16_384)),
        format!("{{\"a\":[{}0],\"b\":[{copies}0]}}", "[],".repeat(100)),
        format!("{{\"a\":\"{}\",\"b\":[{copies}0]}}", "x".repeat(60_000)),
        "[".repeat(300_000),
        "{".repeat(300_000),
        format!("\"{}\"", "\\u0001".repeat(50_000)),
        format!("{{\"consumerDataSet\":[{}{{}}]}}", "{},".repeat(50_000)),
        format!("[{}{{\"$ref\":\"\"}}]", "{\"\":0},".repeat(20_000)),
        format!("{{\"mqSet\":[{}{{}}]}}", "{},".repeat(50_000)),
    ];
    for (at, body) in bodies.iter().enumerate() {
        // Bodies with references are taken apart into values, and are limited for it.
        let times = if body.contains("$ref") { 128 } else { 64 };
        let body = body.as_bytes();
        let any = fastjson::from_slice::<Value>;
        within(&format!("any JSON {at}"), 128, body, any);
        let heartbeat = fastjson::from_slice::<HeartbeatData>;
        within(&format!("heartbeat {at}"), times, body, heartbeat);
        let queues = fastjson::from_slice::<LockBatchRequestBody>;
        within(&format!("queues {at}"), times, body, queues);
        within(&format!("standard {at}"), 8, body, fastjson::to_standard);
    }
    let topics: String = (0..20_000).map(|n| format!("\"{n}\":{{}},")).collect();
    let body = format!(
        "{{\"topicConfigSerializeWrapper\":{{\"topicConfigTable\":{{{topics}\"z\":{{}}}}}}}}"
    );
    within(
        "registration",
        64,
        body.as_bytes(),
        fastjson::from_slice::<RegisterBrokerBody>,
    );
}

fn compressed_registrations() {
    let mut topics = Vec::new();
    for n in 0..50_000 {
        let line = format!("{n:x} 1 1 6 S");
        topics.put_i32(line.len() as i32);
        topics.put_slice(line.as_bytes());
    }
    let count = 50_000_i32.to_be_bytes();
    let zeros = vec![0; 64 << 20];
    let text = [&(60_i32 << 20).to_be_bytes()[..], &vec![b' '; 60 << 20]].concat();
    for (what, body) in [
        (
            "short topics",
            packed(&[b"\0\0\0\x02{}", &count, &topics, b"\0\0\0\x02[]"]),
        ),
        ("zeros", packed(&[&zeros])),
        ("a long version", packed(&[&text])),
        ("a long topic", packed(&[b"\0\0\0\x02{}\0\0\0\x01", &text])),
    ] {
        within(what, 320, &body, RegisterBrokerBody::decode_compressed);
    }
}

fn messages() {
    let empty = batch::BatchItem {
        flag: 0,
        body: b"",
        properties: b"",
    };
    let mut items = Vec::new();
    (0..20_000).for_each(|_| batch::put(&mut items, empty));
    within("batch", 4, &items, |_| {
        batch::iter(&items).collect::<Vec<_>>()
    });
    let huge = [0x7F, 0xFF, 0xFF, 0xFF].repeat(50_000);
    within("batch of huge lengths", 4, &huge, |body| {
        batch::iter(body).count()
    });
    within("records", 4, &huge, |body| view::records(body).count());
    within("properties", 1, &b"a\x01b\x02".repeat(50_000), |text| {
        properties::iter(text).count()
    });
    let text = "F".repeat(200_000);
    within("message id", 2, text.as_bytes(), |_| {
        text.parse::<MessageId>().is_ok()
    });
    for text in [
        "a\n".repeat(100_000),
        "\\\n".repeat(100_000),
        "a=\\u0001\n".repeat(50_000),
    ] {
        within("settings", 64, text.as_bytes(), |_| {
            java_properties::parse(&text)
        });
    }
}

#[test]
fn memory_grows_with_the_input_alone() {
    commands();
    json_bodies();
    compressed_registrations();
    messages();
}
