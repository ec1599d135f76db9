//! A compressed registration: as it comes, and with the input as what it unpacks to, so that the
//! parser behind the zlib stream is reached as well.
#![no_main]

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;
use sluice_protocol::body::RegisterBrokerBody;
use sluice_protocol::fastjson;

fuzz_target!(|bytes: &[u8]| {
    let _ = RegisterBrokerBody::decode_compressed(bytes);
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::none());
    packed.write_all(bytes).expect("memory takes every write");
    let packed = packed.finish().expect("memory takes every write");
    if let Ok(body) = RegisterBrokerBody::decode_compressed(&packed) {
        fastjson::to_vec(&body).expect("what was read can be written");
    }
});
