//! The operator's command line on a cluster of ours and on one of Java's: the same commands, the same
//! JSON but for what differs by nature (addresses, times, ids).

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::cluster::{Broker, Cluster, Kind, NameServer, sluice_binary};
use sluice_tests::process::{Running, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// Fields whose values say where and when, not what.
const MASKED: [&str; 17] = [
    "id",
    "uniqueKey",
    "UNIQ_KEY",
    "address",
    "bornHost",
    "bornMs",
    "storedMs",
    "lastStoredMs",
    "consumedToMs",
    "nameServers",
    "brokerAddrs",
    "clientId",
    "members",
    "CLUSTER",
    "tps",
    "inTps",
    "outTps",
];

/// Whose cluster is asked.
struct Operator<'a> {
    name_servers: &'a str,
}

impl Operator<'_> {
    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(sluice_binary());
        command
            .args(line.split_whitespace())
            .env("NAMESRV_ADDR", self.name_servers)
            .env_remove("SLUICE_BROKER")
            .stdin(Stdio::null());
        command.output().expect("sluice")
    }

    fn told(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn refused(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn json(&self, line: &str) -> Value {
        let text = self.told(&format!("{line} --json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {text}: {error}"))
    }

    /// JSON once it has what is waited for.
    fn once(&self, line: &str, what: impl Fn(&Value) -> bool) -> Value {
        wait_until(line, SOON, || {
            let output = self.run(&format!("{line} --json"));
            let json = serde_json::from_slice(&output.stdout).ok()?;
            what(&json).then_some(json)
        })
    }
}

fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let shown = match MASKED.contains(&&**name) && !value.is_null() {
                    true => Value::from("#"),
                    false => masked(value),
                };
                (name.clone(), shown)
            })
            .collect(),
        Value::Array(values) => values.iter().map(masked).collect(),
        other => other.clone(),
    }
}

