//! Groups, their clients and their offsets.

use std::fs;

use crate::script::Script;

const GROUPS: &str = r#"[{"groupName":"list-group-one"},{"groupName":"list-group-two","retryQueueNums":2,"consumeBroadcastEnable":false}]"#;

pub fn made(script: &mut Script<'_>) {
    script.say("updateSubGroup -b {broker} -g group-{v}");
    script.say("updateSubGroup -c DefaultCluster -g doomed -s true -m true -d true -q 2 -r 3 -i 0 -w 1 -a false");
    script.say("updateSubGroup -c NoCluster -g nowhere");
    script.say("updateSubGroup -b {nobody} -g nowhere");
    script.say_5("updateSubGroup -b {broker} -g orderly -o true -p {\"type\":\"EXPONENTIAL\"} --attributes +a=b");
    if script.is_5() {
        fs::write(script.home().join("groups.json"), GROUPS).expect("list of groups");
    }
    script.say_5("updateSubGroupList -b {broker} -f groups.json");
    script.say_5("updateSubGroupList -c DefaultCluster -f groups.json");
    script.say_5("updateSubGroupList -b {broker} -f missing.json");
    script.say("getConsumerConfig -g group-{v}");
    script.say("getConsumerConfig -g no-group");
    script.say_5("setConsumeMode -b {broker} -t topic-{v} -g group-{v} -m PULL");
    script.say_5("setConsumeMode -c DefaultCluster -t topic-{v} -g group-{v} -m PULL");
    script.say("deleteSubGroup -b {broker} -g never-made");
    script.say("deleteSubGroup -c DefaultCluster -g doomed -r true");
}

/// While a consumer and a producer are there.
pub fn online(script: &mut Script<'_>) {
    script.say("consumerConnection -g group-{v}");
    script.say("consumerConnection -g group-{v} -b {broker}");
    script.say("consumerConnection -g no-group");
    script.say("producerConnection -g producer-{v} -t topic-{v}");
    script.say("producerConnection -g no-group -t topic-{v}");
    script.say("producer -b {broker}");
    script.say("producer -b {nobody}");
    script.say("consumerProgress -g group-{v}");
    script.say("consumerProgress -g group-{v} -s true");
    script.say("consumerProgress -g no-group");
    script.say_5("consumerProgress -g group-{v} -t topic-{v}");
    script.say("consumerProgress");
    script.say("consumerStatus -g group-{v}");
    script.say("consumerStatus -g group-{v} -b {broker}");
    script.say("consumerStatus -g group-{v} -i {client}");
    script.say("consumerStatus -g group-{v} -i nobody@1");
    script.say("consumerStatus -g no-group");
    let with_stacks = script.quietly("consumerStatus -g group-{v} -i {client} -s");
    assert!(
        with_stacks.contains("TID: "),
        "stacks by 307: {with_stacks}"
    );
    script.say("@monitor");
}

pub fn offsets(script: &mut Script<'_>) {
    script.say("resetOffsetByTime -g group-{v} -t topic-{v} -s 0");
    script.say("resetOffsetByTime -g group-{v} -t topic-{v} -s now");
    script.say("resetOffsetByTime -g group-{v} -t topic-{v} -s 2020-01-01#00:00:00:000 -f false");
    script.say("resetOffsetByTime -g group-{v} -t topic-{v} -s yesterday");
    script.say("resetOffsetByTime -g group-{v} -t no-topic -s now");
    script.say("resetOffsetByTime -g no-group -t topic-{v} -s now");
    script.say_5("resetOffsetByTime -g group-{v} -t topic-{v} -s now -b {broker} -q 0");
    script.say_5("resetOffsetByTime -g group-{v} -t topic-{v} -s 0 -b {broker} -q {queue} -o 1");
    script
        .say_5("resetOffsetByTime -g group-{v} -t topic-{v} -s 0 -b {broker} -q {queue} -o 99999");
    script.say("skipAccumulatedMessage -g group-{v} -t topic-{v}");
    script.say("skipAccumulatedMessage -g no-group -t topic-{v}");
    script.say("updateSubGroup -b {broker} -g cloned-{v}");
    script.say("cloneGroupOffset -s group-{v} -d cloned-{v} -t topic-{v}");
    script.say("cloneGroupOffset -s no-group -d cloned-{v} -t topic-{v}");
}

/// With `useServerSideResetOffset` off, brokers tell consumers as they did in 4.x.
pub fn old_offsets(script: &mut Script<'_>) {
    script.quietly("updateBrokerConfig -b {broker} -k useServerSideResetOffset -v false");
    script.say("resetOffsetByTime -g group-{v} -t topic-{v} -s 0");
    script.say("skipAccumulatedMessage -g group-{v} -t topic-{v}");
    script.say("resetOffsetByTime -g cloned-{v} -t topic-{v} -s 0");
    script.say("skipAccumulatedMessage -g cloned-{v} -t topic-{v}");
    script.quietly("updateBrokerConfig -b {broker} -k useServerSideResetOffset -v true");
}
