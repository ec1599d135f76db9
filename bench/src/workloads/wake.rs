//! How soon a parked pull has its message: messages are sent one at a time at a moderate rate.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use sluice_protocol::code::response;
use sluice_protocol::message::{properties, view};
use sluice_tests::java::SERVER_VERSION;

use super::pulling::{Puller, Subscription};
use crate::figures::{Figures, print_beside, print_head};
use crate::latency::Latencies;
use crate::load::{self, Load, Schedule};
use crate::meter::Meter;
use crate::patched::OPAQUE_BASE;
use crate::sends::{now_ms, series_and_number};
use crate::socket::Socket;
use crate::subjects::{Subject, Which};

const QUEUES: usize = 8;
/// A pull waits for messages so long, milliseconds.
const SUSPEND_MS: u64 = 20_000;
/// Pulls have time to be parked before the first send.
const LEAD: Duration = Duration::from_millis(500);
/// Of the time from the answer to a send to the answer to its pull, microseconds, p99.
const GOAL: f64 = 1000.0;

/// How much is sent.
#[derive(Debug, clap::Args)]
pub struct Wake {
    /// Messages a second
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds counted
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds of load before; a JVM needs some 10
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    warm_up: u64,
}

/// When a send left, and when its answer came.
type Sent = (Instant, Instant);

/// Measures both brokers and prints a table.
///
/// # Errors
/// A broker can't be run, or a message is lost.
pub fn run(wanted: &Wake) -> Result<()> {
    ensure!(
        wanted.seconds > 0 && wanted.rate > 0.0,
        "nothing to measure"
    );
    println!(
        "Java {SERVER_VERSION}; {} messages/s of 1 KB over {QUEUES} queues, a pull parked on each, {} s, {} cores\n",
        wanted.rate,
        wanted.seconds,
        thread::available_parallelism()?
    );
    let java = measure(wanted, Which::Java).context("Java")?;
    let sluice = measure(wanted, Which::Sluice).context("Sluice")?;
    print_head(&["wake", "broker"]);
    let rows = [
        "send to its answer",
        "send to pull answer",
        "send's answer to pull answer",
    ];
    for ((name, java), sluice) in rows.iter().zip(java).zip(sluice) {
        print_beside(&[name], sluice, Some(java), None);
    }
    let p99 = sluice[2].p99.context("no latencies")?;
    let missed = if p99 <= GOAL { "" } else { ": missed" };
    println!("\np99 from the send's answer to the pull's: {p99:.0} us, goal {GOAL:.0}{missed}");
    Ok(())
}

fn measure(wanted: &Wake, which: Which) -> Result<[Figures; 3]> {
    let subject = Subject::start(which, "flushDiskType=ASYNC_FLUSH")?;
    subject.warm_up(wanted.warm_up)?;
    // A JVM has not compiled the way of a parked pull yet.
    round(&subject, wanted.rate, wanted.warm_up.min(wanted.seconds), 0)?;
    round(&subject, wanted.rate, wanted.seconds, 1)
}

fn round(subject: &Subject, rate: f64, seconds: u64, round: usize) -> Result<[Figures; 3]> {
    let load = subject.load(&Load {
        topic: format!("wake-{round}"),
        queues: QUEUES as i32,
        ..Load::default()
    });
    load::make_topics(&load)?;
    let subscription = Subscription {
        suspend_ms: SUSPEND_MS,
        ..Subscription::all("sleepers", &load.topic)
    };
    let puller = Puller::connect(&subject.address, &subscription, QUEUES)?;
    let count = (seconds as f64 * rate) as usize;
    let consumer = thread::spawn(move || pulled_at(puller, count));
    thread::sleep(LEAD);
    let meter = Meter::start(subject.pid)?;
    let sent = send(&load, rate, count)?;
    let elapsed = meter.elapsed().as_secs_f64();
    let pulled = consumer.join();
    let pulled = pulled.map_err(|_| anyhow!("the consumer panicked"))??;
    let figures = Figures {
        per_second: count as f64 / elapsed,
        cpu_micros: Some(meter.cpu_micros(count as u64)?),
        ..Figures::default()
    };
    let mut times = [(); 3].map(|()| Latencies::default());
    for ((left, answered), pulled) in sent.into_iter().zip(pulled) {
        times[0].note(answered - left);
        times[1].note(pulled - left);
        // A pull is often answered first.
        times[2].note(pulled.saturating_duration_since(answered));
    }
    Ok(times.map(|times| figures.with(&times)))
}

/// Sends one at a time, each when it is due.
fn send(load: &Load, rate: f64, count: usize) -> Result<Vec<Sent>> {
    let mut socket = Socket::connect(&load.broker)?;
    let mut frames = load::Frames::new(load, 0);
    let schedule = Schedule {
        began: Instant::now(),
        rate,
    };
    let mut sent = Vec::with_capacity(count);
    for number in 0..count {
        let due = schedule.due(number as u64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        frames.put(OPAQUE_BASE, now_ms(), &mut socket.out);
        let left = Instant::now();
        socket.flush()?;
        let code = loop {
            if let Some(answer) = socket.next()? {
                break answer.code;
            }
            socket.read().context("no answer to a send")?;
        };
        ensure!(code == i64::from(response::SUCCESS), "refused: {code}");
        sent.push((left, Instant::now()));
    }
    Ok(sent)
}

/// When the pull was answered that brought each message.
fn pulled_at(mut puller: Puller, count: usize) -> Result<Vec<Instant>> {
    let mut at = vec![None; count];
    let mut missing = count;
    (0..QUEUES).for_each(|queue| puller.put(queue));
    while missing > 0 {
        puller.flush()?;
        let mut numbers = Vec::new();
        let answered = puller.receive(|pulled| {
            for record in view::records(pulled.body).flatten() {
                let key = record.property(properties::UNIQ_KEY).unwrap_or_default();
                // The first message, which made the topic, is of another series.
                if let Some((0, number)) = series_and_number(key) {
                    numbers.push(number as usize);
                }
            }
        })?;
        let now = Instant::now();
        for number in numbers {
            let at = at.get_mut(number).context("a message that nobody sent")?;
            ensure!(at.replace(now).is_none(), "message {number} came twice");
            missing -= 1;
        }
        for queue in answered {
            puller.put(queue);
        }
    }
    at.into_iter()
        .collect::<Option<_>>()
        .context("a message is missing")
}