/// Everything an operator does with topics, groups and messages of a day, and what was told in JSON.
fn a_day(operator: &Operator<'_>) -> Vec<(String, Value)> {
    let mut day = Vec::new();
    let mut say = |line: &str, json: Value| day.push((line.to_owned(), masked(&json)));
    let do_it = |line: &str| (line.to_owned(), operator.json(line));

    for line in [
        "topic create orders --on broker-a --queues 4 --set message.type=NORMAL",
        "topic perm orders r --on broker-a",
        "topic update orders --on broker-a --perm rw --write-queues 3",
        "topic update orders --on broker-a --write-queues 4",
        "group create billing --on broker-a --retries 3 --broadcast false",
        "group create copy --on broker-a",
        "group update billing --on broker-a --retry-queues 2",
    ] {
        let (line, json) = do_it(line);
        say(&line, json);
    }
    let error = operator.refused("topic create orders --on broker-a");
    assert!(error.contains("sluice topic update orders"), "{error}");
    let error = operator.refused("topic show ordres");
    assert!(error.contains("did you mean orders?"), "{error}");
    let error = operator.refused("group progress biling");
    assert!(error.contains("did you mean billing?"), "{error}");

    // A name server hears of a topic with the broker's next registration.
    let is_there = |json: &Value| json["route"]["queueDatas"][0]["writeQueueNums"] == 4;
    say("topic route", operator.once("topic route orders", is_there));
    for n in 0..3 {
        let sent = operator.json(&format!(
            "message send orders hello-{n} --key k{n} --tag A --set colour=blue --queue broker-a:1"
        ));
        say("message send", sent);
    }
    let one = |json: &Value| json["messages"].as_array().is_some_and(|it| it.len() == 1);
    let found = operator.once("message find --key k1 --topic orders", one);
    let (id, unique) = (
        found["messages"][0]["id"].clone(),
        found["messages"][0]["uniqueKey"].clone(),
    );
    let (id, unique) = (id.as_str().expect("an id"), unique.as_str().expect("a key"));
    say("message find --key", found.clone());
    for how in [
        format!("message find --id {id}"),
        format!("message find --id {unique} --topic orders"),
        "message find --at broker-a:1:1 --topic orders".to_owned(),
        format!(
            "message show {unique} --topic orders -n {}",
            operator.name_servers
        ),
    ] {
        assert_eq!(operator.json(&how)["messages"], found["messages"], "{how}");
    }
    // From here on the group has offsets: only those that are there are moved at once by Java.
    members_are_named(operator);
    for line in [
        "message find --stored 0 --topic orders",
        "message print orders",
        "message print orders --filter B",
        "topic show orders",
        "topic list ord",
        "group reset billing orders --to-latest --dry-run",
        "group reset billing orders --to-latest --yes",
        "group progress billing --topic orders",
        "group reset billing orders --to-time 1000 --yes",
        "group reset billing orders --to-offset 2 --queue broker-a:1 --yes",
        "group progress billing --topic orders",
        "group clone billing copy orders --yes",
        "group progress copy --topic orders",
        "group show billing",
        "broker config get maxTransferCountOnMessageInMemory --on broker-a",
        "broker config set maxTransferCountOnMessageInMemory=48 --on broker-a",
        "namesrv kv set ORDER_TOPIC_CONFIG orders broker-a:4",
        "namesrv kv get ORDER_TOPIC_CONFIG orders",
        "namesrv kv get ORDER_TOPIC_CONFIG",
        "namesrv kv delete ORDER_TOPIC_CONFIG orders --yes",
        "namesrv config set orderMessageEnable=true",
        "broker write-perm wipe broker-a",
        "topic route orders",
        "broker write-perm add broker-a",
        "topic route orders",
    ] {
        let (line, mut json) = do_it(line);
        if line.starts_with("broker write-perm") {
            json["topics"] = Value::Null; // the system's own, too
        }
        if line.starts_with("topic show") {
            // Java 5.3.3 names the topic itself among its groups.
            assert!(json["groups"].to_string().contains("billing"), "{json}");
            json["groups"] = Value::Null;
        }
        if line.starts_with("group show") {
            json["queues"] = Value::Null; // its retries', too
            json["lag"] = Value::Null;
        }
        if line.starts_with("namesrv config") {
            json["changes"][0]["server"] = Value::Null;
        }
        if line.starts_with("namesrv kv get") {
            json["servers"][0]["server"] = Value::Null;
        }
        say(&line, json);
    }
    let error = operator.refused("broker config set fileReserveTime=1 --on broker-a");
    assert!(error.contains("did you mean fileReservedTime?"), "{error}");
    let error = operator.refused("group reset billing orders --to-earliest");
    assert!(error.contains("--yes"), "nobody can be asked: {error}");
    for line in [
        "group delete billing --on broker-a --yes",
        "group delete copy --on broker-a --yes",
        "topic delete orders --on broker-a --yes",
    ] {
        let (line, json) = do_it(line);
        say(&line, json);
    }
    let error = operator.refused("group show billing");
    assert!(error.contains("no group billing"), "{error}");
    day
}

/// A member that is online is named, and nobody deletes its group by mistake.
fn members_are_named(operator: &Operator<'_>) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut command = Command::new(sluice_binary());
    command
        .args(["recv", "orders", "--group", "billing"])
        .env("NAMESRV_ADDR", operator.name_servers);
    let mut member = Running::start("recv", dir.path(), &mut command);
    // A Java broker shows a member an instant before it shows what the member subscribes to.
    let shown = operator.once("group show billing", |json| {
        json["connected"] == 1 && !json["subscriptions"]["orders"].is_null()
    });
    assert_eq!(shown["subscriptions"]["orders"]["expression"], "*");
    let client = shown["members"][0]["clientId"].as_str().expect("a client");
    for line in [
        "group delete billing --on broker-a --yes",
        "group clone billing billing orders --yes",
    ] {
        let error = operator.refused(line);
        assert!(error.contains(client), "{line}: {error}");
    }
    let told = operator.told("group reset billing orders --to-earliest --dry-run");
    assert!(told.contains(client), "{told}");
    let listed = operator.json("group list");
    let listed = listed["groups"].as_array().expect("groups");
    let billing = listed
        .iter()
        .find(|it| it["group"] == "billing")
        .expect("billing");
    assert_eq!(billing["connected"], 1);
    assert!(member.terminate(SOON).success());
    operator.once("group show billing", |json| json["connected"] == 0);
}

