//! Loaded plugins and their live instances, whichever carrier brought them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sluice_plugin_block::Fields;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::World;
use crate::error::CallError;
use crate::kv::Kv;
use crate::limits::Limits;
use crate::logs::Logs;
use crate::row::Row;
use crate::stats::Stats;
use crate::{native, wasm};

/// Columns a plugin may ask for.
pub(crate) const COLUMNS_MAX: usize = 64;

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

/// Group, client, queues, clients.
pub(crate) type AllocateParams = (String, String, Vec<MessageQueue>, Vec<String>);

/// What goes with a block.
#[derive(Clone, Copy)]
pub(crate) struct AtHand<'a> {
    /// `now` of the interface.
    pub(crate) now_ms: u64,
    pub(crate) rows: &'a [Row<'a>],
}

/// A loaded plugin, ready to be instantiated.
#[derive(Clone)]
pub(crate) enum Module {
    Wasm(wasm::Module),
    Native(native::Library),
}

impl Module {
    pub(crate) fn world(&self) -> World {
        match self {
            Module::Wasm(module) => module.world,
            Module::Native(library) => library.world,
        }
    }

    /// It can't do without `kv`, which takes a grant. A library asks when it runs, and is told no.
    pub(crate) fn wants_kv(&self) -> bool {
        match self {
            Module::Wasm(module) => module.wants_kv,
            Module::Native(_) => false,
        }
    }
}

/// A live instance. One call at a time; after a call that broke it, it is not used again.
pub(crate) enum Instance {
    Wasm(wasm::Instance),
    Native(native::Instance),
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
        let (instance, needs) = match module {
            Module::Wasm(module) => {
                let (instance, needs) =
                    wasm::Instance::start(module, place, set_up, limits, shared)?;
                (Instance::Wasm(instance), needs)
            }
            Module::Native(library) => {
                let (instance, needs) =
                    native::Instance::start(library, place, set_up, limits, shared)?;
                (Instance::Native(instance), needs)
            }
        };
        shared.stats.instantiated();
        check_needs(&needs)?;
        Ok((instance, needs))
    }

    /// Gives a block to the world's entry.
    pub(crate) fn call(
        &mut self,
        block: &[u8],
        at_hand: AtHand<'_>,
        deadline: Duration,
    ) -> Result<Vec<u8>, CallError> {
        match self {
            Instance::Wasm(instance) => instance.call(block, at_hand, deadline),
            Instance::Native(instance) => instance.call(block, at_hand),
        }
    }

    /// Gives a block to the world's function for what is done.
    pub(crate) fn call_after(
        &mut self,
        block: &[u8],
        at_hand: AtHand<'_>,
        deadline: Duration,
    ) -> Result<(), CallError> {
        match self {
            Instance::Wasm(instance) => instance.call_after(block, at_hand, deadline),
            Instance::Native(instance) => instance.call_after(block, at_hand),
        }
    }

    /// Asks a strategy; the inner error is its own.
    pub(crate) fn allocate(
        &mut self,
        params: AllocateParams,
        deadline: Duration,
    ) -> Result<Result<Vec<u32>, String>, CallError> {
        match self {
            Instance::Wasm(instance) => instance.allocate(params, deadline),
            Instance::Native(_) => Err(CallError::Start("it allocates nothing".to_owned())),
        }
    }

    /// Whether a call is stopped at its deadline. Where it can't be, its time is measured.
    pub(crate) fn is_stopped_in_time(&self) -> bool {
        matches!(self, Instance::Wasm(_))
    }
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
