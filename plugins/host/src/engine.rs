//! The one WebAssembly engine of a process and the thread that ticks its epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

/// One tick of the epoch: deadlines are counted in it.
pub const TICK: Duration = Duration::from_millis(1);
/// How long the ticking goes on after the last call, so that a call under load need not start it.
const LINGER: Duration = Duration::from_millis(200);
/// WebAssembly stack of a call, bytes.
const STACK: usize = 512 << 10;
/// Components that may be instantiated at once.
const INSTANCES: u32 = 1_000;
/// Largest memory that any limit can allow.
const MEMORY_MAX: usize = 1 << 30;

/// Where linear memories come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memories {
    /// Address space reserved at start: an instance takes microseconds.
    Pooled,
    /// Reserved for each instance.
    OnDemand,
}

/// How guests are compiled and run; machine code fits only an engine of the same settings.
pub fn config(memories: Memories) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .wasm_relaxed_simd(false);
    if memories == Memories::Pooled {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(INSTANCES)
            // An instance of an interpreter's component takes over twenty of these.
            .total_core_instances(INSTANCES * 4)
            .total_memories(INSTANCES)
            .total_tables(INSTANCES * 2)
            .max_core_instances_per_component(64)
            .max_memories_per_component(4)
            .max_tables_per_component(32)
            .max_core_instance_size(4 << 20)
            .max_component_instance_size(4 << 20)
            .table_elements(100_000)
            .max_memory_size(MEMORY_MAX);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// The engine, its ticking, and the time of calls under way.
pub(crate) struct Engine {
    wasm: wasmtime::Engine,
    memories: Memories,
    ticking: Arc<Ticking>,
    thread: Thread,
    ticker: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Ticking {
    calls: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("memories", &self.memories)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Reserves address space for instances if this machine allows it.
    pub(crate) fn new() -> Result<Engine, String> {
        let (wasm, memories) = match wasmtime::Engine::new(&config(Memories::Pooled)) {
            Ok(wasm) => (wasm, Memories::Pooled),
            Err(cause) => {
                let cause = format!("{cause:#}");
                tracing::warn!(
                    cause,
                    "plugin memories are not pooled: instances take longer"
                );
                let wasm = wasmtime::Engine::new(&config(Memories::OnDemand))
                    .map_err(|error| format!("{error:#}"))?;
                (wasm, Memories::OnDemand)
            }
        };
        let ticking = Arc::new(Ticking::default());
        let ticker = {
            let (wasm, ticking) = (wasm.clone(), ticking.clone());
            std::thread::Builder::new()
                .name("plugin-epoch".to_owned())
                .spawn(move || ticking.run(&wasm))
                .map_err(|error| error.to_string())?
        };
        Ok(Engine {
            wasm,
            memories,
            thread: ticker.thread().clone(),
            ticking,
            ticker: Some(ticker),
        })
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    /// The epoch advances while the guard lives.
    pub(crate) fn run(&self) -> Running<'_> {
        self.ticking.calls.fetch_add(1, Ordering::SeqCst);
        if self.ticking.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.ticking)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.ticking.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(ticker) = self.ticker.take() {
            // It only ticks and can't have panicked.
            let _ = ticker.join();
        }
    }
}

/// Ticks of the epoch that a deadline takes; the one under way does not count.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX / 2) + 1
}

/// A guest's call under way.
pub(crate) struct Running<'a>(&'a Ticking);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ticking {
    /// Ticks by absolute times: a sleep lasts longer than it should, and the next is shorter for it.
    /// A tick that comes very late is not made up for: a call that has just begun would be charged.
    fn run(&self, wasm: &wasmtime::Engine) {
        let mut last_call = Instant::now();
        let mut next = last_call + TICK;
        while !self.ended.load(Ordering::SeqCst) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            wasm.increment_epoch();
            next = (next + TICK).max(now);
            if self.calls.load(Ordering::SeqCst) > 0 {
                last_call = now;
            } else if now.duration_since(last_call) >= LINGER {
                self.sleep();
                last_call = Instant::now();
                next = last_call + TICK;
            }
        }
    }

    /// Until a call begins. A call that begins between the two steps sees `asleep` and unparks,
    /// or is seen here.
    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.calls.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}
