//! Consumer groups: settings, and how far they are.

use std::collections::BTreeMap;
use std::fmt::Display;

use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    ConsumeStats, ConsumeStatsList, MessageQueue, OffsetWrapper, SubscriptionGroupConfig,
    SubscriptionGroupWrapper,
};
use sluice_protocol::code::{request as code, response};
use sluice_protocol::fastjson;

use super::brokers::unknown;
use super::{Answer, Cluster, Server, request};
use crate::error::AdminError;

/// How far a group is, and how many messages a second it gets.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) queues: BTreeMap<MessageQueue, OffsetWrapper>,
    pub(crate) tps: f64,
}

impl Progress {
    /// Messages that the group has not consumed, its retries included.
    pub(crate) fn lag(&self) -> i64 {
        let behind = |at: &OffsetWrapper| (at.broker_offset - at.consumer_offset).max(0);
        self.queues
            .values()
            .map(behind)
            .fold(0, i64::saturating_add)
    }

    fn add(&mut self, stats: ConsumeStats) {
        self.tps += stats.consume_tps;
        self.queues.extend(stats.offset_table);
    }
}

impl Cluster {
    /// Settings of all groups, by broker.
    pub(crate) async fn group_tables(
        &self,
        servers: &[Server],
    ) -> Vec<(Server, BTreeMap<String, SubscriptionGroupConfig>)> {
        let asked = request(code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]);
        let read = |answer: Answer| {
            let table: SubscriptionGroupWrapper = answer.body()?;
            Ok(table.subscription_group_table)
        };
        self.ask_each(servers, &asked, read).await
    }

    /// Settings of one group, by broker. All are asked for: a Java broker makes a group of which it is
    /// asked alone.
    pub(crate) async fn group_configs(
        &self,
        servers: &[Server],
        group: &str,
    ) -> Vec<(Server, SubscriptionGroupConfig)> {
        let tables = self.group_tables(servers).await;
        let of =
            |(server, mut table): (Server, BTreeMap<_, _>)| Some((server, table.remove(group)?));
        tables.into_iter().filter_map(of).collect()
    }

    /// A group that does not exist, and the one that may be meant.
    pub(crate) async fn no_group(&self, servers: &[Server], group: &str) -> AdminError {
        let tables = self.group_tables(servers).await;
        let names = tables.iter().flat_map(|(_, table)| table.keys());
        unknown(
            "group",
            group,
            names.map(String::as_str),
            "sluice group list",
        )
    }

    /// Creates a group or changes it, on each broker as it is to be there.
    pub(crate) async fn put_groups(
        &self,
        wanted: Vec<(Server, SubscriptionGroupConfig)>,
    ) -> Result<Vec<Server>, AdminError> {
        let mut asked = Vec::new();
        for (server, config) in wanted {
            let body = fastjson::to_vec(&config)
                .map_err(|error| AdminError::Command(error.to_string()))?;
            let request = request(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]);
            asked.push((server, request.with_body(body)));
        }
        Ok(self.done(asked).await)
    }

    /// Deletes a group on brokers.
    pub(crate) async fn delete_group_on(
        &self,
        servers: &[Server],
        group: &str,
        with_offsets: bool,
    ) -> Vec<Server> {
        // 4.9 calls the flag otherwise.
        let fields: [(&'static str, &dyn Display); 3] = [
            ("groupName", &group),
            ("cleanOffset", &with_offsets),
            ("removeOffset", &with_offsets),
        ];
        let request = request(code::DELETE_SUBSCRIPTIONGROUP, &fields);
        let asked = servers
            .iter()
            .map(|server| (server.clone(), request.clone()));
        self.done(asked.collect()).await
    }

    /// How far a group is, on one topic or on all it has offsets for.
    pub(crate) async fn progress(
        &self,
        servers: &[Server],
        group: &str,
        topic: Option<&str>,
    ) -> Progress {
        let asked = match topic {
            // A topic that the group no longer subscribes to is passed over when asked for alone.
            Some(topic) => with_topics(group, topic),
            None => request(code::GET_CONSUME_STATS, &[("consumerGroup", &group)]),
        };
        let told = self.ask_each(servers, &asked, read_stats).await;
        let mut progress = Progress::default();
        told.into_iter().for_each(|(_, stats)| progress.add(stats));
        progress
    }

    /// How far all groups are.
    pub(crate) async fn progress_of_all(&self, servers: &[Server]) -> BTreeMap<String, Progress> {
        let asked = request(code::GET_BROKER_CONSUME_STATS, &[("isOrder", &false)]);
        let told = self
            .ask_each(servers, &asked, Answer::body::<ConsumeStatsList>)
            .await;
        let mut all: BTreeMap<String, Progress> = BTreeMap::new();
        let groups = told
            .into_iter()
            .flat_map(|(_, list)| list.consume_stats_list);
        for (group, stats) in groups.flatten() {
            let progress = all.entry(group).or_default();
            stats.into_iter().for_each(|stats| progress.add(stats));
        }
        all
    }
}

fn with_topics(group: &str, topic: &str) -> RemotingCommand {
    let fields: [(&'static str, &dyn Display); 2] = [("consumerGroup", &group), ("topic", &topic)];
    request(code::GET_CONSUME_STATS, &fields)
}

fn read_stats(answer: Answer) -> Result<ConsumeStats, AdminError> {
    if answer.is(response::SUBSCRIPTION_GROUP_NOT_EXIST) || answer.is(response::TOPIC_NOT_EXIST) {
        return Ok(ConsumeStats::default());
    }
    answer.body()
}
