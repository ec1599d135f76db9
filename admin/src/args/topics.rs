//! The options of `sluice topic`.

use clap::{Args, Subcommand};

use super::servers::{Change, Look, Scope, Sure};
use super::{perm, setting};

/// Options of `sluice topic`.
#[derive(Debug, Args)]
pub struct Topic {
    /// What to do
    #[command(subcommand)]
    pub task: TopicTask,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicTask {
    /// Show all topics, their queues and permissions
    List(Look<ListTopics>),
    /// Show a topic: settings, queues with their offsets, and who reads it
    Show(Look<OneTopic>),
    /// Show where clients find a topic's queues
    Route(Look<OneTopic>),
    /// Show what goes in and out, and how far groups are behind
    Stats(Look<TopicStats>),
    /// Create a topic; one that exists is left as it is
    Create(Change<SetTopic>),
    /// Change a topic; what is not named stays as it is
    Update(Change<SetTopic>),
    /// Say who may do what: rw, r, w or none
    Perm(Change<TopicPerm>),
    /// Delete a topic with its messages
    Delete(Change<DeleteTopic>),
}

/// Options of `sluice topic list`.
#[derive(Debug, Args)]
pub struct ListTopics {
    /// Only topics whose names contain this
    #[arg(value_name = "PART")]
    pub part: Option<String>,
    /// Also retry topics, dead letters and the system's own
    #[arg(short, long)]
    pub all: bool,
    /// Whose.
    #[command(flatten)]
    pub scope: Scope,
}

/// A topic.
#[derive(Debug, Args)]
pub struct OneTopic {
    /// The topic
    pub topic: String,
}

/// Options of `sluice topic stats`.
#[derive(Debug, Args)]
pub struct TopicStats {
    /// The topic; without, all that have groups or messages
    pub topic: Option<String>,
}

/// Options of `sluice topic create` and `update`.
#[derive(Debug, Args)]
pub struct SetTopic {
    /// The topic
    pub topic: String,
    /// Queues on each broker, to read and to write [a new topic: 8]
    #[arg(short, long, value_name = "COUNT")]
    pub queues: Option<u16>,
    /// Queues on each broker that can be read, if not as many as can be written
    #[arg(long, value_name = "COUNT")]
    pub read_queues: Option<u16>,
    /// Queues on each broker that can be written
    #[arg(long, value_name = "COUNT")]
    pub write_queues: Option<u16>,
    /// rw, r, w or none [a new topic: rw]
    #[arg(short, long, value_name = "PERM", value_parser = perm)]
    pub perm: Option<i32>,
    /// Whether its messages stay in order though brokers come and go
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub order: Option<bool>,
    /// Give it an attribute: message.type=FIFO, cleanup.policy=DELETE, queue.type=SimpleCQ...
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// Take an attribute away
    #[arg(long = "unset", value_name = "NAME")]
    pub unset: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub scope: Scope,
}

/// Options of `sluice topic perm`.
#[derive(Debug, Args)]
pub struct TopicPerm {
    /// The topic
    pub topic: String,
    /// rw, r, w or none; Java's numbers 6, 4, 2 and 0 as well
    #[arg(value_parser = perm)]
    pub perm: i32,
    /// Where.
    #[command(flatten)]
    pub scope: Scope,
}

/// Options of `sluice topic delete`.
#[derive(Debug, Args)]
pub struct DeleteTopic {
    /// The topic
    pub topic: String,
    /// Where.
    #[command(flatten)]
    pub scope: Scope,
    /// Whether to ask.
    #[command(flatten)]
    pub sure: Sure,
}
