//! The command line.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use sluice_remoting::AddressService;

/// A message broker that unmodified Apache RocketMQ clients use.
///
/// Try it:
///   sluice dev --ephemeral          name server on 127.0.0.1:9876, broker on 127.0.0.1:10911
///
/// Then point any RocketMQ client at 127.0.0.1:9876.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
pub struct Sluice {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Called as RocketMQ's own program: the log goes where its guides look for it.
    #[arg(skip)]
    pub as_rocketmq: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Name server and broker in one process, for development and tests
    Dev(Dev),
    /// A name server, with Java's options and port 9876; its verbs are for those that run
    Namesrv(Namesrv),
    /// A broker, with Java's options and property files; its verbs are for those that run
    Broker(Broker),
    /// Send one message
    Send(Send),
    /// Show the messages of a topic until Ctrl-C
    Recv(Recv),
    /// Show, create, change and delete topics
    Topic(sluice_admin::args::Topic),
    /// Show name servers and brokers
    Cluster(sluice_admin::args::Cluster),
    /// Show producers
    Producer(sluice_admin::args::Producer),
    /// Commands in the spelling of RocketMQ's mqadmin: `sluice admin updateTopic ...`; without one all
    /// are listed
    #[command(disable_help_flag = true)]
    Admin(Admin),
    /// Print what a shell needs to complete commands and options
    Completion(Completion),
    /// Make, test, upload and watch plugins
    Plugin(sluice_admin::args::Plugin),
    /// Show and decide transactions whose producers have not decided
    Tx(sluice_admin::args::Tx),
    /// Show dead letters, send them again, drop them
    Dlq(sluice_admin::args::Dlq),
    /// Find, show, print and send messages
    Message(sluice_admin::args::Message),
    /// Show consumer groups, create, change, move and delete them
    Group(sluice_admin::args::Group),
    /// Show what waits for its delivery time
    Timer(sluice_admin::args::Timer),
    /// Check a file of settings without starting anything
    Config(Config),
    /// Check, dump or repair the store directory of a broker that is not running
    Store(Store),
}

/// Options of `sluice config`.
#[derive(Debug, Args)]
pub struct Config {
    /// What to do with it
    #[command(subcommand)]
    pub task: ConfigTask,
}

/// What to do with a file of settings.
#[derive(Debug, Subcommand)]
pub enum ConfigTask {
    /// Say what a start would say about each line; ends with 1 if it would be refused
    Check {
        /// Property file of a broker, or TOML if its name ends in .toml
        file: PathBuf,
        /// It is a name server's
        #[arg(long)]
        namesrv: bool,
    },
}

/// A command of mqadmin.
#[derive(Debug, Args)]
pub struct Admin {
    /// Its name and options
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<String>,
}

/// Options of `sluice completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// Which
    pub shell: clap_complete::Shell,
}

/// Options of `sluice store`.
#[derive(Debug, Args)]
pub struct Store {
    /// What to do with it
    #[command(subcommand)]
    pub task: StoreTask,
}

/// What to do with a store directory.
#[derive(Debug, Subcommand)]
pub enum StoreTask {
    /// Read the whole CommitLog and compare queues and index with it; ends with 1 if something is
    /// wrong. Nothing is changed
    Check(StoreDirectory),
    /// Print one line per message. Nothing is changed
    Dump {
        /// Which store
        #[command(flatten)]
        directory: StoreDirectory,
        /// Only messages of this topic
        #[arg(short, long)]
        topic: Option<String>,
        /// Messages at most
        #[arg(short = 'n', long, value_name = "COUNT")]
        limit: Option<u64>,
    },
    /// Set damaged parts of the CommitLog aside and build queues and index anew from the rest
    Repair(StoreDirectory),
}

/// Which store.
#[derive(Debug, Args)]
pub struct StoreDirectory {
    /// Store directory (storePathRootDir)
    pub dir: PathBuf,
    /// CommitLog directory, if it is not in the store directory (storePathCommitLog)
    #[arg(long, value_name = "DIR")]
    pub commitlog: Option<PathBuf>,
}

/// Options of `sluice dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Where to keep messages
    #[arg(long, value_name = "DIR", default_value = "sluice-data")]
    pub data: PathBuf,
    /// Keep messages in a temporary directory that goes with the process
    #[arg(long, conflicts_with = "data")]
    pub ephemeral: bool,
    /// Address to listen on: 0.0.0.0 to be reached from other machines and containers; each client
    /// is given the broker at the address by which it came
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Port of the name server; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 9876)]
    pub namesrv_port: u16,
    /// Port on which plugins are administered, on this machine only; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 10915)]
    pub http_port: u16,
    /// Port of the broker; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 10911)]
    pub broker_port: u16,
    /// Send a few messages at the start and show them coming back
    #[arg(long)]
    pub demo: bool,
    /// Sync every message to disk before it is acknowledged (SYNC_FLUSH)
    #[arg(long)]
    pub sync_flush: bool,
}

/// Options of `sluice send`.
#[derive(Debug, Args)]
pub struct Send {
    /// Topic; a new one is created
    pub topic: String,
    /// Body
    pub body: String,
    /// Tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Name servers
    #[arg(
        short = 'n',
        long = "namesrvAddr",
        value_name = "ADDRESSES",
        env = "NAMESRV_ADDR",
        default_value_t = name_servers()
    )]
    pub namesrv_addr: String,
}

