//! The broker itself, as administrators see and change it: 25, 26, 28.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::body::KvTable;
use sluice_protocol::topic::SCHEDULE_TOPIC;
use sluice_protocol::{RemotingCommand, fastjson, version};
use sluice_remoting::Responder;

use crate::error::Refusal;
use crate::stats::Rate;
use crate::{Answer, Broker, BrokerConfig};

/// Settings as `key=value` lines.
pub fn get_broker_config(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply(responder, || {
        let version = fastjson::to_vec(&broker.topics.version())
            .map_err(|error| Refusal::System(error.to_string()))?;
        let mut answer = Answer::field("version", String::from_utf8_lossy(&version));
        answer.body = broker.config().to_properties().into();
        Ok(answer)
    });
}

/// Changes settings while the broker runs, and writes them into the property file it was started
/// with; without one, or with a TOML file, the answer says that they last until the next start.
pub fn update_broker_config(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    broker.aside(responder, move |broker, responder| {
        match update(broker, &request.body) {
            Ok(answer) => broker.reply_settled(responder, || Ok(answer)),
            Err(refusal) => broker.refuse(responder, refusal),
        }
    });
}

fn update(broker: &Broker, text: &[u8]) -> Result<Answer, Refusal> {
    let text = std::str::from_utf8(text)
        .map_err(|_| Refusal::System("string2Properties error".to_owned()))?;
    let before = broker.config();
    let (config, warnings) = before
        .updated(text)
        .map_err(|error| Refusal::NoPermission(error.to_string()))?;
    for warning in warnings {
        tracing::warn!(warning, "update of the settings");
    }
    let kept = keep(broker, &before, &config)?;
    // Those that the address service told stay.
    if config.namesrv_addr != before.namesrv_addr {
        let addresses = config.namesrv_addr.as_deref().unwrap_or_default();
        broker.registration.set_name_servers(addresses);
    }
    let registered_anew = config.broker_permission != before.broker_permission
        || config.namesrv_addr != before.namesrv_addr;
    broker.set_config(config);
    if registered_anew {
        // Routes carry the permission; name servers take it over with a new version only.
        broker.topics.bump(broker.now_ms());
        broker.changes.note_topic();
    }
    Ok(if kept {
        Answer::default()
    } else {
        Answer::remark("in force until the next start: no property file was given at this one")
    })
}

/// Writes the changes into the property file, if there is one.
fn keep(broker: &Broker, before: &BrokerConfig, config: &BrokerConfig) -> Result<bool, Refusal> {
    let file = broker.config_file.as_deref();
    let Some(file) = file.filter(|file| file.extension().is_none_or(|end| end != "toml")) else {
        return Ok(false);
    };
    let wrong = |error: std::io::Error| {
        Refusal::System(format!(
            "the change can't be written to {}: {error}",
            file.display()
        ))
    };
    let text = std::fs::read(file).map_err(wrong)?;
    let changed = config.rewritten(before, &String::from_utf8_lossy(&text));
    let files = broker.store.files();
    files.replace(file, changed.as_bytes()).map_err(wrong)?;
    Ok(true)
}

/// Counts and states under the names that mqadmin and dashboards read.
pub fn get_broker_runtime_info(broker: &Arc<Broker>, _: RemotingCommand, responder: Responder) {
    broker.reply_aside(responder, move |broker| {
        broker.json(&KvTable {
            table: runtime_info(broker),
        })
    });
}

