//! From the text of a setting to its value and back, and what values must be beyond their type.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use sluice_protocol::body::MessageRequestMode;
use sluice_remoting::tls::{ClientAuth, TlsMode};

use super::{BrokerRole, DelayTable, FlushDiskType, MetricsExporter, SubscriptionConflict};

/// A type of setting: from text, to text.
pub(super) trait Setting: Sized {
    /// What a readable text is.
    const EXPECTED: &'static str;
    fn read(text: &str) -> Option<Self>;
    fn show(&self) -> String;
}

macro_rules! setting_from_str {
    ($($type:ty: $expected:literal),+) => {
        $(impl Setting for $type {
            const EXPECTED: &'static str = $expected;
            fn read(text: &str) -> Option<Self> {
                FromStr::from_str(text).ok()
            }
            fn show(&self) -> String {
                self.to_string()
            }
        })+
    };
}
setting_from_str!(i32: "an integer", i64: "an integer", u16: "a port", u32: "a number not below 0", u64: "a number not below 0", usize: "a number not below 0", u8: "a number from 0 to 255", String: "a text");

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Option<String> {
    const EXPECTED: &'static str = "a text";
    fn read(text: &str) -> Option<Self> {
        Some(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }
    fn show(&self) -> String {
        self.clone().unwrap_or_default()
    }
}

impl Setting for DelayTable {
    const EXPECTED: &'static str = "delays such as 1s 5s 10s 1m 2h";
    fn read(text: &str) -> Option<Self> {
        DelayTable::parse(text)
    }
    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path";
    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for Option<PathBuf> {
    const EXPECTED: &'static str = "a path";
    fn read(text: &str) -> Option<Self> {
        Some(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()))
    }
    fn show(&self) -> String {
        self.as_deref()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    }
}

macro_rules! setting_words {
    ($($type:ty { $($word:literal = $value:expr),+ } $expected:literal;)+) => {
        $(impl Setting for $type {
            const EXPECTED: &'static str = $expected;
            fn read(text: &str) -> Option<Self> {
                match text.to_ascii_uppercase().as_str() {
                    $($word => Some($value),)+
                    _ => None,
                }
            }
            fn show(&self) -> String {
                [$(($word, $value)),+].into_iter().find(|(_, value)| value == self).map(|(word, _)| word.to_owned()).unwrap_or_default()
            }
        })+
    };
}
setting_words! {
    FlushDiskType { "ASYNC_FLUSH" = FlushDiskType::AsyncFlush, "SYNC_FLUSH" = FlushDiskType::SyncFlush } "ASYNC_FLUSH or SYNC_FLUSH";
    BrokerRole { "ASYNC_MASTER" = BrokerRole::AsyncMaster, "SYNC_MASTER" = BrokerRole::SyncMaster } "ASYNC_MASTER or SYNC_MASTER (slaves are not served by this broker yet)";
    SubscriptionConflict { "WARN" = SubscriptionConflict::Warn, "REFUSE" = SubscriptionConflict::Refuse, "EACH" = SubscriptionConflict::Each } "WARN, REFUSE or EACH";
    MetricsExporter { "DISABLE" = MetricsExporter::Disable, "PROM" = MetricsExporter::Prom, "OTLP_GRPC" = MetricsExporter::OtlpGrpc, "LOG" = MetricsExporter::Log } "DISABLE or PROM (OTLP_GRPC and LOG are read, and not served)";
    MessageRequestMode { "PULL" = MessageRequestMode::Pull, "POP" = MessageRequestMode::Pop } "PULL or POP";
    TlsMode { "DISABLED" = TlsMode::Disabled, "PERMISSIVE" = TlsMode::Permissive, "ENFORCING" = TlsMode::Enforcing } "disabled, permissive or enforcing";
    ClientAuth { "NONE" = ClientAuth::None, "OPTIONAL" = ClientAuth::Optional, "REQUIRE" = ClientAuth::Require } "none, optional or require";
}

/// What a value must be beyond its type.
pub(super) struct Check<T: ?Sized> {
    pub expected: &'static str,
    pub holds: fn(&T) -> bool,
}

/// `brokerId`.
pub(super) const NOT_NEGATIVE: Check<i64> = Check {
    expected: "a number not below 0",
    holds: |id| *id >= 0,
};

/// Names that become topics and directory-free identities.
pub(super) const NAME: Check<String> = Check {
    expected: "a name without blanks",
    holds: |name| !name.is_empty() && !name.contains(char::is_whitespace),
};

/// An address that goes to clients as it is: an IP address or a host name.
pub(super) const HOST: Check<String> = Check {
    expected: "an IP address or a host name",
    holds: |host| {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // Digits and points alone are a mistyped address, not a name.
        let name = !host.is_empty()
            && host.chars().all(in_name)
            && !host.chars().all(|c| c.is_ascii_digit() || c == '.');
        literal.parse::<IpAddr>().is_ok() || name
    },
};

/// Addresses to bind to, each once.
pub(super) const IPS: Check<String> = Check {
    expected: "an IP address, or several different ones with `;` between them",
    holds: |ips| {
        let ip = |text: &str| text.trim().trim_matches(['[', ']']).parse().ok();
        let read: Option<Vec<IpAddr>> = ips.split(';').map(ip).collect();
        read.is_some_and(|ips| (1..).zip(&ips).all(|(next, ip)| !ips[next..].contains(ip)))
    },
};

/// The fast port is two below; 0 takes a free one.
pub(super) const PORT: Check<u16> = Check {
    expected: "a port from 3 to 65535, or 0 for a free one",
    holds: |port| *port == 0 || *port >= 3,
};

/// `namesrvAddr`.
pub(super) const ADDRESSES: Check<Option<String>> = Check {
    expected: "host:port;host:port",
    holds: |addresses| addresses.as_deref().is_none_or(super::are_addresses),
};

/// `brokerPermission`.
pub(super) const PERMISSION: Check<i32> = Check {
    expected: "2 (write), 4 (read), 6 (both) or 0 (nothing)",
    holds: |bits| matches!(bits, 0 | 2 | 4 | 6),
};

/// Queues of a topic; a topic has at least one.
pub(super) const QUEUES: Check<i32> = Check {
    expected: "a number from 1 to 65536",
    holds: |queues| (1..=crate::topics::QUEUES_MAX).contains(queues),
};

/// Intervals and sizes that can't be nothing.
pub(super) const POSITIVE: Check<u64> = Check {
    expected: "a number not below 1",
    holds: |value| *value >= 1,
};

/// A slot of the timer: a wheel of longer ones would not fit its delays into an `int`.
pub(super) const PRECISION: Check<u64> = Check {
    expected: "milliseconds from 1 to 3600000",
    holds: |ms| (1..=3_600_000).contains(ms),
};

/// Counts that can't be nothing.
pub(super) const COUNT: Check<usize> = Check {
    expected: "a number not below 1",
    holds: |value| *value >= 1,
};

/// A CommitLog file: Java keeps its size in an `int`.
pub(super) const LOG_FILE: Check<u64> = Check {
    expected: "bytes from 1024 to 2147483647",
    holds: |size| (1024..=i32::MAX as u64).contains(size),
};

/// A ConsumeQueue file holds at least one unit.
pub(super) const QUEUE_FILE: Check<u64> = Check {
    expected: "bytes from 20 to 2147483647",
    holds: |size| (20..=i32::MAX as u64).contains(size),
};

/// A compaction queue file holds at least one unit, and the one that ends it.
pub(super) const COMPACTION_QUEUE_FILE: Check<u64> = Check {
    expected: "bytes from 92 to 2147483647",
    holds: |size| (92..=i32::MAX as u64).contains(size),
};

/// A batch ConsumeQueue file holds whole units: Java does not round.
pub(super) const BATCH_QUEUE_FILE: Check<u64> = Check {
    expected: "a multiple of 46 bytes up to 2147483647",
    holds: |size| *size > 0 && *size % 46 == 0 && *size <= i32::MAX as u64,
};

/// Slots and entries of an index file: Java keeps them in an `int`.
pub(super) const INDEX: Check<u32> = Check {
    expected: "a number from 1 to 2147483647",
    holds: |count| (1..=i32::MAX as u32).contains(count),
};

/// `maxMessageSize`: less than this can't hold a test message; the frame ends before the upper bound.
pub(super) const BODY: Check<usize> = Check {
    expected: "bytes from 10 to 2147483647",
    holds: |size| (10..=i32::MAX as usize).contains(size),
};

/// Hours of the day.
pub(super) const HOURS: Check<String> = Check {
    expected: "hours from 0 to 23, `;` between them",
    holds: |hours| {
        let hour = |hour: &str| hour.trim().parse::<u8>().is_ok_and(|hour| hour <= 23);
        hours.split(';').all(hour)
    },
};

/// `metricsLabel`.
pub(super) const LABELS: Check<Option<String>> = Check {
    expected: "name:value,name:value, a name of letters, digits and _",
    holds: |text| text.as_deref().is_none_or(|text| labels(text).is_some()),
};

/// Names and values; names are what Prometheus takes for one, and not of the labels that there are.
pub(super) fn labels(text: &str) -> Option<Vec<(String, String)>> {
    const OURS: [&str; 4] = ["cluster", "node_id", "node_type", "le"];
    let label = |part: &str| {
        let (name, value) = part.split_once(':')?;
        let (name, value) = (name.trim(), value.trim());
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_name = name.chars().all(in_name)
            && name.starts_with(|c: char| !c.is_ascii_digit())
            && !OURS.contains(&name);
        (is_name && !value.contains(':')).then(|| (name.to_owned(), value.to_owned()))
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.map(label).collect()
}

/// A share of the whole.
pub(super) const PERCENT: Check<u8> = Check {
    expected: "a percentage from 0 to 100",
    holds: |percent| *percent <= 100,
};
