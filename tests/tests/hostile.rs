//! Hostile frames against a server; and servers with faults against the probe, which must find them.
//!
//! `SLUICE_HOSTILE_SEED` replays a run, `SLUICE_HOSTILE_FRAMES` sets its length.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::code::request;
use sluice_protocol::{RemotingCommand, frame};
use sluice_tests::cluster::{Cluster, Kind, More};
use sluice_tests::hostile::{Failure, Frames, Probe, Report, Target};

/// Frames after which a server has reached its working size.
const WARM_UP: usize = 500;
/// Most that a server's own memory may grow after that, bytes, and this for each frame: some leave
/// names and settings behind.
const GROWTH_MAX: u64 = 4 * 1024 * 1024;
const GROWTH_PER_FRAME: u64 = 1024;

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, a number is expected")),
        Err(_) => otherwise,
    }
}

/// A send to a topic no hostile frame knows.
fn send() -> RemotingCommand {
    let mut send = RemotingCommand::request(request::SEND_MESSAGE, 0).with_body("still there?");
    for (name, value) in [
        ("producerGroup", "sentinels"),
        ("topic", "SentinelTopic"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "0"),
        ("properties", ""),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("batch", "false"),
    ] {
        send.ext.put(name, value);
    }
    send
}

/// A question for the route of a topic that every broker has.
fn route() -> RemotingCommand {
    let mut route = RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC, 0);
    route.ext.put("topic", "SELF_TEST_TOPIC");
    route
}

/// A server and how it is attacked.
struct Attack {
    target: Target,
    address: SocketAddr,
    sentinel: RemotingCommand,
    frames: usize,
    /// Longest wait for an answer that is due.
    patience: Duration,
}

impl Attack {
    /// Sends the frames of the seed; `memory` tells the server's own memory if it can be known.
    fn run(&self, memory: impl Fn() -> Option<u64>) -> Result<Report, Failure> {
        let seed = number("SLUICE_HOSTILE_SEED", rand::random());
        eprintln!(
            "SLUICE_HOSTILE_SEED={seed} SLUICE_HOSTILE_FRAMES={}",
            self.frames
        );
        let mut probe = Probe::connect(self.address, self.patience).expect("the server listens");
        let mut warm = None;
        for (sent, frame) in Frames::new(seed, self.target).take(self.frames).enumerate() {
            probe.check(&frame, &self.sentinel)?;
            if sent == WARM_UP {
                warm = memory();
            }
        }
        probe.drain()?;
        eprintln!("{:?}", probe.report());
        if let (Some(before), Some(after)) = (warm, memory()) {
            eprintln!("memory: {before} bytes after {WARM_UP} frames, {after} in the end");
            let growth_max = GROWTH_MAX + GROWTH_PER_FRAME * self.frames as u64;
            assert!(
                after <= before + growth_max,
                "memory grew from {before} to {after} bytes"
            );
        }
        Ok(probe.into_report())
    }

    /// Attacks a server as users run it: all it serves must have been reached, without a panic.
    fn run_on(&self, pid: u32, output: impl FnOnce() -> String) {
        let report = self
            .run(|| Some(own_memory(pid)))
            .unwrap_or_else(|failure| panic!("{failure}"));
        let templates: BTreeSet<i32> = self.target.templates().iter().map(|one| one.code).collect();
        assert_eq!(
            report.served, templates,
            "served, and asked for with a valid request"
        );
        let output = output();
        assert!(!output.contains("panicked"), "{output}");
    }
}

/// Memory of a process that no file backs, bytes.
fn own_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .expect("its own memory");
    let kib = line
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

#[test]
fn a_broker_answers_every_hostile_frame_once_and_goes_on() {
    let cluster = Cluster::start_with(
        Kind::Sluice,
        More {
            // Uploads of class filters are attacked, too.
            broker: "filterServerNums=1\n",
            ..More::default()
        },
    );
    let broker = &cluster.broker;
    let attack = Attack {
        target: Target::Broker,
        address: broker.address().parse().expect("the broker's address"),
        sentinel: send(),
        frames: number("SLUICE_HOSTILE_FRAMES", 3000) as usize,
        patience: Duration::from_secs(20),
    };
    attack.run_on(broker.id(), || broker.output());
}

#[test]
fn a_name_server_answers_every_hostile_frame_once_and_goes_on() {
    let cluster = Cluster::start(Kind::Sluice);
    let name_server = &cluster.namesrv;
    let attack = Attack {
        target: Target::NameServer,
        address: name_server.address().parse().expect("its address"),
        sentinel: route(),
        frames: number("SLUICE_HOSTILE_FRAMES", 3000) as usize,
        patience: Duration::from_secs(20),
    };
    attack.run_on(name_server.id(), || name_server.output());
}

