//! Turns bytes into RocketMQ commands, headers, bodies and stored messages, and back.
//!
//! Pure: no I/O, no clock, no async. Every length a peer names is compared with what is really
//! there before anything is reserved, and every decode ends in a value or a typed error.

pub mod body;
pub mod code;
pub mod command;
pub mod ext;
pub mod fastjson;
pub mod frame;
pub mod header;
pub mod java_properties;
pub mod language;
pub mod message;
pub mod topic;
pub mod version;

pub use command::{RemotingCommand, Serialization};
pub use ext::ExtFields;
