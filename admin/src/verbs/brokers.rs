//! `sluice broker show`, `config`, `write-perm`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::names;
use crate::args::{GetBrokerConfig, SetBrokerConfig, ShowBroker, WritePerm, Writes};
use crate::cluster::brokers::{Values, unknown};
use crate::cluster::{Cluster, Server};
use crate::error::AdminError;
use crate::page::Page;
use crate::table::Table;

pub(crate) async fn show(cluster: &Cluster, wanted: &ShowBroker) -> Result<Page, AdminError> {
    let members = cluster.members_in(&wanted.scope).await?;
    let states = cluster.states(&members).await;
    let told: Vec<(Server, Values)> = members
        .into_iter()
        .zip(&states)
        .filter(|(_, state)| state.answers)
        .map(|(member, state)| (member.server, state.values.clone()))
        .collect();
    let parts: Vec<String> = wanted.part.iter().cloned().collect();
    Ok(Page::of(&json!({ "brokers": states })).table(compared(&told, &parts)))
}

pub(crate) async fn config_get(
    cluster: &Cluster,
    wanted: &GetBrokerConfig,
) -> Result<Page, AdminError> {
    let members = cluster.members_in(&wanted.scope).await?;
    let servers: Vec<Server> = members.into_iter().map(|member| member.server).collect();
    settings(cluster.broker_configs(&servers).await, &wanted.keys)
}

/// Settings of servers, as a page.
pub(crate) fn settings(
    configs: Vec<(Server, Values)>,
    parts: &[String],
) -> Result<Page, AdminError> {
    let servers: Vec<_> = configs
        .iter()
        .map(|(server, values)| {
            let values = values.iter().filter(|(key, _)| is_meant(key, parts));
            json!({"server": server.name, "address": server.address, "settings": Values::from_iter(
                values.map(|(key, value)| (key.clone(), value.clone()))
            )})
        })
        .collect();
    let table = compared(&configs, parts);
    let page = Page::of(&json!({ "servers": servers }));
    if table.is_empty() && !configs.is_empty() {
        let keys: BTreeSet<&String> = configs.iter().flat_map(|(_, it)| it.keys()).collect();
        let keys = keys.into_iter().map(String::as_str);
        return Err(unknown(
            "setting",
            &parts.join(" "),
            keys,
            "sluice broker config get",
        ));
    }
    Ok(page.table(table))
}

fn is_meant(key: &str, parts: &[String]) -> bool {
    let key = key.to_lowercase();
    parts.is_empty() || parts.iter().any(|part| key.contains(&part.to_lowercase()))
}

/// A row for each value that a key has; servers are named where they differ.
pub(crate) fn compared(told: &[(Server, Values)], parts: &[String]) -> Table {
    let mut by_key: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for (server, values) in told {
        for (key, value) in values.iter().filter(|(key, _)| is_meant(key, parts)) {
            let of_key = by_key.entry(key).or_default();
            of_key.entry(value).or_default().push(&server.name);
        }
    }
    let mut table = match told.len() {
        0 | 1 => Table::of(&["KEY", "VALUE"]),
        _ => Table::of(&["KEY", "VALUE", "OF"]),
    };
    for (key, values) in by_key {
        for (value, servers) in values {
            let of = match servers.len() == told.len() {
                true => "all".to_owned(),
                false => servers.join(" "),
            };
            let row = [key.to_owned(), value.to_owned(), of];
            table.row(row.into_iter().take(told.len().clamp(1, 2) + 1));
        }
    }
    table
}

pub(crate) async fn config_set(
    cluster: &Cluster,
    wanted: &SetBrokerConfig,
) -> Result<Page, AdminError> {
    let servers = cluster.masters_of_one(&wanted.scope).await?;
    let before = cluster.broker_configs(&servers).await;
    // A Java broker answers "success" to what it does not know, and does nothing.
    known(&before, &wanted.settings)?;
    let done = cluster.set_broker_config(&servers, &wanted.settings).await;
    let after = cluster.broker_configs(&servers).await;
    Ok(changed(&wanted.settings, &before, &done, &after))
}

