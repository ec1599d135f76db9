//! Groups as an operator sees them, and members that disagree, over sockets.

mod common;

use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC};
use serde_json::Value;
use sluice_broker::config::{ConfigError, SubscriptionConflict};
use sluice_broker::{BrokerConfig, RunningBroker};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{ConsumerData, HeartbeatData, SubscriptionData};
use sluice_protocol::code::{request, response};
use sluice_protocol::fastjson;

const SOON: Duration = Duration::from_secs(20);

async fn served(change: impl FnOnce(&mut BrokerConfig)) -> Served {
    Served::start(|config| {
        config.http_address = Some("127.0.0.1:0".to_owned());
        config.revive_interval = 20;
        change(config);
    })
    .await
}

/// A heartbeat of one client that is in several groups, each with tags of one topic.
async fn heartbeat(client: &Asker, id: &str, groups: &[(&str, &str)]) -> RemotingCommand {
    let consumer = |(group, tags): &(&str, &str)| ConsumerData {
        group_name: (*group).to_owned(),
        subscription_data_set: SubscriptionData::tags(TOPIC, tags, 1).into_iter().collect(),
        ..ConsumerData::default()
    };
    let heartbeat = HeartbeatData {
        client_id: id.to_owned(),
        consumer_data_set: groups.iter().map(consumer).collect(),
        ..HeartbeatData::default()
    };
    let body = fastjson::to_vec(&heartbeat).unwrap();
    client.ask(request::HEART_BEAT, &[], body).await
}

async fn view(served: &Served, group: &str) -> Value {
    let token = std::fs::read_to_string(served.directory.path().join("plugins/token")).unwrap();
    let (client, _) = served.client();
    let path = format!("/v1/groups/{group}");
    let fields = [("method", "GET"), ("path", &*path), ("token", token.trim())];
    let answer = client
        .ask(request::SLUICE_ADMINISTRATION, &fields, Vec::new())
        .await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
    serde_json::from_slice(&answer.body).unwrap()
}

