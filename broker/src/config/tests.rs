use super::*;

fn read_as(name: &str, text: &str) -> Result<(BrokerConfig, Notes), ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    BrokerConfig::read(&path)
}

fn read(text: &str) -> Result<(BrokerConfig, Notes), ConfigError> {
    read_as("broker.conf", text)
}

#[test]
fn a_file_from_an_old_guide_is_read_as_it_is() {
    let (config, notes) = read("# 集群\nbrokerName = broker-a \nbrokerRole=ASYNC_MASTER  \nmapedFileSizeCommitLog=1048576\nlistenport:10921\nsendThreadPoolQueueCapacity=1\nflushDiskTyp=SYNC_FLUSH\naclEnable=true\n").unwrap();
    assert_eq!(config.broker_name, "broker-a");
    assert_eq!(config.listen_port, 10921);
    assert_eq!(config.mapped_file_size_commit_log, 1 << 20);
    let [meaningless] = &notes.meaningless[..] else {
        panic!("{notes:?}");
    };
    assert!(
        meaningless.ends_with("broker.conf:6: sendThreadPoolQueueCapacity has no meaning here")
    );
    let [mistyped, acl] = &notes.warnings[..] else {
        panic!("{notes:?}");
    };
    assert!(mistyped.contains("broker.conf:7: flushDiskTyp is not known, flushDiskType is"));
    assert!(acl.contains("broker.conf:8: aclEnable is not served"));
}

#[test]
fn bad_values_name_file_line_key_and_what_is_expected() {
    for (line, expected) in [
        ("listenPort=tenthousand", "a port"),
        ("listenPort=2", "a port from 3 to 65535, or 0"),
        ("brokerIP1=10.0.0.1 # main", "an IP address or a host name"),
        ("brokerIP1=", "an IP address or a host name"),
        ("brokerIP1=10.0.0.300", "an IP address or a host name"),
        ("brokerIP2=a b", "an IP address or a host name"),
        ("bindAddress=localhost", "an IP address"),
        ("brokerId=-1", "a number not below 0"),
        ("deleteWhen=04;24", "hours from 0 to 23"),
        ("deleteWhen=", "hours from 0 to 23"),
        ("defaultTopicQueueNums=0", "a number from 1 to 65536"),
        ("defaultTopicQueueNums=65537", "a number from 1 to 65536"),
        ("maxMessageSize=9", "bytes from 10"),
        ("flushIntervalCommitLog=0", "a number not below 1"),
        ("namesrvAddr=10.0.0.1", "host:port;host:port"),
        ("namesrvAddr=10.0.0.1:9876;b:0", "host:port;host:port"),
        ("diskMaxUsedSpaceRatio=101", "a percentage from 0 to 100"),
        ("autoCreateTopicEnable=yes", "true or false"),
        ("flushDiskType=SYNC", "ASYNC_FLUSH or SYNC_FLUSH"),
        (
            "mappedFileSizeCommitLog=2147483648",
            "bytes from 1024 to 2147483647",
        ),
    ] {
        let error = read(&format!("\n{line}")).expect_err(line).to_string();
        let key = line.split('=').next().unwrap();
        assert!(
            error.contains(&format!("broker.conf:2: {key} = ")),
            "{error}"
        );
        assert!(error.contains(expected), "{line}: {error}");
    }
    let slave = read("brokerId=1\nbrokerRole=SLAVE").expect_err("a slave");
    assert!(
        slave.to_string().contains("slaves are not served"),
        "{slave}"
    );
}

#[test]
fn good_values_at_the_edge_are_taken() {
    for line in [
        "listenPort=0",
        "brokerIP1=broker-a.example",
        "brokerIP1=::1",
        "namesrvAddr= 10.0.0.1:9876 ; [::1]:9876;",
        "deleteWhen=04;16",
        "deleteWhen=0",
    ] {
        let (_, notes) = read(line).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(notes, Notes::default(), "{line}");
    }
}

