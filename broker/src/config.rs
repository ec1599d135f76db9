//! Settings of a broker: Java's `broker.conf` keys.
//!
//! One table declares every key that is honoured; reading, checking, printing, live updates and
//! the configuration page follow from it. In a property file, Java's other keys are known by name
//! and noted, unknown ones are warned of; a `.toml` file is ours and strict.

mod names;
mod replication;
mod rewrite;
mod setting;
mod toml_file;

use std::path::{Path, PathBuf};

use sluice_protocol::body::MessageRequestMode;
use sluice_protocol::java_properties::{self, Property};
use sluice_remoting::AddressService;
pub use sluice_remoting::are_addresses;
use sluice_remoting::tls::{ClientAuth, TlsClientOptions, TlsMode};

use crate::topics;

use self::setting::{
    ADDRESSES, BATCH_QUEUE_FILE, BODY, COMPACTION_QUEUE_FILE, COUNT, HOST, HOURS, INDEX, IPS,
    LABELS, LOG_FILE, NAME, NOT_NEGATIVE, PERCENT, PERMISSION, PORT, POSITIVE, PRECISION,
    QUEUE_FILE, QUEUES, Setting,
};

/// A value that can't be what its key says, or a file that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An unreadable value.
    #[error("{origin}: {key} = {value:?}: {expected} is expected")]
    Value {
        /// File and line, or where else the setting came from.
        origin: String,
        /// The key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it could say.
        expected: &'static str,
    },
    /// A key that says nothing here, in a file that is read strictly.
    #[error("{origin}: {key} is not known{}", nearest.map(|name| format!(", {name} is")).unwrap_or_default())]
    Unknown {
        /// File and line.
        origin: String,
        /// The key.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A file that is not TOML.
    #[error("{origin}: {what}")]
    Toml {
        /// File and line.
        origin: String,
        /// What is wrong.
        what: String,
    },
    /// A promise of copies on other machines, which a broker of this kind would break alone.
    #[error("{origin}: {key} = {value:?}: {why}")]
    Replicated {
        /// File and line.
        origin: String,
        /// The key.
        key: &'static str,
        /// What it says.
        value: String,
        /// Why it is refused.
        why: &'static str,
    },
    /// Java's word for a slave that would be number 0.
    #[error("Slave's brokerId must be > 0")]
    SlaveId,
    /// Java's word for two ways to replicate at once.
    #[error("The config enableControllerMode and enableDLegerCommitLog cannot both be true.")]
    ControllerAndDledger,
    /// A key that is read at the start only.
    #[error("{0} takes effect at the next start only; change it in the file")]
    NotLive(&'static str),
    /// A key that must not be changed from outside.
    #[error("Can not update config in black list. {0} names what the broker was started with")]
    Blacklisted(&'static str),
    /// The file can't be read.
    #[error("{path:?} can't be read: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        what: String,
    },
}

/// How messages are flushed (`flushDiskType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushDiskType {
    /// Answer first, sync in the background.
    AsyncFlush,
    /// Sync, then answer.
    SyncFlush,
}

/// `brokerRole`: there is no replication yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BrokerRole {
    AsyncMaster,
    SyncMaster,
}

/// Who is told the metrics beside those who ask at `httpAddress` (`metricsExporterType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MetricsExporter {
    Disable,
    Prom,
    OtlpGrpc,
    Log,
}

/// What becomes of members of one group that subscribe differently (`subscriptionConflict`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionConflict {
    /// All are served, as in Java, and it is said.
    Warn,
    /// Who comes later is kept out.
    Refuse,
    /// Each is served by its own expression; what that takes is decided at the start.
    Each,
}

/// Delays of the levels from 1 on (`messageDelayLevel`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayTable(String, Vec<i64>);

impl DelayTable {
    /// The delays in milliseconds, level 1 first.
    pub fn millis(&self) -> Vec<i64> {
        self.1.clone()
    }

    /// `1s 5s 1m`; `None` when it is anything else, or empty.
    pub(crate) fn parse(text: &str) -> Option<DelayTable> {
        let delay = |word: &str| {
            let unit = match word.chars().last()? {
                's' => 1_000,
                'm' => 60_000,
                'h' => 3_600_000,
                'd' => 86_400_000,
                _ => return None,
            };
            let number: i64 = word[..word.len() - 1].parse().ok()?;
            number.checked_mul(unit).filter(|delay| *delay >= 0)
        };
        let delays: Vec<i64> = text.split_whitespace().map(delay).collect::<Option<_>>()?;
        let some = !delays.is_empty() && delays.len() <= topics::QUEUES_MAX as usize;
        some.then(|| DelayTable(text.to_owned(), delays))
    }
}

