//! What authors of Sluice plugins use.
//!
//! A plugin is a type that implements one of six traits, exported with the macro of that kind:
//!
//! | kind | trait | macro |
//! |---|---|---|
//! | filter | [`Filter`] | [`export_filter!`] |
//! | expression language | [`Language`] | [`export_language!`] |
//! | function in SQL92 | [`Function`] | [`export_function!`] |
//! | send hook | [`SendHook`] | [`export_send_hook!`] |
//! | consume hook | [`ConsumeHook`] | [`export_consume_hook!`] |
//! | allocation strategy | [`AllocateStrategy`] | [`export_allocate_strategy!`] |
//!
//! ```
//! use sluice_plugin::{Binding, Column, Filter, Message, Needs, Verdict, export_filter};
//!
//! struct BigOrders {
//!     amount: Column<i64>,
//!     min: i64,
//! }
//!
//! impl Filter for BigOrders {
//!     fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
//!         needs.pure();
//!         let min = binding.parse("min")?.unwrap_or(100);
//!         Ok(BigOrders { amount: needs.property("amount"), min })
//!     }
//!
//!     fn filter(&mut self, message: &Message<'_>) -> Verdict {
//!         message.get(self.amount).is_some_and(|amount| amount > self.min).into()
//!     }
//! }
//!
//! export_filter!(BigOrders);
//!
//! // A unit test runs the plugin with `cargo test`, on blocks packed as the broker packs them.
//! use sluice_plugin::testing::{self, Sample};
//! let mut plugin = testing::filter::<BigOrders>(&[("min", "10")])?;
//! let samples = [Sample::new().property("amount", "11"), Sample::new()];
//! assert_eq!(plugin.filter(&samples), [Verdict::Pass, Verdict::Drop]);
//! # Ok::<(), String>(())
//! ```
//!
//! `crate-type = ["cdylib", "rlib"]`, then `cargo build --release --target wasm32-unknown-unknown`:
//! the broker takes the module as it is.
//!
//! The broker keeps one instance of a plugin for each of its worker threads, and replaces it when
//! it fails: what must be shared or kept belongs into [`kv`], not into fields. A panic ends the
//! instance; the broker then applies the binding's failure policy to the rows at hand.

mod binding;
mod edits;
pub mod host;
pub mod kv;
mod message;
mod needs;
mod plugin;
pub mod run;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasm;

mod export;

pub use binding::Binding;
pub use edits::Edits;
pub use message::{Message, Messages};
pub use needs::{Column, ColumnType, Needs};
pub use plugin::{
    AllocateStrategy, ConsumeHook, Filter, Function, Language, MessageQueue, SendHook,
};
pub use sluice_plugin_block::{Edit, EditsWriter, Field, ROWS_MAX, Value, Verdict};
