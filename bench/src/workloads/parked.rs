//! Thousands of idle consumers, each with a connection and a parked pull: what they cost, and that one message
//! wakes each of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_tests::java::SERVER_VERSION;

use super::pulling::{Puller, Subscription};
use crate::figures::{Figures, print_beside, print_head, print_ratios, print_row};
use crate::latency::Latencies;
use crate::load::{self, Frames, Load};
use crate::meter::Meter;
use crate::patched::OPAQUE_BASE;
use crate::process::{Resident, raise_open_file_limit, resident};
use crate::readable::Readable;
use crate::sends::now_ms;
use crate::socket::Socket;
use crate::subjects::{Subject, Which};

const TOPIC: &str = "parked";
const QUEUES: usize = 8;
/// A pull waits for messages so long, milliseconds: longer than all of this takes.
const SUSPEND_MS: u64 = 3_600_000;
/// Java answers a pull that waits longer for a thread than 5 s with a refusal, and the first pull of each group
/// makes the group.
const SETTINGS: &str = "flushDiskType=ASYNC_FLUSH\nwaitTimeMillsInPullQueue=120000";
/// A broker that uses less of a core for a second has done what it was asked.
const QUIET: f64 = 10.0;
/// Longest wait for that.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many wait.
#[derive(Debug, clap::Args)]
pub struct Parked {
    /// Consumers, each with a connection of its own
    #[arg(long, default_value_t = 10_000)]
    consumers: usize,
    /// Seconds of idling that are counted
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Seconds counted of each load
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Loads on each broker, in turn; the middle one counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load before; a JVM needs some 10
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    warm_up: u64,
}

/// What was seen of one kind of broker.
struct Seen {
    /// Share of a core, in percent, of an empty broker and of the other.
    idle: [f64; 2],
    /// Anonymous memory of both, bytes.
    memory: [u64; 2],
    /// Sends to an empty broker and to the other.
    sends: [Figures; 2],
    woken: Figures,
}

/// Measures both brokers and prints tables.
///
/// # Errors
/// A broker can't be run, or a consumer does not get its message.
pub fn run(wanted: &Parked) -> Result<()> {
    ensure!(
        wanted.rounds > 0 && wanted.seconds > 0 && wanted.idle > 0 && wanted.consumers >= QUEUES,
        "nothing to measure"
    );
    println!(
        "Java {SERVER_VERSION}; {} consumers in groups of {QUEUES}, a connection and a parked pull each; sends of 1 KB, 32 in flight, 1 connection, {} s, {} round(s) on two brokers in turn; {} cores\n",
        wanted.consumers,
        wanted.seconds,
        wanted.rounds,
        std::thread::available_parallelism()?
    );
    let java = measure(wanted, Which::Java).context("Java")?;
    let sluice = measure(wanted, Which::Sluice).context("Sluice")?;
    print_idle(wanted, &java, &sluice);
    print_head(&["sends", "broker"]);
    for (name, seen) in [("Java", &java), ("Sluice", &sluice)] {
        let [empty, parked] = seen.sends;
        print_row(&["empty", name], empty);
        print_row(&["parked pulls", name], parked);
        print_ratios(&["parked pulls / empty", name], parked, empty);
    }
    println!();
    print_head(&["woken", "broker"]);
    let all = format!("{} pulls, 1 message each", wanted.consumers);
    print_beside(&[&all], sluice.woken, Some(java.woken), None);
    Ok(())
}

fn print_idle(wanted: &Parked, java: &Seen, sluice: &Seen) {
    println!(
        "| idle for {} s | broker | % of a core | anonymous MiB |",
        wanted.idle
    );
    println!("|---|---|---:|---:|");
    for (name, seen) in [("Java", java), ("Sluice", sluice)] {
        for (at, what) in ["empty", "parked pulls"].iter().enumerate() {
            let mib = seen.memory[at] as f64 / f64::from(1 << 20);
            println!("| {what} | {name} | {:.2} | {mib:.1} |", seen.idle[at]);
        }
    }
    println!();
}

