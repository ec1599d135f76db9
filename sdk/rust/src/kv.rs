//! Keeps what must outlive an instance and be seen by all of them. By grant (`--grant kv`), with a
//! quota; a plugin that calls none of these needs no grant.

#[cfg(not(target_arch = "wasm32"))]
use crate::host as carrier;
#[cfg(target_arch = "wasm32")]
use crate::wasm::imports as carrier;

/// The value of a key.
pub fn get(key: &str) -> Option<Vec<u8>> {
    carrier::kv_get(key)
}

/// Sets a value, forgotten after `ttl_ms` of [`crate::host::now`]; 0 = never.
///
/// # Errors
/// A text: the quota is used up.
pub fn set(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
    carrier::kv_set(key, value, ttl_ms)
}

/// Sets `new` only if the value is `old` (none: absent); whether it did.
///
/// # Errors
/// A text: the quota is used up.
pub fn compare_and_set(
    key: &str,
    old: Option<&[u8]>,
    new: &[u8],
    ttl_ms: u64,
) -> Result<bool, String> {
    carrier::kv_compare_and_set(key, old, new, ttl_ms)
}

/// Forgets a key.
///
/// # Errors
/// A text that says why not.
pub fn delete(key: &str) -> Result<(), String> {
    carrier::kv_delete(key)
}
