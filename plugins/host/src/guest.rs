//! One version of a plugin, set up for one binding: its instances and its numbers.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::block::{self, Cell, Columns};
use crate::error::CallError;
use crate::instance::{AtHand, Instance, MessageQueue, Module, Place, SetUp, Shared};
use crate::limits::Limits;
use crate::stats::Stats;

/// A binding whose recent blocks took longer is not called on threads that serve connections.
const INLINE_MAX: Duration = Duration::from_micros(100);
/// Blocks in a row after which a failing shadow is not asked any more: nobody waits for its verdict, but
/// everybody for its call.
const SHADOW_FAILURES: u32 = 5;

/// Instances of one module, all set up alike, one for each thread that calls at the same time.
pub(crate) struct Guest {
    module: Module,
    /// Name and version, for people.
    pub(crate) label: String,
    /// Version number.
    pub(crate) version: u32,
    place: Place,
    set_up: SetUp,
    columns: Columns,
    limits: RwLock<Limits>,
    shared: Shared,
    slots: Box<[Slot]>,
    /// Moving average of the time of a call, nanoseconds.
    recent_ns: AtomicU64,
    /// Of a call that took longer than its deadline and has not been told: its time, milliseconds.
    late_ms: AtomicU64,
    /// Whether it was called since the last look.
    called: AtomicBool,
    /// Blocks in a row that a shadow failed on.
    failed_in_row: AtomicU32,
}

type Slot = Mutex<Option<Instance>>;

/// What a guest is made of.
pub(crate) struct Making {
    pub(crate) module: Module,
    pub(crate) label: String,
    pub(crate) version: u32,
    pub(crate) place: Place,
    pub(crate) set_up: SetUp,
    pub(crate) limits: Limits,
    pub(crate) shared: Shared,
}

impl Guest {
    /// Starts a first instance: what does not start is never bound.
    pub(crate) fn start(making: Making) -> Result<Guest, CallError> {
        let Making {
            module,
            label,
            version,
            place,
            set_up,
            limits,
            shared,
        } = making;
        let (first, needs) = Instance::start(&module, &place, &set_up, limits, &shared)?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let mut slots: Vec<Slot> = (0..cores * 2).map(|_| Mutex::default()).collect();
        slots[own_slot() % (cores * 2)] = Mutex::new(Some(first));
        Ok(Guest {
            module,
            label,
            version,
            place,
            set_up,
            columns: Columns::from(&needs),
            limits: RwLock::new(limits),
            shared,
            slots: slots.into_boxed_slice(),
            recent_ns: AtomicU64::new(0),
            late_ms: AtomicU64::new(0),
            called: AtomicBool::new(true),
            failed_in_row: AtomicU32::new(0),
        })
    }

    /// The same guest for an expression that calls it with so many arguments.
    pub(crate) fn with_arguments(&self, args: u32) -> Result<Guest, CallError> {
        Guest::start(Making {
            module: self.module.clone(),
            label: self.label.clone(),
            version: self.version,
            place: self.place.clone(),
            set_up: SetUp::Function(args),
            limits: self.limits(),
            shared: self.shared.clone(),
        })
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.read()
    }

