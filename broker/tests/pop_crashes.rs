//! Pops across the death of the process and of the machine, against a small model:
//! `SLUICE_CRASH_SEED=<n> SLUICE_CRASH_SEEDS=1 cargo test -p sluice-broker --test pop_crashes`.
//!
//! Files are simulated and time moves when it is told to; what runs in the background runs when it
//! will, and must be right whenever that is.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC, no_compiler};
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use sluice_broker::config::FlushDiskType;
use sluice_broker::{Broker, BrokerConfig};
use sluice_protocol::code::{request, response};
use sluice_protocol::message::{Record, properties};
use sluice_store::{Clock, Environment, SimulatedFiles, TestClock};

/// A run that has not ended by then has lost a message.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Is {
    /// To be had, now or as soon as the broker gets to it.
    There,
    /// With a consumer, until then.
    Invisible {
        until: i64,
        held: Held,
    },
    Acked,
}

/// What a consumer knows of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    topic: String,
    offset: i64,
    receipt: String,
}

struct World {
    served: Served,
    client: Asker,
    files: SimulatedFiles,
    clock: Arc<TestClock>,
    config: BrokerConfig,
    model: BTreeMap<String, Is>,
    rng: SmallRng,
}

async fn start(config: &BrokerConfig, files: &SimulatedFiles, clock: &Arc<TestClock>) -> Served {
    let environment = Environment {
        files: Arc::new(files.clone()),
        clock: clock.clone(),
    };
    let broker = Broker::start_in(environment, config.clone(), None, no_compiler());
    Served {
        broker: broker.await.unwrap(),
        directory: tempfile::tempdir().unwrap(),
    }
}

impl World {
    async fn new(seed: u64, flush: FlushDiskType, directory: PathBuf) -> World {
        let config = BrokerConfig {
            broker_name: "b".to_owned(),
            broker_ip1: "127.0.0.1".to_owned(),
            broker_ip2: "127.0.0.1".to_owned(),
            bind_address: "127.0.0.1".to_owned(),
            listen_port: 0,
            http_address: None,
            store_path_root_dir: directory,
            mapped_file_size_commit_log: 256 * 1024,
            max_hash_slot_num: 100,
            max_index_num: 400,
            default_topic_queue_nums: 1,
            flush_disk_type: flush,
            revive_interval: 10,
            flush_consumer_offset_interval: 100,
            ..BrokerConfig::default()
        };
        let files = SimulatedFiles::new();
        let clock = Arc::new(TestClock::new(1_750_000_000_000));
        let served = start(&config, &files, &clock).await;
        let (client, _) = served.client();
        let group =
            format!(r#"{{"groupName":"{GROUP}","consumeEnable":true,"retryMaxTimes":999}}"#);
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        client.ask(code, &[], group.into_bytes()).await;
        let mut world = World {
            served,
            client,
            files,
            clock,
            config,
            model: BTreeMap::new(),
            rng: SmallRng::seed_from_u64(seed),
        };
        // It makes the topic.
        world.send().await;
        world
    }

    async fn send(&mut self) {
        let body = format!("m{}", self.model.len());
        let sent = self.client.send("", body.as_bytes(), false).await;
        assert_eq!(sent.code, response::SUCCESS, "{}", sent.remark());
        self.model.insert(body, Is::There);
    }

    async fn pop(&mut self, max: &str, invisible: i64) {
        let invisible_text = invisible.to_string();
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", TOPIC),
            ("queueId", "-1"),
            ("maxMsgNums", max),
            ("invisibleTime", &invisible_text),
            ("pollTime", "0"),
            ("bornTime", "0"),
            ("initMode", "0"),
        ];
        let answer = self
            .client
            .ask(request::POP_MESSAGE, &fields, Vec::new())
            .await;
        let field = |name: &str| answer.ext.get(name).unwrap();
        let pop_time: i64 = field("popTime").parse().unwrap();
        // Of the topic itself: its receipts are put together by clients.
        let starts = field("startOffsetInfo").split(';');
        let own = starts.filter_map(|start| start.strip_prefix("0 0 ")).next();
        let mut rest = &answer.body[..];
        while !rest.is_empty() {
            let record = Record::parse(rest).unwrap();
            let (topic, receipt) = match record.property(properties::POP_CK) {
                Some(receipt) => (format!("%RETRY%{GROUP}_{TOPIC}"), receipt.to_owned()),
                None => {
                    let queue = field("reviveQid");
                    let start = own.unwrap();
                    let receipt = format!("{start} {pop_time} {invisible} {queue} 0 b 0");
                    (TOPIC.to_owned(), receipt)
                }
            };
            let body = String::from_utf8(record.body().to_vec()).unwrap();
            self.delivered(
                body,
                pop_time,
                Is::Invisible {
                    until: pop_time + invisible,
                    held: Held {
                        topic,
                        offset: record.queue_offset(),
                        receipt,
                    },
                },
            );
            rest = &rest[record.size()..];
        }
    }

