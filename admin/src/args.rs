//! The options of all commands of administration, a file for each noun.

mod brokers;
mod groups;
mod messages;
mod offline;
mod operating;
mod servers;
mod timer;
mod topics;
mod transactions;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use sluice_plugins::Policy;

pub use brokers::{
    BrokerConfigTask, BrokerTask, Cluster, ClusterTask, DeleteKv, GetBrokerConfig, GetKv,
    GetNamesrvConfig, KvTask, ListProducers, NamesrvConfigTask, NamesrvTask, Producer,
    ProducerTask, SetBrokerConfig, SetKv, SetNamesrvConfig, ShowBroker, ShowCluster, WritePerm,
    Writes,
};
pub use groups::{
    CloneGroup, DeleteGroup, Group, GroupTask, ListGroups, OneGroup, Progress, ResetGroup,
    SetGroup, Target,
};
pub use messages::{
    By, FindMessages, Message, MessageTask, OneMessage, PrintMessages, SendMessage,
};
pub use offline::{Bench, Build, Local, New, Source, Test};
pub use operating::{Dlq, DlqTask, DropDlq, Letters, ListDlq, Narrow, OneDlq, ResendDlq};
pub use servers::{Both, Change, Joined, Look, Scope, Servers, Sure, Watch};
pub use timer::{ListTimer, Timer, TimerTask};
pub use topics::{
    DeleteTopic, ListTopics, OneTopic, SetTopic, Topic, TopicPerm, TopicStats, TopicTask,
};
pub use transactions::{ListTx, OneTx, Tx, TxTask};

/// Options of `sluice plugin`.
#[derive(Debug, Args)]
pub struct Plugin {
    /// What to do
    #[command(subcommand)]
    pub task: Task,
}

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Begin a plugin from a template
    New(New),
    /// Build a plugin with the command of its plugin.toml
    Build(Build),
    /// Run a plugin on messages, here, in the real host with real limits; ends with 1 if it fails or
    /// a verdict is not what is expected
    Test(Test),
    /// Measure a plugin, here
    Bench(Bench),
    /// Upload a plugin, or its next version
    Put(Asked<Put>),
    /// Show all plugins
    List(Asked<List>),
    /// Show a plugin's versions and where it is bound
    Show(Asked<Show>),
    /// Bind a plugin to a topic and a group
    Bind(Asked<Bind>),
    /// Take a binding out of force
    Unbind(Asked<Unbind>),
    /// Show what is bound and how it does
    Bindings(Asked<Bindings>),
    /// Change what a bound plugin may take
    Limits(Asked<Limits>),
    /// Run a version beside the one that serves, and only compare
    Shadow(Asked<Shadow>),
    /// Let a version serve a part of the messages
    Canary(Asked<Canary>),
    /// Let a version serve all messages: the one given, else the canary, the shadow or the newest
    Promote(Asked<Promote>),
    /// End a canary or shadow; without one, let the version before serve again
    Rollback(Asked<Rollback>),
    /// Show what a bound plugin says
    Logs(Asked<Logs>),
    /// Show the numbers of a bound plugin
    Stats(Asked<Stats>),
    /// Show which plugin passes or drops stored messages, and why
    Explain(Asked<Explain>),
    /// Remove a plugin or one version of it
    Rm(Asked<Rm>),
}

/// Something asked of a broker.
#[derive(Debug, Args)]
pub struct Asked<T: Args> {
    /// What.
    #[command(flatten)]
    pub of: T,
    /// Of which.
    #[command(flatten)]
    pub broker: Broker,
}

/// The broker that is administered.
#[derive(Debug, Args)]
#[command(next_help_heading = "Broker")]
pub struct Broker {
    /// Where it is administered (its httpAddress)
    #[arg(
        long = "broker",
        value_name = "URL",
        env = "SLUICE_BROKER",
        default_value = "http://127.0.0.1:10915"
    )]
    pub address: String,
    /// The broker's token (plugins/token in its store directory), or a file that holds it; needed
    /// from other machines
    #[arg(
        long,
        value_name = "FILE|VALUE",
        env = "SLUICE_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// Print what the broker answers, as it is
    #[arg(long)]
    pub json: bool,
}

