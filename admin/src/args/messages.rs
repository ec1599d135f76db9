//! The options of `sluice message`.

use clap::{Args, Subcommand};

use super::servers::{Both, Change, Look};
use super::{setting, time};

/// Options of `sluice message`.
#[derive(Debug, Args)]
pub struct Message {
    /// What to do
    #[command(subcommand)]
    pub task: MessageTask,
}

/// What to do with messages.
#[derive(Debug, Subcommand)]
pub enum MessageTask {
    /// Show a message, where it is, and what each group made of it
    Show(Both<OneMessage>),
    /// Find messages by id, key, offset or time
    Find(Look<FindMessages>),
    /// Print the messages of a topic, the oldest first
    Print(Look<PrintMessages>),
    /// Send one
    Send(Change<SendMessage>),
}

/// Options of `sluice message show`.
#[derive(Debug, Args)]
pub struct OneMessage {
    /// Its id (either of the two that clients print), or a key
    #[arg(value_name = "ID|KEY")]
    pub id: String,
    /// The topic that it was sent to; without, all are searched
    #[arg(long)]
    pub topic: Option<String>,
}

/// By what a message is found.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct By {
    /// Either of the two ids that clients print; the producer's needs --topic
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// A key of it; needs --topic
    #[arg(short, long)]
    pub key: Option<String>,
    /// Its place in a queue, as broker-a:0:17; needs --topic
    #[arg(long, value_name = "BROKER:QUEUE:OFFSET")]
    pub at: Option<String>,
    /// The first of each queue stored at this time or later; needs --topic
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub stored: Option<i64>,
}

/// Options of `sluice message find`.
#[derive(Debug, Args)]
pub struct FindMessages {
    /// By what.
    #[command(flatten)]
    pub by: By,
    /// Topic
    #[arg(short, long)]
    pub topic: Option<String>,
    /// Of --key: stored at this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// Of --key: stored at this time or before
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// How many of each broker at most
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub count: u16,
}

/// Options of `sluice message print`.
#[derive(Debug, Args)]
pub struct PrintMessages {
    /// Topic
    pub topic: String,
    /// Which, in tags: `A || B`
    #[arg(long, value_name = "EXPRESSION", default_value = "*")]
    pub filter: String,
    /// TAG or SQL92
    #[arg(long, value_name = "LANGUAGE", default_value = "TAG")]
    pub filter_type: String,
    /// Stored at this time or later: 2026-11-25T10:00:00Z, Unix milliseconds, or so long ago as in 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// Stored at this time or before
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// Only of these queues, as broker-a:0
    #[arg(short, long = "queue", value_name = "BROKER:QUEUE")]
    pub queues: Vec<String>,
    /// How many of each queue at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
}

/// Options of `sluice message send`.
#[derive(Debug, Args)]
pub struct SendMessage {
    /// Topic; a new one is created where brokers do that
    pub topic: String,
    /// Body
    pub body: String,
    /// Tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Keys
    #[arg(short, long = "key", value_name = "KEY")]
    pub keys: Vec<String>,
    /// Properties
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// To this queue, as broker-a:0
    #[arg(short, long, value_name = "BROKER:QUEUE")]
    pub queue: Option<String>,
}
