//! One live instance of a plugin, and calls into it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sluice_plugin_block::Fields;
use wasmtime::component::{
    ComponentNamedList, ComponentType, Func, Instance as WasmInstance, Lift, Lower, TypedFunc,
};
use wasmtime::{Store, Trap};

use crate::engine::{Engine, ticks};
use crate::error::CallError;
use crate::imports::{OwnRow, State};
use crate::kv::Kv;
use crate::limits::Limits;
use crate::logs::Logs;
use crate::module::Module;
use crate::row::Row;
use crate::stats::Stats;

/// Columns a plugin may ask for.
const COLUMNS_MAX: usize = 64;

/// What a plugin is bound to, and its settings.
#[derive(Debug, Clone, Default, ComponentType, Lower)]
#[component(record)]
pub struct Place {
    /// Topic.
    pub topic: String,
    /// Group; empty = all.
    pub group: String,
    /// Settings, in the order given.
    pub params: Vec<(String, String)>,
}

/// What a plugin wants to see of each message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ComponentType, Lift)]
#[component(record)]
pub struct Needs {
    /// Property names, one column each.
    pub properties: Vec<String>,
    /// Whether it wants bodies.
    pub body: bool,
    /// Bits of system fields.
    pub fields: u32,
    /// Its verdicts depend on the columns alone.
    pub pure: bool,
}

/// A queue as strategies see it.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub struct MessageQueue {
    /// Topic.
    pub topic: String,
    /// Broker name.
    pub broker: String,
    /// Queue id.
    #[component(name = "queue-id")]
    pub queue_id: u32,
}

/// How a new instance is set up.
#[derive(Debug, Clone)]
pub(crate) enum SetUp {
    /// Not at all: a trial start, or a function whose arguments are not known yet.
    Later,
    Configure,
    /// A language's expression.
    Compile(String),
    /// A function's number of arguments.
    Function(u32),
}

/// What all instances of one binding share.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) stats: Arc<Stats>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) kv: Option<Arc<Kv>>,
}

type AllocateParams = (String, String, Vec<MessageQueue>, Vec<String>);

enum Entry {
    /// Bytes to bytes. `after` takes bytes and answers nothing.
    Blocks {
        entry: Func,
        after: Option<Func>,
    },
    Allocate(TypedFunc<AllocateParams, (Result<Vec<u32>, String>,)>),
}

/// A live instance. One call at a time; after a failed call it is not used again.
pub(crate) struct Instance {
    store: Store<State>,
    entry: Entry,
    wants_rows: bool,
}

/// What goes with a block.
#[derive(Clone, Copy)]
pub(crate) struct AtHand<'a> {
    /// `now` of the interface.
    pub(crate) now_ms: u64,
    pub(crate) rows: &'a [Row<'a>],
}

impl Instance {
    /// Instantiates and sets up; what it then needs.
    pub(crate) fn start(
        engine: &Engine,
        module: &Module,
        place: &Place,
        set_up: &SetUp,
        limits: Limits,
        shared: &Shared,
    ) -> Result<(Instance, Needs), CallError> {
        let state = State {
            limits,
            stats: shared.stats.clone(),
            logs: shared.logs.clone(),
            kv: shared.kv.clone(),
            now_ms: 0,
            rows: Vec::new(),
        };
        let mut store = Store::new(engine.wasm(), state);
        store.limiter(|state| state);
        let deadline = limits.set_up_deadline();
        store.set_epoch_deadline(ticks(deadline));
        let _running = engine.run();
        let failed = |error: wasmtime::Error| classify(&error, deadline);
        let guest = module.pre.instantiate(&mut store).map_err(failed)?;
        shared.stats.instantiated();
        let (entry, needs) = match module.world {
            crate::World::AllocateStrategy => {
                let allocate = function(&guest, &mut store, "allocate")?;
                if matches!(set_up, SetUp::Configure) {
                    let params = (place.clone(),);
                    configure::<_, ()>(&guest, &mut store, "configure", params, deadline)?;
                }
                (Entry::Allocate(allocate), Needs::default())
            }
            world => {
                let entry = block_function(&guest, &mut store, world.entry())?;
                let after = match world.after() {
                    Some(name) => Some(sink_function(&guest, &mut store, name)?),
                    None => None,
                };
                let needs = set_up.run(&guest, &mut store, world.set_up(), place, deadline)?;
                (Entry::Blocks { entry, after }, needs)
            }
        };
        check_needs(&needs)?;
        let instance = Instance {
            store,
            entry,
            wants_rows: module.wants_rows,
        };
        Ok((instance, needs))
    }

    /// Gives a block to the world's entry.
    pub(crate) fn call(
        &mut self,
        engine: &Engine,
        block: &[u8],
        at_hand: AtHand<'_>,
        deadline: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let Entry::Blocks { entry, .. } = self.entry else {
            return Err(CallError::Start("it takes no blocks".to_owned()));
        };
        self.prepare(at_hand, deadline);
        // SAFETY: `block_function` has checked that it takes and gives `list<u8>`.
        let entry = unsafe { TypedFunc::<(&[u8],), (Vec<u8>,)>::new_unchecked(entry) };
        let running = engine.run();
        let answer = entry.call(&mut self.store, (block,));
        drop(running);
        let (answer,) = answer.map_err(|error| classify(&error, deadline))?;
        let most = self.store.data().limits.answer_bytes;
        if answer.len() > most {
            return Err(CallError::Answer(format!(
                "{} bytes, at most {most} are taken",
                answer.len()
            )));
        }
        Ok(answer)
    }