impl Default for DelayTable {
    fn default() -> Self {
        let levels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
        DelayTable::parse(levels).expect("a table")
    }
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ty = $key:literal $(| $old:literal)* $([$live:ident])? $(if $check:ident)?, $default:expr;)+) => {
        /// All settings that are honoured; the defaults are Java's unless said otherwise.
        #[derive(Debug, Clone)]
        pub struct BrokerConfig { $($(#[doc = $doc])* pub $field: $type),+ }

        impl Default for BrokerConfig {
            fn default() -> Self {
                BrokerConfig { $($field: $default),+ }
            }
        }

        impl BrokerConfig {
            /// Sets one key; false if it is not in the table.
            fn set(&mut self, origin: &str, key: &str, text: &str) -> Result<bool, ConfigError> {
                let wrong = |key, expected| ConfigError::Value { origin: origin.to_owned(), key, value: text.to_owned(), expected };
                $(if [$key $(, $old)*].iter().any(|known| known.eq_ignore_ascii_case(key)) {
                    let value = <$type as Setting>::read(text).ok_or_else(|| wrong($key, <$type as Setting>::EXPECTED))?;
                    $(if !($check.holds)(&value) {
                        return Err(wrong($key, $check.expected));
                    })?
                    self.$field = value;
                    return Ok(true);
                })+
                Ok(false)
            }

            /// Every key of the table with the value in force, in the order of the table.
            pub fn keys(&self) -> Vec<Key> {
                vec![$(Key {
                    name: $key,
                    old_names: &[$($old),*],
                    value: self.$field.show(),
                    live: [$(stringify!($live))?].contains(&"live"),
                    expected: [<$type as Setting>::EXPECTED, $($check.expected)?].into_iter().next_back().unwrap_or_default(),
                    about: concat!($($doc),*).trim(),
                }),+]
            }
        }
    };
}

settings! {
    /// Name shared by a master and its slaves; the host's name.
    broker_name: String = "brokerName" if NAME, host_name();
    /// Cluster.
    broker_cluster_name: String = "brokerClusterName" if NAME, "DefaultCluster".to_owned();
    /// 0 is the master.
    broker_id: i64 = "brokerId" if NOT_NEGATIVE, 0;
    /// `ASYNC_MASTER`, or `SYNC_MASTER`: there are no slaves yet, so sends that wait for one are stored and
    /// answered SLAVE_NOT_AVAILABLE.
    broker_role: BrokerRole = "brokerRole", BrokerRole::AsyncMaster;
    /// Address clients reach this broker at.
    broker_ip1: String = "brokerIP1" if HOST, local_ip();
    /// Address slaves reach this broker at.
    broker_ip2: String = "brokerIP2" if HOST, local_ip();
    /// Addresses to listen on, `;` between them.
    bind_address: String = "bindAddress" if IPS, "0.0.0.0".to_owned();
    /// Port; the fast port is two below.
    listen_port: u16 = "listenPort" if PORT, 10911;
    /// Name servers, `;` between them.
    namesrv_addr: Option<String> = "namesrvAddr" | "rocketmq.namesrv.addr" [live] if ADDRESSES, None;
    /// Without `namesrvAddr`, name servers are asked for over HTTP at
    /// `http://<rmqAddressServerDomain>:8080/rocketmq/<rmqAddressServerSubGroup>`.
    fetch_namesrv_addr_by_address_server: bool = "fetchNamesrvAddrByAddressServer", false;
    /// Milliseconds between such questions.
    fetch_namesrv_addr_interval: u64 = "fetchNamesrvAddrInterval" if POSITIVE, 10_000;
    /// Host, and port if it is not 8080, of the address service.
    rmq_address_server_domain: String = "rmqAddressServerDomain" | "rocketmq.namesrv.domain" if NAME, "jmenv.tbsite.net".to_owned();
    /// Last part of its path.
    rmq_address_server_sub_group: String = "rmqAddressServerSubGroup" | "rocketmq.namesrv.domain.subgroup" if NAME, "nsaddr".to_owned();
    /// Milliseconds between registrations.
    register_name_server_period: u64 = "registerNameServerPeriod" if POSITIVE, 30_000;
    /// Bits of what clients may do: 4 read, 2 write.
    broker_permission: i32 = "brokerPermission" [live] if PERMISSION, 6;
    /// Region told to clients.
    region_id: String = "regionId" [live], "DefaultRegion".to_owned();
    /// Unix milliseconds before which sends are refused.
    start_accept_send_request_time_stamp: i64 = "startAcceptSendRequestTimeStamp" [live], 0;
    /// Topics come into being with their first message.
    auto_create_topic_enable: bool = "autoCreateTopicEnable", true;
    /// Groups come into being with their first heartbeat or pull.
    auto_create_subscription_group: bool = "autoCreateSubscriptionGroup", true;
    /// Queues of the template of new topics.
    default_topic_queue_nums: i32 = "defaultTopicQueueNums" if QUEUES, 8;
    /// The topic named after the cluster can be read and written.
    cluster_topic_enable: bool = "clusterTopicEnable", true;
    /// The topic named after the broker can be read and written.
    broker_topic_enable: bool = "brokerTopicEnable", true;
    /// Topics may be made for messages of mixed types (`message.type=MIXED`).
    enable_mixed_message_type: bool = "enableMixedMessageType" [live], false;
    /// Clients that trace messages do so.
    trace_on: bool = "traceOn" [live], true;
    /// The trace topic exists.
    trace_topic_enable: bool = "traceTopicEnable", false;
    /// Name of the trace topic.
    msg_trace_topic_name: String = "msgTraceTopicName", "RMQ_SYS_TRACE_TOPIC".to_owned();
    /// Subscriptions other than by tag are served: SQL92 and the languages of plugins. Off in Java.
    enable_property_filter: bool = "enablePropertyFilter" [live], true;
    /// Above 0, clients may upload class filters (the three-argument `subscribe` of 4.x) as base64 of a
    /// WASM module; they run in this broker, and no filter server is started.
    filter_server_nums: usize = "filterServerNums", 0;
    /// Where the administration of plugins is served over HTTP; empty: nowhere.
    http_address: Option<String> = "httpAddress", Some("127.0.0.1:10915".to_owned());
    /// `PROM` serves the metrics for Prometheus at the address below as well, as Java does; Java's other
    /// exporters (`OTLP_GRPC`, `LOG`) are not served.
    metrics_exporter_type: MetricsExporter = "metricsExporterType", MetricsExporter::Disable;
    /// Address of `PROM`; empty: `brokerIP1`.
    metrics_prom_exporter_host: Option<String> = "metricsPromExporterHost", None;
    /// Port of `PROM`.
    metrics_prom_exporter_port: u16 = "metricsPromExporterPort", 5557;
    /// Labels of each of Java's metrics: `name:value`, `,` between them.
    metrics_label: Option<String> = "metricsLabel" if LABELS, None;
    /// Transactional messages are refused.
    reject_transaction_message: bool = "rejectTransactionMessage" [live], false;
    /// Milliseconds until the producer of an undecided transactional message is asked about it.
    transaction_time_out: i64 = "transactionTimeOut" [live] if NOT_NEGATIVE, 6000;
    /// Milliseconds until it is asked again.
    transaction_check_interval: i64 = "transactionCheckInterval" [live] if NOT_NEGATIVE, 30_000;
    /// How often it is asked.
    transaction_check_max: u32 = "transactionCheckMax" [live], 15;
    /// Bytes of a record of decided transactions; it is written twice a second in any case.
    transaction_op_msg_max_size: usize = "transactionOpMsgMaxSize" [live] if COUNT, 4096;
    /// What becomes of members of one group that subscribe differently: `WARN` says so and serves them as
    /// Java does, `REFUSE` keeps out who comes later, `EACH` serves each by its own expression, and is changed
    /// to and from at a start alone (ours).
    subscription_conflict: SubscriptionConflict = "subscriptionConflict" [live], SubscriptionConflict::Warn;
    /// Lite pull consumers are served.
    lite_pull_message_enable: bool = "litePullMessageEnable" [live], true;
    /// Pulls that find nothing wait as long as they ask to.
    long_polling_enable: bool = "longPollingEnable" [live], true;
    /// Milliseconds they wait otherwise.
    short_polling_time_mills: i64 = "shortPollingTimeMills" [live], 1000;
    /// Most messages one pull answers; the store stops at 32 whatever this says.
    max_transfer_count_on_message_in_memory: usize = "maxTransferCountOnMessageInMemory" [live], 32;
    /// Offset resets are handed out at the next pull, clients need not be told.
    use_server_side_reset_offset: bool = "useServerSideResetOffset" [live], true;
    /// Queues are shared out for clients that leave it to brokers; if not, each such client gets all.
    server_load_balancer_enable: bool = "serverLoadBalancerEnable" [live], true;
    /// How clients that leave it to brokers fetch, unless set for their group.
    default_message_request_mode: MessageRequestMode = "defaultMessageRequestMode" [live], MessageRequestMode::Pull;
    /// Whose shares each of them pops beside its own, when POP is their default: those of so many members
    /// that follow it; -1: all pop all.
    default_pop_share_queue_num: i32 = "defaultPopShareQueueNum" [live], -1;
    /// Queues of the topic that holds check points and acks of pops.
    revive_queue_num: i32 = "reviveQueueNum" if QUEUES, 8;
    /// Milliseconds between rounds that let unacked messages come back.
    revive_interval: u64 = "reviveInterval" if POSITIVE, 1000;
    /// Percent of pops that take from the retry topic first; the others do so last.
    pop_from_retry_probability: u8 = "popFromRetryProbability" [live], 20;
    /// Retry topics of pops are called `%RETRY%group+topic`, not `%RETRY%group_topic`.
    enable_retry_topic_v2: bool = "enableRetryTopicV2" [live], false;
    /// Then those of the other name are popped, too.
    retrieve_message_from_pop_retry_topic_v1: bool = "retrieveMessageFromPopRetryTopicV1" [live], true;
    /// Most pops that wait on one queue, or on all of a topic, for one group.
    pop_polling_size: usize = "popPollingSize" [live], 1024;
    /// Most pops that wait in all.
    max_pop_polling_size: usize = "maxPopPollingSize" [live], 100_000;
    /// Milliseconds after which name servers are asked anew for the queues that are shared out.
    load_balance_poll_name_server_interval: u64 = "loadBalancePollNameServerInterval" if POSITIVE, 30_000;
    /// Delays of the levels from 1 on, blanks between them: numbers with s, m, h or d.
    message_delay_level: DelayTable = "messageDelayLevel", DelayTable::default();
    /// Milliseconds between writes of how far each delay level is delivered.
    flush_delay_offset_interval: u64 = "flushDelayOffsetInterval" if POSITIVE, 10_000;
    /// Messages with a delay or a delivery time of their own are taken.
    timer_wheel_enable: bool = "timerWheelEnable", true;
    /// Milliseconds of one slot of the wheel; the delivery time itself is exact to the millisecond.
    timer_precision_ms: u64 = "timerPrecisionMs" if PRECISION, 1000;
    /// Seconds that a message can wait at most (Java: 3 days).
    timer_max_delay_sec: u64 = "timerMaxDelaySec" [live], 400 * 24 * 3600;
    /// Slots after which a message that waits longer is stored again.
    timer_roll_window_slot: u64 = "timerRollWindowSlot", 2 * 24 * 3600;
    /// Messages of one slot from which more are refused, some at first, all from twice as many on.
    timer_congest_num_each_slot: u64 = "timerCongestNumEachSlot" [live], i32::MAX as u64;
    /// Bytes of a file of the timer's log.
    mapped_file_size_timer_log: u64 = "mappedFileSizeTimerLog" if LOG_FILE, 100 << 20;
    /// Milliseconds between writes of how far the timer is.
    timer_flush_interval_ms: u64 = "timerFlushIntervalMs" [live] if POSITIVE, 1000;
    /// Delayed messages can be recalled (Java: false).
    recall_message_enable: bool = "recallMessageEnable" [live], true;
    /// Replies to requests are stored too, in the cluster's reply topic.
    store_reply_message_enable: bool = "storeReplyMessageEnable" [live], true;
    /// Milliseconds between writes of consumer offsets.
    flush_consumer_offset_interval: u64 = "flushConsumerOffsetInterval" if POSITIVE, 5000;
    /// Seconds without traffic after which a connection is closed.
    server_channel_max_idle_time_seconds: u64 = "serverChannelMaxIdleTimeSeconds" if POSITIVE, 120;
    /// Most connections at a time (ours).
    server_connections_max: usize = "serverConnectionsMax" if COUNT, 65_535;
    /// Store directory.
    store_path_root_dir: PathBuf = "storePathRootDir", home().join("store");
    /// CommitLog directory; `commitlog` in the store directory if unset. Several, with `,` between them, take
    /// the files in turn.
    store_path_commit_log: Option<PathBuf> = "storePathCommitLog", None;
    /// More directories with files of the CommitLog, in which none are made.
    read_only_commit_log_store_paths: Option<PathBuf> = "readOnlyCommitLogStorePaths", None;
    /// Bytes of a CommitLog file.
    mapped_file_size_commit_log: u64 = "mappedFileSizeCommitLog" | "mapedFileSizeCommitLog" if LOG_FILE, 1 << 30;
    /// Bytes of a ConsumeQueue file (Java counts entries of 20 bytes in its own key).
    mapped_file_size_consume_queue: u64 = "mappedFileSizeConsumeQueue" | "mapedFileSizeConsumeQueue" if QUEUE_FILE, 6_000_000;
    /// Bytes of a file of a batch ConsumeQueue, which topics with `queue.type=BatchCQ` have; a multiple of 46.
    mapper_file_size_batch_consume_queue: u64 = "mapperFileSizeBatchConsumeQueue" if BATCH_QUEUE_FILE, 13_800_000;
    /// Bytes of a file of a ConsumeQueue extension that Java left: they are read, not written.
    mapped_file_size_consume_queue_ext: u64 = "mappedFileSizeConsumeQueueExt" if QUEUE_FILE, 50_331_648;
    /// Topics can be kept by their last key (`cleanup.policy=COMPACTION`).
    enable_compaction: bool = "enableCompaction", true;
    /// Bytes of a compaction log file, rounded as Java does it: to whole queue files, at least five.
    compaction_mapped_file_size: u64 = "compactionMappedFileSize" if LOG_FILE, 100 << 20;
    /// Bytes of a compaction queue file, rounded down to units of 46 bytes.
    compaction_cq_mapped_file_size: u64 = "compactionCqMappedFileSize" if COMPACTION_QUEUE_FILE, 10 << 20;
    /// Milliseconds between rounds that drop all but the newest message of each key.
    compaction_schedule_internal: u64 = "compactionScheduleInternal" if POSITIVE, 900_000;
    /// Bytes of memory for the keys of one round; it goes on with the rest in the next.
    max_offset_map_size: u64 = "maxOffsetMapSize" if POSITIVE, 100 << 20;
    /// `ASYNC_FLUSH` or `SYNC_FLUSH`.
    flush_disk_type: FlushDiskType = "flushDiskType", FlushDiskType::AsyncFlush;
    /// Milliseconds between syncs of the CommitLog.
    flush_interval_commit_log: u64 = "flushIntervalCommitLog" if POSITIVE, 500;
    /// Milliseconds a sync flush may take.
    sync_flush_timeout: u64 = "syncFlushTimeout" if POSITIVE, 5000;
    /// Most bytes of a body.
    max_message_size: usize = "maxMessageSize" if BODY, 4 * 1024 * 1024;
    /// Keys are indexed.
    message_index_enable: bool = "messageIndexEnable", true;
    /// Slots of an index file.
    max_hash_slot_num: u32 = "maxHashSlotNum" if INDEX, 5_000_000;
    /// Entries of an index file.
    max_index_num: u32 = "maxIndexNum" if INDEX, 20_000_000;
    /// Hours messages are kept.
    file_reserved_time: u64 = "fileReservedTime", 72;
    /// Hours of the day at which expired files go, `;` between them.
    delete_when: String = "deleteWhen" if HOURS, "04".to_owned();
    /// Percent of the disk in use from which expired files go at any hour.
    disk_max_used_space_ratio: u8 = "diskMaxUsedSpaceRatio" if PERCENT, 75;
    /// Percent from which files go before their time.
    disk_space_clean_forcibly_ratio: u8 = "diskSpaceCleanForciblyRatio" if PERCENT, 85;
    /// Percent from which sends are refused.
    disk_space_warning_level_ratio: u8 = "diskSpaceWarningLevelRatio" if PERCENT, 90;
    /// Percent of RAM behind the log's end that counts as in memory.
    access_message_in_memory_max_ratio: u8 = "accessMessageInMemoryMaxRatio" if PERCENT, 40;
    /// TLS beside plain text, instead of it, or not at all.
    tls_server_mode: TlsMode = "tls.server.mode", TlsMode::Permissive;
    /// Certificate chain, PEM.
    tls_server_cert_path: Option<PathBuf> = "tls.server.certPath", None;
    /// Private key, PEM, not encrypted.
    tls_server_key_path: Option<PathBuf> = "tls.server.keyPath", None;
    /// Who may sign client certificates, PEM.
    tls_server_trust_cert_path: Option<PathBuf> = "tls.server.trustCertPath", None;
    /// Whether clients show a certificate.
    tls_server_need_client_auth: ClientAuth = "tls.server.need.client.auth", ClientAuth::None;
    /// Without a certificate, make a self-signed one.
    tls_test_mode_enable: bool = "tls.test.mode.enable", true;
    /// Speak TLS to the name servers.
    tls_enable: bool = "tls.enable", false;
    /// Who may sign the name servers' certificates, PEM; without it any certificate is taken.
    tls_client_trust_cert_path: Option<PathBuf> = "tls.client.trustCertPath", None;
    /// Certificate chain shown to name servers, PEM.
    tls_client_cert_path: Option<PathBuf> = "tls.client.certPath", None;
    /// Private key of that certificate, PEM, not encrypted.
    tls_client_key_path: Option<PathBuf> = "tls.client.keyPath", None;
}

/// One key of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name; case does not matter in a file.
    pub name: &'static str,
    /// Names it had in older versions, still read.
    pub old_names: &'static [&'static str],
    /// Its value in the settings asked.
    pub value: String,
    /// A change by `updateBrokerConfig` takes effect at once; the others wait for the next start.
    pub live: bool,
    /// What it can be.
    pub expected: &'static str,
    /// What it is for.
    pub about: &'static str,
}

