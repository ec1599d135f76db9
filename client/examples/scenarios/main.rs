//! Every scenario of this client against a running cluster:
//!
//! ```text
//! cargo run -p sluice-client --example scenarios -- 127.0.0.1:9876 [--retry] [--sql] [NAME PART]
//! ```
//!
//! The name server may also come from the environment's `SLUICE_TEST_NAMESRV`. Prints a line
//! `PASS <name> <ms>` or `FAIL <name> <ms> <reason>` for each scenario, and exits with 1 if any
//! failed. `--retry` adds the scenarios for which a broker must deliver messages with delay,
//! `--sql` those for which it must filter by SQL92.

mod consuming;
mod sending;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use world::World;

/// No scenario takes longer when all is well; it is a deadline, not a measure.
const DEADLINE: Duration = Duration::from_secs(90);

macro_rules! scenarios {
    ($world:expr, $part:expr, $failed:expr, $($module:ident :: $name:ident),+ $(,)?) => {
        $(if stringify!($name).contains($part) {
            $failed |= !run(stringify!($name), $module::$name($world)).await;
        })+
    };
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let (flags, words): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let (addresses, parts): (Vec<_>, Vec<_>) =
        words.into_iter().partition(|word| word.contains(':'));
    let name_server = addresses
        .into_iter()
        .next()
        .or_else(|| std::env::var("SLUICE_TEST_NAMESRV").ok());
    let Some(name_server) = name_server else {
        eprintln!(
            "usage: scenarios NAMESRV_HOST:PORT [--retry] [--sql] [NAME PART], or set SLUICE_TEST_NAMESRV"
        );
        return ExitCode::from(2);
    };
    let world = match World::new(name_server) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let part = parts.first().map_or("", String::as_str);
    let mut failed = false;
    scenarios!(
        &world,
        part,
        failed,
        sending::send_and_read_back,
        sending::send_kinds,
        sending::send_batch_in_order,
        sending::selector_keeps_order,
        sending::unicode_everywhere,
        sending::four_megabytes,
        sending::illegal_messages_are_refused,
        sending::a_new_topic_is_created_by_its_first_message,
        sending::query_by_key_and_id,
        sending::many_sends_at_once,
        consuming::push_concurrent,
        consuming::push_with_tags,
        consuming::push_ordered,
        consuming::ordered_suspends_its_queue,
        consuming::two_consumers_share_and_take_over,
        consuming::two_consumers_share_as_the_broker_says,
        consuming::broadcast_reaches_everyone,
        consuming::offsets_survive_a_restart,
        consuming::start_at_first_and_seek_by_time,
        consuming::offsets_of_a_group_that_is_away,
        consuming::lite_pull_subscribe_and_commit,
        consuming::lite_pull_assign_seek_and_pause,
        consuming::reset_by_time_moves_a_running_consumer,
        consuming::consumer_waits_for_its_topic,
        consuming::a_panic_costs_one_delivery,
    );
    if flags.iter().any(|flag| flag == "--retry") {
        scenarios!(&world, part, failed, consuming::failed_messages_come_again);
    }
    if flags.iter().any(|flag| flag == "--sql") {
        scenarios!(&world, part, failed, consuming::sql_selects);
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

async fn run(name: &str, scenario: impl Future<Output = world::Outcome>) -> bool {
    let start = Instant::now();
    let outcome = tokio::time::timeout(DEADLINE, scenario).await;
    let outcome = outcome.unwrap_or_else(|_| Err(format!("not done within {DEADLINE:?}").into()));
    let ms = start.elapsed().as_millis();
    match &outcome {
        Ok(()) => println!("PASS {name} {ms}"),
        Err(error) => println!("FAIL {name} {ms} {}", error.to_string().replace('\n', " ")),
    }
    outcome.is_ok()
}
