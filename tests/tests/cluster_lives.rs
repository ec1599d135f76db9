//! Brokers and name servers of a cluster come and go under load: no send of a client fails for good, nothing that
//! was acknowledged is lost, and nobody has to be started again for it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_tests::audit::{AuditConsumer, AuditProducer};
use sluice_tests::cluster::{Broker, Kind, NameServer};
use sluice_tests::process::wait_until;
use sluice_tests::wire::{Wire, command, send};

const TOPIC: &str = "lives";
/// Acknowledged messages after each change.
const LOAD: usize = 1_000;
/// Clients look for routes every 30 s.
const ROUTES: Duration = Duration::from_secs(60);

struct Cluster {
    name_servers: [NameServer; 2],
    brokers: Vec<Broker>,
    // Last, so that it goes after the processes that use it.
    dir: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name_servers =
            ["one", "two"].map(|name| NameServer::start(Kind::Sluice, &dir.path().join(name), ""));
        let mut cluster = Cluster {
            name_servers,
            brokers: Vec::new(),
            dir,
        };
        cluster.add_broker("broker-a");
        cluster.add_broker("broker-b");
        cluster
    }

    fn namesrv(&self) -> String {
        let [one, two] = &self.name_servers;
        format!("{};{}", one.address(), two.address())
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn add_broker(&mut self, name: &str) {
        let (dir, namesrv) = (self.dir().join(name), self.namesrv());
        let settings = format!("brokerName={name}\ndefaultTopicQueueNums=2\n");
        let broker = Broker::start(Kind::Sluice, &dir, &namesrv, &settings);
        self.brokers.push(broker);
    }
}

/// Messages a broker has taken since its start.
fn taken(broker: &Broker) -> u64 {
    let mut wire = Wire::connect(&broker.address()).expect("a connection");
    let info = command(request::GET_BROKER_RUNTIME_INFO, &[], b"");
    let answer = wire.ask(&info).expect("an answer");
    assert_eq!(answer.code, response::SUCCESS);
    let info: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let total = info["table"]["putMessageTimesTotal"].as_str();
    // An empty broker says 1, as Java does.
    total.and_then(|total| total.parse().ok()).unwrap_or(0)
}

/// How many brokers a name server gives for the topic.
fn brokers_known(name_server: &NameServer) -> usize {
    let mut wire = Wire::connect(name_server.address()).expect("a connection");
    let route = command(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", TOPIC)], b"");
    let answer = wire.ask(&route).expect("an answer");
    let route: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    route["brokerDatas"].as_array().map_or(0, Vec::len)
}

/// Waits until the broker takes messages.
fn wait_until_used(broker: &Broker) {
    let before = taken(broker);
    wait_until("messages for the broker", ROUTES, || {
        (taken(broker) > before + 10).then_some(())
    });
}

fn make_topic(broker: &Broker) {
    let fields = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "2"),
        ("writeQueueNums", "2"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    let mut wire = Wire::connect(&broker.address()).expect("a connection");
    let update = command(request::UPDATE_AND_CREATE_TOPIC, &fields, b"");
    let answer = wire.ask(&update).expect("an answer");
    assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
}

#[test]
fn servers_come_and_go_and_no_send_fails() {
    let mut cluster = Cluster::start();
    let namesrv = cluster.namesrv();
    cluster.brokers.iter().for_each(make_topic);
    let producer = AuditProducer::patient(&namesrv, TOPIC, "m", cluster.dir());
    let consumer = AuditConsumer::start(&namesrv, TOPIC, "lives-group", "live", cluster.dir());
    producer.wait_for_more(LOAD);

    // Each broker, one in order and one not.
    let status = cluster.brokers[0].terminate();
    assert!(status.success(), "{status}");
    producer.wait_for_more(LOAD);
    cluster.brokers[0].start_again(Kind::Sluice);
    wait_until_used(&cluster.brokers[0]);
    cluster.brokers[1].kill();
    producer.wait_for_more(LOAD);
    cluster.brokers[1].start_again(Kind::Sluice);
    wait_until_used(&cluster.brokers[1]);
    producer.assert_no_send_failed("while brokers went");

    // Each name server.
    for at in 0..2 {
        cluster.name_servers[at].kill();
        producer.wait_for_more(LOAD);
        cluster.name_servers[at].start_again();
    }
    producer.assert_no_send_failed("while name servers went");

    // A topic that is extended to a new broker.
    cluster.add_broker("broker-c");
    make_topic(&cluster.brokers[2]);
    wait_until_used(&cluster.brokers[2]);
    producer.assert_no_send_failed("when a broker came");

    // All name servers: clients go on with what they know, and find what is new when they are back.
    cluster.name_servers.iter_mut().for_each(NameServer::kill);
    producer.wait_for_more(2 * LOAD);
    let name_servers = &mut cluster.name_servers;
    name_servers.iter_mut().for_each(NameServer::start_again);
    // Brokers register again each in its time, and a client that asks meanwhile knows some of them only.
    for name_server in &cluster.name_servers {
        wait_until("all brokers' registrations", ROUTES, || {
            (brokers_known(name_server) == 3).then_some(())
        });
    }
    cluster.brokers.iter().for_each(wait_until_used);
    producer.assert_no_send_failed("without a name server");
    cluster.brokers[2].terminate();
    producer.wait_for_more(LOAD);
    cluster.brokers[2].start_again(Kind::Sluice);
    wait_until_used(&cluster.brokers[2]);

    producer.assert_no_send_failed("when a broker went while all was well");
    let acked = producer.stop();
    consumer.wait_for_all(&acked);
    let later = AuditConsumer::start(&namesrv, TOPIC, "later-group", "later", cluster.dir());
    later.wait_for_all(&acked);
}

const MANY: usize = 10_000;

/// A name server that only counts: it answers each registration, and says how large it was.
fn counting_name_server() -> (String, std::sync::mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let (sender, sizes) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || count(stream, &sender));
        }
    });
    (address, sizes)
}