async fn end(broker: RunningBroker) {
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_and_disagrees_is_kept_out_until_the_others_are_gone() {
    let served = served(|config| config.subscription_conflict = SubscriptionConflict::Refuse).await;
    let ((first, _f), (later, _l)) = (served.client(), served.client());
    first.send("", b"x", false).await;
    assert_eq!(
        heartbeat(&first, "a", &[(GROUP, "A || B")]).await.code,
        response::SUCCESS
    );
    let both = [(GROUP, "B"), ("other", "B")];
    let refused = heartbeat(&later, "b", &both).await;
    assert_eq!(refused.code, response::NO_PERMISSION);
    for part in [
        "billing",
        "b (127.0.0.1:",
        "TAG \"B\"",
        "a (127.0.0.1:",
        "TAG \"A || B\"",
    ] {
        assert!(
            refused.remark().contains(part),
            "{part}: {}",
            refused.remark()
        );
    }
    let pulled = later.pull(0, 0, &[]).await;
    assert_eq!(pulled.code, response::NO_PERMISSION, "{}", pulled.remark());
    assert_eq!(
        view(&served, GROUP).await["members"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let other = view(&served, "other").await;
    assert_eq!(
        other["members"][0]["clientId"], "b",
        "its other group is served"
    );

    // One that was let in and changes its mind is kept out as well; the same in other words is no change.
    assert_eq!(
        heartbeat(&later, "b", &[(GROUP, "B||A")]).await.code,
        response::SUCCESS
    );
    assert_eq!(
        heartbeat(&later, "b", &[(GROUP, "*")]).await.code,
        response::NO_PERMISSION
    );
    let leaving = [("clientID", "a"), ("consumerGroup", GROUP)];
    first
        .ask(request::UNREGISTER_CLIENT, &leaving, Vec::new())
        .await;
    assert_eq!(
        heartbeat(&later, "b", &[(GROUP, "*")]).await.code,
        response::SUCCESS
    );
    let pulled = later.pull(0, 0, &[]).await;
    assert_eq!(pulled.code, response::SUCCESS, "{}", pulled.remark());
    end(served.broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disagreement_twins_owners_and_pops_are_seen() {
    let served = served(|_| {}).await;
    let ((first, _f), (second, _s)) = (served.client(), served.client());
    for body in [b"x", b"y", b"z"] {
        first.send("", body, false).await;
    }
    heartbeat(&first, "a", &[(GROUP, "A")]).await;
    heartbeat(&second, "a", &[(GROUP, "A")]).await;
    let seen = view(&served, GROUP).await;
    assert_eq!(seen["twins"][0]["clientId"], "a");
    assert_eq!(seen["twins"][0]["addresses"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&seen["conflicts"], &seen["troubled"]),
        (&Value::Array(Vec::new()), &true.into())
    );
    heartbeat(&second, "b", &[(GROUP, "B")]).await;
    let seen = view(&served, GROUP).await;
    let conflict = &seen["conflicts"][0];
    assert_eq!(conflict["topic"], TOPIC);
    let wishes: Vec<&Value> = conflict["sides"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["wish"]["expression"])
        .collect();
    assert_eq!(wishes, ["A", "B"]);

    // Pulling tells who owns a queue; a lock says it for certain.
    let queue = |seen: &Value, id: i32| {
        let queues = seen["queues"].as_array().unwrap().clone();
        queues
            .into_iter()
            .find(|q| q["topic"] == TOPIC && q["queueId"] == id)
            .unwrap()
    };
    assert_eq!(queue(&seen, 0)["owner"], Value::Null);
    first.pull(0, 0, &[]).await;
    let seen = view(&served, GROUP).await;
    assert_eq!(queue(&seen, 0)["owner"], "a");
    assert_eq!(queue(&seen, 0)["ownerBy"], "pull");
    second.locks(request::LOCK_BATCH_MQ, "b").await;
    let seen = view(&served, GROUP).await;
    assert_eq!(queue(&seen, 0)["owner"], "b");
    assert_eq!(queue(&seen, 0)["ownerBy"], "lock");

    let born = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_millis()
        .to_string();
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("maxMsgNums", "2"),
        ("invisibleTime", "60000"),
        ("pollTime", "0"),
        ("bornTime", &*born),
        ("initMode", "0"),
    ];
    let popped = second.ask(request::POP_MESSAGE, &fields, Vec::new()).await;
    assert_eq!(popped.code, response::SUCCESS, "{}", popped.remark());
    let looking = async {
        loop {
            let queue = queue(&view(&served, GROUP).await, 0);
            if queue["inFlight"] == 2 {
                return queue;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let queue = tokio::time::timeout(SOON, looking)
        .await
        .expect("two are in flight");
    let numbers =
        ["brokerOffset", "consumerOffset", "lag"].map(|name| queue[name].as_i64().unwrap());
    assert_eq!(numbers, [3, 2, 1]);
    end(served.broker).await;
}

#[test]
fn whether_groups_are_split_is_decided_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.conf");
    std::fs::write(&file, "subscriptionConflict=some\n").unwrap();
    let refused = BrokerConfig::read(&file).unwrap_err();
    assert!(
        refused.to_string().contains("WARN, REFUSE or EACH"),
        "{refused}"
    );
    std::fs::write(&file, "subscriptionConflict=each\n").unwrap();
    let (config, _) = BrokerConfig::read(&file).unwrap();
    assert_eq!(config.subscription_conflict, SubscriptionConflict::Each);
    let refused = config.updated("subscriptionConflict=WARN").unwrap_err();
    assert!(matches!(
        refused,
        ConfigError::NotLive("subscriptionConflict")
    ));
    let refused = BrokerConfig::default()
        .updated("subscriptionConflict=EACH")
        .unwrap_err();
    assert!(matches!(
        refused,
        ConfigError::NotLive("subscriptionConflict")
    ));
    let (config, _) = BrokerConfig::default()
        .updated("subscriptionConflict=REFUSE")
        .unwrap();
    assert_eq!(config.subscription_conflict, SubscriptionConflict::Refuse);
}
