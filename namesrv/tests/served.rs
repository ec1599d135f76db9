//! A name server over real sockets, asked as brokers, clients and mqadmin ask.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_namesrv::{NameServer, NamesrvConfig};
use sluice_protocol::body::{
    BrokerMemberGroup, ClusterInfo, DataVersion, GetBrokerMemberGroupResponseBody, KvTable,
    RegisterBrokerBody, TopicConfig, TopicList, TopicRouteData,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::message::crc32;
use sluice_protocol::{RemotingCommand, fastjson, version};
use sluice_remoting::{Client, ClientOptions, Connection, Handler, Responder};

const PATIENCE: Duration = Duration::from_secs(10);

struct NoRequests;

impl Handler for NoRequests {
    fn handle(&self, _: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        responder.refuse(
            response::REQUEST_CODE_NOT_SUPPORTED,
            request.code.to_string(),
        );
    }
}

struct Asker {
    client: Client,
    address: String,
}

impl Asker {
    fn of(server: &NameServer) -> Asker {
        Asker::at(server.address())
    }

    fn at(address: SocketAddr) -> Asker {
        let client = Client::new(ClientOptions::default(), Arc::new(NoRequests)).unwrap();
        Asker {
            client,
            address: address.to_string(),
        }
    }

    async fn ask_with(&self, code: i32, fields: &[(&str, &str)], body: Vec<u8>) -> RemotingCommand {
        let mut command = RemotingCommand::request(code, 0).with_body(body);
        command.ext = fields
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        self.client
            .call(&self.address, command, PATIENCE)
            .await
            .unwrap()
    }

    async fn ask(&self, code: i32, fields: &[(&str, &str)]) -> RemotingCommand {
        self.ask_with(code, fields, Vec::new()).await
    }

    /// Asks for what must be given, and reads the body.
    async fn get<T: serde::de::DeserializeOwned>(&self, code: i32, fields: &[(&str, &str)]) -> T {
        let answer = self.ask(code, fields).await;
        assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
        fastjson::from_slice(&answer.body).unwrap()
    }

    async fn register(&self, topics: &[&str]) -> RemotingCommand {
        self.ask_with(request::REGISTER_BROKER, &BROKER, registration(topics))
            .await
    }
}

const BROKER: [(&str, &str); 5] = [
    ("brokerName", "b0"),
    ("brokerAddr", "10.0.0.1:10911"),
    ("clusterName", "c0"),
    ("haServerAddr", "10.0.0.1:10912"),
    ("brokerId", "0"),
];

fn registration(topics: &[&str]) -> Vec<u8> {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = DataVersion {
        counter: 1,
        ..DataVersion::default()
    };
    for topic in topics {
        let config = TopicConfig {
            topic_name: topic.to_string(),
            ..TopicConfig::default()
        };
        wrapper.topic_config_table.insert(topic.to_string(), config);
    }
    fastjson::to_vec(&body).unwrap()
}

async fn start() -> NameServer {
    let mut config = NamesrvConfig::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.order_message_enable = true;
    NameServer::start(config).await.unwrap()
}

#[tokio::test]
async fn a_broker_is_found_until_it_leaves() {
    let server = start().await;
    let (broker, client) = (Asker::of(&server), Asker::of(&server));
    assert_eq!(
        broker.register(&["orders", "%RETRY%g"]).await.code,
        response::SUCCESS
    );

    let route: TopicRouteData = client
        .get(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")])
        .await;
    assert_eq!(
        route.broker_datas[0].broker_addrs,
        [(0, "10.0.0.1:10911".to_owned())].into()
    );
    let cluster: ClusterInfo = client.get(request::GET_BROKER_CLUSTER_INFO, &[]).await;
    assert_eq!(cluster.cluster_addr_table["c0"], ["b0".to_owned()].into());
    let topics: TopicList = client
        .get(request::GET_TOPICS_BY_CLUSTER, &[("cluster", "c0")])
        .await;
    assert_eq!(topics.topic_list.len(), 2);
    let group: GetBrokerMemberGroupResponseBody = client
        .get(
            request::GET_BROKER_MEMBER_GROUP,
            &[("clusterName", "c0"), ("brokerName", "none")],
        )
        .await;
    assert_eq!(
        group.broker_member_group.broker_addrs,
        BrokerMemberGroup::default().broker_addrs
    );

    assert_eq!(
        client.ask(request::UNREGISTER_BROKER, &BROKER).await.code,
        response::SUCCESS
    );
    let answer = client
        .ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")])
        .await;
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
    assert!(
        answer
            .remark()
            .starts_with("No topic route info in name server for the topic: orders")
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_broker_whose_connection_ends_is_gone() {
    let server = start().await;
    let (broker, client) = (Asker::of(&server), Asker::of(&server));
    broker.register(&["orders", "other"]).await;
    broker.client.close(&broker.address);
    let until = Instant::now() + PATIENCE;
    while client
        .ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")])
        .await
        .code
        != response::TOPIC_NOT_EXIST
    {
        assert!(Instant::now() < until, "the broker is still there");
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn clients_get_keys_as_they_can_read_them() {
    let server = start().await;
    let asker = Asker::of(&server);
    asker.register(&["orders", "other"]).await;
    for (client_version, standard, quoted) in [
        (0, "false", false),
        (0, "true", true),
        (version::V4_9_4, "false", true),
        (version::V4_9_4 - 1, "", false),
    ] {
        let mut command = RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC, 0);
        command.version = client_version;
        command.ext = [("topic", "orders"), ("acceptStandardJsonOnly", standard)]
            .into_iter()
            .collect();
        let answer = asker
            .client
            .call(&asker.address, command, PATIENCE)
            .await
            .unwrap();
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        let key = if quoted { r#"{"0":"# } else { "{0:" };
        assert!(body.contains(key), "{client_version} {standard}: {body}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn registrations_are_checked() {
    let server = start().await;
    let asker = Asker::of(&server);
    let alone = asker.register(&["orders"]).await;
    assert_eq!(
        (alone.code, alone.remark()),
        (response::SYSTEM_ERROR, "register broker failed")
    );

    let body = registration(&["orders", "other"]);
    let (right, wrong) = (crc32(&body).to_string(), (crc32(&body) ^ 1).to_string());
    for (crc, code) in [
        (&wrong, response::SYSTEM_ERROR),
        (&right, response::SUCCESS),
    ] {
        let fields = [&BROKER[..], &[("bodyCrc32", crc)]].concat();
        let answer = asker
            .ask_with(request::REGISTER_BROKER, &fields, body.clone())
            .await;
        assert_eq!(answer.code, code, "{}", answer.remark());
    }
    for compressed in ["true", "false"] {
        let fields = [&BROKER[..], &[("compressed", compressed)]].concat();
        let answer = asker
            .ask_with(request::REGISTER_BROKER, &fields, vec![0x78, 0xda, 0xff])
            .await;
        assert_eq!(answer.code, response::SYSTEM_ERROR);
        assert!(
            answer.remark().contains("compressed registration"),
            "{}",
            answer.remark()
        );
    }
    let missing = asker.ask(request::REGISTER_BROKER, &BROKER[1..]).await;
    assert!(
        missing.remark().contains("brokerName"),
        "{}",
        missing.remark()
    );
    server.shutdown().await;
}

/// What `RegisterBrokerBody.encode(true)` of RocketMQ 5.3.3 made of the topics orders and %RETRY%g1.
#[tokio::test]
async fn a_compressed_registration_is_served_whatever_its_header_says() {
    const JAVA: &str = "78da636060b0a8564ace2fcd2b492d52b232d0512a2e492c490d4b2d2acecccf030b9464e6a60205730b94ac0ccd0d10a09681818109880df38b5280ca154c142c14cc14823dfddc7d5ce3431cdd15aa95801a8b13d353f54a2a0b5295ac94fcfc837c1d7d94401a6555835c43822255d30d154010551f488150b492a1811e089a5b1983ac538a058a320000a79f2c8e";
    let body: Vec<u8> = (0..JAVA.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&JAVA[at..at + 2], 16).unwrap())
        .collect();
    for compressed in ["true", "false"] {
        let server = start().await;
        let asker = Asker::of(&server);
        let fields = [&BROKER[..], &[("compressed", compressed)]].concat();
        let answer = asker
            .ask_with(request::REGISTER_BROKER, &fields, body.clone())
            .await;
        assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
        let route: TopicRouteData = asker
            .get(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")])
            .await;
        assert_eq!(
            (
                route.queue_datas[0].read_queue_nums,
                route.queue_datas[0].write_queue_nums
            ),
            (4, 8)
        );
        server.shutdown().await;
    }
}

#[tokio::test]
async fn settings_reach_brokers_and_routes() {
    let server = start().await;
    let asker = Asker::of(&server);
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "orders")];
    let missing = asker.ask(request::GET_KV_CONFIG, &order).await;
    assert_eq!(
        (missing.code, missing.remark()),
        (
            response::QUERY_NOT_FOUND,
            "No config item, Namespace: ORDER_TOPIC_CONFIG Key: orders"
        )
    );
    let put = [order[0], order[1], ("value", "b0:4")];
    assert_eq!(
        asker.ask(request::PUT_KV_CONFIG, &put).await.code,
        response::SUCCESS
    );
    assert_eq!(
        asker
            .ask(request::GET_KV_CONFIG, &order)
            .await
            .ext
            .get("value"),
        Some("b0:4")
    );

    let answer = asker.register(&["orders", "other"]).await;
    let told: KvTable = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!(told.table["orders"], "b0:4");
    let route: TopicRouteData = asker
        .get(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")])
        .await;
    assert_eq!(route.order_topic_conf.as_deref(), Some("b0:4"));
    asker.ask(request::DELETE_KV_CONFIG, &order).await;
    assert_eq!(
        asker.ask(request::GET_KV_CONFIG, &order).await.code,
        response::QUERY_NOT_FOUND
    );
    server.shutdown().await;
}

#[tokio::test]
async fn brokers_ask_whether_their_topics_are_known() {
    let server = start().await;
    let asker = Asker::of(&server);
    asker.register(&["orders", "other"]).await;
    for (counter, changed) in [(1, "false"), (2, "true")] {
        let version = fastjson::to_vec(&DataVersion {
            counter,
            ..DataVersion::default()
        })
        .unwrap();
        let answer = asker
            .ask_with(request::QUERY_DATA_VERSION, &BROKER, version)
            .await;
        assert_eq!(answer.ext.get("changed"), Some(changed));
        assert_eq!(
            fastjson::from_slice::<DataVersion>(&answer.body)
                .unwrap()
                .counter,
            1
        );
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_not_served_is_said() {
    let server = start().await;
    let asker = Asker::of(&server);
    let unknown = asker.ask(29_999, &[]).await;
    assert_eq!(
        (unknown.code, unknown.remark()),
        (
            response::REQUEST_CODE_NOT_SUPPORTED,
            " request type 29999 not supported"
        )
    );
    let known = asker.ask(request::SEND_MESSAGE, &[]).await;
    assert_eq!(known.code, response::REQUEST_CODE_NOT_SUPPORTED);
    assert!(
        known.remark().contains("SEND_MESSAGE"),
        "{}",
        known.remark()
    );
    server.shutdown().await;
}

/// Linux answers on every address of 127.0.0.0/8, so one machine can be reached by several.
#[tokio::test]
async fn each_client_is_given_the_broker_beside_at_the_address_it_came_by() {
    let config = NamesrvConfig::at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let server = NameServer::start(config).await.unwrap();
    server.set_broker_beside("10.0.0.1:10911".parse().unwrap());
    let port = server.address().port();
    let local = Asker::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let registered = local.register(&["orders", "bills"]).await;
    assert_eq!(registered.code, response::SUCCESS);
    for ip in [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)] {
        let client = Asker::at(SocketAddr::from((ip, port)));
        let expected = std::collections::BTreeMap::from([(0, format!("{ip}:10911"))]);
        let route: TopicRouteData = client
            .get(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")])
            .await;
        assert_eq!(route.broker_datas[0].broker_addrs, expected);
        let cluster: ClusterInfo = client.get(request::GET_BROKER_CLUSTER_INFO, &[]).await;
        assert_eq!(cluster.broker_addr_table["b0"].broker_addrs, expected);
    }
}

#[tokio::test]
async fn write_permission_is_wiped_and_restored() {
    let server = start().await;
    let asker = Asker::of(&server);
    asker.register(&["orders", "bills"]).await;
    let broker = [("brokerName", "b0")];
    for (code, count, perm) in [
        (request::WIPE_WRITE_PERM_OF_BROKER, "wipeTopicCount", 4),
        (request::ADD_WRITE_PERM_OF_BROKER, "addTopicCount", 6),
    ] {
        let answer = asker.ask(code, &broker).await;
        assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
        assert_eq!(answer.ext.get(count), Some("2"));
        let route: TopicRouteData = asker
            .get(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "orders")])
            .await;
        assert_eq!(route.queue_datas[0].perm, perm);
    }
}

#[tokio::test]
async fn live_settings_change_and_all_others_are_refused_by_name() {
    let server = start().await;
    let asker = Asker::of(&server);
    let update = async |text: &str| {
        asker
            .ask_with(request::UPDATE_NAMESRV_CONFIG, &[], text.into())
            .await
    };
    let shown = async || {
        let answer = asker.ask(request::GET_NAMESRV_CONFIG, &[]).await;
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    assert!(shown().await.contains("orderMessageEnable=true"));
    let answer = update("orderMessageEnable=FALSE\nserverWorkerThreads=3").await;
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
    assert!(shown().await.contains("orderMessageEnable=false"));
    for (text, named) in [
        ("listenPort=1", "listenPort"),
        ("kvConfigPath=/etc/passwd", "kvConfigPath"),
        ("orderMessageEnable=perhaps", "true or false"),
    ] {
        let answer = update(text).await;
        assert_eq!(answer.code, response::NO_PERMISSION);
        assert!(answer.remark().contains(named), "{}", answer.remark());
    }
}

/// Whatever the last part of the path: the list that is set, or the name server as the asker reaches it.
#[tokio::test]
async fn name_servers_are_told_over_http() {
    for nsaddr in [None, Some("10.0.0.1:9876;ns.example:9877".to_owned())] {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut config = NamesrvConfig::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.address_service_port = free.local_addr().unwrap().port();
        config.nsaddr = nsaddr.clone();
        drop(free);
        let server = NameServer::start(config).await.unwrap();
        let page = server.page_address().unwrap().to_string();
        let told = nsaddr.unwrap_or_else(|| server.address().to_string());
        for subgroup in ["nsaddr", "nsaddr-unit?nofix=1"] {
            let service = sluice_remoting::AddressService::of(&page, subgroup);
            assert_eq!(service.ask().await.unwrap(), told);
        }
        server.shutdown().await;
    }
}