/// What is worth saying about lines of a property file that set nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Java's keys without meaning here: to be said once, at info.
    pub meaningless: Vec<String>,
    /// Mistyped keys and values that were adjusted: warnings.
    pub warnings: Vec<String>,
}

/// Keys nobody may change from outside (Java's black list).
const BLACKLIST: &[&str] = &["brokerConfigPath", "rocketmqHome", "configBlackList"];

/// The keys Java prints with `-m`, as far as they mean something here.
const IMPORTANT: &[&str] = &[
    "brokerClusterName",
    "brokerName",
    "brokerId",
    "namesrvAddr",
    "listenPort",
    "brokerIP1",
    "storePathRootDir",
    "storePathCommitLog",
    "messageIndexEnable",
    "flushDiskType",
    "flushIntervalCommitLog",
    "brokerRole",
    "deleteWhen",
    "fileReservedTime",
    "maxTransferCountOnMessageInMemory",
    "accessMessageInMemoryMaxRatio",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "traceTopicEnable",
    "msgTraceTopicName",
];

/// The lines of a settings file: TOML if its name ends in `.toml`, Java properties otherwise. Also
/// whether it is to be read strictly: TOML is.
///
/// # Errors
/// The file can't be read, or is not TOML: file and line are named.
pub fn read_lines(path: &Path) -> Result<(Vec<Property>, bool), ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        what: error.to_string(),
    })?;
    // Java reads Latin-1, where every byte is a letter; comments in old files are in any encoding.
    let text = String::from_utf8_lossy(&bytes);
    if path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("toml"))
    {
        return Ok((toml_file::parse(path, &text)?, true));
    }
    Ok((java_properties::parse(&without_xml_comment(&text)), false))
}

