//! Groups and clients in Java's words.

use serde_json::Value;
use sluice_protocol::body::SubscriptionGroupConfig;
use sluice_protocol::version;

use super::topics::everywhere;
use super::{Work, date, map};
use crate::cluster::topics::servers_of;
use crate::error::AdminError;
use crate::verbs::groups::{delete_own_topics, listed};

/// A group's settings as Java prints them.
fn text(config: &SubscriptionGroupConfig) -> String {
    let fields: Vec<String> = fields(config)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("SubscriptionGroupConfig{{{}}}", fields.join(", "))
}

/// The same, field by field, in Java's order.
fn fields(config: &SubscriptionGroupConfig) -> Vec<(&'static str, String)> {
    let policy = match &config.group_retry_policy {
        Value::Object(fields) => {
            let get = |name: &str| fields.get(name).filter(|value| !value.is_null());
            let shown = |name: &str| get(name).map_or("null".to_owned(), Value::to_string);
            let kind = get("type").and_then(Value::as_str).unwrap_or("CUSTOMIZED");
            let (exponential, customized) = (
                shown("exponentialRetryPolicy"),
                shown("customizedRetryPolicy"),
            );
            format!(
                "GroupRetryPolicy{{type={kind}, exponentialRetryPolicy={exponential}, customizedRetryPolicy={customized}}}"
            )
        }
        other => other.to_string(),
    };
    let attributes = config.attributes.iter().map(|(k, v)| (&**k, &**v));
    vec![
        ("groupName", config.group_name.clone()),
        ("consumeEnable", config.consume_enable.to_string()),
        (
            "consumeFromMinEnable",
            config.consume_from_min_enable.to_string(),
        ),
        (
            "consumeBroadcastEnable",
            config.consume_broadcast_enable.to_string(),
        ),
        (
            "consumeMessageOrderly",
            config.consume_message_orderly.to_string(),
        ),
        ("retryQueueNums", config.retry_queue_nums.to_string()),
        ("retryMaxTimes", config.retry_max_times.to_string()),
        ("groupRetryPolicy", policy),
        ("brokerId", config.broker_id.to_string()),
        (
            "whichBrokerWhenConsumeSlowly",
            config.which_broker_when_consume_slowly.to_string(),
        ),
        (
            "notifyConsumerIdsChangedEnable",
            config.notify_consumer_ids_changed_enable.to_string(),
        ),
        ("groupSysFlag", config.group_sys_flag.to_string()),
        (
            "consumeTimeoutMinute",
            config.consume_timeout_minute.to_string(),
        ),
        ("subscriptionDataSet", "null".to_owned()),
        ("attributes", map(attributes)),
    ]
}

