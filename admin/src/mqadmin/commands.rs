//! The commands of Java's mqadmin that have an equivalent here, with Java's options.

/// A command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) does: &'static str,
    /// Options, blanks between: `t:topic`, with `*` behind it required, with `!` one without a value;
    /// of those in braces exactly one is required.
    pub(super) options: &'static str,
    pub(super) of: Name,
}

macro_rules! commands {
    ($($variant:ident $name:literal $does:literal $options:literal;)+) => {
        /// Which command.
        #[derive(Debug, Clone, Copy)]
        pub(super) enum Name { $($variant),+ }

        /// All of them, in Java's order of nouns.
        pub(super) const COMMANDS: &[Command] = &[$(Command {
            name: $name, does: $does, options: $options, of: Name::$variant,
        }),+];
    };
}

commands! {
    UpdateTopic "updateTopic" "Update or create topic."
        "{b:brokerAddr c:clusterName} a:attributes t:topic* r:readQueueNums w:writeQueueNums p:perm o:order u:unit s:hasUnitSub";
    DeleteTopic "deleteTopic" "Delete topic from broker and NameServer." "t:topic* c:clusterName*";
    UpdateTopicPerm "updateTopicPerm" "Update topic perm." "{b:brokerAddr c:clusterName} t:topic* p:perm*";
    TopicRoute "topicRoute" "Examine topic route info." "t:topic* l:list!";
    TopicList "topicList" "Fetch all topic list from name server." "c:clusterModel!";
    TopicStatus "topicStatus" "Examine topic Status info." "t:topic* c:cluster";
    TopicClusterList "topicClusterList" "Get cluster info for topic." "t:topic*";
    UpdateOrderConf "updateOrderConf" "Create or update or delete order conf." "t:topic* v:orderConf m:method*";
    UpdateSubGroup "updateSubGroup" "Update or create subscription group."
        "b:brokerAddr c:clusterName g:groupName* s:consumeEnable m:consumeFromMinEnable d:consumeBroadcastEnable o:consumeMessageOrderly q:retryQueueNums r:retryMaxTimes p:groupRetryPolicy i:brokerId w:whichBrokerWhenConsumeSlowly a:notifyConsumerIdsChanged attributes:attributes";
    DeleteSubGroup "deleteSubGroup" "Delete subscription group from broker." "b:brokerAddr c:clusterName g:groupName* r:removeOffset";
    GetConsumerConfig "getConsumerConfig" "Get consumer config by subscription group name." "g:groupName*";
    ConsumerProgress "consumerProgress" "Query consumer's progress, speed." "g:groupName t:topicName s:showClientIP c:cluster";
    ConsumerConnection "consumerConnection" "Query consumer's socket connection, client version and subscription." "g:consumerGroup* b:brokerAddr";
    ProducerConnection "producerConnection" "Query producer's socket connection and client version." "g:producerGroup* t:topic*";
    Producer "producer" "Query producer's instances, connection, status, etc." "b:broker*";
    ResetOffsetByTime "resetOffsetByTime" "Reset consumer offset by timestamp(without client restart)."
        "g:group* t:topic* s:timestamp* f:force b:broker q:queue o:offset c:cluster";
    SkipAccumulatedMessage "skipAccumulatedMessage" "Skip all messages that are accumulated (not consumed) currently." "g:group* t:topic* f:force c:cluster";
    CloneGroupOffset "cloneGroupOffset" "Clone offset from other group." "s:srcGroup* d:destGroup* t:topic* o:offline";
    UpdateBrokerConfig "updateBrokerConfig" "Update broker's config." "b:brokerAddr c:clusterName a:updateAllBroker k:key* v:value*";
    GetBrokerConfig "getBrokerConfig" "Get broker config by cluster or special broker." "b:brokerAddr c:clusterName";
    BrokerStatus "brokerStatus" "Fetch broker runtime status data." "{b:brokerAddr c:clusterName}";
    BrokerConsumeStats "brokerConsumeStats" "Fetch broker consume stats data." "b:brokerAddr* t:timeoutMillis l:level o:order";
    ClusterList "clusterList" "List cluster infos." "m:moreStats! i:interval c:clusterName";
    UpdateKvConfig "updateKvConfig" "Create or update KV config." "s:namespace* k:key* v:value*";
    DeleteKvConfig "deleteKvConfig" "Delete KV config." "s:namespace* k:key*";
    WipeWritePerm "wipeWritePerm" "Wipe write perm of broker in all name server you defined in the -n param." "b:brokerName*";
    AddWritePerm "addWritePerm" "Add write perm of broker in all name server you defined in the -n param." "b:brokerName*";
    GetNamesrvConfig "getNamesrvConfig" "Get configs of name server." "";
    UpdateNamesrvConfig "updateNamesrvConfig" "Update configs of name server." "k:key* v:value*";
    QueryMsgById "queryMsgById" "Query Message by Id." "t:topic i:msgId* g:consumerGroup d:clientId s:sendMessage u:unitName f:bodyFormat c:cluster";
    QueryMsgByKey "queryMsgByKey" "Query Message by Key." "t:topic* k:msgKey* b:beginTimestamp e:endTimestamp m:maxNum c:cluster";
    QueryMsgByUniqueKey "queryMsgByUniqueKey" "Query Message by Unique key." "i:msgId* g:consumerGroup d:clientId t:topic* a:showAll! c:cluster";
    QueryMsgByOffset "queryMsgByOffset" "Query Message by offset." "t:topic* b:brokerName* i:queueId* o:offset* f:bodyFormat";
    PrintMsg "printMsg" "Print Message Detail." "t:topic* c:charsetName s:subExpression b:beginTimestamp e:endTimestamp d:printBody l:lmqParentTopic";
    PrintMsgByQueue "printMsgByQueue" "Print Message Detail by queueId." "t:topic* a:brokerName* i:queueId* c:charsetName s:subExpression b:beginTimestamp e:endTimestamp p:printMsg d:printBody f:calculate";
    SendMessage "sendMessage" "Send a message." "t:topic* p:body* k:key c:tags b:broker i:qid m:msgTraceEnable";
    ConsumeMessage "consumeMessage" "Consume message." "t:topic* b:brokerName i:queueId o:offset g:consumerGroup s:beginTimestamp e:endTimestamp c:MessageNumber";
    StatsAll "statsAll" "Topic and Consumer tps stats." "a:activeTopic! t:topic";
}

