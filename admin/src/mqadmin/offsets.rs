//! Offsets in Java's words.

use super::{Work, time};
use crate::args::Target;
use crate::cluster::Server;
use crate::cluster::topics::servers_of;
use crate::error::AdminError;
use crate::verbs::offsets::{Plan, plan};

impl Work<'_> {
    pub(super) async fn reset_offset_by_time(&mut self) -> Result<(), AdminError> {
        let text = self.given.need("s");
        let at = time(&text)?;
        let queue: i32 = self.given.number("q", -1)?;
        if self.given.has("b") && queue >= 0 {
            return self.reset_one(&text, at, queue).await;
        }
        let target = match at < 0 {
            true => Target::latest(),
            false => Target::time(at),
        };
        self.reset_all(&text, at, target).await
    }

    pub(super) async fn skip_accumulated_message(&mut self) -> Result<(), AdminError> {
        let (group, topic) = (self.given.need("g"), self.given.need("t"));
        let servers = servers_of(&self.cluster.route(&topic).await?);
        let plan = self.plan(&servers, &Target::latest(), &[]).await?;
        self.carry_out(&servers, &group, &plan).await
    }

    async fn reset_all(&mut self, text: &str, at: i64, target: Target) -> Result<(), AdminError> {
        let (group, topic) = (self.given.need("g"), self.given.need("t"));
        let force = self.given.truth("f", true);
        let servers = servers_of(&self.cluster.route(&topic).await?);
        let plan = self.plan(&servers, &target, &[]).await?;
        writeln!(
            self.out,
            "start reset consumer offset by specified, group[{group}], topic[{topic}], force[{force}], timestamp(string)[{text}], timestamp(long)[{at}]"
        )?;
        self.carry_out(&servers, &group, &plan).await
    }

    /// Where the group would go; with `-f false` only back, as 4.9 has it.
    async fn plan(
        &self,
        servers: &[Server],
        target: &Target,
        only: &[String],
    ) -> Result<Plan, AdminError> {
        let (group, topic) = (self.given.need("g"), self.given.need("t"));
        let plan = plan(&self.cluster, servers, &group, &topic, target, only).await?;
        Ok(match self.given.truth("f", true) {
            true => plan,
            false => plan.backwards(),
        })
    }

    async fn carry_out(
        &mut self,
        servers: &[Server],
        group: &str,
        plan: &Plan,
    ) -> Result<(), AdminError> {
        let moved = self
            .cluster
            .move_group(servers, group, &plan.moves, plan.time_ms)
            .await;
        writeln!(
            self.out,
            "{:<40}  {:<40}  {:<40}",
            "#brokerName", "#queueId", "#offset"
        )?;
        for one in moved {
            writeln!(
                self.out,
                "{:<40}  {:<40}  {:<40}",
                one.queue.broker_name, one.queue.queue_id, one.to
            )?;
        }
        Ok(())
    }

    /// One queue of one broker, by time or offset.
    async fn reset_one(&mut self, text: &str, at: i64, queue: i32) -> Result<(), AdminError> {
        let (group, topic, broker) = (
            self.given.need("g"),
            self.given.need("t"),
            self.given.need("b"),
        );
        let servers = servers_of(&self.cluster.route(&topic).await?);
        let server = servers
            .iter()
            .find(|it| it.address == broker || it.name == broker);
        let Some(server) = server else {
            return Err(AdminError::Command(format!(
                "broker {broker} does not serve topic {topic}"
            )));
        };
        writeln!(
            self.out,
            "start reset consumer offset by specified, group[{group}], topic[{topic}], queueId[{queue}], broker[{broker}], timestamp(string)[{text}], timestamp(long)[{at}]"
        )?;
        let target = match self.given.has("o") {
            true => Target::offset(self.given.number("o", 0)?),
            false => Target::time(at),
        };
        let named = [format!("{}:{queue}", server.name)];
        let plan = self.plan(&servers, &target, &named).await?;
        for one in self
            .cluster
            .move_group(&servers, &group, &plan.moves, plan.time_ms)
            .await
        {
            writeln!(self.out, "reset consumer offset to {}", one.to)?;
        }
        Ok(())
    }

    pub(super) async fn clone_group_offset(&mut self) -> Result<(), AdminError> {
        let (from, to, topic) = (
            self.given.need("s"),
            self.given.need("d"),
            self.given.need("t"),
        );
        let servers = servers_of(&self.cluster.route(&topic).await?);
        let plan =
            crate::verbs::offsets::of_other(&self.cluster, &servers, &from, &to, &topic).await?;
        let moved = self.cluster.commit_all(&servers, &to, &plan.moves).await;
        if moved.len() == plan.moves.len() {
            writeln!(
                self.out,
                "clone group offset success. srcGroup[{from}], destGroup=[{to}], topic[{topic}]"
            )?;
        }
        Ok(())
    }
}
