//! How what is bound does: `logs`, `stats`, `explain`.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::answers::{Explained, Line, Status};
use crate::args::{Asked, Explain, Logs, Stats};
use crate::bindings::{find, of_plugin};
use crate::connection::{Connection, Shown, escaped};
use crate::error::AdminError;
use crate::plugins;
use crate::table::{Table, bytes, date, time};
use crate::visible::in_line;

/// How often `logs -f` asks.
const FOLLOW: Duration = Duration::from_millis(500);

pub(crate) fn logs(asked: &Asked<Logs>, out: &mut dyn Write) -> Result<(), AdminError> {
    let broker = Connection::to(&asked.broker)?;
    let status = find(&broker, &asked.of.name, &asked.of.place)?;
    let binding = &status.binding;
    let (plugin, topic, group) = (
        escaped(&binding.plugin),
        escaped(&binding.topic),
        escaped(&binding.group),
    );
    let mut from = 0;
    loop {
        let path =
            format!("/v1/bindings/logs?plugin={plugin}&topic={topic}&group={group}&from={from}");
        let answer = broker.get(&path)?;
        let lines: Vec<Line> = answer.read()?;
        if asked.broker.json {
            writeln!(out, "{}", answer.text)?;
        } else {
            for line in &lines {
                let Line {
                    time_ms,
                    level,
                    text,
                    ..
                } = line;
                let time = match time_ms {
                    // No message was at hand.
                    0 => "at its start".to_owned(),
                    ms => date(*ms),
                };
                writeln!(out, "{time:<20}  {level:<5}  {}", in_line(text))?;
            }
        }
        out.flush()?;
        if !asked.of.follow {
            return Ok(());
        }
        from = lines.last().map_or(from, |line| line.number + 1);
        std::thread::sleep(FOLLOW);
    }
}

pub(crate) fn stats(broker: &Connection, wanted: &Stats) -> Result<Shown, AdminError> {
    plugins::find(broker, &wanted.name)?;
    let all = of_plugin(broker, &wanted.name)?;
    let texts: Vec<String> = all.statuses.iter().map(numbers).collect();
    let text = match texts.is_empty() {
        true => "bound nowhere".to_owned(),
        false => texts.join("\n"),
    };
    Ok(Shown {
        text,
        json: Value::Array(all.json).to_string(),
    })
}

/// Writing to a String can't fail.
fn numbers(status: &Status) -> String {
    let binding = &status.binding;
    let mut text = format!(
        "{}\n  breaker {}{}, {} lines of log not kept\n",
        binding.describe(),
        status.breaker,
        if status.slow {
            ", slow: called aside"
        } else {
            ""
        },
        status.log_lines_dropped
    );
    for numbers in &status.versions {
        let _ = writeln!(
            text,
            "\n  @{} ({})\n    {} calls for {} messages: {} passed, {} dropped, {} changes, {} failed, {} by policy, {} judged otherwise\n    {} traps, {} time-outs, {} instances, memory {}, {} a call",
            numbers.version,
            binding.role(numbers.version),
            numbers.calls,
            numbers.rows,
            numbers.passed,
            numbers.dropped,
            numbers.changed,
            numbers.failed_rows,
            numbers.by_policy,
            numbers.differing,
            numbers.traps,
            numbers.timeouts,
            numbers.instances,
            bytes(numbers.memory_high_water),
            numbers.mean()
        );
        for (name, count) in &numbers.counters {
            let _ = writeln!(text, "    {name} = {count}");
        }
        text.push_str(&histogram(&numbers.histogram));
    }
    text
}

/// One line for each bucket between the first and the last that is not empty.
fn histogram(buckets: &[u64]) -> String {
    let most = buckets.iter().copied().max().unwrap_or(0);
    let (Some(first), Some(last)) = (
        buckets.iter().position(|count| *count > 0),
        buckets.iter().rposition(|count| *count > 0),
    ) else {
        return String::new();
    };
    let mut text = String::new();
    for (bucket, count) in buckets.iter().enumerate().take(last + 1).skip(first) {
        let bound = match bucket {
            _ if bucket + 1 == buckets.len() => "more".to_owned(),
            _ => format!("≤ {}", time(1000 << bucket)),
        };
        let bar = "#".repeat((count * 40).div_ceil(most) as usize);
        let _ = writeln!(text, "    {bound:>10}  {count:>9}  {bar}");
    }
    text
}

pub(crate) fn explain(broker: &Connection, wanted: &Explain) -> Result<Shown, AdminError> {
    let answer = broker.get(&format!(
        "/v1/bindings/explain?topic={}&group={}&queueId={}&offset={}&count={}",
        escaped(&wanted.topic),
        escaped(&wanted.group),
        wanted.queue,
        wanted.offset,
        wanted.count
    ))?;
    let messages: Vec<Explained> = answer.read()?;
    Ok(Shown {
        text: explained(&messages),
        json: answer.text,
    })
}

fn explained(messages: &[Explained]) -> String {
    let Some(first) = messages.first() else {
        return "no messages there".to_owned();
    };
    let mut headings = vec![">OFFSET", "MESSAGE", "TAGS", "KEYS", "RESULT"];
    headings.extend(first.filters.iter().map(|filter| &*filter.plugin));
    headings.push("WHY");
    let mut table = Table::of(&headings);
    for message in messages {
        let mut row = vec![
            message.queue_offset.to_string(),
            message.message_id.clone(),
            message.tags.clone().unwrap_or_default(),
            message.keys.clone().unwrap_or_default(),
            if message.passes { "passes" } else { "stays" }.to_owned(),
        ];
        row.extend(message.filters.iter().map(|filter| {
            let version = filter.version.map_or(String::new(), |v| format!(" @{v}"));
            format!("{}{version}", filter.verdict)
        }));
        let failures = message.filters.iter().filter_map(|filter| {
            let failure = filter.failure.as_ref()?;
            Some(format!("{}: {failure}; its policy decides", filter.plugin))
        });
        row.push(failures.collect::<Vec<_>>().join("; "));
        table.row(row);
    }
    match first.filters.is_empty() {
        true => format!("{table}no filter is bound there"),
        false => table.to_string(),
    }
}
