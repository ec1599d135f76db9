//! Native plugins: the C ABI of `sluice_native.h`, and the macro that makes a library of a type.
//!
//! The type is the same as for WASM; it must be [`Send`], because its instances move between the
//! broker's threads. A panic is caught and ends the instance, not the broker; an endless loop or a
//! crash is the broker's.
//!
//! ```
//! use sluice_plugin::{Binding, Column, Filter, Message, Needs, Verdict};
//!
//! struct BigOrders(Column<i64>);
//!
//! impl Filter for BigOrders {
//!     fn configure(_: &Binding, needs: &mut Needs) -> Result<Self, String> {
//!         Ok(BigOrders(needs.property("amount")))
//!     }
//!
//!     fn filter(&mut self, message: &Message<'_>) -> Verdict {
//!         message.get(self.0).is_some_and(|amount| amount > 100).into()
//!     }
//! }
//!
//! sluice_plugin_native::export_native!(filter: BigOrders);
//! ```
//!
//! With `crate-type = ["cdylib"]`, `cargo build --release` makes the library. `panic = "abort"` in its
//! profile would let a panic end the broker.
//!
//! Without the feature `export` there is only [`abi`]: what a broker needs.

pub mod abi;
#[cfg(feature = "export")]
mod broker;
#[cfg(feature = "export")]
pub mod entry;

/// Exports a type as the library's plugin: `filter:`, `language:`, `function:`, `send_hook:` or
/// `consume_hook:`, then the type.
#[cfg(feature = "export")]
#[macro_export]
macro_rules! export_native {
    ($kind:ident: $plugin:ty) => {
        /// The broker asks for the table once.
        // SAFETY: no other symbol of a plugin library has this name.
        #[unsafe(no_mangle)]
        pub extern "C" fn sluice_plugin_v1() -> *const $crate::abi::Plugin {
            static TABLE: $crate::abi::Plugin = $crate::entry::$kind::<$plugin>();
            &TABLE
        }
    };
}
