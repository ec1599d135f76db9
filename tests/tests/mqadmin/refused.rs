//! What belongs to parts of RocketMQ that Sluice does not have: refused by that part's name.

use std::collections::BTreeMap;

use crate::script::Script;

const REPLICATION: &str = "replication (HA)";
const CONTROLLER: &str = "the controller";
const CONTAINERS: &str = "broker containers";
const ACL: &str = "access control lists (ACL)";
const STATIC_TOPICS: &str = "static topics";
const ROCKSDB: &str = "RocksDB";
const COLD_DATA: &str = "cold data flow control";

/// Commands of 5.3.3.
const OF_5: &[(&str, &str)] = &[
    ("haStatus -b {broker}", REPLICATION),
    ("resetMasterFlushOffset -b {broker} -o 0", REPLICATION),
    ("getBrokerEpoch -b broker-a", REPLICATION),
    ("getSyncStateSet -a {namesrv} -b broker-a", CONTROLLER),
    ("getControllerMetaData -a {namesrv}", CONTROLLER),
    ("getControllerConfig -a {namesrv}", CONTROLLER),
    (
        "updateControllerConfig -a {namesrv} -k key -v value",
        CONTROLLER,
    ),
    (
        "electMaster -a {namesrv} -b 1 -bn broker-a -c DefaultCluster",
        CONTROLLER,
    ),
    (
        "cleanBrokerMetadata -a {namesrv} -bn broker-a -b 1 -c DefaultCluster",
        CONTROLLER,
    ),
    ("addBroker -c {broker} -b /no/broker.conf", CONTAINERS),
    (
        "removeBroker -c {broker} -b DefaultCluster:broker-a:0",
        CONTAINERS,
    ),
    ("createUser -b {broker} -u user -p password", ACL),
    ("updateUser -b {broker} -u user -p password", ACL),
    ("deleteUser -b {broker} -u user", ACL),
    ("getUser -b {broker} -u user", ACL),
    ("listUser -b {broker}", ACL),
    ("copyUser -f {broker} -t {broker}", ACL),
    (
        "createAcl -b {broker} -s User:user -r Topic:topic -a Pub -d Allow",
        ACL,
    ),
    (
        "updateAcl -b {broker} -s User:user -r Topic:topic -a Pub -d Allow",
        ACL,
    ),
    ("deleteAcl -b {broker} -s User:user", ACL),
    ("getAcl -b {broker} -s User:user", ACL),
    ("listAcl -b {broker}", ACL),
    ("copyAcl -f {broker} -t {broker}", ACL),
    (
        "updateStaticTopic -b broker-a -t static -qn 2",
        STATIC_TOPICS,
    ),
    ("checkRocksdbCqWriteProgress -c DefaultCluster", ROCKSDB),
    ("rocksDBConfigToJson -c DefaultCluster -t topics", ROCKSDB),
    ("getColdDataFlowCtrInfo -b {broker}", COLD_DATA),
    (
        "updateColdDataFlowCtrGroupConfig -b {broker} -g group -v 1",
        COLD_DATA,
    ),
    (
        "removeColdDataFlowCtrGroupConfig -b {broker} -g group",
        COLD_DATA,
    ),
    ("setCommitLogReadAheadMode -b {broker} -m 0", COLD_DATA),
];

/// Commands of 4.9.8 that 5.x does not know any more.
const OF_4: &[(&str, &str)] = &[
    ("updateAclConfig -b {broker} -a accessKey -s secretKey", ACL),
    ("deleteAclConfig -b {broker} -a accessKey", ACL),
    ("clusterAclConfigVersion -b {broker}", ACL),
    ("updateGlobalWhiteAddr -b {broker} -g 10.0.0.1", ACL),
];

/// It needs a static topic to be there, and asks for nothing where there is none, with Java's broker either.
const NEVER_ASKS: (&str, &str) = ("remappingStaticTopic", STATIC_TOPICS);

/// Runs all commands of one version; those that were not refused as they should be.
pub fn wrong(script: &mut Script<'_>) -> Vec<String> {
    let commands = if script.is_5() { OF_5 } else { OF_4 };
    let mut wrong = Vec::new();
    for (command, part) in commands {
        let printed = script.quietly(command);
        let told = format!("belongs to {part}, which Sluice does not have");
        if !printed.contains(&told) {
            wrong.push(format!("{command}: not {told:?} but {printed}"));
        }
    }
    wrong
}

/// Commands and the parts they belong to.
pub fn parts() -> BTreeMap<&'static str, &'static str> {
    let all = OF_5.iter().chain(OF_4).chain([&NEVER_ASKS]);
    let named = all.map(|(command, part)| (command.split(' ').next().unwrap_or(command), *part));
    named.collect()
}
