//! What operators do with a cluster, a file for each noun: each verb asks, and makes a page of it.

pub(crate) mod brokers;
pub(crate) mod cluster;
pub(crate) mod groups;
pub(crate) mod messages;
pub(crate) mod name_servers;
pub(crate) mod offsets;
pub(crate) mod producers;
pub(crate) mod topic_changes;
pub(crate) mod topics;

use crate::cluster::Server;

/// Names of servers, each once.
pub(crate) fn names(servers: &[Server]) -> Vec<String> {
    servers.iter().map(|server| server.name.clone()).collect()
}

/// A number, or nothing.
pub(crate) fn some<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
