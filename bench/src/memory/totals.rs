//! What a whole broker holds: after a million messages, and with ten thousand topics.

use std::time::Instant;

use anyhow::Result;
use sluice_tests::cluster::Kind;

use super::Memory;
use super::scene::Scene;
use super::things::{QUEUES, topic_name, topics};
use crate::flight::fly;
use crate::process::resident;
use crate::ready::table::{self, mib, print, print_goal};
use crate::sends::Sends;

const BODY: usize = 1024;
const IN_FLIGHT: i32 = 256;
/// Most anonymous memory after the messages, bytes.
const MESSAGES_GOAL: u64 = 60_000_000;

/// Measures and prints a table.
///
/// # Errors
/// A broker can't be run, or refuses something.
pub fn measure(wanted: &Memory) -> Result<()> {
    table::print_head();
    if wanted.messages > 0 {
        after_messages(wanted.messages)?;
    }
    if wanted.topics > 0 {
        with_topics(wanted.topics)?;
    }
    Ok(())
}

fn after_messages(count: usize) -> Result<()> {
    let mut scene = Scene::of(Kind::Sluice)?;
    let mut sends = Sends::new("shop", 4, BODY, 0);
    let total = i32::try_from(count)?;
    fly(
        &mut scene.wire,
        total,
        IN_FLIGHT,
        || sends.next(),
        |_, _| Ok(()),
    )?;
    let held = scene.held()?.own as u64;
    print_goal(
        format_args!("anonymous memory after {count} messages of 1 KB"),
        mib(held),
        format_args!("{} MB", MESSAGES_GOAL / 1_000_000),
        held <= MESSAGES_GOAL,
    );
    let files = resident(scene.pid())?.files;
    print("mapped store files beside it", mib(files));
    Ok(())
}

fn with_topics(count: usize) -> Result<()> {
    let mut scene = Scene::of(Kind::Sluice)?;
    let before = scene.held()?.own;
    let began = Instant::now();
    topics(&mut scene, count)?;
    let took = began.elapsed();
    let held = scene.held()?.own;
    let what = format!("{count} topics x {QUEUES} queues");
    print(format_args!("{what}: anonymous memory"), mib(held as u64));
    print(
        "what of it came with them",
        mib((held - before).max(0.0) as u64),
    );
    print(
        "time until the last is answered",
        format_args!("{:.1} s", took.as_secs_f64()),
    );
    let registration = scene.registration(&topic_name(count - 1))?;
    print("a registration at a name server", mib(registration as u64));
    Ok(())
}
