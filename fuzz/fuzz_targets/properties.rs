//! A properties string and a message id, both from a producer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_protocol::message::{MessageId, properties};

fuzz_target!(|text: &[u8]| {
    let all: Vec<_> = properties::iter(text).collect();
    for (name, _) in &all {
        let last = all.iter().rfind(|(other, _)| other == name);
        assert_eq!(properties::find(text, name), last.map(|(_, value)| *value));
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let rest = properties::without(text, &names);
    assert_eq!(properties::iter(&rest).count(), 0);
    let mut more = text.to_vec();
    properties::put(&mut more, "name", "value");
    assert_eq!(properties::find(&more, "name"), Some("value"));
    if let Ok(id) = String::from_utf8_lossy(text).parse::<MessageId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
});