/// Examples that RocketMQ ships begin with their licence as an XML comment, whose words Java reads as
/// keys. Its lines become empty here.
fn without_xml_comment(text: &str) -> std::borrow::Cow<'_, str> {
    let end = "-->";
    let body = text.trim_start_matches('\u{feff}');
    match body.find(end) {
        Some(at) if body.trim_start().starts_with("<!--") => {
            let (comment, rest) = body.split_at(at + end.len());
            let lines = comment.matches('\n').count();
            format!("{}{rest}", "\n".repeat(lines)).into()
        }
        _ => body.into(),
    }
}

impl BrokerConfig {
    /// Reads a file over the defaults: a Java property file, or TOML if its name ends in `.toml`.
    ///
    /// # Errors
    /// The file can't be read, a value is not what its key says, or, in TOML, a key is unknown:
    /// file, line and key are named.
    pub fn read(path: &Path) -> Result<(Self, Notes), ConfigError> {
        BrokerConfig::default().read_over(path)
    }

    /// [`BrokerConfig::read`] over these settings.
    ///
    /// # Errors
    /// As there.
    pub fn read_over(self, path: &Path) -> Result<(Self, Notes), ConfigError> {
        let (config, notes, wrong) = self.examine(path)?;
        match wrong.into_iter().next() {
            Some(error) => Err(error),
            None => Ok((config, notes)),
        }
    }

