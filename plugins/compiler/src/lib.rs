//! Makes a component of what a plugin author uploads, and machine code of the component.
//!
//! Compilers need much memory and time and may have bugs; so nothing here runs in the process that
//! serves clients. The broker starts itself again as a short-lived child with limits, which calls
//! [`compile`] once: see `sluice/src/plugin_compile.rs`.

mod componentize;
mod exports;

pub use componentize::componentize;

use sluice_plugins::engine;

/// Largest upload, bytes.
pub const UPLOAD_MAX: usize = 32 << 20;

/// Why an upload does not become a plugin.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Too large.
    #[error("the module is {size} bytes long, at most {UPLOAD_MAX} are taken")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// Not WebAssembly at all.
    #[error(
        "neither WebAssembly (it would begin with 00 61 73 6d) nor its text form (it would begin with `(`)"
    )]
    NotWasm,
    /// The text form has an error.
    #[error("the text can't be read: {0}")]
    Text(String),
    /// The binary has an error.
    #[error("not a valid module: {0}")]
    Invalid(String),
    /// The exports are those of no world.
    #[error(
        "the module exports the functions of no plugin world; it exports {found}. A filter, for one, exports `configure` and `filter-batch`"
    )]
    NoWorld {
        /// What it exports, as text.
        found: String,
    },
    /// It does not fit the interface.
    #[error("the module does not fit world `{world}` of sluice:plugin@0.1.0: {why}")]
    Misfit {
        /// The world its exports point to.
        world: String,
        /// What differs.
        why: String,
    },
    /// Machine code could not be made.
    #[error("compiling failed: {0}")]
    Compile(String),
}

/// What [`compile`] makes.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The component: what was uploaded, or what was made of it.
    pub component: Vec<u8>,
    /// Machine code for this processor and this build, see `wasmtime`.
    pub machine_code: Vec<u8>,
}

/// Makes a component of a core module, a component or the text form of either, and compiles it.
///
/// # Errors
/// The bytes are no plugin; the error says where and why.
pub fn compile(upload: &[u8]) -> Result<Compiled, CompileError> {
    let component = componentize(upload)?;
    let mut config = engine::config(engine::Memories::OnDemand);
    // Floats must be the same bits wherever a verdict is repeated.
    config.cranelift_nan_canonicalization(true);
    let engine = wasmtime::Engine::new(&config)
        .map_err(|error| CompileError::Compile(format!("{error:#}")))?;
    let machine_code = engine
        .precompile_component(&component)
        .map_err(|error| CompileError::Compile(format!("{error:#}")))?;
    Ok(Compiled {
        component,
        machine_code,
    })
}
