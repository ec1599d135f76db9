//! A filter that does what each message says in its property `verdict`: p pass, d drop, h hold, f no
//! verdict, x panic, s a pass that takes long, o a pass once for each `id`. Absent: pass.

use std::time::Duration;

use sluice_plugin::{Binding, Column, Filter, Message, Needs, Verdict, host, kv};

struct Obedient(Column<str>);

impl Filter for Obedient {
    fn configure(_: &Binding, needs: &mut Needs) -> Result<Self, String> {
        // What it is told to do is no news.
        std::panic::set_hook(Box::new(|_| {}));
        Ok(Obedient(needs.property("verdict")))
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        match message.get(self.0) {
            None | Some("p") => Verdict::Pass,
            Some("d") => Verdict::Drop,
            Some("h") => Verdict::Hold,
            Some("x") => panic!("told to panic"),
            Some("s") => {
                std::thread::sleep(Duration::from_millis(60));
                Verdict::Pass
            }
            Some("o") => once(message.row()),
            Some(_) => Verdict::Failed,
        }
    }
}

/// Holds what it can't remember.
fn once(row: usize) -> Verdict {
    let id = host::property(row, "id").unwrap_or_default();
    let body = String::from_utf8_lossy(&host::body(row)).into_owned();
    host::log(host::Level::Info, &format!("{id} {body}"));
    match kv::compare_and_set(&id, None, b"", 0) {
        Ok(fresh) => fresh.into(),
        Err(why) => {
            host::log(host::Level::Error, &why);
            Verdict::Hold
        }
    }
}

sluice_plugin_native::export_native!(filter: Obedient);
