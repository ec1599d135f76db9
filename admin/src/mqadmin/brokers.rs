//! Brokers and clusters in Java's words.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Work, date};
use crate::args::Scope;
use crate::cluster::brokers::State;
use crate::cluster::{Member, Server};
use crate::error::AdminError;

impl Work<'_> {
    pub(super) async fn update_broker_config(&mut self) -> Result<(), AdminError> {
        let (key, value) = (self.given.need("k"), self.given.need("v"));
        if !self.given.has("b") && !self.given.has("c") {
            return Err(AdminError::Command("-b or -c is wanted".to_owned()));
        }
        let servers = match self.given.truth("a", false) {
            true => self.servers().await?,
            false => self.masters().await?,
        };
        let done = self
            .cluster
            .set_broker_config(&servers, &[(key, value)])
            .await;
        for (server, _) in done {
            writeln!(self.out, "update broker config success, {}", server.address)?;
        }
        Ok(())
    }

    /// Masters and replicas of what is asked for.
    async fn servers(&mut self) -> Result<Vec<Server>, AdminError> {
        let members = self.cluster.members_in(&self.scope()).await?;
        Ok(members.into_iter().map(|member| member.server).collect())
    }

    pub(super) async fn get_broker_config(&mut self) -> Result<(), AdminError> {
        let members = self.cluster.members_in(&self.scope()).await?;
        let servers: Vec<Server> = members.iter().map(|member| member.server.clone()).collect();
        for (server, values) in self.cluster.broker_configs(&servers).await {
            let member = members.iter().find(|member| member.server == server);
            let heading = match member {
                Some(member) if self.given.has("c") => self.role(&members, member),
                _ => server.address.clone(),
            };
            writeln!(self.out, "============{heading}============")?;
            for (key, value) in values {
                writeln!(self.out, "{key:<50}=  {value}")?;
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn role(&self, members: &[Member], member: &Member) -> String {
        if member.id == 0 {
            return format!("Master: {}", member.server.address);
        }
        let is_master = |it: &&Member| it.id == 0 && it.server.name == member.server.name;
        let master = members.iter().find(is_master);
        let master = master.map_or("NO_MASTER", |it| &*it.server.address);
        format!("My Master: {master}=====Slave: {}", member.server.address)
    }

    pub(super) async fn broker_status(&mut self) -> Result<(), AdminError> {
        let members = self.cluster.members_in(&self.scope()).await?;
        for state in self.cluster.states(&members).await {
            for (key, value) in state.values {
                match self.given.has("c") {
                    true => writeln!(self.out, "{:<24} {key:<32}: {value}", state.address)?,
                    false => writeln!(self.out, "{key:<32}: {value}")?,
                }
            }
        }
        Ok(())
    }

    pub(super) async fn broker_consume_stats(&mut self) -> Result<(), AdminError> {
        let level: i64 = self.given.number("l", 0)?;
        let servers = self.masters().await?;
        writeln!(
            self.out,
            "{:<64}  {:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {:<20}  #LastTime",
            "#Topic",
            "#Group",
            "#Broker Name",
            "#QID",
            "#Broker Offset",
            "#Consumer Offset",
            "#Diff"
        )?;
        let mut total = 0;
        for (group, progress) in self.cluster.progress_of_all(&servers).await {
            for (queue, at) in progress.queues {
                let diff = at.broker_offset - at.consumer_offset;
                total += diff;
                if diff < level {
                    continue;
                }
                let last = match at.last_timestamp > 0 {
                    true => date(at.last_timestamp),
                    false => "-".to_owned(),
                };
                writeln!(
                    self.out,
                    "{:<64}  {group:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {diff:<20}  {last}",
                    queue.topic,
                    queue.broker_name,
                    queue.queue_id,
                    at.broker_offset,
                    at.consumer_offset
                )?;
            }
        }
        writeln!(self.out, "\nDiff Total: {total}")?;
        Ok(())
    }

    pub(super) async fn cluster_list(&mut self) -> Result<(), AdminError> {
        let interval: u64 = self.given.number("i", 0)?;
        loop {
            self.list_once().await?;
            if interval == 0 {
                return Ok(());
            }
            self.out.flush()?;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(interval)) => writeln!(self.out)?,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }

    async fn list_once(&mut self) -> Result<(), AdminError> {
        let scope = Scope {
            cluster: self.given.get("c").map(str::to_owned),
            on: Vec::new(),
        };
        let members = self.cluster.members_in(&scope).await?;
        let states = self.cluster.states(&members).await;
        match self.given.has("m") {
            true => self.totals(&states),
            false => self.base(&states),
        }
    }

    fn totals(&mut self, states: &[State]) -> Result<(), AdminError> {
        writeln!(
            self.out,
            "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}",
            "#Cluster Name",
            "#Broker Name",
            "#InTotalYest",
            "#OutTotalYest",
            "#InTotalToday",
            "#OutTotalToday"
        )?;
        for state in states {
            writeln!(
                self.out,
                "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}",
                state.cluster,
                state.broker,
                state.in_yesterday.unwrap_or(0),
                state.out_yesterday.unwrap_or(0),
                state.in_today.unwrap_or(0),
                state.out_today.unwrap_or(0)
            )?;
        }
        Ok(())
    }

    fn base(&mut self, states: &[State]) -> Result<(), AdminError> {
        writeln!(
            self.out,
            "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:<11}  {:<12}  {:<8}  {:<10}",
            "#Cluster Name",
            "#Broker Name",
            "#BID",
            "#Addr",
            "#Version",
            "#InTPS(LOAD)",
            "#OutTPS(LOAD)",
            "#Timer(Progress)",
            "#PCWait(ms)",
            "#Hour",
            "#SPACE",
            "#ACTIVATED"
        )?;
        for state in states {
            let told = Told(&state.values);
            writeln!(
                self.out,
                "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:>11}  {:<12}  {:<8}  {:>10}",
                state.cluster,
                state.broker,
                state.broker_id,
                state.address,
                state.version.as_deref().unwrap_or_default(),
                told.load(state.in_tps, "send"),
                told.out_load(state.out_tps),
                told.timer(),
                told.text("pageCacheLockTimeMills"),
                format!("{:2.2}", hours(state.earliest_message_ms)),
                format!("{:.4}", state.disk_ratio.unwrap_or(0.0)),
                told.text("brokerActive")
            )?;
        }
        Ok(())
    }
}

/// What a broker told, as Java's columns have it.
struct Told<'a>(&'a BTreeMap<String, String>);

impl Told<'_> {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> f64 {
        self.text(key).parse().unwrap_or(0.0)
    }

    fn queue(&self, of: &str) -> String {
        format!(
            "{},{}ms",
            self.text(&format!("{of}ThreadPoolQueueSize")),
            self.text(&format!("{of}ThreadPoolQueueHeadWaitTimeMills"))
        )
    }

    fn load(&self, tps: Option<f64>, of: &str) -> String {
        format!("{:9.2}({})", tps.unwrap_or(0.0), self.queue(of))
    }

    fn out_load(&self, tps: Option<f64>) -> String {
        let ack = match self.0.contains_key("ackThreadPoolQueueSize") {
            true => self.queue("ack"),
            false => "N,Nms".to_owned(),
        };
        format!("{:9.2}({}|{ack})", tps.unwrap_or(0.0), self.queue("pull"))
    }

    fn timer(&self) -> String {
        format!(
            "{}-{}({:.1}w, {:.1}, {:.1})",
            self.number("timerReadBehind"),
            self.number("timerOffsetBehind"),
            self.number("timerCongestNum") / 10_000.0,
            self.number("timerEnqueueTps"),
            self.number("timerDequeueTps")
        )
    }
}

/// How old the oldest message is.
fn hours(earliest_ms: Option<i64>) -> f64 {
    let Some(ms) = earliest_ms else { return 0.0 };
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let old = SystemTime::now().duration_since(at).unwrap_or_default();
    old.as_secs_f64() / 3600.0
}
