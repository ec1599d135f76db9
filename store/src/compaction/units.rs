//! What one file of a compaction queue says: a unit for each record in the log file of the same name.
//!
//! Format of Java's `BatchConsumeQueue` as `SparseConsumeQueue` writes it, 46 bytes: position in the
//! compaction log (8), size (4), tags code (8), store time (8), queue offset (8), messages (2, always 1),
//! compacted offset (4, always -1), reserved (4). A file that is full ends with a unit of position -1.

use crate::commit_log::{be32, be64};

/// Bytes of a unit.
pub(crate) const UNIT: u64 = 46;
const SIZE_AT: usize = 8;
const TAGS_AT: usize = 12;
const TIME_AT: usize = 20;
const OFFSET_AT: usize = 28;
const COUNT_AT: usize = 36;

/// Sizes of both files, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) log: u64,
    pub(crate) queue: u64,
}

impl Sizes {
    /// Units of one file: room for the one that ends it stays free.
    pub(crate) fn units_max(&self) -> u64 {
        (self.queue / UNIT).saturating_sub(1)
    }
}

/// Where one record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// In the compaction log: the file's start and the place in it.
    pub(crate) position: i64,
    pub(crate) size: i32,
    pub(crate) tags_code: i64,
    /// Unix milliseconds.
    pub(crate) store_time: i64,
    pub(crate) queue_offset: i64,
}

impl Unit {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.tags_code.to_be_bytes());
        out.extend_from_slice(&self.store_time.to_be_bytes());
        out.extend_from_slice(&self.queue_offset.to_be_bytes());
        out.extend_from_slice(&1_i16.to_be_bytes());
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        out.extend_from_slice(&0_i32.to_be_bytes());
    }

    /// `None` for what is no unit: the file's end, or nothing yet.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let unit = Unit {
            position: be64(bytes, 0),
            size: be32(bytes, SIZE_AT),
            tags_code: be64(bytes, TAGS_AT),
            store_time: be64(bytes, TIME_AT),
            queue_offset: be64(bytes, OFFSET_AT),
        };
        let count = i16::from_be_bytes([bytes[COUNT_AT], bytes[COUNT_AT + 1]]);
        let real = unit.position >= 0 && unit.size > 0 && unit.queue_offset >= 0 && count > 0;
        real.then_some(unit)
    }

    /// The unit that ends a full file.
    pub(crate) fn end_of_file() -> Vec<u8> {
        let mut bytes = vec![0; UNIT as usize];
        bytes[..SIZE_AT].fill(0xff);
        bytes[COUNT_AT + 2..COUNT_AT + 6].fill(0xff);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_what_java_writes() {
        let unit = Unit {
            position: 1 << 20,
            size: 169,
            tags_code: 2_598_919,
            store_time: 0x018b_cfe5_6800,
            queue_offset: 7,
        };
        let mut bytes = Vec::new();
        unit.encode(&mut bytes);
        let java = [
            0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0xa9, 0, 0, 0, 0, 0, 0x27, 0xa8, 0x07, 0, 0, 0x01,
            0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0,
            0, 0,
        ];
        assert_eq!(bytes, java);
        assert_eq!(Unit::decode(&java), Some(unit));
        assert_eq!(Unit::decode(&Unit::end_of_file()), None);
        assert_eq!(Unit::decode(&[0; UNIT as usize]), None);
    }
}
