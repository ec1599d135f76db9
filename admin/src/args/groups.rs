//! The options of `sluice group`.

use clap::{Args, Subcommand};

use super::servers::{Both, Change, Look, Scope, Sure};
use super::time;

/// Options of `sluice group`.
#[derive(Debug, Args)]
pub struct Group {
    /// What to do
    #[command(subcommand)]
    pub task: GroupTask,
}

/// What to do with consumer groups.
#[derive(Debug, Subcommand)]
pub enum GroupTask {
    /// Show all groups, their members and lag
    List(Both<ListGroups>),
    /// Show a group: members, subscriptions and who disagrees, queues and their owners
    Show(Both<OneGroup>),
    /// Show how far a group is on each queue
    Progress(Look<Progress>),
    /// Create a group; one that exists is left as it is
    Create(Change<SetGroup>),
    /// Change a group; what is not named stays as it is
    Update(Change<SetGroup>),
    /// Delete a group with its offsets, retries and dead letters
    Delete(Change<DeleteGroup>),
    /// Move a group on a topic: to a time, the earliest or latest message, or an offset
    Reset(Change<ResetGroup>),
    /// Let a group go on where another one is on a topic
    Clone(Change<CloneGroup>),
}

/// Options of `sluice group list`.
#[derive(Debug, Args)]
pub struct ListGroups {
    /// Also the system's own; of a cluster only
    #[arg(short, long)]
    pub all: bool,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    pub count: usize,
    /// Go on behind this group
    #[arg(
        long,
        value_name = "GROUP",
        default_value = "",
        hide_default_value = true
    )]
    pub after: String,
}

/// Options of `sluice group show`.
#[derive(Debug, Args)]
pub struct OneGroup {
    /// The group
    pub group: String,
}

/// Options of `sluice group progress`.
#[derive(Debug, Args)]
pub struct Progress {
    /// The group
    pub group: String,
    /// Only on this topic
    #[arg(short, long)]
    pub topic: Option<String>,
}

/// Options of `sluice group create` and `update`.
#[derive(Debug, Args)]
pub struct SetGroup {
    /// The group
    pub group: String,
    /// Whether it may consume
    #[arg(long, value_name = "true|false")]
    pub consume: Option<bool>,
    /// Whether it may broadcast
    #[arg(long, value_name = "true|false")]
    pub broadcast: Option<bool>,
    /// Whether it may begin at the first message
    #[arg(long, value_name = "true|false")]
    pub from_min: Option<bool>,
    /// Whether it consumes in order (POP)
    #[arg(long, value_name = "true|false")]
    pub orderly: Option<bool>,
    /// Retry queues on each broker
    #[arg(long, value_name = "COUNT")]
    pub retry_queues: Option<u16>,
    /// Retries before a message is a dead letter
    #[arg(long, value_name = "COUNT")]
    pub retries: Option<u16>,
    /// Whether members are told at once who comes and goes
    #[arg(long, value_name = "true|false")]
    pub notify: Option<bool>,
    /// Where.
    #[command(flatten)]
    pub scope: Scope,
}

/// Options of `sluice group delete`.
#[derive(Debug, Args)]
pub struct DeleteGroup {
    /// The group
    pub group: String,
    /// Keep its offsets: a group that is created by this name goes on there
    #[arg(long)]
    pub keep_offsets: bool,
    /// Although members are online
    #[arg(long)]
    pub force: bool,
    /// Where.
    #[command(flatten)]
    pub scope: Scope,
    /// Whether to ask.
    #[command(flatten)]
    pub sure: Sure,
}

/// Where a group is moved to.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// The first message stored at this time or later: 2026-11-25T10:00:00Z, Unix milliseconds, or so
    /// long ago as in 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to_time: Option<i64>,
    /// The oldest message there is
    #[arg(long)]
    pub to_earliest: bool,
    /// Behind the newest message
    #[arg(long)]
    pub to_latest: bool,
    /// This offset
    #[arg(long, value_name = "OFFSET")]
    pub to_offset: Option<i64>,
}

/// Options of `sluice group reset`.
#[derive(Debug, Args)]
pub struct ResetGroup {
    /// The group
    pub group: String,
    /// The topic
    pub topic: String,
    /// Where to.
    #[command(flatten)]
    pub target: Target,
    /// Only these queues, as broker-a:0
    #[arg(short, long = "queue", value_name = "BROKER:QUEUE")]
    pub queues: Vec<String>,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Where.
    #[command(flatten)]
    pub scope: Scope,
    /// Whether to ask.
    #[command(flatten)]
    pub sure: Sure,
}

/// Options of `sluice group clone`.
#[derive(Debug, Args)]
pub struct CloneGroup {
    /// The group whose offsets are taken
    pub from: String,
    /// The group that gets them; nobody of it may be online
    pub to: String,
    /// The topic
    pub topic: String,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Where.
    #[command(flatten)]
    pub scope: Scope,
    /// Whether to ask.
    #[command(flatten)]
    pub sure: Sure,
}
