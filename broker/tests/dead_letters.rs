//! Letters of a group that pops go back to where it pops from.

mod common;

use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC};
use serde_json::Value;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::SubscriptionGroupConfig;
use sluice_protocol::code::{request, response};
use sluice_protocol::fastjson;
use sluice_protocol::message::{Record, properties};

const SOON: Duration = Duration::from_secs(30);

async fn pop(client: &Asker, invisible_ms: &str) -> RemotingCommand {
    let born = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let born = born.as_millis().to_string();
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "-1"),
        ("maxMsgNums", "32"),
        ("invisibleTime", invisible_ms),
        ("pollTime", "0"),
        ("bornTime", &*born),
        ("initMode", "0"),
    ];
    client.ask(request::POP_MESSAGE, &fields, Vec::new()).await
}

/// Pops until the message comes.
async fn popped(client: &Asker, invisible_ms: &str) -> RemotingCommand {
    let popping = async {
        loop {
            let answer = pop(client, invisible_ms).await;
            if answer.code == response::SUCCESS {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, popping)
        .await
        .expect("a message")
}

struct Administration<'a> {
    client: &'a Asker,
    token: String,
}

impl Administration<'_> {
    async fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let fields = [("method", method), ("path", path), ("token", &self.token)];
        let code = request::SLUICE_ADMINISTRATION;
        let answer = self
            .client
            .ask(code, &fields, body.as_bytes().to_vec())
            .await;
        assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The first letter of the group, once it is there.
    async fn letter(&self) -> Value {
        let path = format!("/v1/dead-letters?group={GROUP}");
        let looking = async {
            loop {
                let listed = self.ask("GET", &path, "").await;
                if listed["letters"][0].is_object() {
                    return listed["letters"][0].clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SOON, looking).await.expect("a letter")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_group_that_pops_is_popped_again() {
    let served = Served::start(|config| {
        config.http_address = Some("127.0.0.1:0".to_owned());
        config.revive_interval = 20;
        config.default_topic_queue_nums = 1;
    })
    .await;
    let (client, _asked) = served.client();
    let group = SubscriptionGroupConfig {
        retry_max_times: 1,
        ..SubscriptionGroupConfig::named(GROUP)
    };
    let body = fastjson::to_vec(&group).unwrap();
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    client.ask(code, &[], body).await;
    client.send("", b"order", false).await;
    popped(&client, "1").await;
    popped(&client, "1").await;
    let token = std::fs::read_to_string(served.directory.path().join("plugins/token")).unwrap();
    let administration = Administration {
        client: &client,
        token: token.trim().to_owned(),
    };
    let letter = administration.letter().await;
    assert_eq!(letter["reason"], "popped 2 times and not acked");
    assert_eq!(
        (&letter["topic"], &letter["originOffset"]),
        (&TOPIC.into(), &0.into())
    );

    let id = letter["id"].as_str().unwrap();
    // Another spelling names the same letter. The address has hexadecimal letters: 7F000001.
    let lower = id.to_lowercase();
    assert_ne!(lower, id);
    let wanted = serde_json::json!({"ids": [id, id, lower], "set": {"by": "hand"}}).to_string();
    let done = administration
        .ask("POST", "/v1/dead-letters/resend", &wanted)
        .await;
    assert_eq!(done["resent"].as_array().map(Vec::len), Some(1), "{done}");
    assert_eq!(
        done["resent"][0]["topic"],
        format!("%RETRY%{GROUP}_{TOPIC}")
    );
    let answer = popped(&client, "60000").await;
    let record = Record::parse(&answer.body).unwrap();
    assert_eq!(
        (record.body(), record.reconsume_times()),
        (&b"order"[..], 0)
    );
    assert_eq!(record.property("by"), Some("hand"));
    assert_eq!(record.property("DLQ_REASON"), None);
    assert!(record.property(properties::UNIQ_KEY).is_some());
    let done = administration
        .ask("POST", "/v1/dead-letters/resend", &wanted)
        .await;
    assert_eq!(done["left"].as_array().map(Vec::len), Some(1), "{done}");
    served.broker.shutdown().await.unwrap();
}
