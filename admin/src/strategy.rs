//! Allocation strategies, which see clients and queues instead of messages.

use std::collections::BTreeMap;
use std::io::Write;

use sluice_plugins::instance::MessageQueue;

use crate::Outcome;
use crate::args::Local;
use crate::error::AdminError;
use crate::table::{Table, bytes, one, time};
use crate::trial::Trial;

/// Asks for each client in turn, and whether every queue has exactly one.
pub(crate) fn test(
    trial: &Trial,
    local: &Local,
    out: &mut dyn Write,
) -> Result<Outcome, AdminError> {
    let mut table = Table::of(&["CLIENT", "QUEUES", "WHY"]);
    let mut owners: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    let mut failed = false;
    for client in &local.clients {
        let (queues, why) = match allocate(trial, local, client) {
            Ok(chosen) => {
                for queue in &chosen {
                    owners.entry(*queue).or_default().push(client);
                }
                let names: Vec<String> = chosen.iter().map(usize::to_string).collect();
                (names.join(" "), String::new())
            }
            Err(why) => {
                failed = true;
                (String::new(), why)
            }
        };
        table.row([client.clone(), queues, why]);
    }
    write!(out, "{table}")?;
    for line in trial.said(0) {
        writeln!(out, "log  {:<5}  {}", line.level, line.text)?;
    }
    for queue in 0..local.queues as usize {
        match owners.get(&queue).map_or(&[][..], Vec::as_slice) {
            [_] => continue,
            [] => writeln!(out, "WRONG  queue {queue} has no client")?,
            several => writeln!(out, "WRONG  queue {queue} has {}", several.join(" and "))?,
        }
        failed = true;
    }
    let reading = trial.reading();
    writeln!(
        out,
        "\n{}; {} clients, {} queues; {} traps, {} time-outs, {} instances, memory {}, {} a call",
        one(trial.world),
        local.clients.len(),
        local.queues,
        reading.traps,
        reading.timeouts,
        reading.instances,
        bytes(reading.memory_high_water),
        time(reading.busy_ns.checked_div(reading.calls).unwrap_or(0))
    )?;
    Ok(if failed {
        Outcome::Wrong
    } else {
        Outcome::Well
    })
}

/// The queues of one client.
pub(crate) fn allocate(trial: &Trial, local: &Local, client: &str) -> Result<Vec<usize>, String> {
    let queue = |queue_id| MessageQueue {
        topic: trial.key.topic.clone(),
        broker: "broker-a".to_owned(),
        queue_id,
    };
    let queues = (0..local.queues).map(queue).collect();
    trial
        .bound
        .allocate(&trial.key.group, client, queues, local.clients.clone())
}
