//! JSON in the dialect of fastjson, which RocketMQ's Java side writes and reads.
//!
//! Written: compact or indented by tabs, integer map keys bare (`{0:"a"}`), queue map keys as bare
//! objects (`{{"brokerName":..}:5}`). Read: all that, standard JSON, and simple `$ref`s.

mod reader;
mod writer;

pub use reader::{JsonError, from_slice, to_standard};
pub use writer::{raw_key, to_vec, to_vec_pretty, to_vec_quoted};
