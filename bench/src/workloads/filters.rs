//! Filters: what a pull takes when 1 %, 50 % or 100 % of a backlog pass, by tag, by SQL92, through WASM.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::request;
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::message::properties;
use sluice_tests::java::SERVER_VERSION;
use sluice_tests::wire::Wire;

use super::consume::drain;
use super::pulling::{Puller, Subscription};
use crate::figures::{Figures, print_beside, print_head};
use crate::flight::fly;
use crate::latency::Latencies;
use crate::load::ends_in_the_end;
use crate::meter::Meter;
use crate::plugins::{BIG_ORDERS, SQL92};
use crate::sends::random_body;
use crate::subjects::{Subject, Which};

const PLUGIN: &str = "big-orders";
/// Sends in flight while a backlog is made.
const IN_FLIGHT: i32 = 256;
/// CPU time is counted in ticks of 10 ms, of which a backlog that hardly passes takes one or two.
const SLICE: Duration = Duration::from_millis(500);
/// Of a hundred messages, those that pass; each share has a topic of its own.
const SHARES: [u64; 3] = [1, 50, 100];

/// How much is pulled.
#[derive(Debug, clap::Args)]
pub struct Filters {
    /// Messages of the backlog of each share
    #[arg(long, default_value_t = 200_000)]
    messages: i32,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    body: usize,
    /// Rounds of all filters and shares; the middle one of each figure counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of pulling before; a JVM needs some 10
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    warm_up: u64,
}

/// A kind of filter; all that look at the shares pass the same messages.
struct Kind {
    name: &'static str,
    expression: (&'static str, &'static str),
    plugin: Plugin,
}

/// What is bound to a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plugin {
    None,
    PassesAll,
    Filters,
}

const EVERY: (&str, &str) = ("TAG", "*");
const NONE: Kind = Kind::new("none", EVERY, Plugin::None);
const SQL: Kind = Kind::new("SQL92", ("SQL92", SQL92), Plugin::None);
const WASM_ALL: Kind = Kind::new("WASM, passes all", EVERY, Plugin::PassesAll);
const WASM: Kind = Kind::new("WASM", EVERY, Plugin::Filters);
const KINDS: [Kind; 5] = [
    NONE,
    WASM_ALL,
    Kind::new("tag", ("TAG", "TagA"), Plugin::None),
    SQL,
    WASM,
];
/// Of a hundred messages that pass, what [`print_goals`] compares by.
const HALF: u64 = 50;
/// What a filter leaves of the rate of pulls, at the least.
const ALL_GOAL: f64 = 0.85;
/// The same filter in WASM, beside SQL92.
const WASM_GOAL: f64 = 0.9;

impl Kind {
    const fn new(
        name: &'static str,
        expression: (&'static str, &'static str),
        plugin: Plugin,
    ) -> Kind {
        Kind {
            name,
            expression,
            plugin,
        }
    }

    fn runs_on(&self, which: Which) -> bool {
        which == Which::Sluice || self.plugin == Plugin::None
    }

    /// Of a hundred messages, those that pass; without a filter the shares do not matter.
    fn shares(&self) -> &'static [u64] {
        match self.expression == EVERY && self.plugin != Plugin::Filters {
            true => &[100],
            false => &SHARES,
        }
    }
}

/// Measures both brokers and prints a table; latencies are those of pulls.
///
/// # Errors
/// A broker can't be run, or a filter passes what it should not.
pub fn run(filters: &Filters) -> Result<()> {
    ensure!(
        filters.rounds > 0 && filters.messages > 0 && filters.messages % 100 == 0,
        "nothing to measure, or no whole hundreds"
    );
    println!(
        "Java {SERVER_VERSION}; {} messages of {} B in 1 queue, pulls of 32, 1 in flight; messages/s and CPU time are of all messages, whether they pass or not; {} cores\n",
        filters.messages,
        filters.body,
        std::thread::available_parallelism()?
    );
    let java = measure(filters, Which::Java).context("Java")?;
    let sluice = measure(filters, Which::Sluice).context("Sluice")?;
    print_head(&["filter", "passes", "broker"]);
    for (at, (kind, share)) in variants().enumerate() {
        let passes = format!("{share} %");
        let sluice = sluice[at].context("figures of Sluice")?;
        print_beside(&[kind.name, &passes], sluice, java[at], None);
    }
    print_goals(&sluice);
    Ok(())
}

fn print_goals(sluice: &[Option<Figures>]) {
    let rate = |wanted: &Kind, share: u64| {
        let is_it = |(kind, of): (&Kind, u64)| kind.name == wanted.name && of == share;
        let figures = variants().position(is_it).and_then(|at| sluice[at]);
        figures.map_or(f64::NAN, |figures| figures.per_second)
    };
    let all = rate(&WASM_ALL, 100) / rate(&NONE, 100);
    let beside = rate(&WASM, HALF) / rate(&SQL, HALF);
    println!(
        "\nWASM that passes all, beside none: {all:.2}, goal {ALL_GOAL}; \
         WASM beside SQL92, {HALF} % pass: {beside:.2}, goal {WASM_GOAL}"
    );
}