/// A plugin, perhaps with a version: `big-orders`, `big-orders@2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<u32>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Named, String> {
        let Some((name, version)) = text.split_once('@') else {
            return Ok(Named {
                name: text.to_owned(),
                version: None,
            });
        };
        let version = version
            .parse()
            .map_err(|_| format!("{version:?} is no version: a number is expected after `@`"))?;
        Ok(Named {
            name: name.to_owned(),
            version: Some(version),
        })
    }
}

/// `name=value`.
fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "name=value is expected".to_owned())
}

/// `name=number`.
fn limit(text: &str) -> Result<(String, u64), String> {
    let (name, value) = setting(text)?;
    let number = value
        .parse()
        .map_err(|_| format!("{value:?} is no whole number"))?;
    Ok((name, number))
}

/// A permission: `rw`, `r`, `w`, `none`, or Java's number.
fn perm(text: &str) -> Result<i32, String> {
    match text.to_lowercase().as_str() {
        "rw" | "6" => Ok(6),
        "r" | "4" => Ok(4),
        "w" | "2" => Ok(2),
        "none" | "0" => Ok(0),
        _ => Err("rw, r, w or none is expected".to_owned()),
    }
}

/// A time as Unix milliseconds.
pub(crate) fn time(text: &str) -> Result<i64, String> {
    let millis = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    if let Ok(unix) = text.parse() {
        return Ok(unix);
    }
    let ago = |ago: Duration| SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH);
    humantime::parse_duration(text)
        .map(ago)
        .or_else(|_| humantime::parse_rfc3339_weak(text))
        .map(millis)
        .map_err(|_| {
            "2026-11-25T10:00:00Z, Unix milliseconds, or so long ago as in 2h is expected"
                .to_owned()
        })
}

/// What a plugin may be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// State that outlives its instances
    Kv,
}

/// Options of `sluice plugin put`.
#[derive(Debug, Args)]
pub struct Put {
    /// A module or component (.wasm, .wat), or a directory with plugin.toml whose plugin is built
    #[arg(value_name = "FILE|DIR")]
    pub path: PathBuf,
    /// Its name, if it is not that of the file
    #[arg(long)]
    pub name: Option<String>,
    /// FILE is the name of a library (.so) that lies in the broker's own folder plugins/native
    #[arg(long, requires = "name")]
    pub native: bool,
}

/// Options of `sluice plugin list`.
#[derive(Debug, Args)]
pub struct List {
    /// Show what is bound instead
    #[arg(long)]
    pub bindings: bool,
}

/// Options of `sluice plugin show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The plugin
    pub name: String,
}

/// Options of `sluice plugin rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// The plugin, or one version of it
    #[arg(value_name = "NAME[@VERSION]")]
    pub plugin: Named,
}

/// Options of `sluice plugin bindings`.
#[derive(Debug, Args)]
pub struct Bindings {
    /// Only this plugin's
    pub name: Option<String>,
}

/// Options of `sluice plugin bind`.
#[derive(Debug, Args)]
pub struct Bind {
    /// The plugin; its newest version if none is given
    #[arg(value_name = "NAME[@VERSION]")]
    pub plugin: Named,
    /// Topic
    #[arg(long)]
    pub topic: String,
    /// Group; all when left out
    #[arg(long, default_value = "", hide_default_value = true)]
    pub group: String,
    /// Settings for the plugin
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub params: Vec<(String, String)>,
    /// What becomes of messages on which it fails: accept, reject, suspend or dead-letter
    #[arg(long, default_value = "accept")]
    pub policy: Policy,
    /// Place in the chain, lower first
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub order: i32,
    /// What it may do
    #[arg(long = "grant", value_name = "GRANT")]
    pub grants: Vec<Grant>,
    /// Limits, as deadlineMs=20
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = limit)]
    pub limits: Vec<(String, u64)>,
}

