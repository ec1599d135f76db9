//! WebAssembly components: checked once, instantiated often, stopped at their deadlines.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{
    Component, ComponentNamedList, ComponentType, Func, Instance as WasmInstance, InstancePre,
    Lift, Linker, Lower, TypedFunc,
};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::World;
use crate::engine::{Engine, ticks};
use crate::error::CallError;
use crate::imports::{self, HOST, KV, OwnRow, State, Taken};
use crate::instance::{AllocateParams, AtHand, Needs, Place, SetUp, Shared};
use crate::limits::Limits;

/// A component of one of our worlds, ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Module {
    engine: Arc<Engine>,
    pre: InstancePre<State>,
    pub(crate) world: World,
    /// It imports `kv`, which takes a grant.
    pub(crate) wants_kv: bool,
    /// It asks for rows beyond its columns, so a call must bring them along.
    wants_rows: bool,
}

impl Module {
    /// Loads machine code that this process or its own store has made.
    ///
    /// # Safety
    /// `machine_code` must be what [`wasmtime::Engine::precompile_component`] made, unchanged.
    pub(crate) unsafe fn load(engine: &Arc<Engine>, machine_code: &[u8]) -> Result<Module, String> {
        // SAFETY: the caller says so.
        let component = unsafe { Component::deserialize(engine.wasm(), machine_code) };
        Module::new(engine, &component.map_err(|error| format!("{error:#}"))?)
    }

    fn new(engine: &Arc<Engine>, component: &Component) -> Result<Module, String> {
        let component_type = component.component_type();
        let exports: Vec<String> = component_type
            .exports(engine.wasm())
            .map(|(name, _)| name.to_owned())
            .collect();
        let world = World::of(|name| exports.iter().any(|export| export == name));
        let world = world.ok_or_else(|| {
            format!(
                "it exports the functions of no plugin world; it exports {}",
                exports.join(", ")
            )
        })?;
        let imports: Vec<(String, Vec<String>)> = component_type
            .imports(engine.wasm())
            .map(|(name, item)| (name.to_owned(), imports::functions(engine.wasm(), &item.ty)))
            .collect();
        let of = |interface: &str| imports.iter().find(|(name, _)| name == interface);
        let wants_rows = of(HOST).is_some_and(|(_, functions)| {
            let escapes = |name: &String| name == "body" || name == "property";
            functions.iter().any(escapes)
        });
        let mut linker = Linker::new(engine.wasm());
        imports::add(&mut linker).map_err(|error| format!("{error:#}"))?;
        let pre = linker.instantiate_pre(component);
        Ok(Module {
            engine: engine.clone(),
            pre: pre.map_err(|error| format!("{error:#}"))?,
            world,
            wants_kv: of(KV).is_some(),
            wants_rows,
        })
    }
}

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
    engine: Arc<Engine>,
    store: Store<State>,
    entry: Entry,
    wants_rows: bool,
}

impl Instance {
    /// Instantiates and sets up; what it then needs.
    pub(crate) fn start(
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
            taken: Taken::default(),
        };
        let engine = &module.engine;
        let mut store = Store::new(engine.wasm(), state);
        store.limiter(|state| state);
        let deadline = limits.set_up_deadline();
        store.set_epoch_deadline(ticks(deadline));
        let _running = engine.run();
        let failed = |error: wasmtime::Error| classify(&error, deadline);
        let guest = module.pre.instantiate(&mut store).map_err(failed)?;
        let (entry, needs) = match module.world {
            World::AllocateStrategy => {
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
        let instance = Instance {
            engine: engine.clone(),
            store,
            entry,
            wants_rows: module.wants_rows,
        };
        Ok((instance, needs))
    }

    /// Gives a block to the world's entry.
    pub(crate) fn call(
        &mut self,
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
        let running = self.engine.run();
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
        let _running = self.engine.run();
        let done = after.call(&mut self.store, (block,));
        done.map_err(|error| classify(&error, deadline))
    }

    /// Asks a strategy; the inner error is its own.
    pub(crate) fn allocate(
        &mut self,
        params: AllocateParams,
        deadline: Duration,
    ) -> Result<Result<Vec<u32>, String>, CallError> {
        let Entry::Allocate(allocate) = self.entry else {
            return Err(CallError::Start("it allocates nothing".to_owned()));
        };
        self.store.set_epoch_deadline(ticks(deadline));
        let _running = self.engine.run();
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

fn classify(error: &wasmtime::Error, deadline: Duration) -> CallError {
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::NoRoom;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            CallError::Timeout(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX))
        }
        Some(trap) => CallError::Trap(trap.to_string()),
        None => CallError::Trap(format!("{:#}", error.root_cause())),
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

    use super::*;

    #[test]
    fn a_pool_that_is_used_up_speaks_against_no_plugin() {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(1);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = wasmtime::Engine::new(&config).unwrap();
        // The smallest component: it has nothing.
        let component = Component::new(&engine, b"\0asm\x0d\0\x01\0").unwrap();
        let linker = Linker::<()>::new(&engine);
        let (mut first, mut second) = (Store::new(&engine, ()), Store::new(&engine, ()));
        linker.instantiate(&mut first, &component).unwrap();
        let error = linker.instantiate(&mut second, &component).unwrap_err();
        let error = classify(&error, Duration::ZERO);
        assert_eq!(error, CallError::NoRoom);
        assert!(!error.is_failure());
    }
}
