//! What the broker gives a guest: `host` and `kv` of the interface.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{ComponentType, Lift, Linker};
use wasmtime::{ResourceLimiter, Result, StoreContextMut};

use crate::kv::Kv;
use crate::limits::Limits;
use crate::logs::Logs;
use crate::row::Row;
use crate::stats::Stats;

/// Name of the interface open to everybody.
pub(crate) const HOST: &str = "sluice:plugin/host@0.1.0";
/// Name of the interface that takes a grant.
pub(crate) const KV: &str = "sluice:plugin/kv@0.1.0";

/// What belongs to one instance on our side.
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) stats: Arc<Stats>,
    pub(crate) logs: Arc<Logs>,
    /// Present when granted.
    pub(crate) kv: Option<Arc<Kv>>,
    /// See `now` of the interface.
    pub(crate) now_ms: u64,
    /// The rows at hand, for those who ask for more than their columns.
    pub(crate) rows: Vec<OwnRow>,
    /// Of its limits, by all its memories and tables together.
    pub(crate) taken: Taken,
}

/// What an instance has taken; it never gives anything back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    memory_bytes: usize,
    table_elements: usize,
}

/// What is taken when one part grows from `now` to `desired`, if that is allowed.
fn grown(taken: usize, now: usize, desired: usize, most: usize) -> Option<usize> {
    let after = taken.checked_add(desired.saturating_sub(now))?;
    (after <= most).then_some(after)
}

/// A copy of what a guest may ask of a row.
pub(crate) struct OwnRow {
    properties: Vec<u8>,
    body: Vec<u8>,
}

impl OwnRow {
    /// A body that can't be unfolded is none.
    pub(crate) fn of(row: &Row<'_>) -> OwnRow {
        OwnRow {
            properties: row.properties.to_vec(),
            body: row.plain_body().map(Into::into).unwrap_or_default(),
        }
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, now: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let most = self.limits.memory_bytes;
        let Some(taken) = grown(self.taken.memory_bytes, now, desired, most) else {
            return Ok(false);
        };
        self.taken.memory_bytes = taken;
        self.stats.memory(taken);
        Ok(true)
    }

    fn table_growing(&mut self, now: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let most = self.limits.table_elements;
        let Some(taken) = grown(self.taken.table_elements, now, desired, most) else {
            return Ok(false);
        };
        self.taken.table_elements = taken;
        Ok(true)
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(
    dead_code,
    reason = "values come from guests, by transmutation within `Lift`"
)]
enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

type Caller<'a> = StoreContextMut<'a, State>;

/// Names of the functions of an imported interface.
pub(crate) fn functions(engine: &wasmtime::Engine, item: &ComponentItem) -> Vec<String> {
    match item {
        ComponentItem::ComponentInstance(instance) => instance
            .exports(engine)
            .map(|(name, _)| name.to_owned())
            .collect(),
        _ => Vec::new(),
    }
}

/// Gives a guest what it may import, and nothing else: what it asks for beside that is refused
/// with its name when it is loaded.
pub(crate) fn add(linker: &mut Linker<State>) -> Result<()> {
    let mut host = linker.instance(HOST)?;
    host.func_wrap(
        "log",
        |caller: Caller<'_>, (level, text): (Level, String)| {
            let level = match level {
                Level::Debug => "debug",
                Level::Info => "info",
                Level::Warn => "warn",
                Level::Error => "error",
            };
            let state = caller.data();
            let line = (level, state.now_ms, &*text);
            state.logs.say(Instant::now(), state.limits.log_lines, line);
            Ok(())
        },
    )?;
    host.func_wrap("now", |caller: Caller<'_>, (): ()| {
        Ok((caller.data().now_ms,))
    })?;
    host.func_wrap(
        "counter-add",
        |caller: Caller<'_>, (name, delta): (String, u64)| {
            caller.data().stats.count(&name, delta);
            Ok(())
        },
    )?;
    host.func_wrap("body", |caller: Caller<'_>, (row,): (u32,)| {
        let row = caller.data().rows.get(row as usize);
        Ok((row.map(|row| row.body.clone()).unwrap_or_default(),))
    })?;
    host.func_wrap(
        "property",
        |caller: Caller<'_>, (row, name): (u32, String)| {
            let row = caller.data().rows.get(row as usize);
            let value = row
                .and_then(|row| sluice_protocol::message::properties::find(&row.properties, &name));
            Ok((value.map(str::to_owned),))
        },
    )?;
    add_kv(linker)
}

fn granted(state: &State) -> Result<&Kv, String> {
    let kv = state.kv.as_deref();
    kv.ok_or_else(|| "kv is not granted to this binding".to_owned())
}

fn add_kv(linker: &mut Linker<State>) -> Result<()> {
    let mut kv = linker.instance(KV)?;
    kv.func_wrap("get", |caller: Caller<'_>, (key,): (String,)| {
        let state = caller.data();
        let kv = state.kv.as_deref();
        Ok((kv.and_then(|kv| kv.get(&key, state.now_ms)),))
    })?;
    kv.func_wrap(
        "set",
        |caller: Caller<'_>, (key, value, ttl): (String, Vec<u8>, u64)| {
            let state = caller.data();
            let now = state.now_ms;
            Ok((granted(state).and_then(|kv| kv.set(key, value, now, ttl)),))
        },
    )?;
    type Swap = (String, Option<Vec<u8>>, Vec<u8>, u64);
    kv.func_wrap(
        "compare-and-set",
        |caller: Caller<'_>, (key, old, new, ttl): Swap| {
            let state = caller.data();
            let now = state.now_ms;
            let swapped = granted(state)
                .and_then(|kv| kv.compare_and_set(key, old.as_deref(), new, now, ttl));
            Ok((swapped,))
        },
    )?;
    kv.func_wrap("delete", |caller: Caller<'_>, (key,): (String,)| {
        Ok((granted(caller.data()).map(|kv| kv.delete(&key)),))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_for_all_memories_and_tables_together() {
        let mut state = State {
            limits: Limits {
                memory_bytes: 100,
                table_elements: 10,
                ..Limits::default()
            },
            stats: Arc::default(),
            logs: Arc::default(),
            kv: None,
            now_ms: 0,
            rows: Vec::new(),
            taken: Taken::default(),
        };
        assert!(state.memory_growing(0, 60, None).unwrap());
        assert!(!state.memory_growing(0, 60, None).unwrap());
        assert!(state.memory_growing(60, 100, None).unwrap());
        assert!(!state.memory_growing(100, 101, None).unwrap());
        assert!(state.table_growing(0, 10, None).unwrap());
        assert!(!state.table_growing(0, 1, None).unwrap());
    }
}