impl Work<'_> {
    pub(super) async fn update_sub_group(&mut self) -> Result<(), AdminError> {
        let given = &self.given;
        let mut config = SubscriptionGroupConfig::named(&given.need("g"));
        config.consume_enable = given.truth("s", true);
        // What Java's command sends when nothing is said of them.
        config.consume_from_min_enable = given.truth("m", false);
        config.consume_broadcast_enable = given.truth("d", false);
        config.consume_message_orderly = given.truth("o", false);
        config.retry_queue_nums = given.number("q", 1)?;
        config.retry_max_times = given.number("r", 16)?;
        config.broker_id = given.number("i", 0)?;
        config.which_broker_when_consume_slowly = given.number("w", 1)?;
        config.notify_consumer_ids_changed_enable = given.truth("a", true);
        if let Some(policy) = given.get("p") {
            config.group_retry_policy = serde_json::from_str(policy)
                .map_err(|error| AdminError::Command(format!("-p {policy} is no JSON: {error}")))?;
        }
        let attributes = given.need("attributes");
        let attributes = attributes.split(',').filter(|change| !change.is_empty());
        let attributes = attributes.map(|change| change.split_once('=').unwrap_or((change, "")));
        config.attributes = attributes
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        if !given.has("b") && !given.has("c") {
            return Err(AdminError::Command("-b or -c is wanted".to_owned()));
        }
        let servers = self.masters().await?;
        let wanted = servers.into_iter().map(|server| (server, config.clone()));
        for server in self.cluster.put_groups(wanted.collect()).await? {
            writeln!(
                self.out,
                "create subscription group to {} success.",
                server.address
            )?;
        }
        write!(self.out, "{}", text(&config))?;
        Ok(())
    }

    pub(super) async fn delete_sub_group(&mut self) -> Result<(), AdminError> {
        let group = self.given.need("g");
        if !self.given.has("b") && !self.given.has("c") {
            return Err(AdminError::Command("-b or -c is wanted".to_owned()));
        }
        let servers = self.masters().await?;
        let with_offsets = self.given.truth("r", false);
        let done = self
            .cluster
            .delete_group_on(&servers, &group, with_offsets)
            .await;
        let of = match self.given.get("c") {
            Some(cluster) => format!(" in cluster [{cluster}]"),
            None => String::new(),
        };
        for server in &done {
            writeln!(
                self.out,
                "delete subscription group [{group}] from broker [{}]{of} success.",
                server.address
            )?;
        }
        if let Some(cluster) = self.given.get("c") {
            delete_own_topics(&self.cluster, &done, &group, Some(cluster)).await;
        }
        Ok(())
    }

    pub(super) async fn get_consumer_config(&mut self) -> Result<(), AdminError> {
        let group = self.given.need("g");
        let members = self.cluster.members_in(&everywhere()).await?;
        let masters = self.cluster.masters(&everywhere()).await?;
        for (server, config) in self.cluster.group_configs(&masters, &group).await {
            let member = members.iter().find(|it| it.server == server);
            let of = member.map_or("", |it| &*it.cluster);
            let bar = "=".repeat(29);
            writeln!(self.out, "{bar}{of}:{}{bar}", server.name)?;
            for (name, value) in fields(&config) {
                writeln!(self.out, "{name:<40}=  {value}")?;
            }
        }
        Ok(())
    }

    pub(super) async fn consumer_progress(&mut self) -> Result<(), AdminError> {
        let instead = "`sluice group show GROUP` shows members, with --broker whose each queue is";
        self.given.refuse(&["s"], instead)?;
        match self.given.get("g").map(str::to_owned) {
            Some(group) => self.progress_of(&group).await,
            None => self.progress_of_all().await,
        }
    }

    async fn progress_of(&mut self, group: &str) -> Result<(), AdminError> {
        let servers = self.cluster.masters(&everywhere()).await?;
        let topic = self.given.get("t").map(str::to_owned);
        let progress = self
            .cluster
            .progress(&servers, group, topic.as_deref())
            .await;
        if progress.queues.is_empty() {
            return Err(AdminError::Command(
                "Not found the consumer group consume stats, because return offset table is empty, maybe the consumer not consume any message".to_owned(),
            ));
        }
        writeln!(
            self.out,
            "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {:<20} {:<20}#LastTime",
            "#Topic",
            "#Broker Name",
            "#QID",
            "#Broker Offset",
            "#Consumer Offset",
            "#Diff",
            "#Inflight"
        )?;
        let (mut behind, mut in_flight) = (0, 0);
        for (queue, at) in &progress.queues {
            let (diff, flying) = (
                at.broker_offset - at.consumer_offset,
                at.pull_offset - at.consumer_offset,
            );
            behind += diff;
            in_flight += flying;
            let last = match at.last_timestamp {
                0 => "N/A".to_owned(),
                ms => date(ms),
            };
            writeln!(
                self.out,
                "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {diff:<20} {flying:<20} {last}",
                queue.topic,
                queue.broker_name,
                queue.queue_id,
                at.broker_offset,
                at.consumer_offset
            )?;
        }
        writeln!(self.out, "\nConsume TPS: {:.2}", progress.tps)?;
        writeln!(self.out, "Consume Diff Total: {behind}")?;
        writeln!(self.out, "Consume Inflight Total: {in_flight}")?;
        Ok(())
    }

    async fn progress_of_all(&mut self) -> Result<(), AdminError> {
        writeln!(
            self.out,
            "{:<64}  {:<6}  {:<24} {:<5}  {:<14}  {:<7}  #Diff Total",
            "#Group", "#Count", "#Version", "#Type", "#Model", "#TPS"
        )?;
        for one in listed(&self.cluster, false, "", usize::MAX).await? {
            let kind = match one.consume_type {
                Some("CONSUME_PASSIVELY") => "PUSH",
                Some("CONSUME_ACTIVELY") => "PULL",
                Some("CONSUME_POP") => "POP",
                _ => "",
            };
            writeln!(
                self.out,
                "{:<64}  {:<6}  {:<24} {kind:<5}  {:<14}  {:<7}  {}",
                one.group,
                one.connected,
                one.version.as_deref().unwrap_or("OFFLINE"),
                one.message_model.unwrap_or_default(),
                one.tps as i64,
                one.lag
            )?;
        }
        Ok(())
    }

    pub(super) async fn consumer_connection(&mut self) -> Result<(), AdminError> {
        let group = self.given.need("g");
        let servers = self.cluster.masters(&self.scope()).await?;
        let consumers = self.cluster.consumers(&servers, &group).await;
        let Some(how) = &consumers.how else {
            return Err(AdminError::Command(format!(
                "Not found the consumer group connection: the consumer group[{group}] not online"
            )));
        };
        writeln!(
            self.out,
            "{:<36} {:<22} {:<10} #Version",
            "#ClientId", "#ClientAddr", "#Language"
        )?;
        for one in consumers.connections.values() {
            writeln!(
                self.out,
                "{:<36} {:<22} {:<10} {}",
                one.client_id,
                one.client_addr,
                one.language,
                version::name(one.version)
            )?;
        }
        writeln!(self.out, "\nBelow is subscription:")?;
        writeln!(self.out, "{:<20} #SubExpression", "#Topic")?;
        for (topic, it) in &consumers.subscriptions {
            writeln!(self.out, "{topic:<20} {}", it.sub_string)?;
        }
        writeln!(self.out, "\nConsumeType: {}", how.consume_type)?;
        writeln!(self.out, "MessageModel: {}", how.message_model)?;
        writeln!(self.out, "ConsumeFromWhere: {}", how.from_where)?;
        Ok(())
    }

    pub(super) async fn producer_connection(&mut self) -> Result<(), AdminError> {
        let (group, topic) = (self.given.need("g"), self.given.need("t"));
        let servers = servers_of(&self.cluster.route(&topic).await?);
        let producers = self.cluster.producers_of(&servers, &group, &topic).await;
        if producers.is_empty() {
            return Err(AdminError::Command(format!(
                "the producer group[{group}] not exist"
            )));
        }
        for (at, one) in producers.iter().enumerate() {
            writeln!(
                self.out,
                "{:04}  {:<32} {:<22} {:<8} {}",
                at + 1,
                one.client_id,
                one.address,
                one.language,
                one.version
            )?;
        }
        Ok(())
    }

    pub(super) async fn producer(&mut self) -> Result<(), AdminError> {
        let servers = self.cluster.masters(&self.scope()).await?;
        for one in self.cluster.producers(&servers).await {
            writeln!(
                self.out,
                "producer group ({}) instance : clientId={},remoteIP={}, language={}, version={}, lastUpdateTimestamp={}",
                one.group,
                one.client_id,
                one.address,
                one.language,
                one.ordinal,
                one.last_heartbeat_ms.unwrap_or(0)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_printed_as_java_does() {
        let shown = text(&SubscriptionGroupConfig::named("g"));
        assert!(shown.starts_with("SubscriptionGroupConfig{groupName=g, consumeEnable=true, "));
        assert!(shown.contains(
            "groupRetryPolicy=GroupRetryPolicy{type=CUSTOMIZED, exponentialRetryPolicy=null, customizedRetryPolicy=null}"
        ), "{shown}");
        assert!(shown.ends_with("subscriptionDataSet=null, attributes={}}"));
    }
}
