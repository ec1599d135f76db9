//! Options of the commands that need no broker.

use std::path::PathBuf;

use clap::Args;
use sluice_plugins::World;

use super::{Grant, limit, setting};

/// Options of `sluice plugin new`.
#[derive(Debug, Args)]
pub struct New {
    /// filter, language, function, send-hook, consume-hook or allocate-strategy
    pub kind: World,
    /// Its name
    pub name: String,
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    pub lang: String,
    /// Where; a new directory named as the plugin when left out
    pub dir: Option<PathBuf>,
    /// A checkout's folder `sdk` to build with, instead of a copy in the new directory
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

/// Options of `sluice plugin build`.
#[derive(Debug, Args)]
pub struct Build {
    /// Directory with plugin.toml
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

/// What is run offline, and how it is bound there.
#[derive(Debug, Args)]
pub struct Local {
    /// A module (.wasm, .wat), or a directory with plugin.toml whose plugin is built
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub path: PathBuf,
    /// Settings, over those of plugin.toml; of a language: expression=…
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub params: Vec<(String, String)>,
    /// Limits, as deadlineMs=20
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = limit)]
    pub limits: Vec<(String, u64)>,
    /// What it may do
    #[arg(long = "grant", value_name = "GRANT")]
    pub grants: Vec<Grant>,
    /// Of a function: the properties that stand in for its arguments, in order
    #[arg(long, value_name = "PROPERTY,...", value_delimiter = ',')]
    pub arguments: Vec<String>,
    /// Of an allocation strategy: the clients of the group
    #[arg(
        long,
        value_name = "CLIENT,...",
        value_delimiter = ',',
        default_value = "client-1,client-2,client-3"
    )]
    pub clients: Vec<String>,
    /// Of an allocation strategy: queues of the topic
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub queues: u32,
    /// The group it is bound for
    #[arg(long, value_name = "GROUP", default_value = "test")]
    pub group: String,
    /// Where its messages come from.
    #[command(flatten)]
    pub source: Source,
}

/// Where messages come from; a directory's messages.jsonl when nothing is said, else ten are made up.
#[derive(Debug, Default, Args)]
pub struct Source {
    /// A file with a message on each line, in JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["store", "generate"])]
    pub messages: Option<PathBuf>,
    /// The store directory of a broker that is not running
    #[arg(
        long,
        value_name = "DIR",
        requires = "topic",
        conflicts_with = "generate"
    )]
    pub store: Option<PathBuf>,
    /// Topic of the messages in the store
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Messages taken from the store at most
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    pub count: usize,
    /// Make up so many orders
    #[arg(long, value_name = "COUNT")]
    pub generate: Option<usize>,
}

/// Options of `sluice plugin test`.
#[derive(Debug, Args)]
pub struct Test {
    /// What is tested.
    #[command(flatten)]
    pub local: Local,
}

/// Options of `sluice plugin bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What is measured.
    #[command(flatten)]
    pub local: Local,
    /// Messages judged for each number
    #[arg(long, value_name = "COUNT", default_value_t = 200_000)]
    pub rounds: usize,
}