/// Options of `sluice plugin unbind`.
#[derive(Debug, Args)]
pub struct Unbind {
    /// The plugin
    pub name: String,
    /// Topic
    #[arg(long)]
    pub topic: String,
    /// Group; the binding for all groups when left out
    #[arg(long, default_value = "", hide_default_value = true)]
    pub group: String,
}

/// Which of a plugin's bindings; its only one when nothing is said.
#[derive(Debug, Args)]
pub struct Where {
    /// Topic of the binding, if there are several
    #[arg(long)]
    pub topic: Option<String>,
    /// Group of the binding, if there are several
    #[arg(long)]
    pub group: Option<String>,
}

/// Options of `sluice plugin limits`.
#[derive(Debug, Args)]
pub struct Limits {
    /// The plugin
    pub name: String,
    /// Which binding.
    #[command(flatten)]
    pub place: Where,
    /// deadlineMs, memoryBytes, tableElements, logLines or answerBytes; without any, they are shown
    #[arg(long = "set", value_name = "NAME=NUMBER", value_parser = limit)]
    pub limits: Vec<(String, u64)>,
}

/// Options of `sluice plugin shadow`.
#[derive(Debug, Args)]
pub struct Shadow {
    /// The plugin and the version to compare with
    #[arg(value_name = "NAME[@VERSION]")]
    pub plugin: Named,
    /// Which binding.
    #[command(flatten)]
    pub place: Where,
    /// End it
    #[arg(long)]
    pub off: bool,
}

/// Options of `sluice plugin canary`.
#[derive(Debug, Args)]
pub struct Canary {
    /// The plugin and the version that serves a part
    #[arg(value_name = "NAME[@VERSION]")]
    pub plugin: Named,
    /// Which binding.
    #[command(flatten)]
    pub place: Where,
    /// Of a hundred messages, 1 to 100
    #[arg(long, value_name = "PERCENT", required_unless_present = "off")]
    pub percent: Option<u8>,
    /// End it
    #[arg(long, conflicts_with = "percent")]
    pub off: bool,
}

/// Options of `sluice plugin promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The plugin and the version that is to serve
    #[arg(value_name = "NAME[@VERSION]")]
    pub plugin: Named,
    /// Which binding.
    #[command(flatten)]
    pub place: Where,
}

/// Options of `sluice plugin rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The plugin
    pub name: String,
    /// Which binding.
    #[command(flatten)]
    pub place: Where,
}

/// Options of `sluice plugin logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The plugin
    pub name: String,
    /// Which binding.
    #[command(flatten)]
    pub place: Where,
    /// Go on until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
}

/// Options of `sluice plugin stats`.
#[derive(Debug, Args)]
pub struct Stats {
    /// The plugin
    pub name: String,
}

/// Options of `sluice plugin explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Topic
    #[arg(long)]
    pub topic: String,
    /// Group
    #[arg(long, default_value = "", hide_default_value = true)]
    pub group: String,
    /// Queue id
    #[arg(long, default_value_t = 0)]
    pub queue: i32,
    /// Offset of the first message
    #[arg(long, default_value_t = 0)]
    pub offset: i64,
    /// Messages
    #[arg(short = 'n', long, default_value_t = 10)]
    pub count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_numbers_or_so_long_ago() {
        assert_eq!(time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1000));
        assert_eq!(time("1970-01-01 00:00:02"), Ok(2000));
        let (now, before) = (time("0s"), time("2h"));
        assert!(now.unwrap() - before.unwrap() >= 7_199_000);
        assert!(time("yesterday").is_err());
    }

    #[test]
    fn permissions_have_words_and_numbers() {
        assert_eq!(perm("RW"), Ok(6));
        assert_eq!((perm("r"), perm("2"), perm("none")), (Ok(4), Ok(2), Ok(0)));
        assert!(perm("x").is_err());
    }
}
