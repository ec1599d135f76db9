//! Settings of a server from all places that have them, strongest first: the command line, the file, system
//! properties in `JAVA_OPT_EXT` and `JAVA_OPT`, the environment. And what is to be said about a file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use sluice_broker::BrokerConfig;
use sluice_broker::config::{ConfigError, are_addresses, read_lines};
use sluice_namesrv::NamesrvConfig;
use sluice_namesrv::config::Line;

use crate::args::{Broker, Namesrv};

/// A list of name servers that is none; Java's words and its exit code.
#[derive(Debug, thiserror::Error)]
#[error(
    "The Name Server Address[{0}] illegal, please set it as follows, \"127.0.0.1:9876;192.168.0.1:9876\""
)]
pub struct AddressesIllegal(String);

/// What is said about a file of settings, each with file and line.
#[derive(Debug, Default)]
pub struct Findings {
    /// For these it is refused.
    pub wrong: Vec<anyhow::Error>,
    /// Mistyped keys, values that were adjusted.
    pub warnings: Vec<String>,
    /// Keys of RocketMQ's that mean nothing here.
    pub notes: Vec<String>,
}

impl Findings {
    /// Logs them; the first thing wrong ends the start.
    fn settle(self) -> Result<()> {
        for note in self.notes {
            tracing::info!("{note}");
        }
        for warning in self.warnings {
            tracing::warn!("{warning}");
        }
        self.wrong.into_iter().next().map_or(Ok(()), Err)
    }
}

/// `-Dname=value` words for a JVM: the environment of containers and scripts has settings there. What comes
/// later counts.
fn system_properties() -> Vec<(String, String)> {
    let variables =
        ["JAVA_OPT", "JAVA_OPT_EXT"].map(|name| std::env::var(name).unwrap_or_default());
    let words = variables.iter().flat_map(|words| words.split_whitespace());
    words
        .filter_map(|word| word.trim_matches(['"', '\'']).strip_prefix("-D"))
        .filter_map(|property| property.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Settings of a broker.
///
/// # Errors
/// A value can't be what its key says; file and line are named.
pub fn broker(args: &Broker) -> Result<BrokerConfig> {
    let mut base = BrokerConfig {
        namesrv_addr: std::env::var("NAMESRV_ADDR").ok(),
        ..BrokerConfig::default()
    };
    base.set_properties(&system_properties())?;
    let otherwise = base.namesrv_addr.clone();
    let (mut config, findings) = match &args.config_file {
        Some(path) => examine_broker(base, path)?,
        None => (base, Findings::default()),
    };
    findings.settle()?;
    config.namesrv_addr = [args.namesrv_addr.clone(), config.namesrv_addr, otherwise]
        .into_iter()
        .flatten()
        .find(|addresses| !addresses.trim().is_empty());
    match &config.namesrv_addr {
        Some(addresses) if !are_addresses(addresses) => {
            Err(AddressesIllegal(addresses.clone()).into())
        }
        _ => Ok(config),
    }
}

/// A broker's file over some settings, and what is to be said about it.
///
/// # Errors
/// It can't be read at all.
pub fn examine_broker(base: BrokerConfig, path: &Path) -> Result<(BrokerConfig, Findings)> {
    let (config, notes, wrong) = base.examine(path)?;
    let findings = Findings {
        wrong: wrong.into_iter().map(anyhow::Error::from).collect(),
        warnings: notes.warnings,
        notes: notes.meaningless,
    };
    Ok((config, findings))
}

/// Settings of a name server.
///
/// # Errors
/// As [`broker`].
pub fn namesrv(args: &Namesrv) -> Result<NamesrvConfig> {
    let mut config = default_namesrv();
    let tls = |(name, _): &(String, String)| name.starts_with("tls.");
    for (name, value) in system_properties().into_iter().filter(tls) {
        if let Line::Bad(expected) = config.set(&name, &value) {
            anyhow::bail!("JAVA_OPT: {name} = {value:?}: {expected} is expected");
        }
    }
    if let Some(path) = &args.config_file {
        examine_namesrv(&mut config, path)?.settle()?;
    }
    Ok(config)
}

/// A name server's defaults, as Java's.
pub fn default_namesrv() -> NamesrvConfig {
    let mut config = NamesrvConfig::at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9876)));
    let home = std::env::var_os("HOME");
    config.kv_config_path = home.map(|home| Path::new(&home).join("namesrv").join("kvConfig.json"));
    config
}

/// A name server's file over some settings, and what is to be said about it.
///
/// # Errors
/// It can't be read at all.
pub fn examine_namesrv(config: &mut NamesrvConfig, path: &Path) -> Result<Findings> {
    let (lines, strict) = read_lines(path)?;
    let mut findings = Findings::default();
    for line in lines {
        let origin = format!("{}:{}", path.display(), line.line);
        let key = &line.key;
        match config.set(key, &line.value) {
            Line::Set => {}
            Line::Bad(expected) => findings.wrong.push(anyhow::anyhow!(
                "{origin}: {key} = {:?}: {expected} is expected",
                line.value
            )),
            Line::Meaningless if !strict => {
                findings
                    .notes
                    .push(format!("{origin}: {key} has no meaning here"));
            }
            Line::Meaningless => findings.wrong.push(unknown(origin, line.key, None)),
            Line::Unknown(nearest) if strict => {
                findings.wrong.push(unknown(origin, line.key, nearest));
            }
            Line::Unknown(nearest) => {
                let error = unknown(origin, line.key, nearest);
                findings
                    .warnings
                    .push(format!("{error}; the line is left aside"));
            }
        }
    }
    Ok(findings)
}

fn unknown(origin: String, key: String, nearest: Option<&'static str>) -> anyhow::Error {
    ConfigError::Unknown {
        origin,
        key,
        nearest,
    }
    .into()
}