/// What a [`Faulty`] server does wrong from its 200th request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Silence,
    SilenceToPulls,
    TwoAnswers,
    AnswersOneWay,
    FailsInside,
    RefusesTheSentinel,
    HangsUp,
}

/// Refuses everything but the sentinel, and has a fault. Not built on the remoting crate, which
/// prevents some of them.
struct Faulty {
    stream: TcpStream,
    fault: Fault,
    requests: usize,
}

impl Faulty {
    /// Serves one connection on a thread of its own; what it meets in the end is no matter.
    fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        let address = listener.local_addr().expect("its address");
        std::thread::spawn(move || -> io::Result<()> {
            let stream = listener.accept()?.0;
            stream.set_nodelay(true)?;
            Faulty {
                stream,
                fault,
                requests: 0,
            }
            .serve()
        });
        address
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        let mut piece = [0; 64 * 1024];
        loop {
            let size = self.stream.read(&mut piece)?;
            if size == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&piece[..size]);
            while let Some(frame) =
                frame::split(&mut buffer, usize::MAX).map_err(io::Error::other)?
            {
                let request = RemotingCommand::decode(&frame).map_err(io::Error::other)?;
                self.answer(&request)?;
            }
        }
    }

    fn answer(&mut self, request: &RemotingCommand) -> io::Result<()> {
        self.requests += 1;
        let fault = if self.requests < 200 {
            Fault::None
        } else {
            self.fault
        };
        let is_sentinel = request.ext.get("topic") == Some("SentinelTopic");
        let code = match fault {
            Fault::HangsUp => return Err(io::ErrorKind::ConnectionAborted.into()),
            Fault::RefusesTheSentinel => 2,
            _ if is_sentinel => 0,
            _ => 3,
        };
        let times = match fault {
            Fault::Silence if !is_sentinel && request.code != request::HEART_BEAT => 0,
            Fault::SilenceToPulls if request.code == request::PULL_MESSAGE => 0,
            Fault::TwoAnswers if !request.is_one_way() => 2,
            Fault::AnswersOneWay => 1,
            _ => usize::from(!request.is_one_way()),
        };
        let mut response = request.response(code);
        if fault == Fault::FailsInside {
            response.remark = Some("the request failed inside the server".into());
        }
        for _ in 0..times {
            self.stream.write_all(&response.encode())?;
        }
        Ok(())
    }
}

fn attack_faulty(fault: Fault, frames: usize) -> Result<(), Failure> {
    let attack = Attack {
        target: Target::Broker,
        address: Faulty::start(fault),
        sentinel: send(),
        frames,
        patience: Duration::from_secs(5),
    };
    attack.run(|| None).map(drop)
}

#[test]
fn a_server_without_fault_passes() {
    attack_faulty(Fault::None, 3000).expect("no fault to find");
}

#[test]
fn faults_are_found() {
    for fault in [Fault::TwoAnswers, Fault::AnswersOneWay] {
        let failure = attack_faulty(fault, 3000).expect_err("it answers too much");
        assert!(
            matches!(failure, Failure::NotDue { .. }),
            "{fault:?}: {failure}"
        );
    }
    for fault in [Fault::Silence, Fault::SilenceToPulls, Fault::HangsUp] {
        let failure = attack_faulty(fault, 3000).expect_err("it does not answer");
        assert!(
            matches!(failure, Failure::NoAnswer { .. }),
            "{fault:?}: {failure}"
        );
    }
    let failure = attack_faulty(Fault::FailsInside, 3000).expect_err("it says that it fails");
    assert!(matches!(failure, Failure::Inside { .. }), "{failure}");
    let failure = attack_faulty(Fault::RefusesTheSentinel, 3000).expect_err("it does not serve");
    assert!(
        matches!(failure, Failure::Sentinel { code: 2, .. }),
        "{failure}"
    );
}

#[test]
fn a_seed_gives_the_same_frames_again_and_every_code_comes() {
    let frames: Vec<_> = Frames::new(7, Target::Broker).take(600).collect();
    let again: Vec<_> = Frames::new(7, Target::Broker).take(600).collect();
    assert!(frames.iter().zip(&again).all(|(a, b)| a.bytes == b.bytes));
    let other: Vec<_> = Frames::new(8, Target::Broker).take(600).collect();
    assert!(frames.iter().zip(&other).any(|(a, b)| a.bytes != b.bytes));
    for code in Frames::new(7, Target::Broker).codes() {
        assert!(
            frames.iter().any(|frame| frame.code == *code),
            "{code} is never asked"
        );
    }
    for frame in &frames {
        let command = RemotingCommand::decode(&frame.bytes).expect("hostile frames decode");
        assert_eq!(
            (command.code, command.opaque),
            (frame.code, frame.number),
            "{}",
            frame.text
        );
    }
}
