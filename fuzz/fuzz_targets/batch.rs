//! The body of a batch send: what parses is the same when written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_protocol::message::batch;

fuzz_target!(|body: &[u8]| {
    let items: Result<Vec<_>, _> = batch::iter(body).collect();
    let Ok(items) = items else { return };
    let mut again = Vec::new();
    for item in &items {
        batch::put(&mut again, *item);
    }
    assert_eq!(again.len(), body.len());
    let reread: Result<Vec<_>, _> = batch::iter(&again).collect();
    assert_eq!(reread.as_ref(), Ok(&items));
});
