//! A stored record, as recovery, replication and clients meet it: parsed or refused, and read
//! only inside itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_protocol::message::view::{self, MessageExt};

fuzz_target!(|bytes: &[u8]| {
    let mut size = 0;
    for record in view::records(bytes) {
        let Ok(record) = record else { return };
        assert!(record.size() > 0 && record.size() == record.as_bytes().len());
        size += record.size();
        assert!(size <= bytes.len());
        let _ = record.check_crc();
        let _ = record.property("KEYS");
        let message = MessageExt::from(record);
        let _ = message.message_id();
        let id = message.offset_message_id();
        assert_eq!(id.to_string().parse(), Ok(id));
    }
});
