//! Settings of a name server: Java's `namesrv.conf` keys.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sluice_protocol::java_properties;
use sluice_remoting::tls::{ClientAuth, TlsMode, TlsServerOptions};
use sluice_remoting::{ServerOptions, are_addresses};

/// Settings of a name server, after Java's `namesrv.conf`.
#[derive(Debug, Clone)]
pub struct NamesrvConfig {
    /// Where to listen; Java's default is port 9876 on all addresses.
    pub listen: SocketAddr,
    /// `kvConfigPath`: where key-value settings are kept; none keeps them in memory only.
    pub kv_config_path: Option<PathBuf>,
    /// `orderMessageEnable`: routes carry the order settings of their topic.
    pub order_message_enable: bool,
    /// `addressServicePort`: where it is told over HTTP who is a name server; 0: nowhere.
    pub address_service_port: u16,
    /// `nsaddr`: what is told there; none: this name server, at the address by which the asker came.
    pub nsaddr: Option<String>,
    /// Limits of connections, TLS.
    pub server: ServerOptions,
}

/// One key: how it is set from text, or `false` if that is not what it can be, and how it is shown.
pub struct Key {
    /// Its name; case does not matter in a file.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What it can be.
    pub expected: &'static str,
    /// A change by `updateNamesrvConfig` takes effect at once; all others wait for the next start.
    pub live: bool,
    set: fn(&mut NamesrvConfig, &str) -> bool,
    show: fn(&NamesrvConfig) -> String,
}

