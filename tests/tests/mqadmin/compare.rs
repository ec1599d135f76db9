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

/// Settings that only one of the two has, in a file with those of a broker.
const SETTINGS_OF_ONE: [&str; 4] = ["cpuNum", "filterServerNums", "slaveReadEnable", "useTLS"];
/// mqadmin 4.9.8 reads a count by a name that the Java broker 5.3.3 has no more; Sluice says both.
const OLD_NAME: &str = "\"getTransferedTps\" is null";

/// How the outputs of one command differ, if they may not.
pub fn difference(command: &str, java: &str, sluice: &str) -> Option<String> {
    let name = command.split(' ').nth(1).unwrap_or_default();
    let (missing, surplus) = match name {
        _ if java.contains(OLD_NAME) => (Vec::new(), failures(sluice)),
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

fn failures(printed: &str) -> Vec<String> {
    let lines = printed.lines().filter(|line| line.contains("Exception"));
    lines.map(str::to_owned).collect()
}

/// Without what may differ in any output.
fn prepared(printed: &str) -> String {
    let lines = without_tracks_of_nobody(printed);
    let kept = lines.lines().filter(|line| !is_of_one(line));
    kept.map(in_order).collect::<Vec<_>>().join("\n")
}

/// To who consumes a topic the Java broker answers, while a group is connected, a group by the topic's own
/// name, which nobody has made; tools then fail to find it.
fn without_tracks_of_nobody(printed: &str) -> String {
    let mut kept = String::new();
    let mut tracks = printed.split("MessageTrack [");
    kept.push_str(tracks.next().unwrap_or_default());
    for track in tracks {
        let end = match track.contains("exceptionDesc=null") {
            true => "]",
            false => ")]",
        };
        let (track, behind) = track.split_once(end).unwrap_or((track, ""));
        if !track.starts_with("consumerGroup=topic-") {
            kept.push_str(&format!("\nMessageTrack [{track}"));
        }
        kept.push('\n');
        kept.push_str(behind);
    }
    kept
}

fn is_of_one(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    // The same group by the topic's name, in lists of topics with their groups.
    let mut pairs = words.windows(2).take(2);
    let of_nobody = pairs.any(|pair| pair[0] == pair[1] && pair[0].starts_with("topic-"));
    // The monitor's topic, too; and a group that has offsets once transactions have been checked.
    let system = ["RMQ_SYS_TRANS_HALF_TOPIC", "OFFSET_MOVED_EVENT"];
    let of_system = words.first() == Some(&"DefaultCluster")
        && words.get(1).is_some_and(|topic| system.contains(topic));
    // Clients of commands that are over: some are still there, some have committed something.
    let gone = [
        "__MONITOR_CONSUMER",
        "TOOLS_CONSUMER",
        "CLIENT_INNER_PRODUCER",
    ];
    let of_gone = gone.iter().any(|group| line.contains(group));
    // Sluice says 0 to who asks for a group's first offset on its retry topic, Java nothing; clients commit it.
    let of_retries = line.starts_with("%RETRY%") && line.trim_end().ends_with("N/A")
        || line.contains("topic=%RETRY%") && line.contains("undoneMsgsTotal=0");
    let setting = line.trim_start().strip_prefix('"');
    let setting = setting.and_then(|rest| rest.split_once('"'));
    let of_settings = setting.is_some_and(|(name, _)| SETTINGS_OF_ONE.contains(&name));
    of_nobody || of_system || of_gone || of_retries || of_settings
}

/// Properties of a message come in the order of a hash map that depends on its history. A message with the tool's
/// own properties loses `WAIT=true` on its way into Sluice, which says nothing.
fn in_order(line: &str) -> String {
    let mut said = line
        .replace("MonitorService_-", "MonitorService_")
        .replace("java.lang.RuntimeException: ", "")
        .replace(
            " configStorePath names what the server was started with",
            "",
        );
    if said.starts_with("%RETRY%") {
        // Before the first message: Java knows no offset then, Sluice says 0.
        said = said.replace("-1", "0");
    }
    if let Some(at) = said.find(", org.apache.rocketmq.common.attribute") {
        said.truncate(at);
    }
    let (Some(begin), Some(end)) = (said.rfind("{"), said.rfind('}')) else {
        return said;
    };
    let Some(properties) = said.get(begin + 1..end) else {
        return said;
    };
    let mut properties: Vec<&str> = properties.split(", ").collect();
    properties.retain(|property| *property != "WAIT=true");
    properties.sort_unstable();
    let sorted = properties.join(", ");
    said.replace_range(begin + 1..end, &sorted);
    said
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
