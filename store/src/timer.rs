//! The files of the timer: which messages are due when.
//!
//! They are Java's of RocketMQ 5.3.3 (`TimerWheel`, `TimerLog`, `TimerCheckpoint`), so that a
//! directory moves both ways. What a message is, and where it goes, the store does not know: an
//! entry names a place in the commit log and a time.

mod checkpoint;
mod log;
mod wheel;

pub use checkpoint::{TimerCheckpoint, TimerMarks};
pub use log::{ENTRY_SIZE, TimerEntry, TimerLog, magic};
pub use wheel::{SLOTS, Slot, Wheel};
