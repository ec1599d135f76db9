//! `sluice namesrv config`, `kv`.

use serde_json::json;

use super::brokers::{changed, compared, known, settings};
use super::names;
use crate::args::{DeleteKv, GetKv, GetNamesrvConfig, SetKv, SetNamesrvConfig};
use crate::cluster::Cluster;
use crate::error::AdminError;
use crate::page::{Page, confirmed};

pub(crate) async fn config_get(
    cluster: &Cluster,
    wanted: &GetNamesrvConfig,
) -> Result<Page, AdminError> {
    settings(cluster.namesrv_configs().await, &wanted.keys)
}

pub(crate) async fn config_set(
    cluster: &Cluster,
    wanted: &SetNamesrvConfig,
) -> Result<Page, AdminError> {
    let before = cluster.namesrv_configs().await;
    known(&before, &wanted.settings)?;
    let done = cluster.set_namesrv_config(&wanted.settings).await;
    cluster.reached(&done)?;
    let after = cluster.namesrv_configs().await;
    let done: Vec<_> = done.into_iter().map(|it| (it, String::new())).collect();
    Ok(changed(&wanted.settings, &before, &done, &after))
}

pub(crate) async fn kv_get(cluster: &Cluster, wanted: &GetKv) -> Result<Page, AdminError> {
    let told = cluster.kv(&wanted.namespace, wanted.key.as_deref()).await;
    let servers: Vec<_> = told
        .iter()
        .map(|(server, values)| json!({"server": server.name, "values": values}))
        .collect();
    let page = Page::of(&json!({"namespace": wanted.namespace, "servers": servers}));
    let table = compared(&told, &[]);
    Ok(match table.is_empty() {
        true => page
            .line(format!("Nothing is kept under {}.", path(wanted)))
            .wrong(),
        false => page.table(table),
    })
}

fn path(wanted: &GetKv) -> String {
    match &wanted.key {
        Some(key) => format!("{} {key}", wanted.namespace),
        None => wanted.namespace.clone(),
    }
}

pub(crate) async fn kv_set(cluster: &Cluster, wanted: &SetKv) -> Result<Page, AdminError> {
    let done = cluster
        .put_kv(&wanted.namespace, &wanted.key, &wanted.value)
        .await;
    cluster.reached(&done)?;
    let json = json!({"namespace": wanted.namespace, "key": wanted.key, "value": wanted.value, "nameServers": names(&done)});
    Ok(Page::of(&json).line(format!(
        "{} {} is {} on {}",
        wanted.namespace,
        wanted.key,
        wanted.value,
        names(&done).join(", ")
    )))
}

pub(crate) async fn kv_delete(cluster: &Cluster, wanted: &DeleteKv) -> Result<Page, AdminError> {
    let (namespace, key) = (&wanted.namespace, &wanted.key);
    let question = format!(
        "Delete {namespace} {key} on {}?",
        names(cluster.name_servers()).join(", ")
    );
    if !confirmed(wanted.sure.yes, &question)? {
        let json = json!({"namespace": namespace, "key": key, "nameServers": []});
        return Ok(Page::of(&json).line("Nothing is deleted.").wrong());
    }
    let done = cluster.delete_kv(namespace, key).await;
    cluster.reached(&done)?;
    let json = json!({"namespace": namespace, "key": key, "nameServers": names(&done)});
    Ok(Page::of(&json).line(format!(
        "{namespace} {key} is deleted on {}",
        names(&done).join(", ")
    )))
}
