//! Sending and consuming together at a fixed rate: half of what the Java broker takes at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use sluice_protocol::message::{properties, view};
use sluice_tests::java::SERVER_VERSION;
use sluice_tests::wire::Wire;

use super::pulling::{Puller, Subscription};
use crate::figures::{Figures, print_beside, print_head};
use crate::latency::Latencies;
use crate::load::{self, Load, Schedule};
use crate::sends::series_and_number;
use crate::subjects::{Subject, Which};

const QUEUES: usize = 4;
/// A pull waits for messages so long, milliseconds.
const SUSPEND_MS: u64 = 1_000;
/// The first send is due so long after all is prepared.
const LEAD: Duration = Duration::from_millis(200);
/// Largest share of Java's p99.9 that is the goal.
const GOAL: f64 = 0.2;

/// How much is sent.
#[derive(Debug, clap::Args)]
pub struct OpenLoop {
    /// Seconds counted
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds of load before; a JVM needs some 10
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    warm_up: u64,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    body: usize,
    /// Connections that send
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Share of Java's greatest rate
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Rounds, of which the middle one of each figure counts
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

/// Measures both brokers at the same rate and prints a table.
///
/// # Errors
/// A broker can't be run, or a message is refused or lost.
pub fn run(wanted: &OpenLoop) -> Result<()> {
    ensure!(
        wanted.seconds > 0 && wanted.rounds > 0 && wanted.share > 0.0,
        "nothing to measure"
    );
    let java = Subject::start(Which::Java, "flushDiskType=ASYNC_FLUSH")?;
    java.warm_up(wanted.warm_up)?;
    let most = java.measure(&Load {
        topic: "most".to_owned(),
        body: wanted.body,
        seconds: wanted.seconds,
        ..Load::default()
    })?;
    let rate = most.per_second * wanted.share;
    println!(
        "Java {SERVER_VERSION} takes {:.0} messages/s at most (32 in flight, nobody consumes); both at {rate:.0}/s for {} s, {} B bodies, {} connection(s) and one that pulls {QUEUES} queues, {} cores. Latencies count from when a send was due.\n",
        most.per_second,
        wanted.seconds,
        wanted.body,
        wanted.connections,
        thread::available_parallelism()?
    );
    let java = rounds(wanted, &java, rate).context("Java")?;
    let sluice = Subject::start(Which::Sluice, "flushDiskType=ASYNC_FLUSH")?;
    sluice.warm_up(wanted.warm_up)?;
    let sluice = rounds(wanted, &sluice, rate).context("Sluice")?;
    print_head(&["open loop", "broker"]);
    print_beside(&["sent"], sluice[0], Some(java[0]), None);
    print_beside(&["due to pulled"], sluice[1], Some(java[1]), None);
    let ratio = sluice[0]
        .p999
        .zip(java[0].p999)
        .map(|(ours, java)| ours / java);
    let ratio = ratio.context("no latencies")?;
    let missed = if ratio <= GOAL { "" } else { ": missed" };
    println!("\np99.9 of sends, Sluice / Java: {ratio:.2}, goal {GOAL}{missed}");
    Ok(())
}

fn rounds(wanted: &OpenLoop, subject: &Subject, rate: f64) -> Result<[Figures; 2]> {
    let (mut sent, mut pulled) = (Vec::new(), Vec::new());
    for round in 0..wanted.rounds {
        let [one, other] = together(wanted, subject, rate, round)?;
        sent.push(one);
        pulled.push(other);
    }
    Ok([Figures::middle(&sent), Figures::middle(&pulled)])
}

/// One round: figures of the sends, and of the messages that were pulled.
fn together(wanted: &OpenLoop, subject: &Subject, rate: f64, round: usize) -> Result<[Figures; 2]> {
    let load = subject.load(&Load {
        topic: format!("together-{round}"),
        queues: QUEUES as i32,
        body: wanted.body,
        connections: wanted.connections,
        rate: Some(rate),
        seconds: wanted.seconds,
        warm_up: 2,
        ..Load::default()
    });
    load::make_topics(&load)?;
    let subscription = Subscription {
        suspend_ms: SUSPEND_MS,
        ..Subscription::all("together", &load.topic)
    };
    let puller = Puller::connect(&subject.address, &subscription, QUEUES)?;
    let sent = Arc::new(AtomicU64::new(u64::MAX));
    let began = Instant::now() + LEAD;
    let schedule = Schedule { began, rate };
    let counted_from = began + Duration::from_secs(load.warm_up);
    let consumer = thread::spawn({
        let sent = sent.clone();
        move || consume(puller, schedule, counted_from, &sent)
    });
    let outcome = load::run_from(&load, began)?;
    ensure!(outcome.failed == 0, "{} refused", outcome.failed);
    let ends = load::ends_in_the_end(
        &mut Wire::connect(&subject.address)?,
        &load.topic,
        load.queues,
    )?;
    sent.store(ends.iter().sum::<i64>() as u64, Ordering::Relaxed);
    let pulled = consumer.join();
    let pulled = pulled.map_err(|_| anyhow!("the consumer panicked"))??;
    let figures = Figures::of(&outcome)?;
    let end_to_end = Figures {
        per_second: pulled.count() as f64 / outcome.elapsed.as_secs_f64(),
        ..Figures::default().with(&pulled)
    };
    Ok([figures, end_to_end])
}

/// Pulls until all has come that was sent; how long after its sending was due each message was there.
fn consume(
    mut puller: Puller,
    schedule: Schedule,
    counted_from: Instant,
    sent: &AtomicU64,
) -> Result<Latencies> {
    let (mut count, mut latencies) = (0, Latencies::default());
    (0..QUEUES).for_each(|queue| puller.put(queue));
    while count < sent.load(Ordering::Relaxed) {
        puller.flush()?;
        let mut odd = None;
        let answered = puller.receive(|pulled| {
            let now = Instant::now();
            count += pulled.messages;
            for record in view::records(pulled.body) {
                let key = record.as_ref().ok();
                let key = key.and_then(|record| record.property(properties::UNIQ_KEY));
                match key.and_then(series_and_number) {
                    // The first message, which made the topic, was due at no time.
                    Some((u64::MAX, _)) => {}
                    Some((_, number)) => {
                        let due = schedule.due(number as u64);
                        if due >= counted_from {
                            latencies.note(now.saturating_duration_since(due));
                        }
                    }
                    None => odd = Some(key.map(str::to_owned)),
                }
            }
        })?;
        ensure!(odd.is_none(), "a message with the unique key {odd:?}");
        for queue in answered {
            puller.put(queue);
        }
    }
    Ok(latencies)
}
