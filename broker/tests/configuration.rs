//! Settings files as they are found in the wild, and the page that lists all keys.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sluice_broker::BrokerConfig;
use sluice_broker::config::{BrokerRole, FlushDiskType, Notes};

fn fixture(name: &str) -> (BrokerConfig, Notes) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    BrokerConfig::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_two_master_cluster_of_a_4x_guide() {
    let (config, notes) = fixture("two-masters-a.conf");
    assert_eq!(config.broker_cluster_name, "rocketmq-cluster");
    assert_eq!(
        config.namesrv_addr.as_deref(),
        Some("rocketmq-nameserver1:9876;rocketmq-nameserver2:9876")
    );
    assert_eq!(config.default_topic_queue_nums, 4);
    assert_eq!(config.mapped_file_size_consume_queue, 300_000);
    assert_eq!(config.max_message_size, 65_536);
    assert_eq!(config.disk_max_used_space_ratio, 88);
    assert_eq!(
        config.store_path_commit_log,
        Some(PathBuf::from("/usr/local/rocketmq/store/commitlog"))
    );
    assert_eq!(notes.meaningless.len(), 4, "{notes:?}");
    let [bytes] = &notes.warnings[..] else {
        panic!("{notes:?}")
    };
    assert!(
        bytes.contains("mappedFileSizeConsumeQueue = 300000 counts bytes"),
        "{bytes}"
    );
}

#[test]
fn a_containers_settings() {
    let (config, notes) = fixture("docker.conf");
    assert_eq!(config.broker_ip1, "192.168.31.10");
    assert_eq!(
        (config.file_reserved_time, config.disk_max_used_space_ratio),
        (48, 95)
    );
    assert!(config.enable_property_filter);
    assert_eq!(
        (notes.meaningless.len(), notes.warnings),
        (0, Vec::<String>::new())
    );
}

#[test]
fn a_synchronous_master_with_tls_and_continued_lines() {
    let (config, notes) = fixture("sync-master-tls.properties");
    assert_eq!(
        config.namesrv_addr.as_deref(),
        Some("10.0.0.1:9876; 10.0.0.2:9876")
    );
    assert_eq!(
        (config.broker_role, config.flush_disk_type),
        (BrokerRole::SyncMaster, FlushDiskType::SyncFlush)
    );
    assert_eq!(config.store().delete_when_hours, [4, 16]);
    assert_eq!(
        config.server().tls.key_path,
        Some(PathBuf::from("/etc/rocketmq/server.key"))
    );
    assert_eq!(notes.warnings, Vec::<String>::new());
    assert_eq!(notes.meaningless.len(), 5, "{notes:?}");
}

#[test]
fn a_file_from_windows() {
    let (config, notes) = fixture("windows.conf");
    assert_eq!(config.broker_name, "订单");
    assert_eq!(
        config.store_path_root_dir,
        PathBuf::from(r"D:\rocketmq\store")
    );
    assert_eq!((config.listen_port, config.file_reserved_time), (10931, 72));
    let [acl, mistyped] = &notes.warnings[..] else {
        panic!("{notes:?}")
    };
    assert!(
        acl.contains("windows.conf:6: aclEnable is not served"),
        "{acl}"
    );
    assert!(
        mistyped.contains("windows.conf:7: brokerPermision is not known, brokerPermission is"),
        "{mistyped}"
    );
}

#[test]
fn toml() {
    let (config, notes) = fixture("strict.toml");
    assert_eq!(
        config.namesrv_addr.as_deref(),
        Some("10.0.0.1:9876;10.0.0.2:9876")
    );
    assert_eq!(
        (config.listen_port, config.flush_disk_type),
        (10911, FlushDiskType::SyncFlush)
    );
    assert_eq!(notes, Notes::default());
}

/// What is said about a file: what is wrong, warnings, how many notes.
fn said(name: &str) -> (Vec<String>, Vec<String>, usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    let (_, notes, wrong) = BrokerConfig::default().examine(&path).unwrap();
    let folder = format!("{}/", path.parent().unwrap().display());
    let short = |text: String| text.replace(&folder, "");
    (
        wrong.iter().map(ToString::to_string).map(short).collect(),
        notes.warnings.into_iter().map(short).collect(),
        notes.meaningless.len(),
    )
}

const ALONE: &str =
    "replication is not served yet, and alone this broker would break what it promises";

#[test]
fn the_examples_that_rocketmq_ships() {
    let none: Vec<String> = Vec::new();
    for (name, notes) in [
        ("2m-2s-async-a.properties", 0),
        ("2m-2s-sync-b.properties", 2),
        ("2m-noslave-trace.properties", 0),
    ] {
        assert_eq!(said(name), (none.clone(), none.clone(), notes), "{name}");
    }
    let (wrong, ..) = said("2m-2s-async-a-s.properties");
    assert_eq!(
        wrong,
        [
            "2m-2s-async-a-s.properties:7: brokerRole = \"SLAVE\": ASYNC_MASTER or SYNC_MASTER (slaves are not served by this broker yet) is expected"
        ]
    );
    let (wrong, warnings, notes) = said("dledger-n0.conf");
    assert_eq!(
        wrong,
        [format!(
            "dledger-n0.conf:7: enableDLegerCommitLog = \"true\": {ALONE}"
        )]
    );
    assert_eq!((warnings, notes), (none, 5));
    let (wrong, ..) = said("controller-n0.conf");
    assert_eq!(
        wrong[0],
        format!("controller-n0.conf:7: enableControllerMode = \"true\": {ALONE}")
    );
    let (wrong, warnings, _) = said("container-a.conf");
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(
        warnings,
        [
            "container-a.conf:18: enableSlaveActingMaster is not served by this broker; it runs without"
        ]
    );
}

