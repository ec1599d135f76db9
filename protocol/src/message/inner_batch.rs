//! Inner batches: several messages in one record, as topics with `queue.type=BatchCQ` keep them.
//!
//! The record's body is the body of the producer's batch (see [`batch`]), its queue offset that of the
//! first message; the others follow. `INNER_NUM` says how many there are and `INNER_BASE` repeats the
//! queue offset: Java queues a record of such a topic by these two, and one without them as one message.
//!
//! Source: `SendMessageProcessor.sendBatchMessage`, `BatchConsumeQueue.assignQueueOffset`,
//! `CommitLog.setBatchSizeIfNeeded`, `MessageDecoder.decodeMessage`.

use super::batch::{self, BatchError};
use super::record::{self, PROPERTIES_SIZE_MAX, Record, RecordError, RecordFields, SYS_FLAG_AT};
use super::{properties, sys_flag};

/// Both flags of a record whose body is a batch.
pub const PACKED: i32 = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
/// Most messages of an inner batch: their number is an i16.
pub const MESSAGES_MAX: usize = i16::MAX as usize;
/// Most bytes that [`put_bases`] adds to a record: name, separators, digits of an i64, and the end of the
/// property before it.
pub const BASE_SIZE_MAX: usize = properties::INNER_BASE.len() + 3 + 19;

/// Whether the record's body is a batch that has to be unwrapped.
pub fn is_packed(record: &Record<'_>) -> bool {
    record.sys_flag() & PACKED == PACKED
}

/// How many messages a record holds: `INNER_NUM` of one with the flag, else 1, and never less.
pub fn message_count(record: &[u8]) -> i64 {
    let Some(flag) = record.get(SYS_FLAG_AT..SYS_FLAG_AT + 4) else {
        return 1;
    };
    let flag = i32::from_be_bytes(flag.try_into().expect("four bytes"));
    if flag & sys_flag::INNER_BATCH == 0 {
        return 1;
    }
    let count = Record::parse(record).ok().and_then(|record| {
        let number = record.property(properties::INNER_NUM)?;
        number.parse::<i16>().ok()
    });
    i64::from(count.unwrap_or(1).max(1))
}

/// Sets flags of an encoded record.
pub fn set_flags(record: &mut [u8], flags: i32) {
    let at = SYS_FLAG_AT..SYS_FLAG_AT + 4;
    let known = i32::from_be_bytes(record[at.clone()].try_into().expect("four bytes"));
    record[at].copy_from_slice(&(known | flags).to_be_bytes());
}

/// Adds a property to the last record of `records`, which begins at `start`: properties are a record's
/// end.
///
/// # Errors
/// [`RecordError::TooLong`] when there is no room for it, or no whole record; nothing has changed then.
fn put_property(
    records: &mut Vec<u8>,
    start: usize,
    name: &str,
    value: &str,
) -> Result<(), RecordError> {
    let record = Record::parse(&records[start..])?;
    let before = record.properties().len();
    let closed = matches!(
        record.properties().last(),
        None | Some(&properties::PROPERTY_SEPARATOR)
    );
    let size = before + usize::from(!closed) + name.len() + value.len() + 2;
    if size > PROPERTIES_SIZE_MAX {
        return Err(RecordError::TooLong {
            field: "properties",
            size,
            max: PROPERTIES_SIZE_MAX,
        });
    }
    let length_at = records.len() - before - 2;
    if !closed {
        records.push(properties::PROPERTY_SEPARATOR);
    }
    records.extend_from_slice(name.as_bytes());
    records.push(properties::NAME_VALUE_SEPARATOR);
    records.extend_from_slice(value.as_bytes());
    records.push(properties::PROPERTY_SEPARATOR);
    records[length_at..length_at + 2].copy_from_slice(&(size as i16).to_be_bytes());
    let total = (records.len() - start) as i32;
    records[start..start + 4].copy_from_slice(&total.to_be_bytes());
    Ok(())
}

/// Whether [`put_bases`] has room in each of the records.
///
/// # Errors
/// Not whole records, or no room.
pub fn check_room(mut records: &[u8]) -> Result<(), RecordError> {
    while !records.is_empty() {
        let record = Record::parse(records)?;
        let size = record.properties().len() + BASE_SIZE_MAX;
        if is_packed(&record) && size > PROPERTIES_SIZE_MAX {
            return Err(RecordError::TooLong {
                field: "properties",
                size,
                max: PROPERTIES_SIZE_MAX,
            });
        }
        records = &records[record.size()..];
    }
    Ok(())
}

/// Tells each inner batch among the records its base offset; the first record has offset `base`.
///
/// # Errors
/// None, for what passed [`check_room`].
pub fn put_bases(records: &mut Vec<u8>, mut base: i64) -> Result<(), RecordError> {
    each(records, |records, start| {
        let packed = is_packed(&Record::parse(&records[start..])?);
        if packed {
            put_property(records, start, properties::INNER_BASE, &base.to_string())?;
        }
        base += message_count(&records[start..]);
        Ok(())
    })
}

