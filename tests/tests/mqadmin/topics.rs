//! Topics, the name server's settings, and what is made of both.

use std::fs;

use crate::script::Script;

const TOPICS: &str = r#"[{"topicName":"list-one","readQueueNums":2,"writeQueueNums":2,"perm":6,"topicFilterType":"SINGLE_TAG"},{"topicName":"list-two","readQueueNums":1,"writeQueueNums":1,"perm":4,"topicFilterType":"SINGLE_TAG","attributes":{"+message.type":"FIFO"}}]"#;

pub fn run(script: &mut Script<'_>) {
    made(script);
    looked_at(script);
    ordered(script);
    settings_of_the_name_server(script);
}

fn made(script: &mut Script<'_>) {
    script.say("updateTopic -b {broker} -t topic-{v} -r 1 -w 1");
    script.say("updateTopic -c DefaultCluster -t short-lived -r 2 -w 2");
    script.say("updateTopic -c NoCluster -t nowhere");
    script.say("updateTopic -b {broker} -t bad*name");
    script.say("updateTopic -b {broker} -t TBW102");
    script.say("updateTopic -b {nobody} -t nowhere");
    script.say_5("updateTopic -b {broker} -t typed -a +message.type=FIFO");
    script.say_5("updateTopic -b {broker} -t typed -a +no.such=1");
    if script.is_5() {
        fs::write(script.home().join("topics.json"), TOPICS).expect("list of topics");
    }
    script.say_5("updateTopicList -b {broker} -f topics.json");
    script.say_5("updateTopicList -c DefaultCluster -f topics.json");
    script.say_5("updateTopicList -b {broker} -f missing.json");
    script.say("updateTopicPerm -b {broker} -t topic-{v} -p 4");
    script.say("updateTopicPerm -b {broker} -t topic-{v} -p 4");
    script.say("updateTopicPerm -c DefaultCluster -t topic-{v} -p 6");
    script.say("updateTopicPerm -b {broker} -t no-topic -p 6");
    script.say("updateTopicPerm -b {nobody} -t topic-{v} -p 2");
}

fn looked_at(script: &mut Script<'_>) {
    script.say("topicList");
    script.say("topicList -c");
    script.say("topicRoute -t topic-{v}");
    script.say("topicRoute -t topic-{v} -l");
    script.say("topicRoute -t no-topic");
    script.say("topicStatus -t topic-{v}");
    script.say("topicStatus -t no-topic");
    script.say("topicClusterList -t topic-{v}");
    script.say("topicClusterList -t no-topic");
    script.say("topicStatus -t short-lived");
    script.say("allocateMQ -t short-lived -i 10.0.0.1,10.0.0.2");
    script.say("allocateMQ -t no-topic -i 10.0.0.1");
    script.say_5("remappingStaticTopic -b broker-a -t topic-{v}");
    script.say("deleteTopic -c DefaultCluster -t short-lived");
    script.say("deleteTopic -c DefaultCluster -t never-made");
    script.say("deleteTopic -c NoCluster -t never-made");
    script.say("topicList");
}

fn ordered(script: &mut Script<'_>) {
    script.say("updateTopic -b {broker} -t ordered-{v} -r 2 -w 2 -o true");
    script.say("updateTopic -c DefaultCluster -t ordered-{v} -r 2 -w 2 -o true");
    script.say("updateOrderConf -m get -t ordered-{v}");
    script.say("updateOrderConf -m put -t ordered-{v} -v broker-a:1");
    script.say("updateOrderConf -m get -t ordered-{v}");
    script.say("updateOrderConf -m delete -t ordered-{v}");
    script.say("updateOrderConf -m get -t ordered-{v}");
    script.say("updateOrderConf -m wrong -t ordered-{v}");
    script.say("deleteTopic -c DefaultCluster -t ordered-{v}");
}

fn settings_of_the_name_server(script: &mut Script<'_>) {
    script.say("updateKvConfig -s namespace -k key -v value");
    script.say("deleteKvConfig -s namespace -k key");
    script.say("deleteKvConfig -s no-namespace -k key");
    script.say("getNamesrvConfig");
    script.say("updateNamesrvConfig -k orderMessageEnable -v true");
    script.say("updateNamesrvConfig -k noSuchKey -v 1");
    script.say("updateNamesrvConfig -k configStorePath -v elsewhere");
    script.say("wipeWritePerm -b broker-a");
    script.say("topicRoute -t topic-{v}");
    script.say("wipeWritePerm -b no-broker");
    script.say("addWritePerm -b broker-a");
    script.say("addWritePerm -b no-broker");
    script.say("topicRoute -t topic-{v}");
}