#[test]
fn a_file_of_4_2() {
    let (config, notes) = fixture("of-4.2.conf");
    assert_eq!(notes.warnings, Vec::<String>::new());
    assert_eq!(notes.meaningless.len(), 7, "{notes:?}");
    assert_eq!(
        (&*config.broker_cluster_name, config.filter_server_nums),
        ("DefaultCluster", 1)
    );
    assert_eq!(
        (&*config.broker_ip1, &*config.broker_ip2),
        ("10.0.0.7", "192.168.0.7")
    );
    assert!(config.reject_transaction_message && config.address_service().is_none());
}

#[test]
fn a_comment_in_another_encoding() {
    let (config, notes) = fixture("gbk-comment.conf");
    assert_eq!(
        (&*config.broker_name, config.listen_port),
        ("broker-gbk", 10931)
    );
    assert_eq!(notes, Notes::default());
}

#[test]
fn several_disks_and_addresses() {
    let (config, notes) = fixture("several-disks.conf");
    assert_eq!(notes, Notes::default());
    let dirs = config.store().commit_log_dirs();
    assert_eq!(
        dirs.writable(),
        ["/data1/commitlog", "/data2/commitlog"].map(PathBuf::from)
    );
    assert_eq!(dirs.all().count(), 3);
    let listens: Vec<String> = config
        .bind_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(listens, ["10.0.0.7:10911", "[fd00::7]:10911"]);
}

#[test]
fn an_address_service() {
    let (mut config, notes) = fixture("address-service.conf");
    assert_eq!(notes, Notes::default());
    let service = config.address_service().unwrap();
    assert_eq!(service.url(), "http://ns.example:80/rocketmq/nsaddr-east");
    config.namesrv_addr = Some("10.0.0.1:9876".to_owned());
    assert_eq!(config.address_service(), None);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let (wrong, warnings, _) = said("mistakes.conf");
    assert_eq!(
        wrong,
        [
            "Slave's brokerId must be > 0",
            "mistakes.conf:1: brokerName = \"\": a name without blanks is expected",
            "mistakes.conf:2: flushDiskType = \"SYNC\": ASYNC_FLUSH or SYNC_FLUSH is expected",
            "mistakes.conf:3: listenPort = \"10911 # the main one\": a port is expected",
            "mistakes.conf:4: brokerRole = \"SLAVE\": ASYNC_MASTER or SYNC_MASTER (slaves are not served by this broker yet) is expected",
        ]
    );
    assert_eq!(
        warnings,
        [
            "mistakes.conf:5: autoCreateTopicEnabled is not known, autoCreateTopicEnable is; the line is left aside"
        ]
    );
}

/// The page as the table of settings makes it.
fn page() -> String {
    let mut page = String::from(
        "# Broker settings\n\n\
         <!-- Made from the table in broker/src/config.rs by `SLUICE_WRITE_DOCS=1 cargo test -p sluice-broker --test configuration`. -->\n\n\
         `sluice broker -c FILE` reads Java's `broker.conf` as it is, or TOML if the name ends in `.toml`. In TOML\n\
         a point in a key is a table (`[tls.server]`), a list stands for values with `;` between them, and an\n\
         unknown key is refused. In a property file Java's keys without meaning here are noted, unknown ones\n\
         warned of. A value that is not what its key expects is refused with file and line in both.\n\n\
         `live`: a change by `mqadmin updateBrokerConfig` takes effect at once. All others are refused there and\n\
         take effect at the next start.\n\n\
         | key | default | expected | live | meaning |\n|---|---|---|---|---|\n",
    );
    for key in BrokerConfig::default().keys() {
        // What depends on the machine is described.
        let default = match key.name {
            "brokerName" => "the host's name".to_owned(),
            "brokerIP1" | "brokerIP2" => "the address of the default route".to_owned(),
            "storePathRootDir" => "`~/store`".to_owned(),
            _ if key.value.is_empty() => String::new(),
            _ => format!("`{}`", key.value),
        };
        let old: String = key
            .old_names
            .iter()
            .map(|old| format!(", `{old}`"))
            .collect();
        let live = if key.live { "yes" } else { "" };
        let _ = writeln!(
            page,
            "| `{}`{old} | {default} | {} | {live} | {} |",
            key.name, key.expected, key.about
        );
    }
    page
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/configuration.md is stale: run this test with SLUICE_WRITE_DOCS=1"
    );
}
