//! Messages: sent, found, looked at, consumed once more.

use crate::script::Script;

pub fn sent(script: &mut Script<'_>) {
    script.say("sendMessage -t topic-{v} -p hello -k key-one -c TagB");
    script.say("sendMessage -t topic-{v} -p hello -b broker-a -i 0");
    script.say("sendMessage -t topic-{v} -p hello -i 0");
    script.say("sendMessage -t topic-{v} -p hello -b broker-a -i 99");
    script.say("checkMsgSendRT -t topic-{v} -a 3 -s 10");
    script.say("sendMsgStatus -b broker-a -s 10 -c 2");
    script.say("@endless 3 clusterRT -a 2 -s 10 -i 1");
    script.say("@endless 1 clusterRT -a 2 -s 10 -i 1 -p true");
}

pub fn found(script: &mut Script<'_>) {
    script.say("queryMsgByKey -t topic-{v} -k key-one");
    script.say("queryMsgByKey -t topic-{v} -k no-key");
    script.say_5("queryMsgByKey -t topic-{v} -k key-one -b 0 -e 1");
    script.say_5("queryMsgByKey -t topic-{v} -k key-one -m 1 -c DefaultCluster");
    script.say("queryMsgByUniqueKey -t topic-{v} -i {id}");
    script.say("queryMsgByUniqueKey -t topic-{v} -i {id} -a");
    script.say("queryMsgByUniqueKey -t topic-{v} -i 7F000001000000000000000000000000");
    script.say("queryMsgByUniqueKey -t no-topic -i {id}");
    let of_topic = if script.is_5() { "-t topic-{v}" } else { "" };
    let by_id = |rest: &str| format!("queryMsgById {of_topic} {rest}").replace("  ", " ");
    script.say(&by_id("-i {offset-id}"));
    script.say(&by_id("-i {offset-id},{offset-id}"));
    script.say(&by_id("-i 7F0000010000000000000000FFFFFFFF"));
    script.say(&by_id("-i {offset-id} -g group-{v} -d {client}"));
    script.say(&by_id("-i {offset-id} -g group-{v} -d nobody@1"));
    script.say(&by_id("-i {offset-id} -s true"));
    script.say("queryMsgByUniqueKey -t topic-{v} -i {id} -g group-{v} -d {client}");
    script.say("queryMsgByUniqueKey -t topic-{v} -i {id} -g group-{v} -d nobody@1");
    // 4.9.8 does not ask first whether the group is there, and the Java broker creates it.
    script.say_5("queryMsgByUniqueKey -t topic-{v} -i {id} -g no-group -d {client}");
    script.say("queryMsgByOffset -t topic-{v} -b broker-a -i {queue} -o {offset}");
    script.say("queryMsgByOffset -t topic-{v} -b broker-a -i {queue} -o 99999");
    script.say("queryMsgByOffset -t topic-{v} -b no-broker -i 0 -o 0");
    script.say("queryMsgTraceById -i {traced}");
    script.say("queryMsgTraceById -i 7F000001000000000000000000000000");
}

pub fn looked_at(script: &mut Script<'_>) {
    script.say("printMsg -t topic-{v}");
    script.say("printMsg -t topic-{v} -s TagA -d false -b 0 -e now");
    script.say("printMsg -t no-topic");
    script.say("printMsgByQueue -t topic-{v} -a broker-a -i {queue} -p true -d true -f true");
    script.say("printMsgByQueue -t topic-{v} -a broker-a -i {queue} -f true");
    script.say("printMsgByQueue -t topic-{v} -a no-broker -i 0");
    script.say("consumeMessage -t topic-{v} -c 1");
    script.say("consumeMessage -t topic-{v} -b broker-a -i {queue} -o {offset} -c 1");
    script.say("consumeMessage -t topic-{v} -i 0");
    script.say("consumeMessage -t topic-{v} -b broker-a -i {queue} -o 99999");
    script.say("queryCq -t topic-{v} -q {queue} -i {offset} -c 1");
    script.say("queryCq -t topic-{v} -q {queue} -i {offset} -c 1 -g group-{v}");
    script.say("queryCq -t topic-{v} -q {queue} -i {offset} -c 1 -g no-group -b {broker}");
    script.say("queryCq -t topic-{v} -q 99 -i 0");
    script.say("queryCq -t no-topic -q 0 -i 0");
}
