//! `sluice`: name server and broker in one binary, also under the names `mqnamesrv` and `mqbroker`.

mod args;
mod demo;
mod operate;
mod plugin;
mod plugin_compile;
mod run;
mod store;

use std::process::ExitCode;

/// Java's `System.exit(-1)`: a server can't start.
const NOT_STARTED: u8 = 255;
/// Java's `System.exit(-3)`: the addresses of name servers are none.
const ADDRESSES_ILLEGAL: u8 = 253;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(plugin_compile::COMMAND) {
        return compile_plugin();
    }
    let args = args::parse();
    run::raise_open_file_limit();
    run::log_to_stderr(match args.command {
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
        | args::Command::Broker(args::Broker { task: Some(_), .. })
        | args::Command::Namesrv(args::Namesrv { task: Some(_), .. }) => "off",
        _ => "info",
    });
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
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
            eprintln!("sluice: {error}");
            ExitCode::FAILURE
        }
        Err(error) if error.is::<run::AddressesIllegal>() => {
            eprintln!("{error}");
            ExitCode::from(ADDRESSES_ILLEGAL)
        }
        Err(error) => {
            eprintln!("sluice: {}", told_once(&error));
            ExitCode::from(NOT_STARTED)
        }
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
