//! State of a plugin that outlives its instances: `kv` of the interface.
//!
//! Kept per plugin and binding, in memory, with a quota; written to disk by the host now and then
//! and at shutdown, so a crash may forget the last moments. Expiry runs by message time.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Bytes of keys and values of one binding.
const QUOTA: usize = 64 << 20;
/// What an entry costs beside its bytes.
const OVERHEAD: usize = 64;
/// Bytes of one key.
const KEY_MAX: usize = 1024;
/// Bytes of one value.
const VALUE_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    value: Vec<u8>,
    /// Message time after which it is gone; 0 = never.
    until_ms: u64,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    bytes: usize,
    changed: bool,
}

/// The entries of one binding.
#[derive(Debug, Default)]
pub struct Kv(Mutex<Entries>);

fn size(key: &str, entry: &Entry) -> usize {
    key.len() + entry.value.len() + OVERHEAD
}

impl Entry {
    fn is_alive(&self, now_ms: u64) -> bool {
        self.until_ms == 0 || now_ms < self.until_ms
    }
}

impl Entries {
    fn put(&mut self, key: String, value: Vec<u8>, now_ms: u64, ttl_ms: u64) -> Result<(), String> {
        if key.len() > KEY_MAX || value.len() > VALUE_MAX {
            return Err(format!(
                "a key has at most {KEY_MAX} bytes, a value {VALUE_MAX}"
            ));
        }
        let until_ms = match ttl_ms {
            0 => 0,
            ttl => now_ms.saturating_add(ttl),
        };
        let entry = Entry { value, until_ms };
        let old = self.by_key.get(&key).map_or(0, |old| size(&key, old));
        let wanted = size(&key, &entry);
        if self.bytes - old + wanted > QUOTA {
            self.expire(now_ms);
            let old = self.by_key.get(&key).map_or(0, |old| size(&key, old));
            if self.bytes - old + wanted > QUOTA {
                return Err(format!("the quota of {QUOTA} bytes is used up"));
            }
        }
        self.remove(&key);
        self.bytes += wanted;
        self.by_key.insert(key, entry);
        self.changed = true;
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        if let Some(old) = self.by_key.remove(key) {
            self.bytes -= size(key, &old);
            self.changed = true;
        }
    }

    fn expire(&mut self, now_ms: u64) {
        let mut freed = 0;
        self.by_key.retain(|key, entry| {
            let alive = entry.is_alive(now_ms);
            if !alive {
                freed += size(key, entry);
            }
            alive
        });
        self.bytes -= freed;
        self.changed |= freed > 0;
    }
}

impl Kv {
    pub(crate) fn get(&self, key: &str, now_ms: u64) -> Option<Vec<u8>> {
        let entries = self.0.lock();
        let entry = entries.by_key.get(key)?;
        entry.is_alive(now_ms).then(|| entry.value.clone())
    }

    pub(crate) fn set(
        &self,
        key: String,
        value: Vec<u8>,
        now_ms: u64,
        ttl_ms: u64,
    ) -> Result<(), String> {
        self.0.lock().put(key, value, now_ms, ttl_ms)
    }

    pub(crate) fn compare_and_set(
        &self,
        key: String,
        old: Option<&[u8]>,
        new: Vec<u8>,
        now_ms: u64,
        ttl_ms: u64,
    ) -> Result<bool, String> {
        let mut entries = self.0.lock();
        let at = entries.by_key.get(&key).filter(|e| e.is_alive(now_ms));
        if at.map(|entry| &*entry.value) != old {
            return Ok(false);
        }
        entries.put(key, new, now_ms, ttl_ms).map(|()| true)
    }

    pub(crate) fn delete(&self, key: &str) {
        self.0.lock().remove(key);
    }

    /// All entries as JSON if something changed since the last time. Guests wait for a copy, not for
    /// the JSON.
    pub(crate) fn take_changed(&self) -> Option<Vec<u8>> {
        let by_key = {
            let mut entries = self.0.lock();
            if !std::mem::take(&mut entries.changed) {
                return None;
            }
            entries.by_key.clone()
        };
        // Maps of strings and numbers always serialize.
        serde_json::to_vec(&by_key).ok()
    }

    /// What [`Kv::take_changed`] gave could not be written: it is given again.
    pub(crate) fn note_unsaved(&self) {
        self.0.lock().changed = true;
    }

    /// The same entries, to go on apart from these.
    pub(crate) fn copy(&self) -> Kv {
        let entries = self.0.lock();
        Kv(Mutex::new(Entries {
            by_key: entries.by_key.clone(),
            bytes: entries.bytes,
            changed: false,
        }))
    }

    /// Entries as they were written.
    pub(crate) fn from_json(json: &[u8]) -> Result<Kv, serde_json::Error> {
        let by_key: HashMap<String, Entry> = serde_json::from_slice(json)?;
        let bytes = by_key.iter().map(|(key, entry)| size(key, entry)).sum();
        Ok(Kv(Mutex::new(Entries {
            by_key,
            bytes,
            changed: false,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_expire_by_message_time() {
        let kv = Kv::default();
        kv.set("k".to_owned(), b"v".to_vec(), 1_000, 10).unwrap();
        assert_eq!(kv.get("k", 1_009).as_deref(), Some(&b"v"[..]));
        assert_eq!(kv.get("k", 1_010), None);
        let set = kv.compare_and_set("k".to_owned(), None, b"w".to_vec(), 1_010, 0);
        assert_eq!(set, Ok(true), "an expired value is none");
        let again = kv.compare_and_set("k".to_owned(), None, b"x".to_vec(), 1_010, 0);
        assert_eq!(again, Ok(false));
        let copy = Kv::from_json(&kv.take_changed().unwrap()).unwrap();
        assert_eq!(copy.get("k", u64::MAX).as_deref(), Some(&b"w"[..]));
        assert_eq!(kv.take_changed(), None);
        kv.note_unsaved();
        assert!(kv.take_changed().is_some());
        let apart = kv.copy();
        apart.set("k".to_owned(), b"x".to_vec(), 0, 0).unwrap();
        assert_eq!(kv.get("k", 0).as_deref(), Some(&b"w"[..]));
    }

    #[test]
    fn the_quota_holds_and_what_is_deleted_makes_room() {
        let kv = Kv::default();
        let set = |n: usize| kv.set(format!("k{n}"), vec![0; VALUE_MAX], 0, 0);
        let fit = (0..100).take_while(|n| set(*n).is_ok()).count();
        assert_eq!(fit, QUOTA / (VALUE_MAX + OVERHEAD + 3));
        kv.delete("k0");
        set(999).unwrap();
    }
}
