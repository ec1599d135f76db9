//! The options of `sluice dlq`.

use clap::{Args, Subcommand};

use super::{Asked, setting, time};

/// Options of `sluice dlq`.
#[derive(Debug, Args)]
pub struct Dlq {
    /// What to do
    #[command(subcommand)]
    pub task: DlqTask,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqTask {
    /// Show a group's dead letters, the oldest first; without a group, who has some
    List(Asked<ListDlq>),
    /// Show one of them: why it died, and its message
    Show(Asked<OneDlq>),
    /// Send some again, to their group alone; ends with 1 if one was not sent
    Resend(Asked<ResendDlq>),
    /// Mark some as done with: they stay in the log until it expires, and are no longer shown
    Drop(Asked<DropDlq>),
}

/// A span of time, and a key.
#[derive(Debug, Default, Args)]
pub struct Narrow {
    /// Only those that died at this time or later: 2026-11-25T10:00:00Z, Unix milliseconds, or so long
    /// ago as in 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// Only those that died at this time or before
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// Only those with this key or unique key
    #[arg(long)]
    pub key: Option<String>,
}

/// Options of `sluice dlq list`.
#[derive(Debug, Args)]
pub struct ListDlq {
    /// Whose
    #[arg(long)]
    pub group: Option<String>,
    /// Which of them.
    #[command(flatten)]
    pub narrow: Narrow,
    /// Dropped ones, too
    #[arg(long)]
    pub all: bool,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    pub count: usize,
    /// Go on where the list before ended
    #[arg(
        long,
        value_name = "OFFSET",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub start: i64,
}

/// Options of `sluice dlq show`.
#[derive(Debug, Args)]
pub struct OneDlq {
    /// Its id, as `sluice dlq list` shows it
    pub id: String,
}

/// Letters by id, or those of a group.
#[derive(Debug, Args)]
pub struct Letters {
    /// Their ids, as `sluice dlq list` shows them
    #[arg(required_unless_present = "group")]
    pub ids: Vec<String>,
    /// All of this group
    #[arg(long, conflicts_with = "ids")]
    pub group: Option<String>,
    /// Which of them.
    #[command(flatten)]
    pub narrow: Narrow,
}

/// Options of `sluice dlq resend`.
#[derive(Debug, Args)]
pub struct ResendDlq {
    /// Which.
    #[command(flatten)]
    pub letters: Letters,
    /// To the topic that they were in at first, so that every group gets them again
    #[arg(long)]
    pub topic: bool,
    /// Give them a property
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// Take a property away
    #[arg(long = "unset", value_name = "NAME")]
    pub unset: Vec<String>,
    /// Those as well that were sent again before
    #[arg(long)]
    pub again: bool,
    /// Dropped ones, too
    #[arg(long)]
    pub all: bool,
}

/// Options of `sluice dlq drop`.
#[derive(Debug, Args)]
pub struct DropDlq {
    /// Which.
    #[command(flatten)]
    pub letters: Letters,
    /// Take it back
    #[arg(long)]
    pub undo: bool,
}
