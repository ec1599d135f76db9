//! The broker behind a table of functions.

use std::cell::Cell;
use std::ptr;

use sluice_plugin::host::{Host, Level};

use crate::abi::{self, Text};

/// Calls the broker's functions. The table is there during a call only.
pub(crate) struct Broker {
    table: Cell<*const abi::Host>,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Broker {
            table: Cell::new(ptr::null()),
        }
    }

    /// Says which table the calls go to until the next time.
    ///
    /// # Safety
    /// Until then the table can be called, on this thread.
    pub(crate) unsafe fn set(&self, table: *const abi::Host) {
        self.table.set(table);
    }

    fn table(&self) -> &abi::Host {
        // SAFETY: `set` was promised a table that can be called; the broker's plugins are called
        // only between two `set`s.
        unsafe { &*self.table.get() }
    }

    /// A call that answers bytes.
    fn answer(&self, call: impl FnOnce(&abi::Host, *mut Text) -> i32) -> Option<Vec<u8>> {
        let mut answer = Text::NOTHING;
        let code = call(self.table(), &mut answer);
        // SAFETY: the answer is good until the next call, and copied before it.
        let bytes = unsafe { answer.bytes() };
        (code == abi::OK).then(|| bytes.unwrap_or_default().to_vec())
    }

    /// A call that says why not.
    fn result(&self, call: impl FnOnce(&abi::Host, *mut Text) -> i32) -> Result<bool, String> {
        let mut error = Text::NOTHING;
        match call(self.table(), &mut error) {
            abi::OK => Ok(true),
            abi::UNEQUAL => Ok(false),
            _ => {
                // SAFETY: the text is good until the next call, and copied before it.
                let text = unsafe { error.bytes() }.unwrap_or(b"refused");
                Err(String::from_utf8_lossy(text).into_owned())
            }
        }
    }
}

// SAFETY of all blocks below: the table's functions may be called with its context (see `set`), and
// the texts they get are good during the call.
impl Host for Broker {
    fn log(&self, level: Level, message: &str) {
        let table = self.table();
        // SAFETY: as above.
        unsafe { (table.log)(table.context, level as u32, Text::of(message.as_bytes())) }
    }

    fn now(&self) -> u64 {
        let table = self.table();
        // SAFETY: as above.
        unsafe { (table.now)(table.context) }
    }

    fn counter_add(&self, name: &str, delta: u64) {
        let table = self.table();
        // SAFETY: as above.
        unsafe { (table.counter_add)(table.context, Text::of(name.as_bytes()), delta) }
    }

    fn body(&self, row: usize) -> Vec<u8> {
        // SAFETY: as above.
        self.answer(|table, answer| unsafe { (table.body)(table.context, row as u32, answer) })
            .unwrap_or_default()
    }

    fn property(&self, row: usize, name: &str) -> Option<String> {
        let name = Text::of(name.as_bytes());
        // SAFETY: as above.
        let value = self.answer(|table, answer| unsafe {
            (table.property)(table.context, row as u32, name, answer)
        });
        String::from_utf8(value?).ok()
    }

    fn kv_get(&self, key: &str) -> Option<Vec<u8>> {
        let key = Text::of(key.as_bytes());
        // SAFETY: as above.
        self.answer(|table, answer| unsafe { (table.kv_get)(table.context, key, answer) })
    }

    fn kv_set(&self, key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
        let (key, value) = (Text::of(key.as_bytes()), Text::of(value));
        // SAFETY: as above.
        let set = self.result(|table, error| unsafe {
            (table.kv_set)(table.context, key, value, ttl_ms, error)
        });
        set.map(drop)
    }

    fn kv_compare_and_set(
        &self,
        key: &str,
        old: Option<&[u8]>,
        new: &[u8],
        ttl_ms: u64,
    ) -> Result<bool, String> {
        let (key, new) = (Text::of(key.as_bytes()), Text::of(new));
        let old = old.map_or(Text::NOTHING, Text::of);
        // SAFETY: as above.
        self.result(|table, error| unsafe {
            (table.kv_compare_and_set)(table.context, key, old, new, ttl_ms, error)
        })
    }

    fn kv_delete(&self, key: &str) -> Result<(), String> {
        let key = Text::of(key.as_bytes());
        // SAFETY: as above.
        let deleted =
            self.result(|table, error| unsafe { (table.kv_delete)(table.context, key, error) });
        deleted.map(drop)
    }
}