    /// Reads a file over these settings as [`BrokerConfig::read`] does, and goes on behind what is wrong
    /// in it: that is handed out, in the order in which a start would find it.
    ///
    /// # Errors
    /// The file can't be read, or is not TOML.
    pub fn examine(mut self, path: &Path) -> Result<(Self, Notes, Vec<ConfigError>), ConfigError> {
        let (lines, strict) = read_lines(path)?;
        let origin = |line: &Property| format!("{}:{}", path.display(), line.line);
        let mut wrong = replication::promised(&lines, &origin);
        let mut notes = Notes::default();
        for line in lines {
            match self.set(&origin(&line), &line.key, line.value.trim()) {
                Ok(true) => {}
                Ok(false) if strict => wrong.push(ConfigError::Unknown {
                    origin: origin(&line),
                    nearest: nearest(&line.key),
                    key: line.key,
                }),
                Ok(false) => notes.add(&origin(&line), &line),
                Err(error) => wrong.push(error),
            }
        }
        if wrong.is_empty() {
            notes.warnings.extend(self.settle());
        }
        Ok((self, notes, wrong))
    }

    /// Sets what Java takes from the JVM's system properties (`-Dtls.server.mode=enforcing`). Names
    /// that are no keys are for somebody else.
    ///
    /// # Errors
    /// A value is not what its name says.
    pub fn set_properties(&mut self, properties: &[(String, String)]) -> Result<(), ConfigError> {
        for (name, value) in properties {
            if name.starts_with("tls.") || name.starts_with("rocketmq.namesrv.") {
                self.set("JAVA_OPT", name, value.trim())?;
            }
        }
        Ok(())
    }

