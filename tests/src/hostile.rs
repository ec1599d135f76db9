//! A seeded fuzzer that knows the protocol: frames that decode and ask for what nearly makes sense,
//! or none at all, sent to a broker or name server, which must answer each once and go on serving.

mod frames;
mod probe;
mod templates;

pub use frames::{Due, Frames, HostileFrame};
pub use probe::{Failure, Probe, Report};
pub use templates::Target;
