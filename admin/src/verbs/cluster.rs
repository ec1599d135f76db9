//! `sluice cluster show`, `sluice broker stats`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::some;
use crate::args::ShowCluster;
use crate::cluster::brokers::State;
use crate::cluster::{Cluster, Server};
use crate::error::AdminError;
use crate::page::Page;
use crate::table::{Table, bytes};

pub(crate) async fn show(cluster: &Cluster, wanted: &ShowCluster) -> Result<Page, AdminError> {
    let members = cluster.members_in(&wanted.scope).await?;
    let states = cluster.states(&members).await;
    let name_servers: Vec<Server> = cluster
        .namesrv_configs()
        .await
        .into_iter()
        .map(|(it, _)| it)
        .collect();
    let headings = [
        "CLUSTER",
        "BROKER",
        ">ID",
        "ADDRESS",
        "VERSION",
        ">IN/S",
        ">OUT/S",
        ">IN TODAY",
        ">OUT TODAY",
        ">DISK",
        "UP",
    ];
    let mut table = Table::of(&headings);
    for state in &states {
        table.row([
            state.cluster.clone(),
            state.broker.clone(),
            state.broker_id.to_string(),
            state.address.clone(),
            state.version.clone().unwrap_or_default(),
            some(state.in_tps.map(rate)),
            some(state.out_tps.map(rate)),
            some(state.in_today),
            some(state.out_today),
            some(
                state
                    .disk_ratio
                    .map(|ratio| format!("{:.0} %", ratio * 100.0)),
            ),
            match state.answers {
                true => some(state.boot_ms.map(ago)),
                false => "NO ANSWER".to_owned(),
            },
        ]);
    }
    let answering: Vec<&str> = name_servers.iter().map(|it| &*it.address).collect();
    let json = json!({"nameServers": answering, "brokers": states});
    Ok(Page::of(&json)
        .line(format!("name servers: {}", answering.join(", ")))
        .table(table))
}

pub(crate) async fn stats(cluster: &Cluster, wanted: &ShowCluster) -> Result<Page, AdminError> {
    let members = cluster.members_in(&wanted.scope).await?;
    let states = cluster.states(&members).await;
    let headings = [
        "BROKER",
        ">ID",
        ">IN/S",
        ">IN TODAY",
        ">IN YESTERDAY",
        ">OUT/S",
        ">OUT TODAY",
        ">OUT YESTERDAY",
        ">NOT YET QUEUED",
        "OLDEST MESSAGE",
    ];
    let mut table = Table::of(&headings);
    for state in states.iter().filter(|state| state.answers) {
        let behind = state.dispatch_behind_bytes;
        table.row([
            state.broker.clone(),
            state.broker_id.to_string(),
            some(state.in_tps.map(rate)),
            some(state.in_today),
            some(state.in_yesterday),
            some(state.out_tps.map(rate)),
            some(state.out_today),
            some(state.out_yesterday),
            some(behind.and_then(|behind| Some(bytes(u64::try_from(behind).ok()?)))),
            some(state.earliest_message_ms.map(crate::table::date_of)),
        ]);
    }
    let stats: Vec<_> = states.iter().map(counts).collect();
    Ok(Page::of(&json!({ "brokers": stats })).table(table))
}

fn counts(state: &State) -> serde_json::Value {
    json!({
        "broker": state.broker, "brokerId": state.broker_id, "address": state.address,
        "answers": state.answers, "inTps": state.in_tps, "inToday": state.in_today,
        "inYesterday": state.in_yesterday, "outTps": state.out_tps, "outToday": state.out_today,
        "outYesterday": state.out_yesterday, "dispatchBehindBytes": state.dispatch_behind_bytes,
        "earliestMessageMs": state.earliest_message_ms,
    })
}

fn rate(tps: f64) -> String {
    format!("{tps:.1}")
}

/// How long ago, in the two units that matter.
fn ago(ms: i64) -> String {
    let since = UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let passed = SystemTime::now().duration_since(since).unwrap_or_default();
    let seconds = passed.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}
