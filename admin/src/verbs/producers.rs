//! `sluice producer list`.

use serde_json::json;

use super::some;
use crate::args::ListProducers;
use crate::cluster::Cluster;
use crate::cluster::topics::servers_of;
use crate::error::AdminError;
use crate::page::Page;
use crate::table::{Table, date_of};

pub(crate) async fn list(cluster: &Cluster, wanted: &ListProducers) -> Result<Page, AdminError> {
    let servers = match &wanted.topic {
        Some(topic) => servers_of(&cluster.route(topic).await?),
        None => cluster.masters(&wanted.scope).await?,
    };
    let producers = match &wanted.group {
        Some(group) => {
            let topic = wanted.topic.as_deref().unwrap_or_default();
            cluster.producers_of(&servers, group, topic).await
        }
        None => cluster.producers(&servers).await,
    };
    let mut table = Table::of(&[
        "GROUP",
        "CLIENT",
        "ADDRESS",
        "LANGUAGE",
        "VERSION",
        "LAST HEARTBEAT",
    ]);
    for one in &producers {
        table.row([
            one.group.clone(),
            one.client_id.clone(),
            one.address.clone(),
            one.language.clone(),
            one.version.clone(),
            some(one.last_heartbeat_ms.map(date_of)),
        ]);
    }
    let page = Page::of(&json!({ "producers": producers }));
    Ok(match table.is_empty() {
        true => page.line("No producers are connected."),
        false => page.table(table),
    })
}
