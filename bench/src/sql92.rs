//! One SQL92 expression on one stored message, in Java's classes and in ours.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sluice_filters::sql92::{NoFunctions, Sql92};
use sluice_filters::{BLOCK_ROWS_MAX, MessageFilter, Verdict};
use sluice_protocol::message::{Record, RecordFields, properties};
use sluice_tests::java::JavaPeer;

/// What is evaluated on what.
#[derive(Debug, Args)]
pub struct Evaluation {
    /// The expression
    #[arg(long, default_value = "region = 'eu' AND amount > 100")]
    expression: String,
    /// Properties of the message, name=value; else six, in the order in which a Java broker stores them
    #[arg(long = "property", value_name = "NAME=VALUE", default_values_t = [
        "UNIQ_KEY=7F0000010BD018B4AAC27A1B2C3D0001",
        "CLUSTER=DefaultCluster",
        "region=eu",
        "TAGS=TagA",
        "WAIT=true",
        "amount=250",
    ].map(String::from))]
    properties: Vec<String>,
}

/// Blocks of a turn, some milliseconds, and turns of which the best counts: the others were disturbed.
const ROUNDS: usize = 1_000;
const TURNS: usize = 500;

/// Measures both and prints nanoseconds for each message.
pub fn run(evaluation: &Evaluation) -> Result<()> {
    let mut text = Vec::new();
    for property in &evaluation.properties {
        let (name, value) = property
            .split_once('=')
            .context("a property is name=value")?;
        properties::put(&mut text, name, value);
    }
    println!("{}", evaluation.expression);
    println!(
        "{} properties, {} bytes",
        evaluation.properties.len(),
        text.len()
    );
    let ours = measure(&evaluation.expression, &text)?;
    let [java, java_map] = measure_java(&evaluation.expression, &text)?;
    println!("Sluice, on the stored bytes     {ours:.1} ns/message");
    println!("Java, from the stored bytes on  {java:.1} ns/message");
    println!("Java, properties decoded before {java_map:.1} ns/message");
    println!("ratio={:.1}", java / ours);
    Ok(())
}

fn measure(expression: &str, text: &[u8]) -> Result<f64> {
    let filter = Sql92::compile(expression, &NoFunctions)?;
    let bytes = record(text)?;
    let records = [Record::parse(&bytes)?; BLOCK_ROWS_MAX];
    let mut verdicts = [Verdict::Drop; BLOCK_ROWS_MAX];
    let turn = || {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            filter.judge(black_box(&records), &mut verdicts);
            black_box(&verdicts);
        }
        start.elapsed().as_nanos() as f64 / (ROUNDS * BLOCK_ROWS_MAX) as f64
    };
    Ok(std::iter::repeat_with(turn)
        .take(TURNS)
        .fold(f64::MAX, f64::min))
}

fn record(text: &[u8]) -> Result<Vec<u8>> {
    let host = "127.0.0.1:10911".parse()?;
    let fields = RecordFields {
        topic: "bench",
        queue_id: 1,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &[],
        properties: text,
    };
    let mut bytes = Vec::new();
    fields.encode(&mut bytes)?;
    Ok(bytes)
}

/// From the stored bytes on, and with the properties in a map before.
fn measure_java(expression: &str, text: &[u8]) -> Result<[f64; 2]> {
    let home = tempfile::tempdir()?;
    let output = JavaPeer::server_classes()
        .load_program("sluice.interop.Sql92Cases", home.path())
        .args(["time", expression, std::str::from_utf8(text)?])
        .output()
        .context("java")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "java: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let times: Vec<f64> = printed
        .split_whitespace()
        .map_while(|time| time.parse().ok())
        .collect();
    times
        .try_into()
        .ok()
        .with_context(|| format!("two times in `{printed}`"))
}