/// A setting that a server does not have is no setting.
pub(crate) fn known(
    configs: &[(Server, Values)],
    settings: &[(String, String)],
) -> Result<(), AdminError> {
    for (key, _) in settings {
        if let Some((_, values)) = configs.iter().find(|(_, values)| !values.contains_key(key)) {
            let keys = values.keys().map(String::as_str);
            return Err(unknown("setting", key, keys, "sluice broker config get"));
        }
    }
    Ok(())
}

/// What was set, as the servers have it now: they may have read it otherwise.
pub(crate) fn changed(
    settings: &[(String, String)],
    before: &[(Server, Values)],
    done: &[(Server, String)],
    after: &[(Server, Values)],
) -> Page {
    let value = |of: &[(Server, Values)], server: &Server, key: &str| {
        let values = of.iter().find(|(it, _)| it == server);
        values.and_then(|(_, values)| values.get(key).cloned())
    };
    let mut rows = Vec::new();
    let mut table = Table::of(&["SERVER", "KEY", "WAS", "IS", ""]);
    let mut is_well = true;
    for (server, remark) in done {
        for (key, wanted) in settings {
            let (was, is) = (value(before, server, key), value(after, server, key));
            let taken = is.as_deref().map(str::trim) == Some(wanted.trim());
            is_well &= taken;
            let remark = match taken {
                true => remark.clone(),
                false => format!("not taken over: {wanted} was asked for"),
            };
            rows.push(json!({"server": server.name, "address": server.address, "key": key, "was": was, "is": is, "remark": remark}));
            table.row([
                server.name.clone(),
                key.clone(),
                was.unwrap_or_default(),
                is.unwrap_or_default(),
                match remark.is_empty() {
                    true => "done".to_owned(),
                    false => remark,
                },
            ]);
        }
    }
    let page = Page::of(&json!({ "changes": rows })).table(table);
    match is_well && !done.is_empty() {
        true => page,
        false => page.wrong(),
    }
}

pub(crate) async fn write_perm(cluster: &Cluster, wanted: &WritePerm) -> Result<Page, AdminError> {
    let broker = &*wanted.broker;
    let members = cluster.members().await?;
    if !members.iter().any(|member| member.server.name == broker) {
        let names = members.iter().map(|member| &*member.server.name);
        return Err(unknown("broker", broker, names, "sluice cluster show"));
    }
    let add = wanted.what == Writes::Add;
    let done = cluster.set_writable(broker, add).await;
    let servers: Vec<Server> = done.iter().map(|(server, _)| server.clone()).collect();
    cluster.reached(&servers)?;
    let verb = if add { "added" } else { "wiped" };
    let json = json!({"broker": broker, "writable": add, "nameServers": names(&servers), "topics": done.first().map(|(_, topics)| topics)});
    let mut page = Page::of(&json);
    for (server, topics) in &done {
        page = page.line(format!(
            "{verb} write permission of {broker} in {topics} topics on {}",
            server.name
        ));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, values: &[(&str, &str)]) -> (Server, Values) {
        let values = values
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let server = Server {
            name: name.to_owned(),
            address: format!("{name}:1"),
        };
        (server, values.collect())
    }

    #[test]
    fn servers_are_named_where_they_differ() {
        let told = [
            server("a", &[("x", "1"), ("y", "1")]),
            server("b", &[("x", "1"), ("y", "2")]),
        ];
        let expected = "KEY  VALUE  OF\nx    1      all\ny    1      a\ny    2      b\n";
        assert_eq!(compared(&told, &[]).to_string(), expected);
        let one = compared(&told[..1], &["Y".to_owned()]).to_string();
        assert_eq!(one, "KEY  VALUE\ny    1\n");
    }

    #[test]
    fn a_setting_that_nobody_has_is_refused_with_the_nearest() {
        let told = [server("a", &[("fileReservedTime", "72")])];
        let wrong = known(&told, &[("fileReserveTime".to_owned(), "1".to_owned())]);
        assert!(
            wrong
                .unwrap_err()
                .to_string()
                .contains("did you mean fileReservedTime?")
        );
    }

    #[test]
    fn what_is_not_taken_over_is_told() {
        let before = [server("a", &[("x", "1")])];
        let done = [(before[0].0.clone(), String::new())];
        let settings = [("x".to_owned(), "two".to_owned())];
        let page = changed(&settings, &before, &done, &before);
        let shown = format!("{:?}", page.json()["changes"][0]["remark"]);
        assert!(shown.contains("not taken over"), "{shown}");
    }
}