/// Brokers that do not move queues by themselves take the offset of a group that nobody is in.
fn moved_as_by_old_brokers(operator: &Operator<'_>) {
    operator.told("broker config set useServerSideResetOffset=false");
    operator.told("topic create late --queues 1");
    operator.told("group create late");
    operator.once("topic route late", |json| json["route"].is_object());
    operator.told("message send late hello");
    operator.told("group reset late late --to-latest --yes");
    let progress = operator.json("group progress late --topic late");
    assert_eq!(progress["queues"][0]["consumerOffset"], 1, "{progress}");
}

/// Java's spellings: the lines that scripts look for.
fn the_book_s_spellings(operator: &Operator<'_>, broker: &str) {
    let says = |line: &str, parts: &[&str]| {
        let told = operator.told(line);
        for part in parts {
            assert!(told.contains(part), "{line}: {part:?} is missing in {told}");
        }
    };
    says(
        &format!("admin updateTopic -b {broker} -t book -r 4 -w 4"),
        &[
            &format!("create topic to {broker} success."),
            "TopicConfig [topicName=book, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={}]",
        ],
    );
    operator.once("topic route book", |json| json["route"].is_object());
    says("admin topicList", &["book\n"]);
    says(
        "admin TopicRoute -t book",
        &["\"brokerName\": \"broker-a\""],
    );
    says("admin topicRoute -t book -l", &["#ClusterName", "Total:"]);
    says(
        "admin TopicStats -t book",
        &["#Broker Name", "Topic Put TPS: 0.0"],
    );
    says("admin topicClusterList -t book", &["DefaultCluster\n"]);
    says(
        &format!("admin updateTopicPerm -b {broker} -t book -p 4"),
        &[&format!(
            "update topic perm from 6 to 4 in {broker} success."
        )],
    );
    operator.once("topic route book", |json| {
        json["route"]["queueDatas"][0]["perm"] == 4
    });
    says(
        &format!("admin updateTopicPerm -b {broker} -t book -p 4"),
        &["new perm equals to the old one!"],
    );
    says(
        &format!("admin updateTopicPerm -b {broker} -t book -p 6"),
        &["success."],
    );
    operator.once("topic route book", |json| {
        json["route"]["queueDatas"][0]["perm"] == 6
    });
    says(
        &format!("admin updateSubGroup -b {broker} -g readers -q 1"),
        &[
            &format!("create subscription group to {broker} success."),
            "SubscriptionGroupConfig{groupName=readers, consumeEnable=true, consumeFromMinEnable=false,",
        ],
    );
    says(
        "admin sendMessage -t book -p hello -k chapter -c A",
        &["#Send Result", "SEND_OK"],
    );
    operator.once("message find --key chapter --topic book", |json| {
        json["messages"][0].is_object()
    });
    says("admin queryMsgByKey -t book -k chapter", &["#Message ID"]);
    let found = operator.json("message find --key chapter --topic book");
    let (id, queue) = (
        &found["messages"][0]["id"],
        &found["messages"][0]["queueId"],
    );
    let id = id.as_str().expect("an id");
    says(
        &format!("admin queryMsgById -i {id}"),
        &["OffsetID:", "[chapter]", "hello"],
    );
    says(
        &format!("admin queryMsgByOffset -t book -b broker-a -i {queue} -o 0"),
        &["Queue Offset:        0"],
    );
    says("admin printMsg -t book", &["MSGID: ", "BODY: hello"]);
    says(
        "admin consumeMessage -t book",
        &["Consume ok", "BODY: hello"],
    );
    says(
        "admin resetOffsetByTime -g readers -t book -s 0",
        &[
            "start reset consumer offset by specified, group[readers], topic[book]",
            "#queueId",
        ],
    );
    says(
        "admin skipAccumulatedMessage -g readers -t book",
        &["#queueId"],
    );
    says(
        "admin consumerProgress -g readers -t book",
        &["#Consumer Offset", "Consume Diff Total: "],
    );
    says("admin consumerProgress", &["#Diff Total", "readers"]);
    says(
        &format!("admin brokerConsumeStats -b {broker}"),
        &["Diff Total: "],
    );
    says("admin statsAll -t book", &["#InMsg24Hour", "book"]);
    says(
        "admin getConsumerConfig -g readers",
        &["DefaultCluster:broker-a", "retryMaxTimes"],
    );
    says(
        "admin clusterList",
        &["#InTPS(LOAD)", "DefaultCluster", "broker-a"],
    );
    says("admin clusterList -m", &["#InTotalYest", "broker-a"]);
    says(
        &format!("admin brokerStatus -b {broker}"),
        &["bootTimestamp", "putTps"],
    );
    says(
        &format!("admin getBrokerConfig -b {broker}"),
        &[
            &format!("============{broker}============"),
            "fileReservedTime",
        ],
    );
    says(
        &format!("admin updateBrokerConfig -b {broker} -k maxTransferCountOnMessageInMemory -v 36"),
        &[&format!("update broker config success, {broker}")],
    );
    says(
        "admin updateKvConfig -s n -k a -v 1",
        &["create or update kv config to namespace success."],
    );
    says(
        "admin deleteKvConfig -s n -k a",
        &["delete kv config from namespace success."],
    );
    says(
        "admin updateOrderConf -m put -t book -v broker-a:4",
        &["update orderConf success. topic=[book], orderConf=[broker-a:4]"],
    );
    says(
        "admin updateOrderConf -m get -t book",
        &["orderConf=[broker-a:4]"],
    );
    says(
        "admin updateOrderConf -m delete -t book",
        &["delete orderConf success. topic=[book]"],
    );
    says("admin getNamesrvConfig", &["kvConfigPath"]);
    says(
        "admin updateNamesrvConfig -k orderMessageEnable -v false",
        &[
            "update name server config success!",
            "orderMessageEnable : false",
        ],
    );
    says(
        "admin wipeWritePerm -b broker-a",
        &[
            "wipe write perm of broker[broker-a] in name server[",
            "] OK, ",
        ],
    );
    says(
        "admin addWritePerm -b broker-a",
        &[
            "add write perm of broker[broker-a] in name server[",
            "] OK, ",
        ],
    );
    says(
        &format!("admin deleteSubGroup -b {broker} -g readers -r true"),
        &[&format!(
            "delete subscription group [readers] from broker [{broker}] success."
        )],
    );
    says(
        "admin deleteTopic -c DefaultCluster -t book",
        &[
            "delete topic [book] from cluster [DefaultCluster] success.",
            "delete topic [book] from NameServer success.",
        ],
    );
    let error = operator.refused("admin updateTopic -t book -c NoCluster");
    assert!(error.contains("no cluster NoCluster"), "{error}");
    let error = operator.refused("admin deleteTopic -t book");
    assert!(error.contains("Missing required option: c"), "{error}");
    let error = operator.refused("admin topicLisp");
    assert!(
        error.contains("The sub command topicLisp not exist. Did you mean topicList?"),
        "{error}"
    );
    says("admin help updateTopic", &["usage: mqadmin updateTopic"]);
}