fn variants() -> impl Iterator<Item = (&'static Kind, u64)> {
    let of = |kind: &'static Kind| kind.shares().iter().map(move |share| (kind, *share));
    KINDS.iter().flat_map(of)
}

fn topic(share: u64) -> String {
    format!("passes-{share}")
}

fn group(kind: &Kind, share: u64) -> String {
    format!("{}-{share}", kind.name.replace(", ", "-").replace(' ', "-"))
}

fn measure(filters: &Filters, which: Which) -> Result<Vec<Option<Figures>>> {
    let mut subject = Subject::start(which, "flushDiskType=ASYNC_FLUSH")?;
    let mut wire = Wire::connect(&subject.address)?;
    for share in SHARES {
        fill(filters, &mut wire, share)?;
    }
    if which == Which::Sluice {
        let plugins = subject.cluster()?.broker.plugins();
        plugins.put(PLUGIN, BIG_ORDERS);
        for (kind, share) in variants() {
            let params = match kind.plugin {
                Plugin::None => continue,
                Plugin::PassesAll => serde_json::json!({"params": {"all": "true"}}),
                Plugin::Filters => serde_json::json!({}),
            };
            plugins.bind(PLUGIN, &topic(share), &group(kind, share), params);
        }
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(filters.warm_up) {
        round(filters, &subject)?;
    }
    let rounds = (0..filters.rounds).map(|_| round(filters, &subject));
    let rounds: Vec<_> = rounds.collect::<Result<_>>()?;
    let middle = |at: usize| {
        let figures: Vec<Figures> = rounds.iter().filter_map(|round| round[at]).collect();
        (!figures.is_empty()).then(|| Figures::middle(&figures))
    };
    Ok((0..variants().count()).map(middle).collect())
}

/// All variants once; those that the broker does not have are left out.
fn round(filters: &Filters, subject: &Subject) -> Result<Vec<Option<Figures>>> {
    let one = |(kind, share): (&Kind, u64)| {
        let runs = kind.runs_on(subject.which);
        runs.then(|| pull_all(filters, subject, kind, share))
            .transpose()
    };
    variants().map(one).collect()
}

/// Pulls the backlog from its start to its end, again and again for [`SLICE`].
fn pull_all(filters: &Filters, subject: &Subject, kind: &Kind, share: u64) -> Result<Figures> {
    let subscription = Subscription {
        expression: kind.expression,
        filtered: true,
        ..Subscription::all(&group(kind, share), &topic(share))
    };
    let mut puller = Puller::connect(&subject.address, &subscription, 1)?;
    let (count, mut messages) = (filters.messages as u64, 0);
    let mut times = Latencies::default();
    let meter = Meter::start(subject.pid)?;
    while meter.elapsed() < SLICE {
        puller.offsets[0] = 0;
        let (passed, pulls) = drain(&mut puller, &[i64::from(filters.messages)], 1)?;
        ensure!(
            passed == count / 100 * share,
            "{passed} of {count} messages pass {} at {share} %",
            kind.name
        );
        messages += count;
        times.join(&pulls);
    }
    let figures = Figures {
        per_second: messages as f64 / meter.elapsed().as_secs_f64(),
        cpu_micros: Some(meter.cpu_micros(messages)?),
        ..Figures::default()
    };
    Ok(figures.with(&times))
}

/// Sends the backlog of one share into one queue; the first message makes the topic.
fn fill(filters: &Filters, wire: &mut Wire, share: u64) -> Result<()> {
    let (topic, body) = (topic(share), random_body(filters.body));
    let mut number = 0;
    let mut next = || {
        number += 1;
        send(&topic, number - 1, share, &body)
    };
    fly(wire, 1, 1, &mut next, |_, _| Ok(()))?;
    fly(wire, filters.messages - 1, IN_FLIGHT, next, |_, _| Ok(()))?;
    let ends = ends_in_the_end(wire, &topic, 1)?;
    ensure!(
        ends == [i64::from(filters.messages)],
        "{ends:?} messages in {topic}"
    );
    Ok(())
}

/// Messages that pass lie as far apart as they can.
fn send(topic: &str, number: i32, share: u64, body: &[u8]) -> RemotingCommand {
    let place = number as u64 % 100;
    let passes = (place + 1) * share / 100 > place * share / 100;
    let header = SendMessageRequestHeader {
        producer_group: "bench".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: message_properties(number, passes).into(),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
    };
    let mut command = RemotingCommand::request(request::SEND_MESSAGE_V2, number);
    command = command.with_body(body.to_vec());
    header.encode_v2(&mut command.ext);
    command
}

fn message_properties(number: i32, passes: bool) -> String {
    let tag = if passes { "TagA" } else { "TagB" };
    let mut text = String::new();
    for (name, value) in [
        (properties::UNIQ_KEY, &*format!("{number:032X}")),
        (properties::KEYS, &*format!("order-{number}")),
        (properties::TAGS, tag),
        ("WAIT", "true"),
        ("region", "eu-west"),
        ("amount", "250"),
    ] {
        text += &format!("{name}\u{1}{value}\u{2}");
    }
    text
}
