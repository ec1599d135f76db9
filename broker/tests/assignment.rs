//! Queues shared out by the broker: over all brokers that have the topic, among the group's members.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC};
use parking_lot::Mutex;
use sluice_broker::{Broker, BrokerConfig};
use sluice_protocol::body::{
    BrokerData, MessageModel, MessageRequestMode, QueryAssignmentRequestBody,
    QueryAssignmentResponseBody, QueueData, SetMessageRequestModeRequestBody, TopicRouteData,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::language::Language;
use sluice_protocol::{RemotingCommand, fastjson};
use sluice_remoting::{CloseReason, Connection, Handler, Responder, Server, ServerOptions};

const PATIENCE: Duration = Duration::from_secs(20);

/// A name server that knows what it is told to know: readable queues by topic and broker.
struct NameServer {
    server: Server,
    routes: Arc<Routes>,
}

#[derive(Default)]
struct Routes {
    queues: Mutex<BTreeMap<String, Vec<(String, i32)>>>,
    asked: Mutex<usize>,
}

impl NameServer {
    async fn start() -> NameServer {
        let routes = Arc::new(Routes::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(any, ServerOptions::default(), routes.clone()).await;
        let server = server.unwrap();
        NameServer { server, routes }
    }

    fn address(&self) -> Option<String> {
        Some(self.server.address().to_string())
    }

    fn knows(&self, topic: &str, brokers: &[(&str, i32)]) {
        let brokers = brokers.iter().map(|(name, count)| ((*name).into(), *count));
        let mut queues = self.routes.queues.lock();
        queues.insert(topic.to_owned(), brokers.collect());
    }

    fn asked(&self) -> usize {
        *self.routes.asked.lock()
    }
}

impl Handler for Routes {
    fn handle(&self, _: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        let success = responder.response(response::SUCCESS);
        match request.code {
            request::REGISTER_BROKER | request::UNREGISTER_BROKER => responder.answer(success),
            request::GET_ROUTEINFO_BY_TOPIC => {
                *self.asked.lock() += 1;
                let queues = self.queues.lock();
                match queues.get(request.ext.get("topic").unwrap()) {
                    Some(brokers) => {
                        let body = fastjson::to_vec(&route(brokers)).unwrap();
                        responder.answer(success.with_body(body));
                    }
                    None => responder.refuse(response::TOPIC_NOT_EXIST, "no such topic"),
                }
            }
            code => panic!("a name server was asked {code}"),
        }
    }

    fn closed(&self, _: &Arc<Connection>, _: &CloseReason) {}
}

fn route(brokers: &[(String, i32)]) -> TopicRouteData {
    let queue_data = |(name, count): &(String, i32)| QueueData {
        broker_name: name.clone(),
        perm: if name.ends_with("write-only") { 2 } else { 6 },
        read_queue_nums: *count,
        write_queue_nums: *count + 1,
        ..QueueData::default()
    };
    let broker_data = |(name, _): &(String, i32)| BrokerData {
        broker_name: name.clone(),
        ..BrokerData::default()
    };
    TopicRouteData {
        broker_datas: brokers.iter().map(broker_data).collect(),
        queue_datas: brokers.iter().map(queue_data).collect(),
        ..TopicRouteData::default()
    }
}

/// What the client gets to do, as `broker:id` with blanks between, or nothing.
async fn ask(asker: &Asker, query: QueryAssignmentRequestBody) -> Option<String> {
    ask_in(asker, query, MessageRequestMode::Pull).await
}

async fn ask_in(
    asker: &Asker,
    query: QueryAssignmentRequestBody,
    mode: MessageRequestMode,
) -> Option<String> {
    let body = fastjson::to_vec(&query).unwrap();
    let answer = asker.ask(request::QUERY_ASSIGNMENT, &[], body).await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
    let body: QueryAssignmentResponseBody = fastjson::from_slice(&answer.body).unwrap();
    let text = |assignment: &sluice_protocol::body::MessageQueueAssignment| {
        assert_eq!(assignment.mode, mode);
        let queue = assignment.message_queue.as_ref().unwrap();
        assert_eq!(queue.topic, query.topic);
        format!("{}:{}", queue.broker_name, queue.queue_id)
    };
    let assignments = body.message_queue_assignments?;
    Some(assignments.iter().map(text).collect::<Vec<_>>().join(" "))
}

fn query(client_id: &str, strategy_name: &str) -> QueryAssignmentRequestBody {
    QueryAssignmentRequestBody {
        client_id: client_id.to_owned(),
        consumer_group: GROUP.to_owned(),
        message_model: MessageModel::Clustering,
        strategy_name: strategy_name.to_owned(),
        topic: TOPIC.to_owned(),
    }
}

async fn until(what: &str, done: impl AsyncFn() -> bool) {
    let looked = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looked).await;
    assert!(looked.is_ok(), "did not happen: {what}");
}

#[tokio::test]
async fn all_brokers_queues_are_shared_among_the_members() {
    let name_server = NameServer::start().await;
    name_server.knows(TOPIC, &[("b", 4), ("a", 3), ("write-only", 2)]);
    let served = Served::start(|config| config.namesrv_addr = name_server.address()).await;
    let (first, _) = served.client();
    assert_eq!(
        ask(&first, query("c1", "AVG")).await,
        None,
        "nobody is there"
    );
    // c2 has two connections.
    let clients: Vec<_> = (0..4).map(|_| served.client().0).collect();
    for (client, id) in clients.iter().zip(["c2", "c3", "c1", "c2"]) {
        client.heartbeat(id, "*", Language::Java).await;
    }
    for (strategy, shares) in [
        ("AVG", ["a:0 a:1 a:2", "b:0 b:1", "b:2 b:3"]),
        ("AVG_BY_CIRCLE", ["a:0 b:0 b:3", "a:1 b:1", "a:2 b:2"]),
    ] {
        for (id, share) in ["c1", "c2", "c3"].iter().zip(shares) {
            let mine = ask(&first, query(id, strategy)).await;
            assert_eq!(mine.as_deref(), Some(share), "{strategy} {id}");
        }
    }
    let mut hashed = Vec::new();
    for id in ["c1", "c2", "c3"] {
        let mine = ask(&first, query(id, "CONSISTENT_HASH")).await.unwrap();
        hashed.extend(
            mine.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        );
    }
    hashed.sort();
    assert_eq!(hashed.join(" "), "a:0 a:1 a:2 b:0 b:1 b:2 b:3");
    assert_eq!(name_server.asked(), 1);
    // Nothing to say: a strategy, a client, a group, a topic that is not known.
    assert_eq!(ask(&first, query("c1", "MACHINE_ROOM")).await, None);
    assert_eq!(ask(&first, query("stranger", "AVG")).await, None);
    for (group, topic) in [("nobody", TOPIC), (GROUP, "nothing")] {
        let mut unknown = query("c1", "AVG");
        (unknown.consumer_group, unknown.topic) = (group.to_owned(), topic.to_owned());
        assert_eq!(ask(&first, unknown).await, None);
    }
    let everything = "b:0 b:1 b:2 b:3 a:0 a:1 a:2";
    let mut broadcast = query("stranger", "AVG");
    broadcast.message_model = MessageModel::Broadcasting;
    assert_eq!(ask(&first, broadcast).await.as_deref(), Some(everything));
    let settings = b"serverLoadBalancerEnable=false".to_vec();
    let set = first
        .ask(request::UPDATE_BROKER_CONFIG, &[], settings)
        .await;
    assert_eq!(set.code, response::SUCCESS, "{}", set.remark());
    let mine = ask(&first, query("c1", "AVG")).await;
    assert_eq!(mine.as_deref(), Some(everything));
}

#[tokio::test]
async fn poppers_share_their_queues_with_those_that_follow_them() {
    let name_server = NameServer::start().await;
    name_server.knows(TOPIC, &[("a", 2), ("b", 2)]);
    let served = Served::start(|config| config.namesrv_addr = name_server.address()).await;
    let clients: Vec<_> = (0..4).map(|_| served.client().0).collect();
    for (client, id) in clients.iter().zip(["c1", "c2", "c3", "c4"]) {
        client.heartbeat(id, "*", Language::Java).await;
    }
    clients[0].send("", b"x", false).await;
    let set = SetMessageRequestModeRequestBody {
        consumer_group: GROUP.to_owned(),
        mode: MessageRequestMode::Pop,
        pop_share_queue_num: 1,
        topic: TOPIC.to_owned(),
    };
    let body = fastjson::to_vec(&set).unwrap();
    let code = request::SET_MESSAGE_REQUEST_MODE;
    let answer = clients[0].ask(code, &[], body).await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
    let share = async |id: &str| {
        let query = query(id, "AVG");
        ask_in(&clients[0], query, MessageRequestMode::Pop).await
    };
    assert_eq!(share("c1").await.as_deref(), Some("a:0 a:1"));
    assert_eq!(share("c4").await.as_deref(), Some("b:1 a:0"));
    // With so many that all are shared, each broker is one queue.
    let body = SetMessageRequestModeRequestBody {
        pop_share_queue_num: 3,
        ..set
    };
    clients[0]
        .ask(code, &[], fastjson::to_vec(&body).unwrap())
        .await;
    assert_eq!(share("c4").await.as_deref(), Some("a:-1 b:-1"));
}

#[tokio::test]
async fn routes_are_kept_fresh_while_they_are_asked_for_and_survive_silent_name_servers() {
    let name_server = NameServer::start().await;
    name_server.knows(TOPIC, &[("a", 1)]);
    let served = Served::start(|config| {
        config.namesrv_addr = name_server.address();
        config.load_balance_poll_name_server_interval = 100;
    })
    .await;
    let (client, _) = served.client();
    client.heartbeat("c1", "*", Language::Java).await;
    let mine = async || ask(&client, query("c1", "AVG")).await;
    assert_eq!(mine().await.as_deref(), Some("a:0"));
    name_server.knows(TOPIC, &[("a", 1), ("b", 1)]);
    until("a new broker", async || {
        mine().await.as_deref() == Some("a:0 b:0")
    })
    .await;
    // Forgotten after a round that nobody has asked in.
    let mut asked = name_server.asked();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = name_server.asked();
        if std::mem::replace(&mut asked, now) == now {
            break;
        }
    }
    assert_eq!(mine().await.as_deref(), Some("a:0 b:0"));
    assert!(name_server.asked() > asked, "asked for anew");
    name_server.routes.queues.lock().clear();
    until("the topic is gone", async || mine().await.is_none()).await;
    name_server.knows(TOPIC, &[("c", 1)]);
    until("another broker", async || {
        mine().await.as_deref() == Some("c:0")
    })
    .await;
    name_server.server.shutdown(Duration::from_secs(1)).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(mine().await.as_deref(), Some("c:0"));
    }
}