fn measure(wanted: &Parked, which: Which) -> Result<Seen> {
    raise_open_file_limit()?;
    let start = || Subject::start(which, SETTINGS);
    let subjects = [start()?, start()?];
    for subject in &subjects {
        subject.warm_up(wanted.warm_up)?;
    }
    load::make_topics(&subjects[1].load(&messages()))?;
    let time = Duration::from_secs(wanted.idle);
    let idle = |subject: &Subject| -> Result<(f64, Resident)> {
        wait_until_quiet(subject)?;
        Ok((share_of_core(subject, time)?, resident(subject.pid)?))
    };
    let empty = idle(&subjects[0])?;
    let pullers = park(wanted, &subjects[1])?;
    let parked = idle(&subjects[1])?;
    drop(pullers);
    let sends = sends(wanted, &subjects)?;
    let mut pullers = park(wanted, &subjects[1])?;
    Ok(Seen {
        idle: [empty.0, parked.0],
        memory: [empty.1.anonymous, parked.1.anonymous],
        sends,
        woken: wake(&subjects[1], &mut pullers)?,
    })
}

/// One connection for each consumer, with a pull of its queue. A broker holds them for a minute, so what is seen with
/// them is seen at once.
fn park(wanted: &Parked, subject: &Subject) -> Result<Vec<Puller>> {
    let mut pullers = Vec::with_capacity(wanted.consumers);
    for consumer in 0..wanted.consumers {
        let group = format!("parked-{}", consumer / QUEUES);
        let subscription = Subscription {
            suspend_ms: SUSPEND_MS,
            ..Subscription::all(&group, TOPIC)
        };
        let mut puller = Puller::connect(&subject.address, &subscription, QUEUES)
            .with_context(|| format!("consumer {consumer}"))?;
        let queue = queue_of(consumer);
        // Behind the message that made the topic.
        puller.offsets[0] = 1;
        puller.put(queue);
        puller.flush()?;
        pullers.push(puller);
    }
    Ok(pullers)
}

fn queue_of(consumer: usize) -> usize {
    consumer % QUEUES
}

/// One message for each queue.
fn messages() -> Load {
    Load {
        topic: TOPIC.to_owned(),
        queues: QUEUES as i32,
        body: 100,
        ..Load::default()
    }
}

fn wait_until_quiet(subject: &Subject) -> Result<()> {
    let began = Instant::now();
    while share_of_core(subject, Duration::from_secs(1))? > QUIET {
        ensure!(began.elapsed() < PATIENCE, "the broker does not rest");
    }
    Ok(())
}

/// CPU time of a broker for so long, in percent of a core.
fn share_of_core(subject: &Subject, time: Duration) -> Result<f64> {
    let meter = Meter::start(subject.pid)?;
    std::thread::sleep(time);
    Ok(100.0 * meter.cpu()?.as_secs_f64() / meter.elapsed().as_secs_f64())
}

fn sends(wanted: &Parked, subjects: &[Subject; 2]) -> Result<[Figures; 2]> {
    let load = Load {
        seconds: wanted.seconds,
        warm_up: 1,
        ..Load::default()
    };
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..wanted.rounds {
        rounds[0].push(subjects[0].measure(&load)?);
        let pullers = park(wanted, &subjects[1])?;
        rounds[1].push(subjects[1].measure(&load)?);
        drop(pullers);
    }
    Ok(rounds.map(|rounds| Figures::middle(&rounds)))
}

/// Sends one message to each queue; every consumer must get the one of its queue. Latencies are from before the
/// sends to each pull's answer.
fn wake(subject: &Subject, pullers: &mut [Puller]) -> Result<Figures> {
    let mut readable = Readable::of(pullers.iter().map(Puller::socket))?;
    let mut got = vec![0; pullers.len()];
    let (mut woken, mut latencies) = (0, Latencies::default());
    let meter = Meter::start(subject.pid)?;
    let mut socket = Socket::connect(&subject.address)?;
    let mut frames = Frames::new(&messages(), 0);
    for queue in 0..QUEUES as i32 {
        frames.put(OPAQUE_BASE + queue, now_ms(), &mut socket.out);
    }
    let began = Instant::now();
    socket.flush()?;
    while woken < pullers.len() {
        for place in readable.wait().context("pulls that were not woken")? {
            let answered = pullers[*place].receive(|pulled| got[*place] += pulled.messages)?;
            latencies.note(began.elapsed());
            woken += answered.len();
        }
    }
    let each = got.iter().filter(|messages| **messages == 1).count();
    ensure!(each == got.len(), "{each} of {} got one message", got.len());
    let figures = Figures {
        per_second: woken as f64 / began.elapsed().as_secs_f64(),
        cpu_micros: Some(meter.cpu_micros(woken as u64)?),
        ..Figures::default()
    };
    Ok(figures.with(&latencies))
}
