//! The newest offset of each key, within a bound of memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Most bytes that an entry takes in a table that was made as large as it gets.
const ENTRY: usize = 64;

/// Keys are held as two hashes with secrets of their own: nobody can find keys that are taken for each
/// other, and by chance it does not happen.
pub(crate) struct NewestOffsets {
    secrets: (RandomState, RandomState),
    offsets: HashMap<(u64, u64), i64>,
    limit: usize,
}

impl NewestOffsets {
    /// For as many of `keys` keys as `bytes` of memory allow.
    pub(crate) fn new(keys: u64, bytes: u64) -> Self {
        let limit = usize::try_from(bytes / ENTRY as u64)
            .unwrap_or(usize::MAX)
            .max(1);
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        NewestOffsets {
            secrets: (RandomState::new(), RandomState::new()),
            offsets: HashMap::with_capacity(keys.min(limit)),
            limit,
        }
    }

    fn hashes(&self, key: &str) -> (u64, u64) {
        (self.secrets.0.hash_one(key), self.secrets.1.hash_one(key))
    }

    /// Notes that the key has a message at an offset behind all before; false when there is no room.
    pub(crate) fn put(&mut self, key: &str, offset: i64) -> bool {
        let hashes = self.hashes(key);
        if self.offsets.len() >= self.limit && !self.offsets.contains_key(&hashes) {
            return false;
        }
        self.offsets.insert(hashes, offset);
        true
    }

    /// Whether a message with the key stands behind the offset.
    pub(crate) fn has_newer(&self, key: &str, offset: i64) -> bool {
        let newest = self.offsets.get(&self.hashes(key));
        newest.is_some_and(|newest| *newest > offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_known_until_memory_ends() {
        let mut newest = NewestOffsets::new(100, 2 * ENTRY as u64);
        assert!(newest.put("a", 1) && newest.put("b", 2) && newest.put("a", 3));
        assert!(!newest.put("c", 4));
        assert!(newest.put("b", 5), "a known key takes no more room");
        assert!(newest.has_newer("a", 1) && !newest.has_newer("a", 3));
        assert!(!newest.has_newer("c", 0));
    }
}