impl Key {
    /// The key's value in some settings, as text.
    pub fn value(&self, config: &NamesrvConfig) -> String {
        (self.show)(config)
    }
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It is in force.
    Set,
    /// Java's name servers know the key; here it has no meaning.
    Meaningless,
    /// Nobody knows the key; the nearest that is known, if there is one.
    Unknown(Option<&'static str>),
    /// The value is not what is expected.
    Bad(&'static str),
}

/// Why settings can't be changed while the server runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// An unreadable value.
    #[error("{key} = {value:?}: {expected} is expected")]
    Value {
        /// The key.
        key: String,
        /// What it says.
        value: String,
        /// What it could say.
        expected: &'static str,
    },
    /// A key that is read at the start only.
    #[error("{0} takes effect at the next start only; change it in the file")]
    NotLive(&'static str),
    /// A key that must not be changed from outside.
    #[error("Can not update config in black list. {0} names what the server was started with")]
    Blacklisted(&'static str),
}

/// Keys nobody may change from outside (Java's black list).
const BLACKLIST: &[&str] = &["configBlackList", "configStorePath", "kvConfigPath"];

/// Every key that is honoured, in the order in which they are printed.
pub const KEYS: &[Key] = &[
    Key {
        name: "listenPort",
        about: "Port.",
        expected: "a port",
        live: false,
        set: |config, text| put(text.parse(), |port| config.listen.set_port(port)),
        show: |config| config.listen.port().to_string(),
    },
    Key {
        name: "bindAddress",
        about: "Address to listen on.",
        expected: "an IP address",
        live: false,
        set: |config, text| {
            let literal = text.trim_matches(['[', ']']);
            put(literal.parse::<IpAddr>(), |ip| config.listen.set_ip(ip))
        },
        show: |config| config.listen.ip().to_string(),
    },
    Key {
        name: "kvConfigPath",
        about: "File of the key-value settings; `namesrv/kvConfig.json` in the home directory.",
        expected: "a path",
        live: false,
        set: |config, text| {
            config.kv_config_path = path(text);
            true
        },
        show: |config| show_path(&config.kv_config_path),
    },
    Key {
        name: "orderMessageEnable",
        about: "Routes carry the order settings of their topic.",
        expected: "true or false",
        live: true,
        set: |config, text| put(truth(text), |on| config.order_message_enable = on),
        show: |config| config.order_message_enable.to_string(),
    },
    Key {
        name: "addressServicePort",
        about: "Port at which clients and brokers ask for name servers over HTTP (`/rocketmq/nsaddr`); Java's ask at 8080. 0: not served (ours).",
        expected: "a port, or 0",
        live: false,
        set: |config, text| put(text.parse(), |port| config.address_service_port = port),
        show: |config| config.address_service_port.to_string(),
    },
    Key {
        name: "nsaddr",
        about: "What they are told, `host:port;host:port`; empty: this name server, at the address by which they came (ours).",
        expected: "host:port;host:port",
        live: false,
        set: |config, text| {
            let said = Some(text.to_owned()).filter(|text| !text.is_empty());
            let good = said.as_deref().is_none_or(are_addresses);
            if good {
                config.nsaddr = said;
            }
            good
        },
        show: |config| config.nsaddr.clone().unwrap_or_default(),
    },
    Key {
        name: "serverChannelMaxIdleTimeSeconds",
        about: "Seconds without traffic after which a connection is closed.",
        expected: "a number not below 1",
        live: false,
        set: |config, text| {
            put(text.parse::<std::num::NonZeroU64>(), |seconds| {
                config.server.idle = Duration::from_secs(seconds.get());
            })
        },
        show: |config| config.server.idle.as_secs().to_string(),
    },
    Key {
        name: "serverConnectionsMax",
        about: "Most connections at a time (ours).",
        expected: "a number not below 1",
        live: false,
        set: |config, text| {
            put(text.parse::<std::num::NonZeroUsize>(), |most| {
                config.server.connections_max = most.get();
            })
        },
        show: |config| config.server.connections_max.to_string(),
    },
    Key {
        name: "tls.server.mode",
        about: "TLS beside plain text, instead of it, or not at all.",
        expected: "disabled, permissive or enforcing",
        live: false,
        set: |config, text| word(&TLS_MODES, text, |mode| config.server.tls.mode = mode),
        show: |config| show_word(&TLS_MODES, config.server.tls.mode),
    },
    Key {
        name: "tls.server.certPath",
        about: "Certificate chain, PEM.",
        expected: "a path",
        live: false,
        set: |config, text| {
            config.server.tls.cert_path = path(text);
            true
        },
        show: |config| show_path(&config.server.tls.cert_path),
    },
    Key {
        name: "tls.server.keyPath",
        about: "Private key, PEM, not encrypted.",
        expected: "a path",
        live: false,
        set: |config, text| {
            config.server.tls.key_path = path(text);
            true
        },
        show: |config| show_path(&config.server.tls.key_path),
    },
    Key {
        name: "tls.server.trustCertPath",
        about: "Who may sign client certificates, PEM.",
        expected: "a path",
        live: false,
        set: |config, text| {
            config.server.tls.trust_cert_path = path(text);
            true
        },
        show: |config| show_path(&config.server.tls.trust_cert_path),
    },
    Key {
        name: "tls.server.need.client.auth",
        about: "Whether clients show a certificate.",
        expected: "none, optional or require",
        live: false,
        set: |config, text| {
            word(&CLIENT_AUTHS, text, |auth| {
                config.server.tls.client_auth = auth;
            })
        },
        show: |config| show_word(&CLIENT_AUTHS, config.server.tls.client_auth),
    },
    Key {
        name: "tls.test.mode.enable",
        about: "Without a certificate, make a self-signed one.",
        expected: "true or false",
        live: false,
        set: |config, text| put(truth(text), |on| config.server.tls.test_mode = on),
        show: |config| config.server.tls.test_mode.to_string(),
    },
];

/// Java's keys without meaning here.
const WITHOUT_MEANING: &[&str] = &[
    "clientRequestThreadPoolNums",
    "clientRequestThreadPoolQueueCapacity",
    "clusterTest",
    "configBlackList",
    "configStorePath",
    "controllerDLegerGroup",
    "controllerDLegerPeers",
    "controllerDLegerSelfId",
    "controllerStorePath",
    "controllerType",
    "defaultThreadPoolNums",
    "defaultThreadPoolQueueCapacity",
    "deleteTopicWithBrokerRegistration",
    "enableAllTopicList",
    "enableControllerInNamesrv",
    "enableElectUncleanMaster",
    "enableTopicList",
    "needWaitForService",
    "notifyBrokerRoleChanged",
    "notifyMinBrokerIdChanged",
    "productEnvName",
    "returnOrderTopicConfigToBroker",
    "rocketmqHome",
    "scanNotActiveBrokerInterval",
    "serverAsyncSemaphoreValue",
    "serverCallbackExecutorThreads",
    "serverNettyWorkerGroupEnable",
    "serverOnewaySemaphoreValue",
    "serverPooledByteBufAllocatorEnable",
    "serverSelectorThreads",
    "serverSocketBacklog",
    "serverSocketRcvBufSize",
    "serverSocketSndBufSize",
    "serverWorkerThreads",
    "supportActingMaster",
    "unRegisterBrokerQueueCapacity",
    "useEpollNativeSelector",
    "waitSecondsForService",
    "writeBufferHighWaterMark",
    "writeBufferLowWaterMark",
];

const TLS_MODES: [(&str, TlsMode); 3] = [
    ("disabled", TlsMode::Disabled),
    ("permissive", TlsMode::Permissive),
    ("enforcing", TlsMode::Enforcing),
];

const CLIENT_AUTHS: [(&str, ClientAuth); 3] = [
    ("none", ClientAuth::None),
    ("optional", ClientAuth::Optional),
    ("require", ClientAuth::Require),
];

fn put<T, E>(read: Result<T, E>, set: impl FnOnce(T)) -> bool {
    read.map(set).is_ok()
}

fn truth(text: &str) -> Result<bool, std::str::ParseBoolError> {
    text.to_ascii_lowercase().parse()
}

fn word<T: Copy>(words: &[(&str, T)], text: &str, set: impl FnOnce(T)) -> bool {
    let found = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, value)| set(*value)).is_some()
}

fn show_word<T: Copy + PartialEq>(words: &[(&str, T)], value: T) -> String {
    let found = words.iter().find(|(_, known)| *known == value);
    found.map_or_else(String::new, |(word, _)| (*word).to_owned())
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty())
}