    /// Brings values that can't be together into Java's order; answers what was changed.
    fn settle(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        // Both roles are masters, and a master's id is 0.
        if self.broker_id != 0 {
            said.push(format!(
                "brokerId = {} with a master's brokerRole: 0 is used",
                self.broker_id
            ));
            self.broker_id = 0;
        }
        let ratios = [
            (
                "diskMaxUsedSpaceRatio",
                &mut self.disk_max_used_space_ratio,
                10,
                95,
            ),
            (
                "diskSpaceCleanForciblyRatio",
                &mut self.disk_space_clean_forcibly_ratio,
                30,
                85,
            ),
            (
                "diskSpaceWarningLevelRatio",
                &mut self.disk_space_warning_level_ratio,
                35,
                90,
            ),
        ];
        for (key, value, low, high) in ratios {
            let used = (*value).clamp(low, high);
            if used != *value {
                said.push(format!(
                    "{key} = {value} is not within {low} to {high}: {used} is used"
                ));
                *value = used;
            }
        }
        if self.mapped_file_size_consume_queue < 1 << 20 {
            said.push(format!(
                "mappedFileSizeConsumeQueue = {} counts bytes, not entries: {} messages to a file",
                self.mapped_file_size_consume_queue,
                self.mapped_file_size_consume_queue.div_ceil(20)
            ));
        }
        said
    }

