//! What the broker does for a plugin.
//!
//! In a WASM module these are the broker's functions. Elsewhere they go to the [`Host`] that stands
//! in for it on this thread: a test's ([`crate::testing`]) or a native library's broker.

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// For the author.
    Debug = 0,
    /// For the operator, when curious.
    Info = 1,
    /// Something is odd.
    Warn = 2,
    /// Something is wrong.
    Error = 3,
}

#[cfg(target_arch = "wasm32")]
use crate::wasm::imports as carrier;
#[cfg(not(target_arch = "wasm32"))]
use native as carrier;
#[cfg(not(target_arch = "wasm32"))]
pub use native::{Host, with_host};

/// A line for `sluice plugin logs`, of at most 1 KiB; beyond so many a second they are dropped.
pub fn log(level: Level, message: &str) {
    carrier::log(level, message);
}

/// Newest store time of the block in Unix milliseconds (of a send hook: time of arrival). Never the
/// wall clock: the same messages give the same verdicts again.
pub fn now() -> u64 {
    carrier::now()
}

/// Adds to a counter of the plugin's own, shown by `sluice plugin stats`.
pub fn counter_add(name: &str, delta: u64) {
    carrier::counter_add(name, delta);
}

/// Body of a row of the block at hand, decompressed. About 0.2 µs; [`crate::Needs::body`] is cheaper
/// when most rows need it.
pub fn body(row: usize) -> Vec<u8> {
    carrier::body(row)
}

/// A property that is not among the columns. About 0.2 µs.
pub fn property(row: usize, name: &str) -> Option<String> {
    carrier::property(row, name)
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::Level;
    use crate::testing::Double;

    /// Stands in for the broker.
    pub trait Host {
        /// [`super::log`].
        fn log(&self, level: Level, message: &str);
        /// [`super::now`].
        fn now(&self) -> u64;
        /// [`super::counter_add`].
        fn counter_add(&self, name: &str, delta: u64);
        /// [`super::body`].
        fn body(&self, row: usize) -> Vec<u8>;
        /// [`super::property`].
        fn property(&self, row: usize, name: &str) -> Option<String>;
        /// [`crate::kv::get`].
        fn kv_get(&self, key: &str) -> Option<Vec<u8>>;
        /// [`crate::kv::set`].
        ///
        /// # Errors
        /// A text that says why not.
        fn kv_set(&self, key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String>;
        /// [`crate::kv::compare_and_set`].
        ///
        /// # Errors
        /// A text that says why not.
        fn kv_compare_and_set(
            &self,
            key: &str,
            old: Option<&[u8]>,
            new: &[u8],
            ttl_ms: u64,
        ) -> Result<bool, String>;
        /// [`crate::kv::delete`].
        ///
        /// # Errors
        /// A text that says why not.
        fn kv_delete(&self, key: &str) -> Result<(), String>;
    }

    thread_local! {
        static HOST: RefCell<Rc<dyn Host>> = RefCell::new(Rc::new(Double::new()));
    }

    /// Runs `call` with `host` standing in for the broker on this thread.
    pub fn with_host<R>(host: Rc<dyn Host>, call: impl FnOnce() -> R) -> R {
        /// Puts the one before back, also when `call` panics.
        struct Restore(Option<Rc<dyn Host>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                if let Some(before) = self.0.take() {
                    HOST.with(|host| *host.borrow_mut() = before);
                }
            }
        }
        let _restore = Restore(Some(HOST.with(|slot| slot.replace(host))));
        call()
    }

    fn host() -> Rc<dyn Host> {
        HOST.with(|host| host.borrow().clone())
    }

    pub(crate) fn log(level: Level, message: &str) {
        host().log(level, message);
    }

    pub(crate) fn now() -> u64 {
        host().now()
    }

    pub(crate) fn counter_add(name: &str, delta: u64) {
        host().counter_add(name, delta);
    }

    pub(crate) fn body(row: usize) -> Vec<u8> {
        host().body(row)
    }

    pub(crate) fn property(row: usize, name: &str) -> Option<String> {
        host().property(row, name)
    }

    pub(crate) fn kv_get(key: &str) -> Option<Vec<u8>> {
        host().kv_get(key)
    }

    pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
        host().kv_set(key, value, ttl_ms)
    }

    pub(crate) fn kv_compare_and_set(
        key: &str,
        old: Option<&[u8]>,
        new: &[u8],
        ttl_ms: u64,
    ) -> Result<bool, String> {
        host().kv_compare_and_set(key, old, new, ttl_ms)
    }

    pub(crate) fn kv_delete(key: &str) -> Result<(), String> {
        host().kv_delete(key)
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{kv_compare_and_set, kv_delete, kv_get, kv_set};