/// Does something to each record while it is the last one. A single one is not copied.
fn each(
    records: &mut Vec<u8>,
    mut change: impl FnMut(&mut Vec<u8>, usize) -> Result<(), RecordError>,
) -> Result<(), RecordError> {
    let first = Record::parse(records)?.size();
    let rest = records.split_off(first);
    change(records, 0)?;
    let mut at = 0;
    while at < rest.len() {
        let size = Record::parse(&rest[at..])?.size();
        let start = records.len();
        records.extend_from_slice(&rest[at..at + size]);
        change(records, start)?;
        at += size;
    }
    Ok(())
}

/// The messages of an inner batch, each as a record of its own, as clients that know them unwrap them:
/// queue offsets follow each other, properties are the message's own, and the physical offset is that of
/// the whole.
///
/// # Errors
/// The body is no batch.
pub fn unwrap(record: &Record<'_>) -> Result<Vec<Vec<u8>>, BatchError> {
    let item = |(at, item): (usize, Result<batch::BatchItem<'_>, BatchError>)| {
        let item = item?;
        let fields = RecordFields {
            topic: record.topic(),
            queue_id: record.queue_id(),
            flag: item.flag,
            sys_flag: record.sys_flag() & !PACKED,
            born_timestamp: record.born_timestamp(),
            born_host: record.born_host(),
            store_host: record.store_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: 0,
            body: item.body,
            properties: item.properties,
        };
        let mut out = Vec::with_capacity(fields.encoded_size());
        fields.encode(&mut out).map_err(|_| BatchError {
            index: at,
            at: 0,
            what: "too long for a record",
        })?;
        let offset = record.queue_offset().saturating_add(at as i64);
        record::assign(
            &mut out,
            offset,
            record.physical_offset(),
            record.store_timestamp(),
        );
        Ok(out)
    };
    batch::iter(record.body()).enumerate().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::batch::BatchItem;

    fn encoded(flags: i32, body: &[u8], text: &[u8]) -> Vec<u8> {
        let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
        let mut out = Vec::new();
        RecordFields {
            topic: "T",
            queue_id: 3,
            flag: 0,
            sys_flag: flags,
            born_timestamp: 5,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: text,
        }
        .encode(&mut out)
        .unwrap();
        out
    }

    fn packed() -> Vec<u8> {
        let mut body = Vec::new();
        for (flag, text) in [(1, b"TAGS\x01a\x02"), (2, b"TAGS\x01b\x02")] {
            let item = BatchItem {
                flag,
                body: text,
                properties: text,
            };
            batch::put(&mut body, item);
        }
        encoded(PACKED, &body, b"UNIQ_KEY\x01k\x02INNER_NUM\x012\x02")
    }

    #[test]
    fn records_get_the_offsets_that_java_gives_them() {
        let mut records = encoded(0, b"one", b"a\x011");
        records.extend(packed());
        records.extend(encoded(0, b"four", b""));
        check_room(&records).unwrap();
        put_bases(&mut records, 99).unwrap();
        let parsed: Vec<_> = crate::message::view::records(&records)
            .collect::<Result<_, _>>()
            .unwrap();
        let texts: Vec<_> = parsed.iter().map(Record::properties).collect();
        assert_eq!(
            texts,
            [
                &b"a\x011"[..],
                b"UNIQ_KEY\x01k\x02INNER_NUM\x012\x02INNER_BASE\x01100\x02",
                b"",
            ]
        );
        assert!(parsed.iter().all(|record| record.check_crc().is_ok()));
        let counts: Vec<_> = parsed.iter().map(|r| message_count(r.as_bytes())).collect();
        assert_eq!(counts, [1, 2, 1]);
        assert_eq!(parsed.iter().filter(|r| is_packed(r)).count(), 1);
    }

    #[test]
    fn properties_without_room_are_refused() {
        let text = vec![b'a'; PROPERTIES_SIZE_MAX - BASE_SIZE_MAX + 1];
        let records = encoded(PACKED, b"x", &text);
        let refused = check_room(&records);
        assert!(matches!(refused, Err(RecordError::TooLong { .. })));
        let records = encoded(PACKED, b"x", &text[1..]);
        assert_eq!(check_room(&records), Ok(()));
    }

    #[test]
    fn a_batch_comes_apart() {
        let mut records = packed();
        record::assign(&mut records, 40, 1000, 77);
        let record = Record::parse(&records).unwrap();
        let apart = unwrap(&record).unwrap();
        assert_eq!(apart.len(), 2);
        let second = Record::parse(&apart[1]).unwrap();
        assert_eq!(
            (second.queue_offset(), second.physical_offset()),
            (41, 1000)
        );
        assert_eq!((second.flag(), second.sys_flag() & PACKED), (2, 0));
        assert_eq!(second.property(properties::TAGS), Some("b"));
        assert_eq!((second.store_timestamp(), second.queue_id()), (77, 3));
        let broken = encoded(PACKED, b"no batch", b"");
        assert!(unwrap(&Record::parse(&broken).unwrap()).is_err());
    }
}