fn show_path(path: &Option<PathBuf>) -> String {
    path.as_deref()
        .map(|path| path.display().to_string())
        .unwrap_or_default()
}

impl NamesrvConfig {
    /// Java's defaults at an address.
    pub fn at(listen: SocketAddr) -> Self {
        NamesrvConfig {
            listen,
            kv_config_path: None,
            order_message_enable: false,
            address_service_port: 0,
            nsaddr: None,
            server: ServerOptions {
                // As Java: without a certificate, clients with `tls.enable=true` get a self-signed one.
                tls: TlsServerOptions {
                    test_mode: true,
                    ..TlsServerOptions::default()
                },
                ..ServerOptions::default()
            },
        }
    }

    /// Sets one key from the text of a settings file; case does not matter in keys.
    pub fn set(&mut self, key: &str, text: &str) -> Line {
        let same = |name: &str| name.eq_ignore_ascii_case(key);
        if let Some(known) = KEYS.iter().find(|known| same(known.name)) {
            return match (known.set)(self, text.trim()) {
                true => Line::Set,
                false => Line::Bad(known.expected),
            };
        }
        if WITHOUT_MEANING.iter().any(|name| same(name)) {
            return Line::Meaningless;
        }
        Line::Unknown(nearest(key))
    }

    /// These settings with a change applied (`updateNamesrvConfig`). Lines with keys that mean
    /// nothing here change nothing, as in Java.
    ///
    /// # Errors
    /// A value is not what its key says, or a key can't change while the server runs; nothing is
    /// applied then.
    pub fn updated(&self, text: &str) -> Result<NamesrvConfig, UpdateError> {
        let mut config = self.clone();
        for property in java_properties::parse(text) {
            let same = |name: &str| name.eq_ignore_ascii_case(&property.key);
            if let Some(name) = BLACKLIST.iter().find(|name| same(name)) {
                return Err(UpdateError::Blacklisted(name));
            }
            match config.set(&property.key, &property.value) {
                Line::Set => {}
                Line::Bad(expected) => {
                    return Err(UpdateError::Value {
                        key: property.key,
                        value: property.value,
                        expected,
                    });
                }
                line => tracing::warn!(key = property.key, ?line, "update of the settings"),
            }
        }
        let changed = |key: &&Key| !key.live && key.value(self) != key.value(&config);
        match KEYS.iter().find(changed) {
            Some(key) => Err(UpdateError::NotLive(key.name)),
            None => Ok(config),
        }
    }