#[test]
fn the_same_commands_say_the_same_of_our_cluster_and_of_java_s() {
    let java = Cluster::start(Kind::Java);
    let ours = Cluster::start(Kind::Sluice);
    let (mut days, clusters) = (Vec::new(), [&java, &ours]);
    for cluster in clusters {
        let operator = Operator {
            name_servers: cluster.namesrv.address(),
        };
        // A Java broker says that it is up before its first registration has arrived.
        operator.once("cluster show", |json| json["brokers"][0]["answers"] == true);
        days.push(a_day(&operator));
        the_book_s_spellings(&operator, &cluster.broker.address());
    }
    let both = days[0].iter().zip(&days[1]);
    let differing: Vec<String> = both
        .filter(|((_, java), (_, ours))| java != ours)
        .map(|((line, java), (_, ours))| format!("{line}\n  Java: {java}\n  ours: {ours}"))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    let operator = Operator {
        name_servers: ours.namesrv.address(),
    };
    moved_as_by_old_brokers(&Operator {
        name_servers: java.namesrv.address(),
    });
    let both = |line: &str| {
        let line = format!(
            "{line} --broker {} -n {}",
            ours.broker.http(),
            operator.name_servers
        );
        operator.json(&line)
    };
    operator.told("message send joined hello --key once");
    operator.told("group create both");
    let shown = both("group show both");
    assert!(
        shown["conflicts"].is_array() && shown["cluster"]["settings"].is_array(),
        "{shown}"
    );
    assert!(both("group list")["broker"].is_array());
}

