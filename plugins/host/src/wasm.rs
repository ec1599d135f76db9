//! A loaded component: checked once, instantiated often.

use wasmtime::component::{Component, InstancePre, Linker};

use crate::World;
use crate::engine::Engine;
use crate::imports::{self, HOST, KV, State};

/// A component of one of our worlds, ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Module {
    pub(crate) pre: InstancePre<State>,
    pub(crate) world: World,
    /// It imports `kv`, which takes a grant.
    pub(crate) wants_kv: bool,
    /// It asks for rows beyond its columns, so a call must bring them along.
    pub(crate) wants_rows: bool,
}

impl Module {
    /// Loads machine code that this process or its own store has made.
    ///
    /// # Safety
    /// `machine_code` must be what [`wasmtime::Engine::precompile_component`] made, unchanged.
    pub(crate) unsafe fn load(engine: &Engine, machine_code: &[u8]) -> Result<Module, String> {
        // SAFETY: the caller says so.
        let component = unsafe { Component::deserialize(engine.wasm(), machine_code) };
        Module::new(engine, &component.map_err(|error| format!("{error:#}"))?)
    }

    fn new(engine: &Engine, component: &Component) -> Result<Module, String> {
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
            pre: pre.map_err(|error| format!("{error:#}"))?,
            world,
            wants_kv: of(KV).is_some(),
            wants_rows,
        })
    }
}
