//! `sluice`: name server and broker in one binary, also under the names `mqnamesrv` and `mqbroker`.

mod args;
mod config;
mod demo;
mod logs;
mod operate;
mod plugin;
mod plugin_compile;
mod run;
mod settings;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use sluice_broker::BrokerError;
use sluice_broker::config::ConfigError;
use sluice_store::StoreError;

/// Java's `System.exit(-1)`: a server can't start.
const NOT_STARTED: u8 = 255;
/// Java's `System.exit(-3)`: the addresses of name servers are none, a slave is number 0, or what lies on the
/// disk can't be loaded.
const NOT_LOADED: u8 = 253;
/// Java's `System.exit(-4)`: two ways to replicate at once.
const CONTRADICTION: u8 = 252;

/// Tasks that a worker runs before it looks for what the network has brought. The runtime's own 61 are too many for
/// connections that send without end: each is a task that may take milliseconds.
const TASKS_PER_LOOK: u32 = 5;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(plugin_compile::COMMAND) {
        return compile_plugin();
    }
    let args = args::parse();
    run::raise_open_file_limit();
    log(&args);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(TASKS_PER_LOOK)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sluice: the runtime can't be started: {error}");
            return ExitCode::from(NOT_STARTED);
        }
    };
    match runtime.block_on(run::run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<store::Unsound>() || error.is::<plugin::Wrong>() => {
            ExitCode::FAILURE
        }
        Err(error) if error.is::<sluice_admin::AdminError>() => {
            eprintln!("sluice: {}", sluice_admin::visible(&error.to_string()));
            ExitCode::FAILURE
        }
        Err(error) if error.is::<config::Refused>() => ExitCode::FAILURE,
        Err(error) if error.is::<settings::AddressesIllegal>() => {
            logs::complain(&error.to_string());
            ExitCode::from(NOT_LOADED)
        }
        Err(error) => {
            logs::complain(&format!("sluice: {}", told_once(&error)));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Java's exit codes for a server that can't start.
fn exit_code(error: &anyhow::Error) -> u8 {
    let settings = error.downcast_ref::<ConfigError>();
    let broker = error.downcast_ref::<BrokerError>();
    match (settings, broker) {
        (Some(ConfigError::ControllerAndDledger), _) => CONTRADICTION,
        (Some(ConfigError::SlaveId), _) => NOT_LOADED,
        (
            Some(ConfigError::Value {
                key: "namesrvAddr", ..
            }),
            _,
        ) => NOT_LOADED,
        (_, Some(BrokerError::Store(StoreError::Locked { .. }))) => NOT_STARTED,
        (
            _,
            Some(
                BrokerError::Store(_)
                | BrokerError::ConfigFile { .. }
                | BrokerError::Persist { .. }
                | BrokerError::Plugins(_),
            ),
        ) => NOT_LOADED,
        _ => NOT_STARTED,
    }
}

/// Servers log to files where RocketMQ's do, if they are called by its names or `SLUICE_LOG_DIR` says where.
fn log(args: &args::Sluice) {
    let file = match args.command {
        args::Command::Namesrv(args::Namesrv { task: None, .. }) => "namesrv.log",
        args::Command::Broker(args::Broker { task: None, .. }) => "broker.log",
        // What a plugin does wrong is in the answer.
        args::Command::Plugin(_)
        | args::Command::Tx(_)
        | args::Command::Dlq(_)
        | args::Command::Message(_)
        | args::Command::Group(_)
        | args::Command::Topic(_)
        | args::Command::Cluster(_)
        | args::Command::Producer(_)
        | args::Command::Admin(_)
        | args::Command::Broker(_)
        | args::Command::Namesrv(_) => return logs::to_stderr("off"),
        _ => return logs::to_stderr("info"),
    };
    let chosen = std::env::var_os("SLUICE_LOG_DIR").map(PathBuf::from);
    let home = std::env::var_os("HOME").filter(|_| args.as_rocketmq);
    let usual = home.map(|home| PathBuf::from(home).join("logs/rocketmqlogs"));
    match chosen.or(usual).filter(|path| !path.as_os_str().is_empty()) {
        Some(directory) => logs::to_file(&directory, file),
        None => logs::to_stderr("info"),
    }
}

/// The child that a broker starts for an upload; what is wrong with it goes to the uploader as it is.
fn compile_plugin() -> ExitCode {
    match plugin_compile::compile_standard_input() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, without those that the text before already says.
fn told_once(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}
