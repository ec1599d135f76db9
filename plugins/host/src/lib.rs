//! Loads, limits, runs, measures and rolls back plugins.
//!
//! An operator's view is [`Host`]: put, bind, shadow, canary, promote, roll back. The paths of
//! messages ask [`Host::chain`] for what is bound to a topic and group and call it:
//!
//! - [`filter`]: messages on their way to a group, in blocks;
//! - [`hooks`]: messages before and after they are stored, and before they leave;
//! - [`functions`]: from within SQL92;
//! - [`strategy`]: who gets which queue.
//!
//! A guest is a WebAssembly component or, from the operator's own directory, a native library.
//!
//! A guest can be slow, endless, hungry, wrong or hostile: a call ends at its deadline, memory and
//! tables at their limits, and what a failure means for a message is its binding's [`Policy`]. Of all
//! that a native library can only be held to the last: it is trusted, measured, and taken out of the
//! way when it fails or is late again and again.
//! Nothing here knows a socket or the store.

pub mod binding;
mod block;
pub mod breaker;
mod edits;
pub mod engine;
pub mod error;
pub mod filter;
pub mod functions;
mod guest;
pub mod hooks;
mod host;
mod imports;
pub mod instance;
mod kv;
mod language;
mod library;
pub mod limits;
pub mod logs;
mod native;
mod row;
pub mod stats;
pub mod strategy;
mod table;
mod trust;
mod wasm;
mod world;

pub use binding::{Binding, Bound, Canary, Policy};
pub use error::{CallError, PluginError};
pub use host::{Bind, Compile, Compiled, Host, Key, Listed, Put, check_name};
pub use library::{Carrier, Version};
pub use limits::{Limits, LimitsChange};
pub use row::{BODY_MAX, Row};
pub use world::World;
