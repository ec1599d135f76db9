//! A seeded fuzzer that knows the protocol: frames that decode and ask for nonsense, sent to a
//! broker or name server, which must answer each once and go on serving.

mod frames;
mod probe;

pub use frames::{Due, Frames, HostileFrame};
pub use probe::{Failure, Probe, Report};
