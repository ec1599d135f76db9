//! Who is connected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_protocol::body::{
    ConnectionInfo, ConsumerConnection, ProducerConnection, SubscriptionData,
};
use sluice_protocol::code::{request as code, response};

use super::{Cluster, Server, request};
use crate::error::AdminError;

/// The members of a group that brokers know, each client once.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    pub(crate) connections: BTreeMap<String, ConnectionInfo>,
    pub(crate) subscriptions: BTreeMap<String, SubscriptionData>,
    /// How they consume; none when nobody is online.
    pub(crate) how: Option<How>,
}

/// How a group consumes, as its members say.
#[derive(Debug, Clone)]
pub(crate) struct How {
    pub(crate) consume_type: &'static str,
    pub(crate) message_model: &'static str,
    pub(crate) from_where: &'static str,
}

impl Consumers {
    fn add(&mut self, connection: ConsumerConnection) {
        self.how = Some(How {
            consume_type: connection.consume_type.name(),
            message_model: connection.message_model.name(),
            from_where: connection.consume_from_where.name(),
        });
        for one in connection.connection_set {
            self.connections.insert(one.client_id.clone(), one);
        }
        self.subscriptions.extend(connection.subscription_table);
    }
}

/// All producers of a broker, by group (328).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProducerTable {
    data: BTreeMap<String, Vec<ProducerInfo>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProducerInfo {
    client_id: String,
    #[serde(rename = "remoteIP")]
    remote_ip: String,
    language: String,
    version: i32,
    last_update_timestamp: i64,
}

/// A connected producer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Producer {
    pub(crate) group: String,
    pub(crate) client_id: String,
    pub(crate) address: String,
    pub(crate) language: String,
    pub(crate) version: String,
    /// Ordinal of its version.
    #[serde(skip)]
    pub(crate) ordinal: i32,
    /// Not told by brokers that are asked for one group.
    pub(crate) last_heartbeat_ms: Option<i64>,
}

impl Cluster {
    /// Members of a group.
    pub(crate) async fn consumers(&self, servers: &[Server], group: &str) -> Consumers {
        let groups = [group.to_owned()];
        let mut all = self.consumers_of(servers, &groups).await;
        all.remove(group).unwrap_or_default()
    }

    /// Members of groups; one that nobody is in has none.
    pub(crate) async fn consumers_of(
        &self,
        servers: &[Server],
        groups: &[String],
    ) -> BTreeMap<String, Consumers> {
        let mut all: BTreeMap<String, Consumers> = BTreeMap::new();
        let asked = groups.iter().flat_map(|group| {
            servers.iter().map(move |server| {
                let request = request(
                    code::GET_CONSUMER_CONNECTION_LIST,
                    &[("consumerGroup", group)],
                );
                (server.clone(), request)
            })
        });
        let answers = self.ask_all(asked.collect()).await;
        for (at, answer) in answers.into_iter().enumerate() {
            let Some(answer) = answer.filter(|it| !it.is(response::CONSUMER_NOT_ONLINE)) else {
                continue;
            };
            let (group, server) = (&groups[at / servers.len()], answer.server.clone());
            match answer.body::<ConsumerConnection>() {
                Ok(connection) => all.entry(group.clone()).or_default().add(connection),
                Err(error) => self.note(&server, error),
            }
        }
        all
    }

    /// Producers of one group.
    pub(crate) async fn producers_of(
        &self,
        servers: &[Server],
        group: &str,
        topic: &str,
    ) -> Vec<Producer> {
        let fields: [(&'static str, &dyn std::fmt::Display); 2] =
            [("producerGroup", &group), ("topic", &topic)];
        let asked = request(code::GET_PRODUCER_CONNECTION_LIST, &fields);
        let told = self.ask_each(servers, &asked, |answer| {
            // Java says no more than "system error" of a group that it does not know.
            if answer.is(response::SYSTEM_ERROR) && answer.remark().contains("not exist") {
                return Ok(Vec::new());
            }
            Ok(answer.body::<ProducerConnection>()?.connection_set)
        });
        let told = told
            .await
            .into_iter()
            .flat_map(|(_, connections)| connections);
        distinct(told.map(|one| Producer {
            group: group.to_owned(),
            client_id: one.client_id,
            address: one.client_addr,
            language: one.language,
            version: sluice_protocol::version::name(one.version),
            ordinal: one.version,
            last_heartbeat_ms: None,
        }))
    }

    /// All producers.
    pub(crate) async fn producers(&self, servers: &[Server]) -> Vec<Producer> {
        let asked = request(code::GET_ALL_PRODUCER_INFO, &[]);
        let told = self.ask_each(servers, &asked, |answer| {
            if answer.is(response::REQUEST_CODE_NOT_SUPPORTED) {
                return Err(AdminError::Refused(
                    "it does not list its producers: name a group with --group".to_owned(),
                ));
            }
            Ok(answer.body::<ProducerTable>()?.data)
        });
        let groups = told.await.into_iter().flat_map(|(_, groups)| groups);
        distinct(groups.flat_map(|(group, producers)| {
            producers.into_iter().map(move |one| Producer {
                group: group.clone(),
                client_id: one.client_id,
                address: one.remote_ip,
                language: one.language,
                version: sluice_protocol::version::name(one.version),
                ordinal: one.version,
                last_heartbeat_ms: Some(one.last_update_timestamp),
            })
        }))
    }
}

/// Each client of a group once, though it is connected to several brokers.
fn distinct(producers: impl Iterator<Item = Producer>) -> Vec<Producer> {
    let key = |one: &Producer| (one.group.clone(), one.client_id.clone());
    let by_client: BTreeMap<_, _> = producers.map(|one| (key(&one), one)).collect();
    by_client.into_values().collect()
}
