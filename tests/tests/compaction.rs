//! A topic that is kept by its last key: the Java broker and Sluice compact one store directory in turns,
//! each reads what the other has compacted, and nothing that stands for its key is lost by `kill -9`.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_protocol::code::{request, response};
use sluice_protocol::message::view;
use sluice_tests::cluster::{Cluster, Kind, More, sluice_binary};
use sluice_tests::java::JavaPeer;
use sluice_tests::process::{Running, wait_until};
use sluice_tests::wire::{Wire, command, pull, send};

const TOPIC: &str = "state";
const KEYS: usize = 5;
const SOON: Duration = Duration::from_secs(60);

/// Nineteen messages to a file, and a round every second.
const SETTINGS: &str = "compactionMappedFileSize=92000\ncompactionCqMappedFileSize=920\n\
                        compactionScheduleInternal=1000\nmaxMessageSize=4096\n";

/// Offset, key and body.
type Found = (i64, String, String);

struct Peer(Wire);

impl Peer {
    fn of(cluster: &Cluster) -> Peer {
        Peer(Wire::connect(&cluster.broker.address()).expect("the broker"))
    }

    fn create_topic(&mut self) {
        let fields = [
            ("topic", TOPIC),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
            ("attributes", "+cleanup.policy=COMPACTION"),
        ];
        let create = command(request::UPDATE_AND_CREATE_TOPIC, &fields, b"");
        let answer = self.0.ask(&create).expect("an answer");
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    }

    /// Sends values of all keys, one after the other; answers the last of each.
    fn update(&mut self, name: &str, count: usize) -> BTreeMap<String, String> {
        let mut newest = BTreeMap::new();
        for number in 0..count {
            let (key, body) = (format!("k{}", number % KEYS), format!("{name}-{number}"));
            let sent = send(TOPIC, &format!("KEYS\u{1}{key}\u{2}"), body.as_bytes());
            let answer = self.0.ask(&sent).expect("an answer");
            assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
            newest.insert(key, body);
        }
        newest
    }

    /// All that there is, from the first offset on.
    fn all(&mut self) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        let mut offset = 0;
        loop {
            let answer = self.0.ask(&pull("readers", TOPIC, 0, offset));
            let answer = answer.expect("an answer");
            let next = answer
                .ext
                .get("nextBeginOffset")
                .and_then(|at| at.parse().ok());
            for record in view::records(&answer.body) {
                let record = record.expect("a record");
                let key = record.property("KEYS").unwrap_or_default().to_owned();
                let body = String::from_utf8_lossy(record.body()).into_owned();
                found.push((record.queue_offset(), key, body));
            }
            match (answer.code, next) {
                (response::SUCCESS | response::PULL_RETRY_IMMEDIATELY, Some(next)) => offset = next,
                (response::PULL_OFFSET_MOVED, Some(next)) if next > offset => offset = next,
                _ => break,
            }
        }
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
        found
    }

    /// Waits until hardly more is left than the newest of each key and a file that still grows.
    fn compacted(&mut self, what: &str) -> Vec<Found> {
        wait_until(what, SOON, || {
            let all = self.all();
            (all.len() <= 19 + KEYS).then_some(all)
        })
    }
}

fn newest(found: &[Found]) -> BTreeMap<String, String> {
    let pairs = found
        .iter()
        .map(|(_, key, body)| (key.clone(), body.clone()));
    pairs.collect()
}

#[test]
fn java_and_sluice_compact_one_directory_in_turns() {
    let more = More {
        broker: SETTINGS,
        ..More::default()
    };
    let mut cluster = Cluster::start_with(Kind::Java, more);
    let mut peer = Peer::of(&cluster);
    peer.create_topic();
    let by_java = peer.update("java", 100);
    let found = peer.compacted("a round of the Java broker");
    assert_eq!(newest(&found), by_java);
    cluster.broker.terminate();

    cluster.broker.start_again(Kind::Sluice);
    let mut peer = Peer::of(&cluster);
    assert_eq!(newest(&peer.all()), by_java, "what Java has compacted");
    let by_sluice = peer.update("sluice", 100);
    let compacted = peer.compacted("a round of Sluice");
    assert_eq!(newest(&compacted), by_sluice);
    for turn in 0..3 {
        peer.update(&format!("killed-{turn}"), 60);
        cluster.broker.kill();
        cluster.broker.start_again(Kind::Sluice);
        peer = Peer::of(&cluster);
        assert_eq!(newest(&peer.all()).len(), KEYS);
    }
    let last = peer.update("last", 60);
    peer.compacted("a round after kills");
    cluster.broker.terminate();
    check_and_dump(&cluster, &last);

    cluster.broker.start_again(Kind::Java);
    let mut peer = Peer::of(&cluster);
    assert_eq!(newest(&peer.all()), last, "what Sluice has compacted");
    let again = peer.update("again", 100);
    assert_eq!(
        newest(&peer.compacted("a round of Java over Sluice's")),
        again
    );
}

/// `sluice store check` finds no fault, and Java's tool reads our files.
fn check_and_dump(cluster: &Cluster, last: &BTreeMap<String, String>) {
    let mut check = std::process::Command::new(sluice_binary());
    let checked = check.args(["store", "check"]).arg(cluster.broker.store());
    let output = checked.output().expect("sluice store check");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("compacted queues   1"), "{told}");
    let dir = cluster
        .broker
        .store()
        .join("compaction/compactionLog")
        .join(TOPIC)
        .join("0");
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .expect("files of the compaction log")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let dumped: String = files.iter().map(|path| dump(cluster, path)).collect();
    for key in last.keys() {
        assert!(dumped.contains(&format!("KEYS={key}")), "{key}: {dumped}");
    }
}

fn dump(cluster: &Cluster, path: &std::path::Path) -> String {
    let home = tempfile::tempdir_in(cluster.dir()).expect("home of mqadmin");
    let mut command = JavaPeer::server().program(
        "org.apache.rocketmq.tools.command.MQAdminStartup",
        home.path(),
    );
    command.env("ROCKETMQ_HOME", home.path());
    let command = command.arg("dumpCompactionLog").arg("-f").arg(path);
    let mut running = Running::start("mqadmin", home.path(), command);
    assert!(running.wait(SOON).success(), "{}", running.output());
    running.output()
}
