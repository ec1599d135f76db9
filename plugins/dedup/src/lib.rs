//! Send hook: a key is stored once within a window; who sends it again is refused.
//!
//! Settings: `property` (KEYS), the key; `window-ms` (600000); `code` (13, which producers do not
//! retry), the response code of a refusal. Needs the grant `kv`. Messages without the key pass.
//!
//! A key is taken before its message is stored: when the store then fails, `retry-ms` (3000) is how
//! long the producer's next try is refused. After a successful store it is kept for the window.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Edits, Message, Needs, SendHook, export_send_hook, host, kv};

struct Dedup {
    key: Column<str>,
    topic: String,
    window_ms: u64,
    retry_ms: u64,
    code: i32,
}

impl Dedup {
    fn kv_key(&self, key: &str) -> String {
        [&self.topic, "/", key].concat()
    }
}

impl SendHook for Dedup {
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
        let window_ms = binding.parse("window-ms")?.unwrap_or(600_000);
        let retry_ms = binding.parse("retry-ms")?.unwrap_or(3000);
        if window_ms == 0 || retry_ms == 0 {
            return Err("window-ms and retry-ms must be 1 or more".into());
        }
        Ok(Dedup {
            key: needs.property(binding.param("property").unwrap_or("KEYS")),
            topic: binding.topic.clone(),
            window_ms,
            retry_ms,
            code: binding.parse("code")?.unwrap_or(13),
        })
    }

    fn before_send(&mut self, message: &Message<'_>, edits: &mut Edits<'_>) {
        let Some(key) = message.get(self.key) else {
            return;
        };
        match kv::compare_and_set(&self.kv_key(key), None, b"", self.retry_ms) {
            Ok(true) => {}
            Ok(false) => {
                host::counter_add("duplicates", 1);
                edits.reject_with(self.code, "a message with this key has just been sent");
            }
            // Without its memory it lets duplicates through rather than messages be lost.
            Err(reason) => host::log(host::Level::Warn, &reason),
        }
    }

    fn after_send(&mut self, message: &Message<'_>) {
        let Some(key) = message.get(self.key) else {
            return;
        };
        if let Err(reason) = kv::set(&self.kv_key(key), b"", self.window_ms) {
            host::log(host::Level::Warn, &reason);
        }
    }
}

export_send_hook!(Dedup);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::Edit;
    use sluice_plugin::testing::{self, Plugin, Sample};

    fn plugin() -> Plugin<Dedup> {
        testing::send_hook(&[("window-ms", "1000"), ("retry-ms", "100"), ("code", "1")]).unwrap()
    }

    fn refused(plugin: &mut Plugin<Dedup>, samples: &[Sample]) -> Vec<usize> {
        plugin.before_send(samples, |edits| {
            let row = |(row, edit): &(usize, Edit<'_>)| {
                assert!(matches!(edit, Edit::Reject { code: Some(1), .. }));
                *row
            };
            edits.iter().map(row).collect()
        })
    }

    #[test]
    fn a_key_is_stored_once_in_a_window() {
        let mut plugin = plugin();
        let (a, b) = (
            Sample::new().property("KEYS", "a"),
            Sample::new().property("KEYS", "b"),
        );
        assert_eq!(refused(&mut plugin, &[a.clone(), b, a.clone()]), [2]);
        plugin.after_send(std::slice::from_ref(&a));
        plugin.host.set_now(999);
        assert_eq!(refused(&mut plugin, std::slice::from_ref(&a)), [0]);
        assert_eq!(plugin.host.counter("duplicates"), 2);
        plugin.host.set_now(1000);
        assert_eq!(refused(&mut plugin, &[a]), [0; 0]);
    }

    #[test]
    fn a_key_whose_message_was_not_stored_is_soon_free() {
        let mut plugin = plugin();
        let a = [Sample::new().property("KEYS", "a")];
        assert_eq!(refused(&mut plugin, &a), [0; 0]);
        plugin.host.set_now(100);
        assert_eq!(refused(&mut plugin, &a), [0; 0]);
    }

    #[test]
    fn messages_without_a_key_pass() {
        assert_eq!(
            refused(&mut plugin(), &[Sample::new(), Sample::new()]),
            [0; 0]
        );
    }
}