    /// New limits hold from the next call on; instances made under the old ones go.
    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.write() = limits;
        self.drop_instances();
    }

    /// Frees the memory of instances that are not in a call.
    pub(crate) fn drop_instances(&self) {
        for slot in &self.slots {
            if let Some(mut slot) = slot.try_lock() {
                *slot = None;
            }
        }
    }

    /// [`Guest::drop_instances`] if it was not called since this was asked the last time.
    pub(crate) fn rest_if_idle(&self) {
        if !self.called.swap(false, Ordering::Relaxed) {
            self.drop_instances();
        }
    }

    /// Whether it may keep state.
    pub(crate) fn keeps_state(&self) -> bool {
        self.shared.kv.is_some()
    }

    /// Whether its recent calls took too long for a thread that serves connections.
    pub(crate) fn is_slow(&self) -> bool {
        self.recent_ns.load(Ordering::Relaxed) > INLINE_MAX.as_nanos() as u64
    }

    /// Counts how a shadow's block went; true when it has failed often enough to be left alone.
    pub(crate) fn note_as_shadow(&self, failed: bool) -> bool {
        if failed {
            self.failed_in_row.fetch_add(1, Ordering::Relaxed) + 1 == SHADOW_FAILURES
        } else {
            self.failed_in_row.store(0, Ordering::Relaxed);
            false
        }
    }

    /// Whether it has failed too often as a shadow to be asked any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.failed_in_row.load(Ordering::Relaxed) >= SHADOW_FAILURES
    }

    /// Calls the world's entry with a block of messages; a function's rows have their arguments.
    pub(crate) fn call(
        &self,
        at_hand: AtHand<'_>,
        arguments: &[Vec<Cell<'_>>],
    ) -> Result<Vec<u8>, CallError> {
        let deadline = self.limits().deadline();
        self.with_block(at_hand, arguments, |instance, block| {
            instance.call(block, at_hand, deadline)
        })
    }

    /// Calls the world's function for what is done.
    pub(crate) fn call_after(&self, at_hand: AtHand<'_>) -> Result<(), CallError> {
        let deadline = self.limits().deadline();
        self.with_block(at_hand, &[], |instance, block| {
            instance.call_after(block, at_hand, deadline)
        })
    }

    fn with_block<T>(
        &self,
        at_hand: AtHand<'_>,
        arguments: &[Vec<Cell<'_>>],
        call: impl FnOnce(&mut Instance, &[u8]) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        // Packing counts: it takes the thread's time as the call does.
        let (rows, began) = (at_hand.rows, Instant::now());
        block::with_block(&self.columns, rows, arguments, |block| {
            self.timed(rows.len(), began, |instance| call(instance, block))
        })?
    }

    /// Asks a strategy; the inner error is its own.
    pub(crate) fn allocate(
        &self,
        group: &str,
        current: &str,
        queues: Vec<MessageQueue>,
        clients: Vec<String>,
    ) -> Result<Result<Vec<u32>, String>, CallError> {
        let deadline = self.limits().deadline();
        let params = (group.to_owned(), current.to_owned(), queues, clients);
        self.timed(1, Instant::now(), |instance| {
            instance.allocate(params, deadline)
        })
    }

    fn timed<T>(
        &self,
        rows: usize,
        began: Instant,
        call: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        if !self.called.load(Ordering::Relaxed) {
            self.called.store(true, Ordering::Relaxed);
        }
        let mut slot = self.slot();
        let mut instance = match slot.take() {
            Some(instance) => instance,
            None => self.fresh()?,
        };
        let unstopped = (!instance.is_stopped_in_time()).then(Instant::now);
        let result = call(&mut instance);
        self.note(rows, began.elapsed(), result.as_ref().err());
        if let (Ok(_), Some(began)) = (&result, unstopped) {
            self.measure(began.elapsed());
        }
        // One that failed may be in any state, unless it says that it can go on.
        if matches!(result, Ok(_) | Err(CallError::Failed(_))) {
            *slot = Some(instance);
        }
        result
    }

    /// A call that could not be stopped counts as one that was, but its answer is taken.
    fn measure(&self, took: Duration) {
        if took > self.limits().deadline() {
            self.stats().timed_out();
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.late_ms.store(ms, Ordering::Relaxed);
        }
    }

    /// What a call that answered too late means for the breaker; told once.
    pub(crate) fn take_late(&self) -> Option<String> {
        if self.late_ms.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let ms = self.late_ms.swap(0, Ordering::Relaxed);
        (ms > 0).then(|| format!("took {ms} ms and could not be stopped"))
    }

    fn fresh(&self) -> Result<Instance, CallError> {
        let started = Instance::start(
            &self.module,
            &self.place,
            &self.set_up,
            self.limits(),
            &self.shared,
        );
        started.map(|(instance, _)| instance)
    }

    fn note(&self, rows: usize, took: Duration, error: Option<&CallError>) {
        let stats = self.stats();
        stats.called(rows, took);
        match error {
            None => {}
            Some(CallError::Timeout(_)) => stats.timed_out(),
            Some(_) => stats.trapped(),
        }
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / 8);
        let recent = self.recent_ns.load(Ordering::Relaxed);
        let recent = if recent == 0 {
            took
        } else {
            (recent * 7 + took) / 8
        };
        self.recent_ns.store(recent, Ordering::Relaxed);
    }

    /// This thread's slot, another free one, or this thread's when it is free again: a call is
    /// short, and the number of slots bounds the instances.
    fn slot(&self) -> MutexGuard<'_, Option<Instance>> {
        let own = own_slot();
        let count = self.slots.len();
        (0..count)
            .find_map(|step| self.slots[(own + step) % count].try_lock())
            .unwrap_or_else(|| self.slots[own % count].lock())
    }
}

/// A number for each thread, given in turn.
fn own_slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}