#[test]
fn ratios_are_brought_into_javas_bounds_and_a_master_is_number_0() {
    let (config, notes) = read("diskMaxUsedSpaceRatio=99\ndiskSpaceWarningLevelRatio=95\ndiskSpaceCleanForciblyRatio=10\nbrokerId=3\n").unwrap();
    let ratios = (
        config.disk_max_used_space_ratio,
        config.disk_space_warning_level_ratio,
        config.disk_space_clean_forcibly_ratio,
    );
    assert_eq!((ratios, config.broker_id), ((95, 90, 30), 0));
    assert_eq!(notes.warnings.len(), 4, "{notes:?}");
}

#[test]
fn what_is_printed_is_read_back() {
    let shown = BrokerConfig::default().to_properties();
    let (again, notes) = read(&shown).unwrap();
    assert_eq!((again.to_properties(), notes), (shown, Notes::default()));
}

#[test]
fn toml_is_strict_and_names_the_line() {
    let (config, notes) = read_as(
        "broker.toml",
        "listenPort = 10_921\nnamesrvAddr = [\"a:1\", \"b:2\"]\nautoCreateTopicEnable = false\nmappedFileSizeCommitLog = 0x100000\n[tls.server]\nmode = \"enforcing\"\n",
    )
    .unwrap();
    assert_eq!(notes, Notes::default());
    assert_eq!(config.listen_port, 10921);
    assert_eq!(config.namesrv_addr.as_deref(), Some("a:1;b:2"));
    assert_eq!(config.mapped_file_size_commit_log, 1 << 20);
    assert_eq!(config.tls_server_mode, TlsMode::Enforcing);
    assert!(!config.auto_create_topic_enable);

    for (text, said) in [
        (
            "\nlistenPrt = 1",
            "broker.toml:2: listenPrt is not known, listenPort is",
        ),
        (
            "haListenPort = 10912",
            "broker.toml:1: haListenPort is not known",
        ),
        (
            "\n\nlistenPort = \"x\"",
            "broker.toml:3: listenPort = \"x\": a port",
        ),
        (
            "\nlistenPort = 1.5",
            "broker.toml:2: listenPort: a text, a number",
        ),
        ("a = 1\nlistenPort = = 1", "broker.toml:2: "),
        ("listenPort = 1\nlistenPort = 2", "broker.toml:2: "),
    ] {
        let error = read_as("broker.toml", text).expect_err(text).to_string();
        assert!(error.contains(said), "{text:?}: {error}");
    }
}

#[test]
fn only_live_keys_change_while_running_and_the_refusal_names_the_key() {
    let config = BrokerConfig::default();
    let (changed, _) = config
        .updated("brokerPermission=4\nlongPollingEnable=false")
        .unwrap();
    assert_eq!(
        (changed.broker_permission, changed.long_polling_enable),
        (4, false)
    );
    for line in [
        "storePathRootDir=/x",
        "flushDiskType=SYNC_FLUSH",
        "brokerName=b",
        "tls.server.mode=enforcing",
        "fileReservedTime=48",
        "mapedFileSizeCommitLog=1048576",
    ] {
        let error = config
            .updated(&format!("brokerPermission=4\n{line}"))
            .expect_err(line);
        let ConfigError::NotLive(key) = error else {
            panic!("{line}: {error}");
        };
        let said = error.to_string();
        assert!(said.contains(key) && said.contains("takes effect at the next start only"));
    }
    // What is already in force is no change.
    config.updated(&config.to_properties()).unwrap();
    assert!(
        config
            .updated("rocketmqHome=/x")
            .unwrap_err()
            .to_string()
            .starts_with("Can not update config in black list.")
    );
    assert!(config.updated("brokerPermission=9").is_err());
}

#[test]
fn no_key_is_both_honoured_and_without_meaning() {
    let table = BrokerConfig::default().keys();
    for key in &table {
        assert!(!names::WITHOUT_MEANING.contains(&key.name), "{}", key.name);
    }
    for name in IMPORTANT {
        assert!(table.iter().any(|key| key.name == *name), "{name}");
    }
}
