//! The log and the queues.

use super::exposition::{Exposition, Kind};
use crate::Broker;

/// Files come and go meanwhile: what can't be read is not there.
fn size_of(broker: &Broker) -> i64 {
    let root = &broker.config().store_path_root_dir;
    broker.store.files().size_below(root).unwrap_or(0) as i64
}

/// Java's labels of each of these.
pub(super) const LABELS: [(&str, &str); 2] =
    [("storage_type", "local"), ("storage_medium", "disk")];

pub(super) fn write(broker: &Broker, page: &mut Exposition) {
    let status = broker.store.status();
    let earliest = broker.store.earliest_timestamp();
    for (name, help, value) in [
        (
            "rocketmq_storage_size_bytes",
            "Lengths of all files below the store directory.",
            size_of(broker),
        ),
        (
            "rocketmq_storage_flush_behind_bytes",
            "Of the log, not synced.",
            status.max_offset - status.flushed_offset,
        ),
        (
            "rocketmq_storage_dispatch_behind_bytes",
            "Of the log, not visible to consumers.",
            status.max_offset - status.dispatched_offset,
        ),
        (
            "rocketmq_storage_message_reserve_time_milliseconds",
            "Age of the oldest message.",
            earliest.map_or(0, |earliest| broker.now_ms() - earliest),
        ),
    ] {
        page.java(name, Kind::Gauge, help).sample(&LABELS, value);
    }
    page.own(
        "disk_used_percent",
        Kind::Gauge,
        "Used share of the log's disk.",
    )
    .sample(&[], status.commit_log_disk_percent);
    page.own("writable", Kind::Gauge, "1 while messages are accepted.")
        .sample(&[], u8::from(status.writable.is_ok()));
}
