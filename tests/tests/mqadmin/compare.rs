//! Where what is printed may differ, and why.

use std::collections::{BTreeMap, BTreeSet};

use sluice_tests::mqadmin::shape;

/// Lines of `brokerStatus` that operators and tools read; Java has more, as far as its features go.
const STATUS: [&str; 34] = [
    "bootTimestamp",
    "brokerActive",
    "brokerVersion",
    "brokerVersionDesc",
    "commitLogDirCapacity",
    "commitLogDiskRatio",
    "commitLogMaxOffset",
    "commitLogMinOffset",
    "consumeQueueDiskRatio",
    "dispatchBehindBytes",
    "dispatchMaxBuffer",
    "earliestMessageTimeStamp",
    "getFoundTps",
    "getMessageEntireTimeMax",
    "getMissTps",
    "getTotalTps",
    "getTransferredTps",
    "msgGetTotalTodayMorning",
    "msgGetTotalTodayNow",
    "msgGetTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalTodayNow",
    "msgPutTotalYesterdayMorning",
    "pageCacheLockTimeMills",
    "putMessageAverageSize",
    "putMessageDistributeTime",
    "putMessageEntireTimeMax",
    "putMessageFailedTimes",
    "putMessageSizeTotal",
    "putMessageTimesTotal",
    "putTps",
    "remainHowManyDataToFlush",
    "remainTransientStoreBufferNumbs",
    "runtime",
];

/// How the outputs of one command differ, if they may not.
pub fn difference(command: &str, java: &str, sluice: &str) -> Option<String> {
    let name = command.split(' ').nth(1).unwrap_or_default();
    let (missing, surplus) = match name {
        "brokerStatus" if java.contains("bootTimestamp") => (without_status(sluice), Vec::new()),
        "getBrokerConfig" | "getNamesrvConfig" => other_settings(java, sluice),
        _ => {
            let (java, sluice) = (shape(&prepared(java)), shape(&prepared(sluice)));
            (without(&java, &sluice), without(&sluice, &java))
        }
    };
    (!missing.is_empty() || !surplus.is_empty())
        .then(|| format!("{command}\n  only Java: {missing:#?}\n  only Sluice: {surplus:#?}"))
}

/// Without what the Java broker says of a group by the topic's own name, which nobody has made: it answers that
/// to who consumes the topic, while a group is connected.
fn prepared(printed: &str) -> String {
    let lines = printed.replace("MessageTrack [", "\nMessageTrack [");
    let is_of_no_group = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        let of_topic = line.contains("[consumerGroup=topic-");
        let named_twice =
            words.len() == 2 && words[0] == words[1] && words[0].starts_with("topic-");
        of_topic || named_twice
    };
    let kept = lines.lines().filter(|line| !is_of_no_group(line));
    kept.collect::<Vec<_>>().join("\n")
}

/// Lines of `these` that `those` have less often.
fn without(these: &BTreeMap<String, usize>, those: &BTreeMap<String, usize>) -> Vec<String> {
    let more = these.iter().filter_map(|(line, count)| {
        let more = count.saturating_sub(those.get(line).copied().unwrap_or(0));
        (more > 0).then(|| match more {
            1 => line.clone(),
            more => format!("{more} times {line}"),
        })
    });
    more.collect()
}

/// Lines of a broker's state that are not there.
fn without_status(printed: &str) -> Vec<String> {
    let keys = printed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let first = words.next()?;
        // Of a cluster's brokers the address comes first.
        let key = if first.starts_with("127.") {
            words.next()?
        } else {
            first
        };
        Some(key.trim_end_matches(':'))
    });
    let keys: BTreeSet<&str> = keys.collect();
    let missing = STATUS.iter().filter(|key| !keys.contains(**key));
    missing.map(|key| (*key).to_owned()).collect()
}

/// Settings that both have and that differ, and all other lines; each has settings of its own.
fn other_settings(java: &str, sluice: &str) -> (Vec<String>, Vec<String>) {
    let (java, sluice) = (shape(java), shape(sluice));
    let key = |line: &String| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    let keys = |lines: &BTreeMap<String, usize>| -> BTreeSet<String> {
        lines.keys().filter_map(key).collect()
    };
    let (of_java, of_sluice) = (keys(&java), keys(&sluice));
    let of_both = |line: &String| match key(line) {
        Some(key) => of_java.contains(&key) == of_sluice.contains(&key),
        None => true,
    };
    let mut missing = without(&java, &sluice);
    let mut surplus = without(&sluice, &java);
    missing.retain(of_both);
    surplus.retain(of_both);
    (missing, surplus)
}
