//! The workloads: each is one command, and runs on the Java broker, on Sluice and, where it says something, on the
//! floor.

pub mod backlog;
pub mod consume;
pub mod filters;
pub mod matrix;
pub mod open_loop;
pub mod parked;
mod pulling;
pub mod wake;
