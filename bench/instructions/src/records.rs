//! Stored messages.

use std::hint::black_box;

use sluice_protocol::message::{Record, crc32, properties};

use crate::Call;
use crate::inputs::{BODY, PROPERTIES, fields, record};

pub fn lay_out() -> Call {
    let mut out = Vec::with_capacity(4096);
    let fields = fields(PROPERTIES);
    Box::new(move || {
        out.clear();
        fields.encode(black_box(&mut out)).expect("a record");
    })
}

pub fn parse() -> Call {
    let bytes = record(PROPERTIES);
    Box::new(move || {
        let record = Record::parse(black_box(&bytes)).expect("a record");
        black_box(record.property(properties::TAGS));
    })
}

pub fn crc() -> Call {
    Box::new(|| {
        black_box(crc32(black_box(BODY)));
    })
}
