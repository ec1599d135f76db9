//! What filters cost a whole pull: one backlog is pulled over one connection by groups that differ in
//! their filter alone, in turn, for several rounds.

use std::time::Instant;

use anyhow::{Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::message::sys_flag;
use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::wire::Wire;

use crate::plugins::{BIG_ORDERS, SQL92, message_properties};
use crate::process::cpu_time;

const TOPIC: &str = "orders";
const PLUGIN: &str = "big-orders";
/// Sends under way while the backlog is made.
const WINDOW: i32 = 256;

/// How much is pulled.
#[derive(Debug, clap::Args)]
pub struct Pulls {
    /// Messages of the backlog
    #[arg(long, default_value_t = 200_000)]
    messages: i32,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    body: usize,
    /// Rounds of all variants, of which the median counts
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// A group and its subscription.
struct Variant {
    what: &'static str,
    group: &'static str,
    expression: (&'static str, &'static str),
}

const VARIANTS: [Variant; 4] = [
    Variant {
        what: "unfiltered",
        group: "plain",
        expression: ("TAG", "*"),
    },
    Variant {
        what: "WASM, passes all",
        group: "wasm-all",
        expression: ("TAG", "*"),
    },
    Variant {
        what: "SQL92",
        group: "sql",
        expression: ("SQL92", SQL92),
    },
    Variant {
        what: "WASM, the same filter",
        group: "wasm",
        expression: ("TAG", "*"),
    },
];

/// What a whole pull of the backlog took.
#[derive(Debug, Clone, Copy)]
struct Took {
    /// Messages of the backlog a second, whether they passed or not.
    per_second: f64,
    /// CPU time of the broker for each of them.
    cpu_micros: f64,
    given: usize,
}

/// Measures and prints a table.
///
/// # Errors
/// The broker can't be run, or a filter passes what another does not.
pub fn run(pulls: &Pulls) -> Result<()> {
    ensure!(pulls.rounds > 0 && pulls.messages > 0, "nothing to measure");
    let cluster = Cluster::start(Kind::Sluice);
    let mut wire = Wire::connect(&cluster.broker.address())?;
    fill(pulls, &mut wire)?;
    let plugins = cluster.broker.plugins();
    plugins.put(PLUGIN, BIG_ORDERS);
    plugins.bind(PLUGIN, TOPIC, "wasm", serde_json::json!({}));
    let all = serde_json::json!({"params": {"all": "true"}});
    plugins.bind(PLUGIN, TOPIC, "wasm-all", all);

    let mut rounds: Vec<[Took; 4]> = Vec::new();
    for round in 0..=pulls.rounds {
        let mut took = Vec::new();
        for variant in &VARIANTS {
            took.push(pull_all(pulls, &mut wire, variant, cluster.broker.id())?);
        }
        ensure!(
            took[0].given == took[1].given && took[2].given == took[3].given,
            "the filters differ: {took:?}"
        );
        // The first round warms up.
        if round > 0 {
            rounds.push(took.try_into().expect("one of each"));
        }
    }
    println!(
        "{} messages of {} B and 6 properties, 32 a pull, one connection; {} rounds, {} cores\n",
        pulls.messages,
        pulls.body,
        pulls.rounds,
        std::thread::available_parallelism()?
    );
    println!(
        "| group's filter | passes | messages/s | broker CPU us/message |\n|---|---:|---:|---:|"
    );
    for (at, variant) in VARIANTS.iter().enumerate() {
        println!(
            "| {} | {:.0} % | {:.0} | {:.2} |",
            variant.what,
            100.0 * rounds[0][at].given as f64 / f64::from(pulls.messages),
            median(rounds.iter().map(|round| round[at].per_second)),
            median(rounds.iter().map(|round| round[at].cpu_micros))
        );
    }
    let ratio = |of: usize, to: usize| {
        median(
            rounds
                .iter()
                .map(|round| round[of].per_second / round[to].per_second),
        )
    };
    println!(
        "\nWASM passes all / unfiltered: {:.2}; WASM / SQL92: {:.2}",
        ratio(1, 0),
        ratio(3, 2)
    );
    Ok(())
}

/// The middle one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sends the backlog into one queue.
fn fill(pulls: &Pulls, wire: &mut Wire) -> Result<()> {
    let (mut sent, mut answered) = (0, 0);
    let body = vec![7; pulls.body];
    while answered < pulls.messages {
        while sent < pulls.messages && sent - answered < WINDOW {
            wire.out.extend_from_slice(&send(sent, &body)?.encode());
            sent += 1;
            // The first makes the topic.
            if sent == 1 {
                break;
            }
        }
        wire.flush()?;
        let answer = wire.read()?;
        ensure!(answer.code == response::SUCCESS, "{}", answer.remark());
        answered += 1;
    }
    Ok(())
}

fn send(number: i32, body: &[u8]) -> Result<RemotingCommand> {
    let header = SendMessageRequestHeader {
        producer_group: "bench".into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: String::from_utf8(message_properties(number as u64))?.into(),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
    };
    let mut command = RemotingCommand::request(request::SEND_MESSAGE_V2, number);
    command = command.with_body(body.to_vec());
    header.encode_v2(&mut command.ext);
    Ok(command)
}

fn pull_all(pulls: &Pulls, wire: &mut Wire, variant: &Variant, pid: u32) -> Result<Took> {
    let (cpu, began) = (cpu_time(pid)?, Instant::now());
    let (mut offset, mut given) = (0, 0);
    while offset < i64::from(pulls.messages) {
        let answer = wire.ask(&pull(variant, offset))?;
        let next = answer
            .ext
            .get("nextBeginOffset")
            .and_then(|next| next.parse().ok());
        ensure!(
            next.is_some_and(|next| next > offset),
            "{}: {} {}",
            variant.what,
            answer.code,
            answer.remark()
        );
        offset = next.unwrap_or(offset);
        given += sluice_protocol::message::view::records(&answer.body).count();
    }
    let messages = f64::from(pulls.messages);
    Ok(Took {
        per_second: messages / began.elapsed().as_secs_f64(),
        cpu_micros: (cpu_time(pid)? - cpu).as_secs_f64() * 1e6 / messages,
        given,
    })
}

fn pull(variant: &Variant, offset: i64) -> RemotingCommand {
    let (language, expression) = variant.expression;
    let mut command = RemotingCommand::request(request::PULL_MESSAGE, 1);
    let offset = offset.to_string();
    for (name, value) in [
        ("consumerGroup", variant.group),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("queueOffset", &offset),
        ("maxMsgNums", "32"),
        ("sysFlag", &sys_flag::PULL_SUBSCRIPTION.to_string()),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", expression),
        ("expressionType", language),
        ("subVersion", "0"),
    ] {
        command.ext.put(name, value);
    }
    command
}