    /// These settings with a change applied (`updateBrokerConfig`), and warnings to be logged.
    ///
    /// # Errors
    /// A value is not what its key says, or a key can't change while the broker runs. Nothing is
    /// applied then.
    pub fn updated(&self, text: &str) -> Result<(Self, Vec<String>), ConfigError> {
        let mut config = self.clone();
        let mut notes = Notes::default();
        for line in java_properties::parse(text) {
            let same = |name: &&&str| name.eq_ignore_ascii_case(&line.key);
            if let Some(key) = BLACKLIST.iter().find(same) {
                return Err(ConfigError::Blacklisted(key));
            }
            if !config.set("update", &line.key, line.value.trim())? {
                notes.add("update", &line);
            }
        }
        notes.warnings.extend(config.settle());
        let splits = |config: &Self| config.subscription_conflict == SubscriptionConflict::Each;
        if splits(self) != splits(&config) {
            return Err(ConfigError::NotLive("subscriptionConflict"));
        }
        let before = self.keys();
        let changed = before.iter().zip(config.keys());
        match changed
            .into_iter()
            .find(|(old, new)| !new.live && old.value != new.value)
        {
            Some((key, _)) => Err(ConfigError::NotLive(key.name)),
            None => Ok((config, notes.warnings)),
        }
    }

    /// The text of a property file, with what differs from `before` written into it.
    pub fn rewritten(&self, before: &BrokerConfig, text: &str) -> String {
        let (old, new) = (before.keys(), self.keys());
        let changes: Vec<(&str, &str)> = old
            .iter()
            .zip(&new)
            .filter(|(old, new)| old.value != new.value)
            .map(|(_, new)| (new.name, new.value.as_str()))
            .collect();
        rewrite::rewritten(text, &changes)
    }

    /// All settings as `key=value` lines.
    pub fn to_properties(&self) -> String {
        lines(self.keys().iter())
    }

    /// The settings that matter most as `key=value` lines (`mqbroker -m`).
    pub fn important(&self) -> String {
        lines(
            self.keys()
                .iter()
                .filter(|key| IMPORTANT.contains(&key.name)),
        )
    }

    /// Names and values of `metricsLabel`.
    pub fn metrics_labels(&self) -> Vec<(String, String)> {
        let text = self.metrics_label.as_deref().unwrap_or_default();
        setting::labels(text).unwrap_or_default()
    }

