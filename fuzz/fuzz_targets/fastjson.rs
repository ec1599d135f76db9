//! A JSON body in any of the dialects: rewritten as standard JSON or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_protocol::fastjson;

fuzz_target!(|body: &[u8]| {
    let _ = fastjson::from_slice::<serde_json::Value>(body);
    let Ok(standard) = fastjson::to_standard(body) else {
        return;
    };
    assert!(
        standard.len() <= 8 * body.len() + 64,
        "it grows without bound"
    );
    let again = fastjson::to_standard(&standard);
    assert_eq!(
        again.as_ref(),
        Ok(&standard),
        "standard JSON stays as it is"
    );
});
