//! Consumption: beside a producer at full speed, and of a backlog, from memory and from the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use sluice_tests::java::SERVER_VERSION;
use sluice_tests::wire::Wire;

use super::pulling::{Puller, Subscription};
use crate::figures::{Figures, print_beside, print_head};
use crate::latency::Latencies;
use crate::load::{self, Load};
use crate::meter::Meter;
use crate::page_cache;

use crate::subjects::{Subject, Which};

const QUEUES: usize = 4;
const BACKLOG: &str = "backlog";
/// A pull of the tail waits for messages so long, milliseconds.
const SUSPEND_MS: u64 = 1_000;
/// Least share of the backlog's bytes that must come from the disk when it is read cold.
const COLD: f64 = 0.8;

/// What is consumed.
#[derive(Debug, clap::Args)]
pub struct Consume {
    /// Bytes of the bodies of the backlog, all together
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    backlog: u64,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    body: usize,
    /// Seconds of producing at full speed
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds of load before; a JVM needs some 10
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    warm_up: u64,
    /// Times that the backlog is read warm, after one more time; the middle one counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

const ROWS: [&str; 5] = [
    "tail: sent",
    "tail: consumed",
    "catch-up, warm, 1 pull in flight",
    "catch-up, warm, 4 queues at once",
    "catch-up, cold, 4 queues at once",
];

/// Measures both brokers and prints a table; latencies are those of pulls, or of sends.
///
/// # Errors
/// A broker can't be run, messages are missing, or the cold backlog was not cold.
pub fn run(wanted: &Consume) -> Result<()> {
    ensure!(
        wanted.rounds > 0 && wanted.seconds > 0 && wanted.backlog >= wanted.body as u64,
        "nothing to measure"
    );
    println!(
        "Java {SERVER_VERSION}; {} B bodies, {QUEUES} queues, pulls of 32 on 1 connection, a backlog of {} MiB, {} cores\n",
        wanted.body,
        wanted.backlog >> 20,
        thread::available_parallelism()?
    );
    let java = measure(wanted, Which::Java).context("Java")?;
    let sluice = measure(wanted, Which::Sluice).context("Sluice")?;
    print_head(&["consume", "broker"]);
    for ((name, java), sluice) in ROWS.iter().zip(java).zip(sluice) {
        print_beside(&[name], sluice, Some(java), None);
    }
    Ok(())
}

fn measure(wanted: &Consume, which: Which) -> Result<Vec<Figures>> {
    // A start reads the last three files of the log, which have to lie behind the backlog.
    let file = (wanted.backlog / 16).next_multiple_of(4096);
    let settings = format!("flushDiskType=ASYNC_FLUSH\nmappedFileSizeCommitLog={file}");
    let mut subject = Subject::start(which, &settings)?;
    subject.warm_up(wanted.warm_up)?;
    tail(wanted, &subject, 0)?;
    let mut rows = tail(wanted, &subject, 1)?.to_vec();
    let ends = fill(wanted, &subject)?;
    for at_once in [1, QUEUES] {
        let rounds = (0..=wanted.rounds).map(|_| catch_up(&subject, &ends, at_once));
        let rounds: Vec<Figures> = rounds.collect::<Result<_>>()?;
        rows.push(Figures::middle(&rounds[1..]));
    }
    rows.push(cold(wanted, &mut subject, &ends)?);
    Ok(rows)
}

/// Sends at full speed, beside a consumer that has to get all of it.
fn tail(wanted: &Consume, subject: &Subject, round: usize) -> Result<[Figures; 2]> {
    let load = subject.load(&Load {
        topic: format!("tail-{round}"),
        body: wanted.body,
        seconds: wanted.seconds,
        warm_up: 0,
        ..Load::default()
    });
    load::make_topics(&load)?;
    let sent = Arc::new(AtomicU64::new(u64::MAX));
    let subscription = Subscription {
        suspend_ms: SUSPEND_MS,
        ..Subscription::all("tail", &load.topic)
    };
    let puller = Puller::connect(&subject.address, &subscription, QUEUES)?;
    let meter = Meter::start(subject.pid)?;
    let consumer = thread::spawn({
        let sent = sent.clone();
        move || follow(puller, &sent)
    });
    let outcome = load::run(&load)?;
    let ends = ends(subject, &load.topic)?;
    sent.store(ends.iter().sum::<i64>() as u64, Ordering::Relaxed);
    let consumed = consumer
        .join()
        .map_err(|_| anyhow!("the consumer panicked"))?;
    let (count, last) = consumed?;
    let cpu = meter.cpu_micros(count)?;
    let consumed = Figures {
        per_second: count as f64 / (last - meter.began()).as_secs_f64(),
        cpu_micros: Some(cpu),
        ..Figures::default()
    };
    let sent = Figures {
        cpu_micros: None,
        ..Figures::of(&outcome)?
    };
    Ok([sent, consumed])
}

/// Consumes until it has all that was sent: how many, and when the last came.
fn follow(mut puller: Puller, sent: &AtomicU64) -> Result<(u64, Instant)> {
    let (mut count, mut last) = (0, Instant::now());
    (0..QUEUES).for_each(|queue| puller.put(queue));
    while count < sent.load(Ordering::Relaxed) {
        puller.flush()?;
        let before = count;
        for queue in puller.receive(|pulled| count += pulled.messages)? {
            puller.put(queue);
        }
        if count > before {
            last = Instant::now();
        }
    }
    Ok((count, last))
}

/// Sends the backlog; where its queues end.
fn fill(wanted: &Consume, subject: &Subject) -> Result<Vec<i64>> {
    let load = subject.load(&Load {
        topic: BACKLOG.to_owned(),
        body: wanted.body,
        ..Load::default()
    });
    load::send_all(&load, wanted.backlog / wanted.body as u64)?;
    ends(subject, BACKLOG)
}

fn ends(subject: &Subject, topic: &str) -> Result<Vec<i64>> {
    load::ends_in_the_end(&mut Wire::connect(&subject.address)?, topic, QUEUES as i32)
}

/// Pulls the whole backlog, so many queues at once.
fn catch_up(subject: &Subject, ends: &[i64], at_once: usize) -> Result<Figures> {
    let all = Subscription::all("catch-up", BACKLOG);
    let mut puller = Puller::connect(&subject.address, &all, ends.len())?;
    let meter = Meter::start(subject.pid)?;
    let (count, pulls) = drain(&mut puller, ends, at_once)?;
    Ok(Figures {
        per_second: count as f64 / meter.elapsed().as_secs_f64(),
        cpu_micros: Some(meter.cpu_micros(count)?),
        ..Figures::default().with(&pulls)
    })
}

/// Pulls all up to these ends: how many messages, and how long each pull took.
pub fn drain(puller: &mut Puller, ends: &[i64], at_once: usize) -> Result<(u64, Latencies)> {
    let mut begun = (0..ends.len()).filter(|queue| ends[*queue] > 0);
    let (mut count, mut pulls) = (0, Latencies::default());
    let mut open = 0;
    for queue in begun.by_ref().take(at_once) {
        puller.put(queue);
        open += 1;
    }
    while open > 0 {
        puller.flush()?;
        let answered = puller.receive(|pulled| {
            count += pulled.messages;
            pulls.note(pulled.asked_at.elapsed());
        })?;
        for queue in answered {
            let more = puller.offsets[queue] < ends[queue];
            match more.then_some(queue).or_else(|| begun.next()) {
                Some(queue) => puller.put(queue),
                None => open -= 1,
            }
        }
    }
    Ok((count, pulls))
}

/// The backlog again, after a restart and without what the kernel keeps of the store.
fn cold(wanted: &Consume, subject: &mut Subject, ends: &[i64]) -> Result<Figures> {
    // This is what the start reads of the log.
    let behind = Load {
        topic: "behind".to_owned(),
        body: wanted.body,
        ..Load::default()
    };
    load::send_all(
        &subject.load(&behind),
        wanted.backlog / 4 / wanted.body as u64,
    )?;
    // The first start may read, and so map, all that was written since the one before; the second does not.
    subject.restart()?;
    subject.restart()?;
    subject.warm_up(wanted.warm_up)?;
    page_cache::forget(&subject.cluster()?.broker.store())?;
    let meter = Meter::start(subject.pid)?;
    let figures = catch_up(subject, ends, QUEUES)?;
    let read = meter.read_from_disk()?;
    ensure!(
        read as f64 >= COLD * wanted.backlog as f64,
        "only {read} of {} bytes came from the disk",
        wanted.backlog
    );
    Ok(figures)
}