fn count(mut stream: TcpStream, sizes: &Sender<usize>) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut frame = length.to_vec();
        frame.resize(4 + u32::from_be_bytes(length) as usize, 0);
        stream.read_exact(&mut frame[4..])?;
        let whole = Bytes::from(frame);
        let request = RemotingCommand::decode(&whole).map_err(std::io::Error::other)?;
        if request.code == request::REGISTER_BROKER && sizes.send(whole.len()).is_err() {
            return Ok(());
        }
        let answer = request.response(response::SUCCESS);
        stream.write_all(&answer.encode())?;
    }
}

/// A broker's file of so many topics, as Java writes it.
fn many_topics(store: &Path) {
    let topic = |at: usize| {
        let name = format!("many-{at:05}");
        let config = json!({
            "attributes": {}, "order": false, "perm": 6, "readQueueNums": 8, "topicFilterType": "SINGLE_TAG",
            "topicName": name, "topicSysFlag": 0, "writeQueueNums": 8
        });
        (name, config)
    };
    let table: serde_json::Map<String, Value> = (0..MANY).map(topic).collect();
    let version = json!({"counter": 1, "stateVersion": 0, "timestamp": 1});
    let text = json!({"dataVersion": version, "topicConfigTable": table}).to_string();
    std::fs::create_dir_all(store.join("config")).expect("a directory");
    std::fs::write(store.join("config/topics.json"), text).expect("topics.json");
}

/// All of them are in each registration, as in Java's; sends go on meanwhile.
#[test]
fn ten_thousand_topics_register_without_a_stall() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    many_topics(&dir.path().join("broker/store"));
    let name_server = NameServer::start(Kind::Sluice, dir.path(), "");
    let (counting, sizes) = counting_name_server();
    let namesrv = format!("{};{counting}", name_server.address());
    let broker = Broker::start(Kind::Sluice, dir.path(), &namesrv, "");
    let size = sizes.recv_timeout(ROUTES).expect("a registration");
    println!("{size} bytes for {MANY} topics");
    assert!(size < 250 * MANY, "{size} bytes for {MANY} topics");

    // Each new topic is registered at once, with all others.
    let sending = broker.address();
    let sender = std::thread::spawn(move || {
        let mut wire = Wire::connect(&sending).expect("a connection");
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            let began = Instant::now();
            let sent = wire.ask(&send("many-00000", "", b"x")).expect("an answer");
            assert_eq!(sent.code, response::SUCCESS, "{}", sent.remark());
            slowest = slowest.max(began.elapsed());
            std::thread::sleep(Duration::from_millis(10));
        }
        slowest
    });
    make_topic(&broker);
    let mut wire = Wire::connect(name_server.address()).expect("a connection");
    let route = command(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", TOPIC)], b"");
    wait_until("the new topic's route", Duration::from_secs(5), || {
        let answer = wire.ask(&route).expect("an answer");
        (answer.code == response::SUCCESS).then_some(())
    });
    let slowest = sender.join().expect("the sends end");
    assert!(slowest < Duration::from_secs(5), "a send took {slowest:?}");
}
