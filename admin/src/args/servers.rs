//! The options that every command on a cluster has: whom it asks, and how it shows what they say.

use clap::Args;

/// Where a cluster is asked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Servers {
    /// Name servers, several separated by `;` [default: 127.0.0.1:9876]
    #[arg(
        short = 'n',
        long = "namesrvAddr",
        value_name = "ADDRESSES",
        env = "NAMESRV_ADDR"
    )]
    pub namesrv_addr: Option<String>,
    /// Who has not answered within so many seconds is named and left out
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,
    /// Print JSON; docs/cli.md names its fields
    #[arg(long)]
    pub json: bool,
}

impl Servers {
    /// Where a name server is when nothing else is said.
    pub const DEFAULT: &'static str = "127.0.0.1:9876";
}

/// Looks again and again.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Watch {
    /// Show it again every so many seconds, until Ctrl-C
    #[arg(long = "watch", value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub every: Option<u64>,
    /// Of --watch: end after so many times
    #[arg(long, value_name = "N", requires = "every", value_parser = clap::value_parser!(u64).range(1..))]
    pub times: Option<u64>,
}

/// Something that is looked at in a cluster.
#[derive(Debug, Args)]
pub struct Look<T: Args> {
    /// What.
    #[command(flatten)]
    pub of: T,
    /// Where.
    #[command(flatten)]
    pub servers: Servers,
    /// How often.
    #[command(flatten)]
    pub watch: Watch,
}

/// Something that is done to a cluster.
#[derive(Debug, Args)]
pub struct Change<T: Args> {
    /// What.
    #[command(flatten)]
    pub of: T,
    /// Where.
    #[command(flatten)]
    pub servers: Servers,
}

/// Which brokers; all when nothing is said.
#[derive(Debug, Clone, Default, Args)]
pub struct Scope {
    /// Only brokers of this cluster
    #[arg(short = 'c', long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// Only this broker, by name or address; may be repeated
    #[arg(short = 'b', long = "on", value_name = "BROKER")]
    pub on: Vec<String>,
}

/// Nobody asks before it is done.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Sure {
    /// Do it without asking; needed where nobody can be asked
    #[arg(short = 'y', long)]
    pub yes: bool,
}

/// A group's or message's view, of the cluster (remoting), of one broker (HTTP), or both joined.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Whom to ask")]
pub struct Joined {
    /// Name servers: the view of the whole cluster. With neither this nor --broker both of this
    /// machine are asked, 127.0.0.1:9876 and http://127.0.0.1:10915
    #[arg(
        short = 'n',
        long = "namesrvAddr",
        value_name = "ADDRESSES",
        env = "NAMESRV_ADDR"
    )]
    pub namesrv_addr: Option<String>,
    /// A broker's HTTP side (its httpAddress): the view of that broker, which knows more
    #[arg(long = "broker", value_name = "URL", env = "SLUICE_BROKER")]
    pub broker: Option<String>,
    /// The broker's token (plugins/token in its store directory), or a file that holds it; needed
    /// from other machines
    #[arg(
        long,
        value_name = "FILE|VALUE",
        env = "SLUICE_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// Who has not answered within so many seconds is named and left out
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,
    /// Print JSON; docs/cli.md names its fields
    #[arg(long)]
    pub json: bool,
}

/// A view of both sides.
#[derive(Debug, Args)]
pub struct Both<T: Args> {
    /// What.
    #[command(flatten)]
    pub of: T,
    /// Of whom.
    #[command(flatten)]
    pub sides: Joined,
    /// How often.
    #[command(flatten)]
    pub watch: Watch,
}