fn runtime_info(broker: &Broker) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(table.insert(key.to_owned(), value));
    let status = broker.store.status();
    let (messages, bytes) = broker.stats.put_total();
    put("brokerActive", "true".to_owned());
    put("brokerVersion", version::CURRENT.to_string());
    put("brokerVersionDesc", version::name(version::CURRENT));
    put("bootTimestamp", status.boot_timestamp.to_string());
    put("runtime", runtime(broker.now_ms() - status.boot_timestamp));
    put(
        "startAcceptSendRequestTimeStamp",
        broker
            .config()
            .start_accept_send_request_time_stamp
            .to_string(),
    );
    let (now, kept) = (broker.stats.users_total(), broker.stats.kept());
    for (at, name) in ["Put", "Get"].into_iter().enumerate() {
        for (when, totals) in [
            ("YesterdayMorning", kept.yesterday_morning),
            ("TodayMorning", kept.today_morning),
            ("TodayNow", now),
        ] {
            put(&format!("msg{name}Total{when}"), totals[at].to_string());
        }
    }
    put("putMessageTimesTotal", messages.max(1).to_string());
    put(
        "putMessageFailedTimes",
        broker.stats.failed_total().to_string(),
    );
    put("putMessageSizeTotal", bytes.to_string());
    put(
        "putMessageAverageSize",
        format!("{:?}", bytes as f64 / messages.max(1) as f64),
    );
    // No clock is read for each message that is stored: as from a Java broker that has just started.
    put("putMessageEntireTimeMax", "0".to_owned());
    put("putMessageDistributeTime", "null".to_owned());
    put("putLatency99", "0.00".to_owned());
    put("putLatency999", "0.00".to_owned());
    put(
        "getMessageEntireTimeMax",
        broker.stats.slowest_get_ms().to_string(),
    );
    for (name, rate) in [
        ("putTps", Rate::Put),
        ("getFoundTps", Rate::Found),
        ("getMissTps", Rate::Missed),
        ("getTotalTps", Rate::Got),
    ] {
        put(name, broker.stats.rates(rate));
    }
    // 4.9 spells it with one r; tools of both lines read theirs.
    put("getTransferredTps", broker.stats.rates(Rate::Transferred));
    put("getTransferedTps", broker.stats.rates(Rate::Transferred));
    put("dispatchMaxBuffer", "0".to_owned());
    put(
        "dispatchBehindBytes",
        (status.max_offset - status.dispatched_offset).to_string(),
    );
    put(
        "remainHowManyDataToFlush",
        format!("{} B", status.max_offset - status.flushed_offset),
    );
    put("remainTransientStoreBufferNumbs", i32::MAX.to_string());
    put(
        "pageCacheLockTimeMills",
        status.put_lock_hold_ms.to_string(),
    );
    put(
        "earliestMessageTimeStamp",
        broker.store.earliest_timestamp().unwrap_or(-1).to_string(),
    );
    put("commitLogMinOffset", status.min_offset.to_string());
    put("commitLogMaxOffset", status.max_offset.to_string());
    for (level, delivered) in broker.delay_levels.offsets() {
        let stored = broker.bounds(SCHEDULE_TOPIC, level - 1).max;
        let key = format!("scheduleMessageOffset_{level}");
        put(&key, format!("{delivered},{stored}"));
    }
    put("commitLogDiskRatio", ratio(status.commit_log_disk_percent));
    for (path, used) in &status.commit_log_disks {
        let key = format!("commitLogDiskRatio_{}", path.display());
        put(&key, ratio(*used));
    }
    put(
        "consumeQueueDiskRatio",
        ratio(status.consume_queue_disk_percent),
    );
    put(
        "commitLogDirCapacity",
        format!(
            "Total : {}, Free : {}.",
            gibibytes(status.total_bytes),
            gibibytes(status.free_bytes)
        ),
    );
    // Requests are answered where they arrive: there are no queues before the processors to fill up.
    for processor in ["send", "pull", "query", "litePull", "ack"] {
        put(&format!("{processor}ThreadPoolQueueSize"), "0".to_owned());
        put(
            &format!("{processor}ThreadPoolQueueCapacity"),
            "0".to_owned(),
        );
        put(
            &format!("{processor}ThreadPoolQueueHeadWaitTimeMills"),
            "0".to_owned(),
        );
    }
    put("EndTransactionQueueSize", "0".to_owned());
    put("EndTransactionThreadPoolQueueCapacity", "0".to_owned());
    for key in ["timerReadBehind", "timerOffsetBehind", "timerCongestNum"] {
        put(key, "0".to_owned());
    }
    put("timerEnqueueTps", "0.0".to_owned());
    put("timerDequeueTps", "0.0".to_owned());
    table
}

fn runtime(ms: i64) -> String {
    let seconds = ms / 1000;
    format!(
        "[ {} days, {} hours, {} minutes, {} seconds ]",
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn ratio(percent: u8) -> String {
    format!("{:?}", f64::from(percent) / 100.0)
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}
