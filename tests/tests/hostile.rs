//! Hostile frames against a server; and servers with faults against the probe, which must find them.
//!
//! `SLUICE_HOSTILE_SEED` replays a run, `SLUICE_HOSTILE_FRAMES` sets its length.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::code::request;
use sluice_protocol::{RemotingCommand, frame};
use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::hostile::{Failure, Frames, Probe};

/// Frames after which a server has reached its working size.
const WARM_UP: usize = 500;
/// Most that resident memory may grow after that, bytes.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, a number is expected")),
        Err(_) => otherwise,
    }
}

/// A send to a topic no hostile frame knows.
fn sentinel() -> RemotingCommand {
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

/// Sends the frames of the seed; `memory` tells the server's resident size if it can be known.
fn attack(
    address: SocketAddr,
    frames: usize,
    patience: Duration,
    memory: impl Fn() -> Option<u64>,
) -> Result<(), Failure> {
    let seed = number("SLUICE_HOSTILE_SEED", rand::random());
    eprintln!("SLUICE_HOSTILE_SEED={seed} SLUICE_HOSTILE_FRAMES={frames}");
    let mut probe = Probe::connect(address, patience).expect("the server listens");
    let mut warm = None;
    for (sent, frame) in Frames::new(seed).take(frames).enumerate() {
        probe.check(&frame, &sentinel())?;
        if sent == WARM_UP {
            warm = memory();
        }
    }
    eprintln!("{:?}", probe.report());
    if let (Some(before), Some(after)) = (warm, memory()) {
        assert!(
            after <= before + GROWTH_MAX,
            "memory grew from {before} to {after} bytes"
        );
    }
    Ok(())
}

/// Resident memory of a process, bytes.
fn resident(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a resident size");
    let kib = line
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

/// The broker as users run it.
#[test]
fn a_broker_answers_every_hostile_frame_once_and_goes_on() {
    let cluster = Cluster::start(Kind::Sluice);
    let address = cluster
        .broker
        .address()
        .parse()
        .expect("the broker's address");
    let pid = u64::from(cluster.broker.id());
    let frames = number("SLUICE_HOSTILE_FRAMES", 3000) as usize;
    attack(address, frames, Duration::from_secs(20), || {
        Some(resident(pid))
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

/// What a [`Faulty`] server does wrong from its 200th request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Silence,
    TwoAnswers,
    AnswersOneWay,
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
            Fault::TwoAnswers if !request.is_one_way() => 2,
            Fault::AnswersOneWay => 1,
            _ => usize::from(!request.is_one_way()),
        };
        for _ in 0..times {
            self.stream.write_all(&request.response(code).encode())?;
        }
        Ok(())
    }
}

fn attack_faulty(fault: Fault, frames: usize) -> Result<(), Failure> {
    attack(Faulty::start(fault), frames, Duration::from_secs(5), || {
        None
    })
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
    for fault in [Fault::Silence, Fault::HangsUp] {
        let failure = attack_faulty(fault, 3000).expect_err("it does not answer");
        assert!(
            matches!(failure, Failure::NoAnswer { .. }),
            "{fault:?}: {failure}"
        );
    }
    let failure = attack_faulty(Fault::RefusesTheSentinel, 3000).expect_err("it does not serve");
    assert!(
        matches!(failure, Failure::Sentinel { code: 2, .. }),
        "{failure}"
    );
}

#[test]
fn a_seed_gives_the_same_frames_again_and_every_code_comes() {
    let frames: Vec<_> = Frames::new(7).take(600).collect();
    let again: Vec<_> = Frames::new(7).take(600).collect();
    assert!(frames.iter().zip(&again).all(|(a, b)| a.bytes == b.bytes));
    let other: Vec<_> = Frames::new(8).take(600).collect();
    assert!(frames.iter().zip(&other).any(|(a, b)| a.bytes != b.bytes));
    for code in Frames::new(7).codes() {
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
