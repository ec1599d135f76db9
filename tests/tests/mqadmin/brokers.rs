//! Brokers and clusters: their state, settings and statistics, and files made of them.

use std::fs;

use crate::script::Script;

pub fn run(script: &mut Script<'_>) {
    state(script);
    settings(script);
    statistics(script);
    cleaned(script);
    exported(script);
}

fn state(script: &mut Script<'_>) {
    script.say("clusterList");
    script.say("clusterList -m");
    script.say_5("@endless 2 clusterList -i 1");
    script.say_5("clusterList -c DefaultCluster");
    script.say_5("clusterList -c NoCluster");
    script.say("brokerStatus -b {broker}");
    script.say("brokerStatus -c DefaultCluster");
    script.say("brokerStatus -b {nobody}");
    script.say("brokerConsumeStats -b {broker}");
    script.say("brokerConsumeStats -b {broker} -l 1000000");
    script.say("brokerConsumeStats -b {broker} -o true");
    script.say("brokerConsumeStats -b {nobody}");
}

fn settings(script: &mut Script<'_>) {
    script.say("getBrokerConfig -b {broker}");
    script.say("getBrokerConfig -c DefaultCluster");
    script.say("getBrokerConfig -c NoCluster");
    script.say("getBrokerConfig -b {nobody}");
    let change = "-k maxTransferCountOnMessageInMemory -v 4{v}";
    script.say(&format!("updateBrokerConfig -b {{broker}} {change}"));
    script.say(&format!("updateBrokerConfig -c DefaultCluster {change}"));
    script.say_5(&format!(
        "updateBrokerConfig -c DefaultCluster -a true {change}"
    ));
    script.say("updateBrokerConfig -b {broker} -k noSuchKey -v 1");
    script.say("updateBrokerConfig -b {nobody} -k noSuchKey -v 1");
    let kept = script.cluster.broker.settings();
    let changed = if script.is_5() { "=45" } else { "=44" };
    assert!(
        kept.lines()
            .any(|line| line == format!("maxTransferCountOnMessageInMemory{changed}")),
        "a changed setting outlives the broker: {kept}"
    );
}

fn statistics(script: &mut Script<'_>) {
    script.say("statsAll -t topic-{v}");
    // Which topics were active lately depends on when the last sample was taken.
    let active = script.quietly("statsAll -a -t topic-{v}");
    assert!(active.contains("#Accumulation"), "{active}");
    script.say("statsAll -t no-topic");
}

fn cleaned(script: &mut Script<'_>) {
    for command in [
        "cleanExpiredCQ",
        "cleanUnusedTopic",
        "deleteExpiredCommitLog",
    ] {
        script.say(&format!("{command} -b {{broker}}"));
        script.say(&format!("{command} -c DefaultCluster"));
        script.say(&format!("{command} -b {{nobody}}"));
    }
    script.say("cleanExpiredCQ");
    script.say("cleanUnusedTopic");
}

fn exported(script: &mut Script<'_>) {
    let folder = script.home().join("export").display().to_string();
    script.name("folder", folder);
    script.say("exportMetadata -c DefaultCluster -f {folder}");
    script.say("exportMetadata -b {broker} -f {folder} -t");
    script.say("exportMetadata -b {broker} -f {folder} -g");
    script.say("exportMetadata -c NoCluster -f {folder}");
    script.say("exportConfigs -c DefaultCluster -f {folder}");
    script.say("exportMetrics -c DefaultCluster -f {folder}");
    script.say_5("exportPopRecord -b {broker}");
    script.say_5("exportPopRecord -c DefaultCluster -d false");
    // The Java broker has no metrics for 4.9.8.
    let files = [
        "metadata.json",
        "topic.json",
        "subscriptionGroup.json",
        "configs.json",
        "metrics.json",
    ];
    let files = if script.is_5() {
        &files[..]
    } else {
        &files[..4]
    };
    for name in files {
        let path = script.home().join("export").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| format!("{name}: {error}"));
        script.note(&format!("{name} of an export"), text);
    }
}