    /// The store's settings.
    pub fn store(&self) -> sluice_store::StoreConfig {
        const HOUR_MS: u64 = 3_600_000;
        let mut config = sluice_store::StoreConfig {
            root: self.store_path_root_dir.clone(),
            commit_log_dir: self.store_path_commit_log.clone(),
            read_only_commit_log_dirs: self.read_only_commit_log_store_paths.clone(),
            commit_log_file_size: self.mapped_file_size_commit_log,
            consume_queue_file_size: self.mapped_file_size_consume_queue,
            batch_consume_queue_file_size: self.mapper_file_size_batch_consume_queue,
            consume_queue_ext_file_size: self.mapped_file_size_consume_queue_ext,
            index_slots: self.max_hash_slot_num,
            index_entries: self.max_index_num,
            index_enabled: self.message_index_enable,
            flush_mode: match self.flush_disk_type {
                FlushDiskType::AsyncFlush => sluice_store::FlushMode::Async,
                FlushDiskType::SyncFlush => sluice_store::FlushMode::Sync,
            },
            flush_interval_ms: self.flush_interval_commit_log,
            sync_flush_timeout_ms: self.sync_flush_timeout,
            file_reserved_time_ms: self.file_reserved_time.saturating_mul(HOUR_MS),
            delete_when_hours: self
                .delete_when
                .split(';')
                .filter_map(|hour| hour.trim().parse().ok())
                .collect(),
            disk_max_used_percent: self.disk_max_used_space_ratio,
            disk_clean_forcibly_percent: self.disk_space_clean_forcibly_ratio,
            disk_warning_percent: self.disk_space_warning_level_ratio,
            max_message_size: self.max_message_size,
            access_in_memory_percent: self.access_message_in_memory_max_ratio,
            delay_levels_ms: self.message_delay_level.millis(),
            compaction_enabled: self.enable_compaction,
            compaction_interval_ms: self.compaction_schedule_internal,
            compaction_memory: self.max_offset_map_size,
            ..sluice_store::StoreConfig::default()
        };
        config.set_compaction_files(
            self.compaction_mapped_file_size,
            self.compaction_cq_mapped_file_size,
        );
        config
    }

    /// Addresses to listen on; the first is the broker's own.
    pub fn bind_addresses(&self) -> Vec<std::net::SocketAddr> {
        let ip = |text: &str| text.trim().trim_matches(['[', ']']).parse().ok();
        let ips = self.bind_address.split(';').filter_map(ip);
        ips.map(|ip| std::net::SocketAddr::new(ip, self.listen_port))
            .collect()
    }

    /// Where name servers are asked for, if they are.
    pub fn address_service(&self) -> Option<AddressService> {
        let asked = self.fetch_namesrv_addr_by_address_server && self.namesrv_addr.is_none();
        asked.then(|| {
            AddressService::of(
                &self.rmq_address_server_domain,
                &self.rmq_address_server_sub_group,
            )
        })
    }

    /// How name servers are dialled: encrypted, if at all.
    pub fn tls_client(&self) -> Option<TlsClientOptions> {
        self.tls_enable.then(|| TlsClientOptions {
            trust_cert_path: self.tls_client_trust_cert_path.clone(),
            cert_path: self.tls_client_cert_path.clone(),
            key_path: self.tls_client_key_path.clone(),
        })
    }

    /// The listener's settings.
    pub fn server(&self) -> sluice_remoting::ServerOptions {
        sluice_remoting::ServerOptions {
            connections_max: self.server_connections_max,
            idle: std::time::Duration::from_secs(self.server_channel_max_idle_time_seconds),
            tls: sluice_remoting::tls::TlsServerOptions {
                mode: self.tls_server_mode,
                cert_path: self.tls_server_cert_path.clone(),
                key_path: self.tls_server_key_path.clone(),
                client_auth: self.tls_server_need_client_auth,
                trust_cert_path: self.tls_server_trust_cert_path.clone(),
                test_mode: self.tls_test_mode_enable,
            },
            ..sluice_remoting::ServerOptions::default()
        }
    }
}

fn lines<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
    keys.map(|key| format!("{}={}\n", key.name, key.value))
        .collect()
}

/// The key of the table most like a mistyped one.
fn nearest(key: &str) -> Option<&'static str> {
    let table = BrokerConfig::default().keys();
    java_properties::nearest(table.iter().map(|known| known.name), key)
}

impl Notes {
    /// Says what becomes of a line whose key is not in the table.
    fn add(&mut self, origin: &str, line: &Property) {
        let same = |name: &&&str| name.eq_ignore_ascii_case(&line.key);
        let key = &line.key;
        if names::NOT_SERVED.iter().find(same).is_some() && line.value.trim() == "true" {
            self.warnings.push(format!(
                "{origin}: {key} is not served by this broker; it runs without"
            ));
        } else if names::WITHOUT_MEANING.iter().find(same).is_some() {
            self.meaningless
                .push(format!("{origin}: {key} has no meaning here"));
        } else {
            let nearest = nearest(key)
                .map(|name| format!(", {name} is"))
                .unwrap_or_default();
            self.warnings.push(format!(
                "{origin}: {key} is not known{nearest}; the line is left aside"
            ));
        }
    }
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if name.is_empty() {
        "DEFAULT_BROKER".to_owned()
    } else {
        name
    }
}

/// The address other machines reach this one at, as far as the routing table tells; no packet is sent.
fn local_ip() -> String {
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    probe.map_or_else(
        |_| "127.0.0.1".to_owned(),
        |address| address.ip().to_string(),
    )
}

#[cfg(test)]
mod tests;