/// Who does what is not done here.
pub(super) const JAVA: &str =
    "Java's own mqadmin does it on these servers, as far as they serve it";

/// Commands of Java's that have none, and why.
pub(super) fn elsewhere(name: &str) -> Option<(&'static str, &'static str)> {
    const HA: &str = "replication, controllers and containers are not served";
    const ACL: &str = "ACL is not served";
    const STATIC: &str = "static topics are not served";
    const COLD: &str = "data is not told cold from hot, and there is no RocksDB";
    const ALL: &[(&str, &str)] = &[
        ("haStatus", HA),
        ("getBrokerEpoch", HA),
        ("getSyncStateSet", HA),
        ("getControllerMetaData", HA),
        ("getControllerConfig", HA),
        ("updateControllerConfig", HA),
        ("electMaster", HA),
        ("cleanBrokerMetadata", HA),
        ("resetMasterFlushOffset", HA),
        ("addBroker", HA),
        ("removeBroker", HA),
        ("createUser", ACL),
        ("updateUser", ACL),
        ("deleteUser", ACL),
        ("getUser", ACL),
        ("listUser", ACL),
        ("createAcl", ACL),
        ("updateAcl", ACL),
        ("deleteAcl", ACL),
        ("getAcl", ACL),
        ("listAcl", ACL),
        ("copyUser", ACL),
        ("copyAcl", ACL),
        ("updateAclConfig", ACL),
        ("deleteAclConfig", ACL),
        ("clusterAclConfigVersion", ACL),
        ("updateGlobalWhiteAddr", ACL),
        ("updateStaticTopic", STATIC),
        ("remappingStaticTopic", STATIC),
        ("exportMetadataInRocksDB", COLD),
        ("rocksDBConfigToJson", COLD),
        ("checkRocksdbCqWriteProgress", COLD),
        ("getColdDataFlowCtrInfo", COLD),
        ("updateColdDataFlowCtrGroupConfig", COLD),
        ("removeColdDataFlowCtrGroupConfig", COLD),
        ("setCommitLogReadAheadMode", COLD),
        ("updateTopicList", JAVA),
        ("updateSubGroupList", JAVA),
        ("consumerStatus", JAVA),
        ("cleanExpiredCQ", JAVA),
        ("deleteExpiredCommitLog", JAVA),
        ("cleanUnusedTopic", JAVA),
        ("sendMsgStatus", JAVA),
        ("clusterRT", JAVA),
        ("queryMsgTraceById", JAVA),
        ("checkMsgSendRT", JAVA),
        ("queryCq", JAVA),
        ("exportMetadata", JAVA),
        ("exportConfigs", JAVA),
        ("exportMetrics", JAVA),
        ("exportPopRecord", JAVA),
        ("allocateMQ", JAVA),
        ("setConsumeMode", JAVA),
        ("startMonitoring", JAVA),
        ("dumpCompactionLog", JAVA),
    ];
    let found = ALL
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.copied()
}
