//! The filter of the benchmark as a native library.

sluice_plugin_native::export_native!(filter: plugin_big_orders::Orders);