    /// Gives a block to the world's function for what is done.
    pub(crate) fn call_after(
        &mut self,
        engine: &Engine,
        block: &[u8],
        at_hand: AtHand<'_>,
        deadline: Duration,
    ) -> Result<(), CallError> {
        let Entry::Blocks {
            after: Some(after), ..
        } = self.entry
        else {
            return Ok(());
        };
        self.prepare(at_hand, deadline);
        // SAFETY: `sink_function` has checked that it takes `list<u8>` and gives nothing.
        let after = unsafe { TypedFunc::<(&[u8],), ()>::new_unchecked(after) };
        let _running = engine.run();
        let done = after.call(&mut self.store, (block,));
        done.map_err(|error| classify(&error, deadline))
    }

    /// Asks a strategy; the inner error is its own.
    pub(crate) fn allocate(
        &mut self,
        engine: &Engine,
        params: AllocateParams,
        deadline: Duration,
    ) -> Result<Result<Vec<u32>, String>, CallError> {
        let Entry::Allocate(allocate) = self.entry else {
            return Err(CallError::Start("it allocates nothing".to_owned()));
        };
        self.store.set_epoch_deadline(ticks(deadline));
        let _running = engine.run();
        let answer = allocate.call(&mut self.store, params);
        let (answer,) = answer.map_err(|error| classify(&error, deadline))?;
        Ok(answer)
    }

    fn prepare(&mut self, at_hand: AtHand<'_>, deadline: Duration) {
        let state = self.store.data_mut();
        state.now_ms = at_hand.now_ms;
        if self.wants_rows {
            state.rows = at_hand.rows.iter().map(OwnRow::of).collect();
        }
        self.store.set_epoch_deadline(ticks(deadline));
    }
}

impl SetUp {
    fn run(
        &self,
        guest: &WasmInstance,
        store: &mut Store<State>,
        name: &str,
        place: &Place,
        deadline: Duration,
    ) -> Result<Needs, CallError> {
        let place = place.clone();
        match self {
            SetUp::Later => Ok(Needs::default()),
            SetUp::Configure => configure(guest, store, name, (place,), deadline),
            SetUp::Compile(text) => configure(guest, store, name, (text.clone(), place), deadline),
            SetUp::Function(args) => configure(guest, store, name, (place, *args), deadline),
        }
    }
}

fn configure<Params, Answer>(
    guest: &WasmInstance,
    store: &mut Store<State>,
    name: &str,
    params: Params,
    deadline: Duration,
) -> Result<Answer, CallError>
where
    Params: ComponentNamedList + Lower,
    Answer: ComponentType + Lift + 'static,
{
    let set_up: TypedFunc<Params, (Result<Answer, String>,)> = function(guest, store, name)?;
    let answer = set_up.call(&mut *store, params);
    let (answer,) = answer.map_err(|error| classify(&error, deadline))?;
    answer.map_err(CallError::Refused)
}

fn function<Params, Answer>(
    guest: &WasmInstance,
    store: &mut Store<State>,
    name: &str,
) -> Result<TypedFunc<Params, Answer>, CallError>
where
    Params: ComponentNamedList + Lower,
    Answer: ComponentNamedList + Lift,
{
    let function = guest.get_typed_func(store, name);
    function.map_err(|error| CallError::Start(format!("`{name}`: {error:#}")))
}

fn block_function(
    guest: &WasmInstance,
    store: &mut Store<State>,
    name: &str,
) -> Result<Func, CallError> {
    let typed: TypedFunc<(&[u8],), (Vec<u8>,)> = function(guest, store, name)?;
    Ok(*typed.func())
}

fn sink_function(
    guest: &WasmInstance,
    store: &mut Store<State>,
    name: &str,
) -> Result<Func, CallError> {
    let typed: TypedFunc<(&[u8],), ()> = function(guest, store, name)?;
    Ok(*typed.func())
}

fn check_needs(needs: &Needs) -> Result<(), CallError> {
    if needs.properties.len() > COLUMNS_MAX {
        return Err(CallError::Start(format!(
            "it needs {} properties, at most {COLUMNS_MAX} are given",
            needs.properties.len()
        )));
    }
    if Fields::from_bits(needs.fields).is_none() {
        return Err(CallError::Start(format!(
            "it needs the fields {:#x}, of which this broker knows {:#x}",
            needs.fields,
            Fields::ALL.bits()
        )));
    }
    Ok(())
}

fn classify(error: &wasmtime::Error, deadline: Duration) -> CallError {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            CallError::Timeout(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX))
        }
        Some(trap) => CallError::Trap(trap.to_string()),
        None => CallError::Trap(format!("{:#}", error.root_cause())),
    }
}
