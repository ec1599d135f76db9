//! The broker's functions, as the canonical ABI lowers them.

use std::mem::MaybeUninit;

use super::{Text, list, text};
use crate::host::Level;

#[link(wasm_import_module = "sluice:plugin/host@0.1.0")]
unsafe extern "C" {
    #[link_name = "log"]
    safe fn host_log(level: u32, at: *const u8, len: usize);
    #[link_name = "now"]
    safe fn host_now() -> u64;
    #[link_name = "counter-add"]
    safe fn host_counter_add(at: *const u8, len: usize, delta: u64);
    #[link_name = "body"]
    fn host_body(row: u32, answer: *mut Text);
    #[link_name = "property"]
    fn host_property(row: u32, at: *const u8, len: usize, answer: *mut Answer);
}

#[link(wasm_import_module = "sluice:plugin/kv@0.1.0")]
unsafe extern "C" {
    #[link_name = "get"]
    fn get(at: *const u8, len: usize, answer: *mut Answer);
    #[link_name = "set"]
    fn set(
        at: *const u8,
        len: usize,
        value: *const u8,
        value_len: usize,
        ttl_ms: u64,
        answer: *mut Answer,
    );
    #[link_name = "compare-and-set"]
    fn compare_and_set(
        at: *const u8,
        len: usize,
        has_old: u32,
        old: *const u8,
        old_len: usize,
        new: *const u8,
        new_len: usize,
        ttl_ms: u64,
        answer: *mut Answer,
    );
    #[link_name = "delete"]
    fn delete(at: *const u8, len: usize, answer: *mut Answer);
}

/// `option<string>`, `option<list<u8>>` (tag 1: it is there), `result<_, string>` and
/// `result<bool, string>` (tag 1: the error; else the bool is the first byte behind the tag's
/// word).
#[repr(C)]
#[derive(Clone, Copy)]
struct Answer {
    tag: u8,
    value: Text,
}

/// An answer that the broker writes through a pointer. What it does not write is 0.
fn answered(call: impl FnOnce(*mut Answer)) -> Answer {
    let mut answer = MaybeUninit::new(Answer {
        tag: 0,
        value: Text::none(),
    });
    call(answer.as_mut_ptr());
    // SAFETY: it was whole before the call, and the broker writes plain numbers.
    unsafe { answer.assume_init() }
}

/// The error of a `result`, as its text.
fn result(answer: Answer) -> Result<Answer, String> {
    if answer.tag == 0 {
        return Ok(answer);
    }
    // SAFETY: the broker allocated the text with `cabi_realloc` and gave it away.
    Err(unsafe { text(answer.value.at, answer.value.len) })
}

pub(crate) fn log(level: Level, message: &str) {
    host_log(level as u32, message.as_ptr(), message.len());
}

pub(crate) fn now() -> u64 {
    host_now()
}

pub(crate) fn counter_add(name: &str, delta: u64) {
    host_counter_add(name.as_ptr(), name.len(), delta);
}

pub(crate) fn body(row: usize) -> Vec<u8> {
    let mut body = Text::none();
    // SAFETY: the broker writes address and length of what it allocated with `cabi_realloc`
    // and gives it away.
    unsafe {
        host_body(row as u32, &mut body);
        list(body.at, body.len)
    }
}

pub(crate) fn property(row: usize, name: &str) -> Option<String> {
    // SAFETY: `answer` has the layout of `option<string>`, whose string is given away.
    let answer = answered(|answer| unsafe {
        host_property(row as u32, name.as_ptr(), name.len(), answer);
    });
    // SAFETY: as above.
    (answer.tag != 0).then(|| unsafe { text(answer.value.at, answer.value.len) })
}

pub(crate) fn kv_get(key: &str) -> Option<Vec<u8>> {
    // SAFETY: `answer` has the layout of `option<list<u8>>`, whose list is given away.
    let answer = answered(|answer| unsafe { get(key.as_ptr(), key.len(), answer) });
    // SAFETY: as above.
    (answer.tag != 0).then(|| unsafe { list(answer.value.at, answer.value.len) })
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
    // SAFETY: `answer` has the layout of `result<_, string>`.
    let answer = answered(|answer| unsafe {
        set(
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
            ttl_ms,
            answer,
        );
    });
    result(answer).map(drop)
}

pub(crate) fn kv_compare_and_set(
    key: &str,
    old: Option<&[u8]>,
    new: &[u8],
    ttl_ms: u64,
) -> Result<bool, String> {
    let has_old = u32::from(old.is_some());
    let old = old.unwrap_or_default();
    // SAFETY: `answer` has the layout of `result<bool, string>`.
    let answer = answered(|answer| unsafe {
        compare_and_set(
            key.as_ptr(),
            key.len(),
            has_old,
            old.as_ptr(),
            old.len(),
            new.as_ptr(),
            new.len(),
            ttl_ms,
            answer,
        );
    });
    // The bool lies where a text's address would; of that word the broker writes one byte.
    result(answer).map(|answer| answer.value.at.addr() & 0xff != 0)
}

pub(crate) fn kv_delete(key: &str) -> Result<(), String> {
    // SAFETY: `answer` has the layout of `result<_, string>`.
    let answer = answered(|answer| unsafe { delete(key.as_ptr(), key.len(), answer) });
    result(answer).map(drop)
}