    fn delivered(&mut self, body: String, at: i64, now: Is) {
        match &self.model[&body] {
            Is::There => {}
            Is::Acked => panic!("{body} was acked and is delivered again"),
            Is::Invisible { until, .. } => {
                assert!(at >= *until, "{body} is delivered {} ms early", until - at);
            }
        }
        self.model.insert(body, now);
    }

    /// A message whose consumer is in time.
    fn in_hand(&mut self) -> Option<(String, Held)> {
        let now = self.clock.now_ms();
        let held = self.model.iter().filter_map(|(body, is)| match is {
            Is::Invisible { until, held } if now < *until => Some((body.clone(), held.clone())),
            _ => None,
        });
        held.choose(&mut self.rng)
    }

    async fn ack(&mut self) {
        let Some((body, held)) = self.in_hand() else {
            return;
        };
        let offset = held.offset.to_string();
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", &*held.topic),
            ("queueId", "0"),
            ("extraInfo", &*held.receipt),
            ("offset", &offset),
        ];
        let answer = self
            .client
            .ask(request::ACK_MESSAGE, &fields, Vec::new())
            .await;
        assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
        self.model.insert(body, Is::Acked);
    }

    async fn change(&mut self) {
        let Some((body, mut held)) = self.in_hand() else {
            return;
        };
        let invisible: i64 = self.rng.random_range(100..8000);
        let (offset, invisible_text) = (held.offset.to_string(), invisible.to_string());
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", &*held.topic),
            ("queueId", "0"),
            ("extraInfo", &*held.receipt),
            ("offset", &offset),
            ("invisibleTime", &invisible_text),
        ];
        let code = request::CHANGE_MESSAGE_INVISIBLETIME;
        let answer = self.client.ask(code, &fields, Vec::new()).await;
        assert_eq!(answer.code, response::SUCCESS, "{}", answer.remark());
        let pop_time: i64 = answer.ext.get("popTime").unwrap().parse().unwrap();
        let queue = answer.ext.get("reviveQid").unwrap();
        let kind = if held.topic == TOPIC { 0 } else { 1 };
        held.receipt = format!("{offset} {pop_time} {invisible} {queue} {kind} b 0");
        let until = pop_time + invisible;
        self.model.insert(body, Is::Invisible { until, held });
    }

    /// The process dies here; with `power`, the machine.
    async fn crash(&mut self, power: bool) {
        let image = self.files.copy();
        match power {
            true => image.lose_power(self.rng.random()),
            false => image.kill_process(),
        }
        let served = start(&self.config, &image, &self.clock).await;
        self.client = served.client().0;
        self.files = image;
        // What the dead one still does reaches nobody.
        let dead = std::mem::replace(&mut self.served, served);
        dead.broker.shutdown().await.unwrap();
    }

    async fn step(&mut self, power: bool) {
        match self.rng.random_range(0..20) {
            0..5 => self.send().await,
            5..11 => {
                let invisible = self.rng.random_range(1000..9000);
                let max = ["1", "2", "4"][self.rng.random_range(0..3)];
                self.pop(max, invisible).await;
            }
            11..14 => self.ack().await,
            14..16 => self.change().await,
            16..19 => {
                self.clock.advance(self.rng.random_range(200..4000));
                let pause = Duration::from_millis(self.rng.random_range(0..30));
                tokio::time::sleep(pause).await;
            }
            _ => self.crash(power).await,
        }
    }

    /// Everything is delivered and acked in the end.
    async fn drain(&mut self) {
        while self.model.values().any(|is| *is != Is::Acked) {
            self.pop("32", 60_000).await;
            while self.in_hand().is_some() {
                self.ack().await;
            }
            self.clock.advance(500);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Nothing comes back any more.
        for _ in 0..20 {
            self.clock.advance(10_000);
            tokio::time::sleep(Duration::from_millis(15)).await;
            self.pop("32", 60_000).await;
        }
    }
}

async fn run(seed: u64, power: bool) {
    let directory = tempfile::tempdir().unwrap();
    let flush = match power {
        true => FlushDiskType::SyncFlush,
        false => FlushDiskType::AsyncFlush,
    };
    let mut world = World::new(seed, flush, directory.path().to_owned()).await;
    for _ in 0..60 {
        world.step(power).await;
    }
    world.crash(power).await;
    let drained = tokio::time::timeout(PATIENCE, world.drain()).await;
    assert!(drained.is_ok(), "lost: {:?}", world.model);
    world.served.broker.shutdown().await.unwrap();
}

async fn all_seeds(power: bool) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("SLUICE_CRASH_SEED").unwrap_or(0);
    let count = number("SLUICE_CRASH_SEEDS").unwrap_or(6);
    for seed in first..first + count {
        eprintln!("SLUICE_CRASH_SEED={seed}");
        run(seed, power).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_and_delivers_nothing_early() {
    all_seeds(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_loss_loses_nothing_and_delivers_nothing_early() {
    all_seeds(true).await;
}
