//! The options of `sluice timer`.

use clap::{Args, Subcommand};

use super::Asked;

/// Options of `sluice timer`.
#[derive(Debug, Args)]
pub struct Timer {
    /// What to do
    #[command(subcommand)]
    pub task: TimerTask,
}

/// What to do with messages that wait for their delivery time.
#[derive(Debug, Subcommand)]
pub enum TimerTask {
    /// Show how many wait, by topic, and when the next is delivered
    List(Asked<ListTimer>),
}

/// Options of `sluice timer list`.
#[derive(Debug, Args)]
pub struct ListTimer {
    /// Only those for this topic
    #[arg(long)]
    pub topic: Option<String>,
}
