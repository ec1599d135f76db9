//! What spans crates: real peers, and the processes under test.
//!
//! Every peer is a child process on 127.0.0.1 with free ports and a temporary directory; both are
//! gone when the value that stands for it is dropped.

pub mod audit;
pub mod cluster;
pub mod compatibility;
pub mod hostile;
pub mod java;
pub mod mqadmin;
pub mod plugins;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod scenarios;
pub mod wire;
