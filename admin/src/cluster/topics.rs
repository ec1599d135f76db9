//! Topics: names, settings, routes, bounds of queues.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use sluice_protocol::body::{
    GroupList, MessageQueue, TopicConfig, TopicConfigSerializeWrapper, TopicList, TopicOffset,
    TopicRouteData, TopicStatsTable,
};
use sluice_protocol::code::{request as code, response};
use sluice_protocol::topic::AUTO_CREATE_TOPIC;

use super::brokers::unknown;
use super::{Answer, Cluster, MASTER, Server, request};
use crate::error::AdminError;

/// Java's words for "no such topic" and "no such group" come with these codes.
fn is_absent(answer: &Answer) -> bool {
    [
        response::TOPIC_NOT_EXIST,
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        response::QUERY_NOT_FOUND,
    ]
    .into_iter()
    .any(|code| answer.is(code))
}

impl Cluster {
    /// Names of all topics.
    pub(crate) async fn topic_names(&self) -> Result<BTreeSet<String>, AdminError> {
        let asked = request(code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]);
        let list: TopicList = self.ask_name_server(asked).await?.body()?;
        Ok(list.topic_list)
    }

    /// Where a topic's queues are.
    pub(crate) async fn route(&self, topic: &str) -> Result<TopicRouteData, AdminError> {
        match self.route_if_any(topic).await? {
            Some(route) => Ok(route),
            None => Err(self.no_topic(topic).await),
        }
    }

    /// The same, if it has any.
    pub(crate) async fn route_if_any(
        &self,
        topic: &str,
    ) -> Result<Option<TopicRouteData>, AdminError> {
        let fields: [(&'static str, &dyn Display); 2] =
            [("topic", &topic), ("acceptStandardJsonOnly", &true)];
        let asked = request(code::GET_ROUTEINFO_BY_TOPIC, &fields);
        let answer = self.ask_name_server(asked).await?;
        match answer.is(response::TOPIC_NOT_EXIST) {
            true => Ok(None),
            false => answer.body().map(Some),
        }
    }

    /// A topic that does not exist, and the one that may be meant.
    pub(crate) async fn no_topic(&self, topic: &str) -> AdminError {
        let names = self.topic_names().await.unwrap_or_default();
        let names = names.iter().map(String::as_str);
        unknown("topic", topic, names, "sluice topic list")
    }

    /// Settings of all topics, by broker.
    pub(crate) async fn topic_tables(
        &self,
        servers: &[Server],
    ) -> Vec<(Server, BTreeMap<String, TopicConfig>)> {
        let asked = request(code::GET_ALL_TOPIC_CONFIG, &[]);
        let read = |answer: Answer| {
            let table: TopicConfigSerializeWrapper = answer.body()?;
            Ok(table.topic_config_table)
        };
        self.ask_each(servers, &asked, read).await
    }

    /// Settings of one topic, by broker; those that don't have it are left out.
    pub(crate) async fn topic_configs(
        &self,
        servers: &[Server],
        topic: &str,
    ) -> Vec<(Server, TopicConfig)> {
        // 4.9 has no request for one topic.
        let tables = self.topic_tables(servers).await;
        let of =
            |(server, mut table): (Server, BTreeMap<_, _>)| Some((server, table.remove(topic)?));
        tables.into_iter().filter_map(of).collect()
    }

    /// Creates a topic or changes it, on each broker as it is to be there.
    pub(crate) async fn put_topics(
        &self,
        wanted: Vec<(Server, TopicConfig, String)>,
    ) -> Vec<Server> {
        let asked = wanted.into_iter().map(|(server, config, attributes)| {
            let fields: [(&'static str, &dyn Display); 9] = [
                ("topic", &config.topic_name),
                ("defaultTopic", &AUTO_CREATE_TOPIC),
                ("readQueueNums", &config.read_queue_nums),
                ("writeQueueNums", &config.write_queue_nums),
                ("perm", &config.perm),
                ("topicFilterType", &config.topic_filter_type),
                ("topicSysFlag", &config.topic_sys_flag),
                ("order", &config.order),
                ("attributes", &attributes),
            ];
            (server, request(code::UPDATE_AND_CREATE_TOPIC, &fields))
        });
        self.done(asked.collect()).await
    }

    /// Deletes a topic on brokers.
    pub(crate) async fn delete_topic_on(&self, servers: &[Server], topic: &str) -> Vec<Server> {
        let asked = servers.iter().map(|server| {
            let request = request(code::DELETE_TOPIC_IN_BROKER, &[("topic", &topic)]);
            (server.clone(), request)
        });
        self.done(asked.collect()).await
    }

    /// Who did what was asked; the others are remembered.
    pub(crate) async fn done(
        &self,
        asked: Vec<(Server, sluice_protocol::RemotingCommand)>,
    ) -> Vec<Server> {
        let mut done = Vec::new();
        for answer in self.ask_all(asked).await.into_iter().flatten() {
            let server = answer.server.clone();
            match answer.succeeded() {
                Ok(_) => done.push(server),
                Err(error) => self.note(&server, error),
            }
        }
        done
    }

    /// Bounds of a topic's queues on brokers.
    pub(crate) async fn topic_stats(
        &self,
        servers: &[Server],
        topic: &str,
    ) -> BTreeMap<MessageQueue, TopicOffset> {
        let asked = request(code::GET_TOPIC_STATS_INFO, &[("topic", &topic)]);
        let told = self.ask_each(servers, &asked, |answer| {
            if is_absent(&answer) {
                return Ok(BTreeMap::new());
            }
            Ok(answer.body::<TopicStatsTable>()?.offset_table)
        });
        told.await
            .into_iter()
            .flat_map(|(_, table)| table)
            .collect()
    }

    /// Groups that have read a topic.
    pub(crate) async fn groups_of(&self, servers: &[Server], topic: &str) -> BTreeSet<String> {
        let asked = request(code::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", &topic)]);
        let told = self.ask_each(servers, &asked, |answer| {
            if is_absent(&answer) {
                return Ok(Vec::new());
            }
            Ok(answer.body::<GroupList>()?.group_list)
        });
        told.await
            .into_iter()
            .flat_map(|(_, groups)| groups)
            .collect()
    }
}

/// The brokers of a route: each one's master, or else a replica.
pub(crate) fn servers_of(route: &TopicRouteData) -> Vec<Server> {
    let of = |data: &sluice_protocol::body::BrokerData| {
        let addresses = &data.broker_addrs;
        let address = addresses.get(&MASTER).or_else(|| addresses.values().next());
        Some(Server {
            name: data.broker_name.clone(),
            address: address?.clone(),
        })
    };
    let mut servers: Vec<Server> = route.broker_datas.iter().filter_map(of).collect();
    servers.sort();
    servers
}
