//! Topics in Java's words.

use sluice_protocol::body::TopicConfig;
use sluice_protocol::topic::{DLQ_PREFIX, RETRY_PREFIX};

use super::{Work, date, map};
use crate::args::Scope;
use crate::cluster::topics::servers_of;
use crate::cluster::{Cluster, Server};
use crate::error::AdminError;
use crate::verbs::topic_changes::{Wish, put, remove};
use crate::verbs::topics::flows;

/// Namespace of the settings of ordered topics.
const ORDER: &str = "ORDER_TOPIC_CONFIG";

/// A topic's settings as Java prints them.
fn text(config: &TopicConfig, attributes: &str) -> String {
    let changes = attributes.split(',').filter(|change| !change.is_empty());
    let changes = changes.map(|change| change.split_once('=').unwrap_or((change, "")));
    let mut config = config.clone();
    config.attributes.clear();
    let text = config.to_string();
    text.replace("attributes={}", &format!("attributes={}", map(changes)))
}

impl Work<'_> {
    pub(super) async fn update_topic(&mut self) -> Result<(), AdminError> {
        let topic = self.given.need("t");
        let is_unit = self.given.truth("u", false);
        let has_unit_sub = self.given.truth("s", false);
        let wish = Wish {
            read_queues: Some(self.given.number("r", 8)?),
            write_queues: Some(self.given.number("w", 8)?),
            perm: Some(self.given.number("p", 6)?),
            order: Some(self.given.truth("o", false)),
            sys_flag: Some(i32::from(is_unit) | i32::from(has_unit_sub) << 1),
            attributes: self.given.need("a"),
        };
        let servers = self.masters().await?;
        let done = put(&self.cluster, &servers, &topic, &wish, &[]).await?;
        let Some((_, config)) = done.first() else {
            return Ok(());
        };
        let order = match config.order {
            true => Some(
                self.order(&topic, &servers, config.write_queue_nums)
                    .await?,
            ),
            false => None,
        };
        let of_broker = self.given.has("b");
        if let (Some(order), true) = (&order, of_broker) {
            writeln!(
                self.out,
                "set broker orderConf. isOrder=true, orderConf=[{order}]"
            )?;
        }
        for (server, _) in &done {
            writeln!(self.out, "create topic to {} success.", server.address)?;
        }
        if let (Some(order), false) = (&order, of_broker) {
            writeln!(
                self.out,
                "set cluster orderConf. isOrder=true, orderConf=[{order}]"
            )?;
        }
        writeln!(self.out, "{}", text(config, &wish.attributes))?;
        Ok(())
    }

    /// Says how many queues each broker of an ordered topic has.
    async fn order(
        &mut self,
        topic: &str,
        servers: &[Server],
        queues: i32,
    ) -> Result<String, AdminError> {
        let members = self.cluster.members().await?;
        let name = |server: &Server| {
            let known = members
                .iter()
                .find(|it| it.server.address == server.address);
            known.map_or_else(|| server.name.clone(), |it| it.server.name.clone())
        };
        let of = |server: &Server| format!("{}:{queues}", name(server));
        let conf = servers.iter().map(of).collect::<Vec<_>>().join(";");
        let done = self.cluster.put_kv(ORDER, topic, &conf).await;
        self.cluster.reached(&done)?;
        Ok(conf)
    }

    pub(super) async fn delete_topic(&mut self) -> Result<(), AdminError> {
        let (topic, name) = (self.given.need("t"), self.given.need("c"));
        let servers = self.masters().await?;
        let done = remove(&self.cluster, &topic, &servers, &[], Some(&name)).await;
        if done.len() == servers.len() {
            writeln!(
                self.out,
                "delete topic [{topic}] from cluster [{name}] success."
            )?;
            writeln!(self.out, "delete topic [{topic}] from NameServer success.")?;
        }
        Ok(())
    }

    pub(super) async fn update_topic_perm(&mut self) -> Result<(), AdminError> {
        let topic = self.given.need("t");
        let perm: i32 = self.given.number("p", 6)?;
        self.cluster.route(&topic).await?;
        let servers = self.masters().await?;
        let known = self.cluster.topic_configs(&servers, &topic).await;
        let before = |server: &Server| {
            let known = known.iter().find(|(of, _)| of == server);
            known.map(|(_, config)| config.perm)
        };
        // Told before the first is changed.
        if let Some(server) = servers.iter().find(|server| before(server).is_none()) {
            writeln!(
                self.out,
                "updateTopicPerm error broker not exit or broker is not master!."
            )?;
            return Err(AdminError::Command(format!(
                "{server} is no master that serves topic {topic}"
            )));
        }
        let of_broker = self.given.has("b");
        if of_broker && servers.iter().all(|server| before(server) == Some(perm)) {
            writeln!(self.out, "new perm equals to the old one!")?;
            return Ok(());
        }
        let wish = Wish {
            perm: Some(perm),
            ..Wish::default()
        };
        for (server, config) in put(&self.cluster, &servers, &topic, &wish, &known).await? {
            writeln!(
                self.out,
                "update topic perm from {} to {perm} in {} success.",
                before(&server).unwrap_or(perm),
                server.address
            )?;
            if of_broker {
                writeln!(self.out, "{}.", text(&config, ""))?;
            }
        }
        Ok(())
    }

    pub(super) async fn topic_route(&mut self) -> Result<(), AdminError> {
        let route = self.cluster.route(&self.given.need("t")).await?;
        if !self.given.has("l") {
            let json = serde_json::to_string_pretty(&route)
                .map_err(|error| AdminError::Command(error.to_string()))?;
            writeln!(self.out, "{json}")?;
            return Ok(());
        }
        let mut row = |cells: [&str; 6]| {
            let [a, b, c, d, e, f] = cells;
            writeln!(self.out, "{a:<45} {b:<32} {c:<50} {d:<10} {e:<11} {f:<5}")
        };
        row([
            "#ClusterName",
            "#BrokerName",
            "#BrokerAddrs",
            "#ReadQueue",
            "#WriteQueue",
            "#Perm",
        ])?;
        let (mut read, mut write) = (0, 0);
        for data in &route.broker_datas {
            let addresses = data.broker_addrs.iter();
            let addresses: Vec<String> = addresses.map(|(id, at)| format!("{id}={at}")).collect();
            let mut queues = route.queue_datas.iter();
            let queues = queues.find(|queues| queues.broker_name == data.broker_name);
            let queues = queues.cloned().unwrap_or_default();
            read += queues.read_queue_nums;
            write += queues.write_queue_nums;
            row([
                &data.cluster,
                &data.broker_name,
                &format!("{{{}}}", addresses.join(", ")),
                &queues.read_queue_nums.to_string(),
                &queues.write_queue_nums.to_string(),
                &queues.perm.to_string(),
            ])?;
        }
        let brokers = route.broker_datas.len().to_string();
        row([
            "Total:",
            &brokers,
            "",
            &read.to_string(),
            &write.to_string(),
            "",
        ])?;
        Ok(())
    }

    pub(super) async fn topic_list(&mut self) -> Result<(), AdminError> {
        let topics = self.cluster.topic_names().await?;
        if !self.given.has("c") {
            for topic in topics {
                writeln!(self.out, "{topic}")?;
            }
            return Ok(());
        }
        writeln!(
            self.out,
            "{:<20}  {:<48}  {:<48}",
            "#Cluster Name", "#Topic", "#Consumer Group"
        )?;
        let users = topics
            .iter()
            .filter(|it| !it.starts_with(RETRY_PREFIX) && !it.starts_with(DLQ_PREFIX));
        for topic in users {
            let Some(route) = self.cluster.route_if_any(topic).await? else {
                continue;
            };
            let clusters = route.broker_datas.first();
            let cluster = clusters.map_or("", |data| &*data.cluster);
            let mut groups = self.cluster.groups_of(&servers_of(&route), topic).await;
            if groups.is_empty() {
                groups.insert(String::new());
            }
            for group in groups {
                writeln!(self.out, "{cluster:<20}  {topic:<64}  {group:<64}")?;
            }
        }
        Ok(())
    }

    pub(super) async fn topic_status(&mut self) -> Result<(), AdminError> {
        let topic = self.given.need("t");
        let servers = match self.given.get("c") {
            Some(cluster) => servers_of(&self.cluster.route(cluster).await?),
            None => servers_of(&self.cluster.route(&topic).await?),
        };
        let stats = self.cluster.topic_stats(&servers, &topic).await;
        if stats.is_empty() {
            return Err(AdminError::Command(
                "Not found the topic stats info".to_owned(),
            ));
        }
        writeln!(
            self.out,
            "{:<32}  {:<4}  {:<20}  {:<20}    #Last Updated",
            "#Broker Name", "#QID", "#Min Offset", "#Max Offset"
        )?;
        for (queue, at) in stats {
            let updated = match at.last_update_timestamp > 0 {
                // Java shows milliseconds here.
                true => format!(
                    "{},{:03}",
                    date(at.last_update_timestamp),
                    at.last_update_timestamp % 1000
                ),
                false => String::new(),
            };
            writeln!(
                self.out,
                "{:<32}  {:<4}  {:<20}  {:<20}    {updated}",
                queue.broker_name, queue.queue_id, at.min_offset, at.max_offset
            )?;
        }
        writeln!(self.out, "\nTopic Put TPS: 0.0")?;
        Ok(())
    }

    pub(super) async fn topic_cluster_list(&mut self) -> Result<(), AdminError> {
        let route = self.cluster.route(&self.given.need("t")).await?;
        let clusters = route.broker_datas.into_iter().map(|data| data.cluster);
        for cluster in clusters.collect::<std::collections::BTreeSet<_>>() {
            writeln!(self.out, "{cluster}")?;
        }
        Ok(())
    }

    pub(super) async fn update_order_conf(&mut self) -> Result<(), AdminError> {
        let topic = self.given.need("t");
        match &*self.given.need("m") {
            "get" => {
                let conf = order_conf(&self.cluster, &topic).await;
                writeln!(
                    self.out,
                    "get orderConf success. topic=[{topic}], orderConf=[{conf}] "
                )?;
            }
            "put" => {
                let Some(conf) = self.given.get("v") else {
                    let text = "please set orderConf with option -v.";
                    return Err(AdminError::Command(text.to_owned()));
                };
                let done = self.cluster.put_kv(ORDER, &topic, conf).await;
                self.cluster.reached(&done)?;
                writeln!(
                    self.out,
                    "update orderConf success. topic=[{topic}], orderConf=[{conf}]"
                )?;
            }
            "delete" => {
                let done = self.cluster.delete_kv(ORDER, &topic).await;
                self.cluster.reached(&done)?;
                writeln!(self.out, "delete orderConf success. topic=[{topic}]")?;
            }
            other => {
                return Err(AdminError::Command(format!(
                    "method {other} is none: get, put or delete is expected"
                )));
            }
        }
        Ok(())
    }

    pub(super) async fn stats_all(&mut self) -> Result<(), AdminError> {
        writeln!(
            self.out,
            "{:<64}  {:<64} {:>12} {:>11} {:>11} {:>14} {:>14}",
            "#Topic",
            "#Consumer Group",
            "#Accumulation",
            "#InTPS",
            "#OutTPS",
            "#InMsg24Hour",
            "#OutMsg24Hour"
        )?;
        let only = self.given.get("t").map(str::to_owned);
        for flow in flows(&self.cluster, only.as_deref()).await? {
            if self.given.has("a") && flow.in_24h == 0 {
                continue;
            }
            let (group, lag) = (flow.group.unwrap_or_default(), flow.lag.unwrap_or(0));
            let out_tps = flow
                .out_tps
                .map(|tps| format!("{tps:.2}"))
                .unwrap_or_default();
            let out = flow
                .out_24h
                .map_or("NO_CONSUMER".to_owned(), |sum| sum.to_string());
            writeln!(
                self.out,
                "{:<64}  {group:<64} {lag:>12} {:>11.2} {out_tps:>11} {:>14} {out:>14}",
                flow.topic, flow.in_tps, flow.in_24h
            )?;
        }
        Ok(())
    }
}

async fn order_conf(cluster: &Cluster, topic: &str) -> String {
    let told = cluster.kv(ORDER, Some(topic)).await;
    let mut values = told
        .into_iter()
        .flat_map(|(_, values)| values.into_values());
    values.next().unwrap_or_default()
}

/// All masters.
pub(super) fn everywhere() -> Scope {
    Scope::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_printed_as_java_does() {
        let config = TopicConfig {
            topic_name: "T".to_owned(),
            ..TopicConfig::default()
        };
        let shown = text(&config, "+message.type=FIFO,-x");
        assert!(
            shown.ends_with("order=false, attributes={+message.type=FIFO, -x=}]"),
            "{shown}"
        );
        assert!(text(&config, "").ends_with("attributes={}]"));
    }
}