/// Name servers where nothing names them.
fn name_servers() -> String {
    AddressService::from_environment().map_or_else(
        || "127.0.0.1:9876".to_owned(),
        |service| service.url().to_owned(),
    )
}

/// Options of `sluice recv`.
#[derive(Debug, Args)]
pub struct Recv {
    /// Topic
    pub topic: String,
    /// Consumer group; it remembers what it has seen
    #[arg(long, default_value = "sluice-recv")]
    pub group: String,
    /// Which messages, in the language of --filter-type: tags, as `A || B`
    #[arg(long, value_name = "EXPRESSION", default_value = "*")]
    pub filter: String,
    /// TAG, SQL92, or the name of a plugin that is a language
    #[arg(long, value_name = "LANGUAGE", default_value = "TAG")]
    pub filter_type: String,
    /// Name servers
    #[arg(
        short = 'n',
        long = "namesrvAddr",
        value_name = "ADDRESSES",
        env = "NAMESRV_ADDR",
        default_value_t = name_servers()
    )]
    pub namesrv_addr: String,
}

/// Options of `sluice namesrv`.
#[derive(Debug, Args)]
pub struct Namesrv {
    /// What to do with those that run
    #[command(subcommand)]
    pub task: Option<sluice_admin::args::NamesrvTask>,
    /// Name server property file
    #[arg(short, long = "configFile", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Print all settings and end
    #[arg(short, long = "printConfigItem")]
    pub print: bool,
    /// Accepted for Java's scripts; a name server has no use for it
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    pub namesrv_addr: Option<String>,
    /// Java leaves further words aside
    #[arg(hide = true)]
    pub ignored: Vec<String>,
}

/// Options of `sluice broker`.
#[derive(Debug, Args)]
pub struct Broker {
    /// What to do with those that run
    #[command(subcommand)]
    pub task: Option<sluice_admin::args::BrokerTask>,
    /// Broker property file, as Java's broker.conf
    #[arg(short, long = "configFile", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Name servers, for example 192.168.0.1:9876;192.168.0.2:9876
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    pub namesrv_addr: Option<String>,
    /// Print all settings and end
    #[arg(short, long = "printConfigItem")]
    pub print: bool,
    /// Print the settings that matter most and end
    #[arg(short = 'm', long = "printImportantConfig")]
    pub print_important: bool,
    /// Accepted for RocketMQ 5's scripts; gRPC clients are not served
    #[arg(long)]
    pub enable_proxy: bool,
    /// Java leaves further words aside, and guides write them: autoCreateTopicEnable=true
    #[arg(hide = true)]
    pub ignored: Vec<String>,
}

/// Java's main classes, by which `bin/` starts the servers: who looks for them in the list of processes
/// finds them.
const NAMESRV_CLASS: &str = "org.apache.rocketmq.namesrv.NamesrvStartup";
const BROKER_CLASS: &str = "org.apache.rocketmq.broker.BrokerStartup";

/// Reads the command line. Called as `mqnamesrv` or `mqbroker`, or with the name of their main class
/// first, the command is implied, and the usage text says so.
pub fn parse() -> Sluice {
    let words: Vec<OsString> = std::env::args_os().collect();
    let text = |at: usize| words.get(at).map(Path::new);
    let program = text(0).and_then(Path::file_name).and_then(OsStr::to_str);
    let class = text(1).and_then(Path::to_str);
    let (program, behind) = match (program, class) {
        (Some("mqnamesrv"), _) => ("mqnamesrv", 1),
        (Some("mqbroker"), _) => ("mqbroker", 1),
        (_, Some(NAMESRV_CLASS)) => ("mqnamesrv", 2),
        (_, Some(BROKER_CLASS)) => ("mqbroker", 2),
        _ => {
            let read = Sluice::try_parse().and_then(without_mistyped_verbs);
            return read.unwrap_or_else(|error| refuse(&error, error.exit_code()));
        }
    };
    let words = &words[behind..];
    let command = match program {
        "mqnamesrv" => Command::Namesrv(read(program, words)),
        _ => Command::Broker(read(program, words)),
    };
    Sluice {
        command,
        as_rocketmq: true,
    }
}

/// Words that Java leaves aside are settings, as guides write them. Any other is a verb that is none: to start
/// a server for it would be a surprise.
fn without_mistyped_verbs(read: Sluice) -> Result<Sluice, clap::Error> {
    let (noun, words) = match &read.command {
        Command::Namesrv(namesrv) => ("namesrv", &namesrv.ignored),
        Command::Broker(broker) => ("broker", &broker.ignored),
        _ => return Ok(read),
    };
    match words.iter().find(|word| !word.contains('=')) {
        None => Ok(read),
        Some(word) => Err(clap::Error::raw(
            ErrorKind::InvalidSubcommand,
            format!("{word:?} is no verb of `sluice {noun}`, see `sluice {noun} --help`\n"),
        )),
    }
}

/// Reads the options of a program that has no subcommands.
fn read<T: Args>(program: &'static str, words: &[OsString]) -> T {
    let words = std::iter::once(OsString::from(program)).chain(words.iter().cloned());
    let matches = T::augment_args(clap::Command::new(program)).try_get_matches_from(words);
    matches
        .and_then(|matches| T::from_arg_matches(&matches))
        // Bad options end with 1, as in Java's programs; help ends with 0.
        .unwrap_or_else(|error| refuse(&error, i32::from(error.use_stderr())))
}

fn refuse(error: &clap::Error, code: i32) -> ! {
    let _ = error.print();
    std::process::exit(code)
}