#[tokio::test]
async fn without_name_servers_the_brokers_own_queues_are_shared() {
    let served = Served::start(|_| {}).await;
    let (client, _) = served.client();
    client.send("", b"x", false).await;
    client.heartbeat("c1", "*", Language::Java).await;
    assert_eq!(
        ask(&client, query("c1", "AVG")).await.as_deref(),
        Some("b:0")
    );
    let mut retry = query("c1", "AVG");
    retry.topic = format!("%RETRY%{GROUP}");
    assert_eq!(ask(&client, retry).await.as_deref(), Some("b:0"));
}

#[tokio::test]
async fn the_request_mode_is_set_refused_and_kept() {
    let served = Served::start(|_| {}).await;
    let (client, _) = served.client();
    client.send("", b"x", false).await;
    client.heartbeat("c1", "*", Language::Java).await;
    let body = |topic: &str, group: &str, mode| SetMessageRequestModeRequestBody {
        consumer_group: group.to_owned(),
        mode,
        topic: topic.to_owned(),
        ..SetMessageRequestModeRequestBody::default()
    };
    let set = async |body: SetMessageRequestModeRequestBody| {
        let body = fastjson::to_vec(&body).unwrap();
        let code = request::SET_MESSAGE_REQUEST_MODE;
        let answer = client.ask(code, &[], body).await;
        (answer.code, answer.remark().to_owned())
    };
    let refused = |code, why: &str| (code, why.to_owned());
    use MessageRequestMode::{Pop, Pull};
    assert_eq!(
        set(body("%RETRY%g", GROUP, Pull)).await,
        refused(
            response::NO_PERMISSION,
            "retry topic is not allowed to set mode"
        )
    );
    assert_eq!(
        set(body("nothing", GROUP, Pull)).await,
        refused(response::TOPIC_NOT_EXIST, "topic[nothing] not exist")
    );
    assert_eq!(
        set(body(TOPIC, "not/valid", Pull)).await,
        refused(
            response::SUBSCRIPTION_GROUP_NOT_EXIST,
            "subscription group does not exist"
        )
    );
    let file = served
        .directory
        .path()
        .join("config/messageRequestMode.json");
    assert!(!file.exists(), "nothing was set");
    assert_eq!(set(body(TOPIC, GROUP, Pull)).await.0, response::SUCCESS);
    let java = format!(
        r#"{{
	"messageRequestModeMap":{{
		"{TOPIC}":{{
			"{GROUP}":{{
				"consumerGroup":"{GROUP}",
				"mode":"PULL",
				"popShareQueueNum":0,
				"topic":"{TOPIC}"
			}}
		}}
	}}
}}"#
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), java);
    let (config, directory) = (served.broker.broker().config(), served.directory);
    served.broker.shutdown().await.unwrap();
    // As a Java broker may have left it.
    let popping = java.replace("PULL", "POP");
    std::fs::write(&file, &popping).unwrap();
    let broker = Broker::start(BrokerConfig::clone(&config), None, common::no_compiler())
        .await
        .unwrap();
    let served = Served { broker, directory };
    let (client, _) = served.client();
    client.heartbeat("c1", "*", Language::Java).await;
    // All members pop all.
    assert_eq!(
        ask_in(&client, query("c1", "AVG"), Pop).await.as_deref(),
        Some("b:-1")
    );
    served.broker.shutdown().await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), popping);
}