#[test]
fn who_does_not_answer_is_named_and_the_others_are_shown() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let namesrv = NameServer::start(Kind::Sluice, dir.path(), "");
    let start = |name: &str| {
        let more = format!("brokerName={name}\n");
        Broker::start(
            Kind::Sluice,
            &dir.path().join(name),
            namesrv.address(),
            &more,
        )
    };
    let (_a, b) = (start("broker-a"), start("broker-b"));
    let operator = Operator {
        name_servers: namesrv.address(),
    };
    operator.told("topic create everywhere --queues 2");
    let route = operator.once("topic route everywhere", |json| {
        json["route"]["brokerDatas"]
            .as_array()
            .is_some_and(|it| it.len() == 2)
    });
    assert_eq!(route["route"]["queueDatas"][1]["writeQueueNums"], 2);
    let text = operator.told("topic list");
    assert!(
        text.contains("everywhere") && text.contains("broker-a broker-b"),
        "{text}"
    );
    let config = operator.told("broker config get brokerName");
    assert!(
        config.contains("broker-a") && config.contains("broker-b"),
        "{config}"
    );

    // Stopped, it holds its connections and says nothing.
    let stop = Command::new("kill")
        .args(["-STOP", &b.id().to_string()])
        .status();
    assert!(stop.expect("kill").success());
    let begun = Instant::now();
    let shown = operator.run("cluster show --timeout 1 --json");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it gives up by itself"
    );
    assert_eq!(shown.status.code(), Some(1));
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["missing"][0]["server"], "broker-b");
    assert_eq!(shown["brokers"][0]["answers"], true);
    assert_eq!(shown["brokers"][1]["answers"], false);
    let shown = operator.run("topic show everywhere --timeout 1");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("MISSING: broker-b ("), "{text}");
    assert!(text.contains("broker-a"), "{text}");
    let go_on = Command::new("kill")
        .args(["-CONT", &b.id().to_string()])
        .status();
    assert!(go_on.expect("kill").success());

    let watched = operator.told("cluster show --watch 1 --times 2");
    assert_eq!(watched.matches("CLUSTER").count(), 2, "{watched}");

    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let nobody = Operator {
        name_servers: &address,
    };
    let error = nobody.refused("topic list --timeout 1");
    assert!(
        error.contains("no name server answers") && error.contains("NAMESRV_ADDR"),
        "{error}"
    );
    // One that answers is enough.
    let several = format!("{address};{}", namesrv.address());
    let either = Operator {
        name_servers: &several,
    };
    assert!(either.told("topic list --timeout 1").contains("everywhere"));
}

