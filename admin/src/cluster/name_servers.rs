//! Name servers: settings, the key-value table, who may be written to.

use sluice_protocol::body::KvTable;
use sluice_protocol::code::{request as code, response};

use super::brokers::{Values, properties, read_properties};
use super::{Cluster, Server, request};
use crate::error::AdminError;

impl Cluster {
    /// Settings of all name servers.
    pub(crate) async fn namesrv_configs(&self) -> Vec<(Server, Values)> {
        let asked = request(code::GET_NAMESRV_CONFIG, &[]);
        self.ask_each(self.name_servers(), &asked, |answer| {
            Ok(read_properties(&answer.text()?))
        })
        .await
    }

    /// Changes settings of all name servers; tells which did.
    pub(crate) async fn set_namesrv_config(&self, settings: &[(String, String)]) -> Vec<Server> {
        let asked = request(code::UPDATE_NAMESRV_CONFIG, &[]).with_body(properties(settings));
        self.done_by_name_servers(asked).await
    }

    /// Values by name server: one of a key, or all of a namespace.
    pub(crate) async fn kv(&self, namespace: &str, key: Option<&str>) -> Vec<(Server, Values)> {
        let asked = match key {
            Some(key) => request(
                code::GET_KV_CONFIG,
                &[("namespace", &namespace), ("key", &key)],
            ),
            None => request(code::GET_KVLIST_BY_NAMESPACE, &[("namespace", &namespace)]),
        };
        self.ask_each(self.name_servers(), &asked, |answer| {
            if answer.is(response::QUERY_NOT_FOUND) {
                return Ok(Values::new());
            }
            match key {
                Some(key) => {
                    let answer = answer.succeeded()?;
                    let value: String = answer.field("value")?;
                    Ok(Values::from([(key.to_owned(), value)]))
                }
                None => Ok(answer.body::<KvTable>()?.table),
            }
        })
        .await
    }

    /// Sets a value on all name servers; tells which did.
    pub(crate) async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Vec<Server> {
        let fields: [(&'static str, &dyn std::fmt::Display); 3] =
            [("namespace", &namespace), ("key", &key), ("value", &value)];
        self.done_by_name_servers(request(code::PUT_KV_CONFIG, &fields))
            .await
    }

    /// Takes a value away from all name servers; tells which did.
    pub(crate) async fn delete_kv(&self, namespace: &str, key: &str) -> Vec<Server> {
        let fields: [(&'static str, &dyn std::fmt::Display); 2] =
            [("namespace", &namespace), ("key", &key)];
        self.done_by_name_servers(request(code::DELETE_KV_CONFIG, &fields))
            .await
    }

    /// Lets a broker be written to or not, in the routes of all topics; by name server the number of
    /// topics.
    pub(crate) async fn set_writable(&self, broker: &str, writable: bool) -> Vec<(Server, i32)> {
        let (code, field) = match writable {
            true => (code::ADD_WRITE_PERM_OF_BROKER, "addTopicCount"),
            false => (code::WIPE_WRITE_PERM_OF_BROKER, "wipeTopicCount"),
        };
        let asked = request(code, &[("brokerName", &broker)]);
        self.ask_each(self.name_servers(), &asked, |answer| {
            answer.succeeded()?.field(field)
        })
        .await
    }

    /// Takes a topic out of the routes of all name servers.
    pub(crate) async fn forget_topic(&self, topic: &str, cluster: Option<&str>) -> Vec<Server> {
        let mut asked = request(code::DELETE_TOPIC_IN_NAMESRV, &[("topic", &topic)]);
        if let Some(cluster) = cluster {
            asked.ext.put("clusterName", cluster);
        }
        self.done_by_name_servers(asked).await
    }

    async fn done_by_name_servers(&self, asked: sluice_protocol::RemotingCommand) -> Vec<Server> {
        let done = self.ask_each(self.name_servers(), &asked, |answer| {
            answer.succeeded().map(drop)
        });
        done.await.into_iter().map(|(server, ())| server).collect()
    }

    /// All name servers failed: a change that reached nobody is no change.
    pub(crate) fn reached(&self, done: &[Server]) -> Result<(), AdminError> {
        match done.is_empty() {
            true => {
                let missing = self.take_missing();
                let whys = missing.iter().map(|one| &*one.why).collect::<Vec<_>>();
                Err(AdminError::Refused(format!(
                    "nothing is changed: {}",
                    whys.join("; ")
                )))
            }
            false => Ok(()),
        }
    }
}
