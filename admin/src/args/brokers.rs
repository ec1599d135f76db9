//! The options of `sluice cluster`, `sluice broker VERB`, `sluice namesrv VERB` and `sluice producer`.

use clap::{Args, Subcommand};

use super::servers::{Change, Look, Scope, Sure};
use super::setting;

/// Options of `sluice cluster`.
#[derive(Debug, Args)]
pub struct Cluster {
    /// What to do
    #[command(subcommand)]
    pub task: ClusterTask,
}

/// What to do with clusters.
#[derive(Debug, Subcommand)]
pub enum ClusterTask {
    /// Show name servers and brokers, what goes in and out, and how full they are
    Show(Look<ShowCluster>),
}

/// Options of `sluice cluster show`.
#[derive(Debug, Args)]
pub struct ShowCluster {
    /// Whose.
    #[command(flatten)]
    pub scope: Scope,
}

/// What to do with brokers that run.
#[derive(Debug, Subcommand)]
pub enum BrokerTask {
    /// Show all that brokers say of their state
    Show(Look<ShowBroker>),
    /// Show what brokers count: messages in and out, now, today and yesterday
    Stats(Look<ShowCluster>),
    /// Show or change settings
    #[command(subcommand)]
    Config(BrokerConfigTask),
    /// Let brokers take no new messages, or take them again, in the routes of all topics
    WritePerm(Change<WritePerm>),
}

/// Options of `sluice broker show`.
#[derive(Debug, Args)]
pub struct ShowBroker {
    /// Only what has this in its name
    #[arg(value_name = "PART")]
    pub part: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub scope: Scope,
}

/// What to do with settings of brokers.
#[derive(Debug, Subcommand)]
pub enum BrokerConfigTask {
    /// Show settings, and which brokers differ
    Get(Look<GetBrokerConfig>),
    /// Change settings while brokers run
    Set(Change<SetBrokerConfig>),
}

/// Options of `sluice broker config get`.
#[derive(Debug, Args)]
pub struct GetBrokerConfig {
    /// Only these; a part of a name is enough
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// Whose.
    #[command(flatten)]
    pub scope: Scope,
}

/// Options of `sluice broker config set`.
#[derive(Debug, Args)]
pub struct SetBrokerConfig {
    /// Settings
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Whose.
    #[command(flatten)]
    pub scope: Scope,
}

/// Whether a broker is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Writes {
    /// Producers send elsewhere; consumers go on reading
    Wipe,
    /// Producers send here again
    Add,
}

/// Options of `sluice broker write-perm`.
#[derive(Debug, Args)]
pub struct WritePerm {
    /// What to do; it lasts until the broker registers a change
    pub what: Writes,
    /// The broker's name
    pub broker: String,
}

/// What to do with name servers that run.
#[derive(Debug, Subcommand)]
pub enum NamesrvTask {
    /// Show or change settings
    #[command(subcommand)]
    Config(NamesrvConfigTask),
    /// Show or change the key-value table
    #[command(subcommand)]
    Kv(KvTask),
}

/// What to do with settings of name servers.
#[derive(Debug, Subcommand)]
pub enum NamesrvConfigTask {
    /// Show settings, and which name servers differ
    Get(Look<GetNamesrvConfig>),
    /// Change settings of all name servers while they run
    Set(Change<SetNamesrvConfig>),
}

/// Options of `sluice namesrv config get`.
#[derive(Debug, Args)]
pub struct GetNamesrvConfig {
    /// Only these; a part of a name is enough
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
}

/// Options of `sluice namesrv config set`.
#[derive(Debug, Args)]
pub struct SetNamesrvConfig {
    /// Settings
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = setting)]
    pub settings: Vec<(String, String)>,
}

/// What to do with the key-value table.
#[derive(Debug, Subcommand)]
pub enum KvTask {
    /// Show a value, or without a key all of a namespace
    Get(Look<GetKv>),
    /// Set a value on all name servers
    Set(Change<SetKv>),
    /// Take a value away from all name servers
    Delete(Change<DeleteKv>),
}

/// Options of `sluice namesrv kv get`.
#[derive(Debug, Args)]
pub struct GetKv {
    /// Namespace, for example ORDER_TOPIC_CONFIG
    pub namespace: String,
    /// Key
    pub key: Option<String>,
}

/// Options of `sluice namesrv kv set`.
#[derive(Debug, Args)]
pub struct SetKv {
    /// Namespace
    pub namespace: String,
    /// Key
    pub key: String,
    /// Value
    pub value: String,
}

/// Options of `sluice namesrv kv delete`.
#[derive(Debug, Args)]
pub struct DeleteKv {
    /// Namespace
    pub namespace: String,
    /// Key
    pub key: String,
    /// Whether to ask.
    #[command(flatten)]
    pub sure: Sure,
}

/// Options of `sluice producer`.
#[derive(Debug, Args)]
pub struct Producer {
    /// What to do
    #[command(subcommand)]
    pub task: ProducerTask,
}

/// What to do with producers.
#[derive(Debug, Subcommand)]
pub enum ProducerTask {
    /// Show the producers that are connected
    List(Look<ListProducers>),
}

/// Options of `sluice producer list`.
#[derive(Debug, Args)]
pub struct ListProducers {
    /// Only those of this group
    #[arg(short, long)]
    pub group: Option<String>,
    /// Of --group: ask only the brokers of this topic
    #[arg(short, long, requires = "group")]
    pub topic: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub scope: Scope,
}