#[test]
fn a_change_goes_no_further_than_is_meant() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let namesrv = NameServer::start(Kind::Sluice, dir.path(), "");
    let start = |name: &str, cluster: &str| {
        let more = format!("brokerName={name}\nbrokerClusterName={cluster}\n");
        let at = dir.path().join(name);
        Broker::start(Kind::Sluice, &at, namesrv.address(), &more)
    };
    let _brokers = [("a", "east"), ("b", "east"), ("c", "west")].map(|(name, of)| start(name, of));
    let operator = Operator {
        name_servers: namesrv.address(),
    };
    let brokers = |json: &Value| json["route"]["brokerDatas"].as_array().map_or(0, Vec::len);
    let are_here = |json: &Value| json["brokers"].as_array().map_or(0, Vec::len) == 3;
    operator.once("cluster show", are_here);
    for cluster in ["east", "west"] {
        for line in [
            "topic create far --queues 2",
            "topic create %RETRY%g",
            "group create g",
        ] {
            operator.told(&format!("{line} --cluster {cluster}"));
        }
    }
    operator.told("group create copy --cluster east");
    operator.told("topic create near --on a");
    for topic in ["far", "%RETRY%g"] {
        operator.once(&format!("topic route {topic}"), |json| brokers(json) == 3);
    }
    operator.once("topic route near", |json| brokers(json) == 1);

    for line in [
        "group reset g far --to-latest --yes",
        "group clone g copy far --yes",
    ] {
        let error = operator.refused(line);
        assert!(
            error.contains("there are several clusters"),
            "{line}: {error}"
        );
    }
    let error = operator.refused("group reset g near --to-latest --yes --cluster west");
    assert!(error.contains("topic near is on none of c"), "{error}");
    operator.told("group reset g far --to-offset 0 --queue a:1 --cluster east --yes");
    // Where g has no offset, the copy gets none.
    let cloned = operator.json("group clone g copy far --cluster east --yes");
    let queues = cloned["queues"].as_array().expect("queues");
    assert_eq!(queues.len(), 1, "{cloned}");
    assert_eq!(
        (&queues[0]["broker"], &queues[0]["queueId"]),
        (&"a".into(), &1.into())
    );

    let error = operator.refused("admin updateTopicPerm -t far -p 4");
    assert!(error.contains("Missing required option"), "{error}");
    let error = operator.refused("admin updateTopicPerm -t near -p 4 -c east");
    assert!(
        error.contains("is no master that serves topic near"),
        "{error}"
    );
    let near = operator.json("topic show near");
    assert_eq!(near["brokers"][0]["perm"], "rw", "{near}");
    let error = operator.refused("namesrv kv delete n k");
    assert!(error.contains("--yes"), "{error}");

    // Its retries stay in the routes of those that have them still.
    operator.told("group delete g --on a --yes");
    let left = operator.json("topic route %RETRY%g").to_string();
    assert!(left.contains("\"b\"") && left.contains("\"c\""), "{left}");
    operator.told("admin deleteSubGroup -c west -g g -r true");
    let left = operator.json("topic route %RETRY%g").to_string();
    assert!(left.contains("\"b\"") && !left.contains("\"c\""), "{left}");
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(sluice_binary())
            .args(["completion", shell])
            .output();
        let script = output.expect("sluice").stdout;
        let text = String::from_utf8_lossy(&script).into_owned();
        assert!(text.contains("write-perm"), "{shell}");
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("script");
        std::fs::write(&file, &script).expect("a script");
        let checked = Command::new(shell)
            .arg("-n")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut checked) = checked else {
            eprintln!("{shell} is not here: its script is not read");
            continue;
        };
        let mut errors = String::new();
        if let Some(mut pipe) = checked.stderr.take() {
            pipe.read_to_string(&mut errors)
                .expect("what the shell says");
        }
        assert!(checked.wait().expect(shell).success(), "{shell}: {errors}");
    }
}