    /// The settings as `key=value` lines, as mqadmin's `getNamesrvConfig` shows them.
    pub fn to_properties(&self) -> String {
        KEYS.iter()
            .map(|key| format!("{}={}\n", key.name, key.value(self)))
            .collect()
    }
}

/// The key most like a mistyped one, if one is near.
fn nearest(key: &str) -> Option<&'static str> {
    java_properties::nearest(KEYS.iter().map(|known| known.name), key)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn config() -> NamesrvConfig {
        NamesrvConfig::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 9876)))
    }

    #[test]
    fn tls_limits_and_addresses_come_from_the_file() {
        let mut config = config();
        for (key, value) in [
            ("listenPort", "9877 "),
            ("tls.server.mode", "ENFORCING"),
            ("tls.server.certPath", "/c.pem"),
            ("tls.server.keyPath", "/k.pem"),
            ("tls.server.trustCertPath", "/ca.pem"),
            ("tls.server.need.client.auth", "require"),
            ("tls.test.mode.enable", "false"),
            ("serverChannelMaxIdleTimeSeconds", "30"),
            ("serverConnectionsMax", "7"),
        ] {
            assert_eq!(config.set(key, value), Line::Set, "{key}");
        }
        let tls = &config.server.tls;
        assert_eq!(config.listen.port(), 9877);
        assert_eq!(
            (tls.mode, tls.client_auth, tls.test_mode),
            (TlsMode::Enforcing, ClientAuth::Require, false)
        );
        assert_eq!(tls.cert_path.as_deref(), Some("/c.pem".as_ref()));
        assert_eq!(tls.key_path.as_deref(), Some("/k.pem".as_ref()));
        assert_eq!(tls.trust_cert_path.as_deref(), Some("/ca.pem".as_ref()));
        assert_eq!(
            (config.server.idle, config.server.connections_max),
            (Duration::from_secs(30), 7)
        );
    }

    #[test]
    fn lines_that_set_nothing_are_told_apart() {
        let mut config = config();
        let before = config.to_properties();
        assert_eq!(config.set("serverWorkerThreads", "8"), Line::Meaningless);
        assert_eq!(
            config.set("listenPrt", "8"),
            Line::Unknown(Some("listenPort"))
        );
        assert_eq!(config.set("http", "//x"), Line::Unknown(None));
        for key in [
            "listenPort",
            "bindAddress",
            "tls.server.mode",
            "serverConnectionsMax",
        ] {
            assert!(matches!(config.set(key, "0x"), Line::Bad(_)), "{key}");
        }
        assert_eq!(
            config.set("serverConnectionsMax", "0"),
            Line::Bad("a number not below 1")
        );
        assert_eq!(config.to_properties(), before);
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let (mut again, shown) = (config(), config().to_properties());
        for line in shown.lines() {
            let (key, value) = line.split_once('=').unwrap();
            assert_eq!(again.set(key, value), Line::Set, "{line}");
        }
        assert_eq!(again.to_properties(), shown);
    }
}
