//! `sluice topic create`, `update`, `perm`, `delete`.

use serde_json::json;
use sluice_protocol::body::TopicConfig;
use sluice_protocol::topic;

use super::names;
use super::topics::OnBroker;
use crate::args::{DeleteTopic, Scope, SetTopic, TopicPerm};
use crate::cluster::{Cluster, Server};
use crate::error::AdminError;
use crate::page::{Page, confirmed};

/// A new topic's queues on each broker.
const QUEUES: i32 = 8;

/// What is to change of a topic; nothing stands for "as it is".
#[derive(Debug, Default, Clone)]
pub(crate) struct Wish {
    pub(crate) read_queues: Option<i32>,
    pub(crate) write_queues: Option<i32>,
    pub(crate) perm: Option<i32>,
    pub(crate) order: Option<bool>,
    pub(crate) sys_flag: Option<i32>,
    /// Java's form: `+name=value`, `-name`, with commas between.
    pub(crate) attributes: String,
}

impl Wish {
    fn of(wanted: &SetTopic) -> Wish {
        let given = wanted
            .set
            .iter()
            .map(|(name, value)| format!("+{name}={value}"));
        let taken = wanted.unset.iter().map(|name| format!("-{name}"));
        let queues = |of: Option<u16>| of.or(wanted.queues).map(i32::from);
        Wish {
            read_queues: queues(wanted.read_queues),
            write_queues: queues(wanted.write_queues),
            perm: wanted.perm,
            order: wanted.order,
            sys_flag: None,
            attributes: given.chain(taken).collect::<Vec<_>>().join(","),
        }
    }

    fn applied_to(&self, mut config: TopicConfig) -> TopicConfig {
        config.read_queue_nums = self.read_queues.unwrap_or(config.read_queue_nums);
        config.write_queue_nums = self.write_queues.unwrap_or(config.write_queue_nums);
        config.perm = self.perm.unwrap_or(config.perm);
        config.order = self.order.unwrap_or(config.order);
        config.topic_sys_flag = self.sys_flag.unwrap_or(config.topic_sys_flag);
        config
    }
}

fn fresh(topic: &str) -> TopicConfig {
    TopicConfig {
        topic_name: topic.to_owned(),
        read_queue_nums: QUEUES,
        write_queue_nums: QUEUES,
        ..TopicConfig::default()
    }
}

fn check(topic: &str) -> Result<(), AdminError> {
    topic::validate(topic).map_err(|error| AdminError::Command(error.to_string()))
}

/// Creates or changes a topic on brokers: where it is, from what it is there; elsewhere anew. Tells how
/// it is now on those that did it.
pub(crate) async fn put(
    cluster: &Cluster,
    servers: &[Server],
    topic: &str,
    wish: &Wish,
    known: &[(Server, TopicConfig)],
) -> Result<Vec<(Server, TopicConfig)>, AdminError> {
    check(topic)?;
    let config = |server: &Server| {
        let known = known.iter().find(|(of, _)| of == server);
        wish.applied_to(known.map_or_else(|| fresh(topic), |(_, config)| config.clone()))
    };
    let wanted: Vec<_> = servers
        .iter()
        .map(|server| (server.clone(), config(server), wish.attributes.clone()))
        .collect();
    let done = cluster.put_topics(wanted.clone()).await;
    let put = wanted
        .into_iter()
        .filter(|(server, _, _)| done.contains(server));
    Ok(put.map(|(server, config, _)| (server, config)).collect())
}

/// The brokers of a change and the topic there.
async fn found(
    cluster: &Cluster,
    wanted: &SetTopic,
) -> Result<(Vec<Server>, Vec<(Server, TopicConfig)>), AdminError> {
    check(&wanted.topic)?;
    let servers = cluster.masters_of_one(&wanted.scope).await?;
    let known = cluster.topic_configs(&servers, &wanted.topic).await;
    Ok((servers, known))
}

pub(crate) async fn create(cluster: &Cluster, wanted: &SetTopic) -> Result<Page, AdminError> {
    let (servers, known) = found(cluster, wanted).await?;
    let topic = &wanted.topic;
    let is_there = |server: &Server| known.iter().any(|(of, _)| of == server);
    if servers.iter().all(is_there) {
        return Err(AdminError::Command(format!(
            "topic {topic} exists already: `sluice topic update {topic}` changes it"
        )));
    }
    let lacking: Vec<Server> = servers.into_iter().filter(|it| !is_there(it)).collect();
    let put = put(cluster, &lacking, topic, &Wish::of(wanted), &[]).await?;
    Ok(told("created", topic, &put))
}

pub(crate) async fn update(cluster: &Cluster, wanted: &SetTopic) -> Result<Page, AdminError> {
    let (_, known) = found(cluster, wanted).await?;
    let topic = &wanted.topic;
    if known.is_empty() {
        return Err(cluster.no_topic(topic).await);
    }
    let servers: Vec<Server> = known.iter().map(|(server, _)| server.clone()).collect();
    let put = put(cluster, &servers, topic, &Wish::of(wanted), &known).await?;
    Ok(told("changed", topic, &put))
}

pub(crate) async fn perm(cluster: &Cluster, wanted: &TopicPerm) -> Result<Page, AdminError> {
    let servers = cluster.masters_of_one(&wanted.scope).await?;
    let known = cluster.topic_configs(&servers, &wanted.topic).await;
    if known.is_empty() {
        return Err(cluster.no_topic(&wanted.topic).await);
    }
    let wish = Wish {
        perm: Some(wanted.perm),
        ..Wish::default()
    };
    let servers: Vec<Server> = known.iter().map(|(server, _)| server.clone()).collect();
    let put = put(cluster, &servers, &wanted.topic, &wish, &known).await?;
    Ok(told("changed", &wanted.topic, &put))
}

/// What was done, and how the topic is now.
fn told(verb: &str, topic: &str, put: &[(Server, TopicConfig)]) -> Page {
    let brokers: Vec<OnBroker> = put
        .iter()
        .map(|(server, config)| OnBroker::of(server, config))
        .collect();
    let mut page = Page::of(&json!({"topic": topic, "done": verb, "brokers": brokers}));
    for on in &brokers {
        page = page.line(format!(
            "{verb} {topic} on {}: {} queues to read, {} to write, {}",
            on.broker, on.read_queues, on.write_queues, on.perm
        ));
        if on.write_queues > on.read_queues {
            page = page.line(format!(
                "nobody reads what goes to its queues from {} on: there are fewer to read",
                on.read_queues
            ));
        }
    }
    page
}

pub(crate) async fn delete(cluster: &Cluster, wanted: &DeleteTopic) -> Result<Page, AdminError> {
    let topic = &*wanted.topic;
    check(topic)?;
    let servers = cluster.masters_of_one(&wanted.scope).await?;
    let of_cluster = wanted.scope.cluster.as_deref();
    let (on, elsewhere) = having(cluster, topic, &servers, of_cluster).await;
    if on.is_empty() && (!elsewhere.is_empty() || cluster.route_if_any(topic).await?.is_none()) {
        return Err(cluster.no_topic(topic).await);
    }
    let stats = cluster.topic_stats(&on, topic).await;
    let kept: i64 = stats.values().map(|at| at.max_offset - at.min_offset).sum();
    let question = format!(
        "Delete topic {topic} with its {kept} messages on {}?",
        names(&on).join(", ")
    );
    if !confirmed(wanted.sure.yes, &question)? {
        return Ok(Page::of(&json!({"topic": topic, "done": null}))
            .line("Nothing is deleted.")
            .wrong());
    }
    let done = remove(cluster, topic, &on, &elsewhere, of_cluster).await;
    let mut page = Page::of(&json!({"topic": topic, "done": "deleted", "brokers": names(&done)}));
    for server in &done {
        page = page.line(format!("deleted {topic} on {}", server.name));
    }
    if !elsewhere.is_empty() {
        let names = names(&elsewhere).join(", ");
        page = page.line(format!("it stays on {names}, and in the routes"));
    }
    Ok(page)
}

/// Who has a topic: of those that are meant, and of the others of their cluster, or of all clusters.
pub(crate) async fn having(
    cluster: &Cluster,
    topic: &str,
    meant: &[Server],
    of_cluster: Option<&str>,
) -> (Vec<Server>, Vec<Server>) {
    let scope = Scope {
        cluster: of_cluster.map(str::to_owned),
        on: Vec::new(),
    };
    let mut all = cluster.masters(&scope).await.unwrap_or_default();
    all.retain(|server| !meant.contains(server));
    all.extend_from_slice(meant);
    let known = cluster.topic_configs(&all, topic).await;
    let known = known.into_iter().map(|(server, _)| server);
    known.partition(|server| meant.contains(server))
}

/// Deletes a topic on brokers, and in the routes unless a broker still has it.
pub(crate) async fn remove(
    cluster: &Cluster,
    topic: &str,
    on: &[Server],
    elsewhere: &[Server],
    of_cluster: Option<&str>,
) -> Vec<Server> {
    let done = cluster.delete_topic_on(on, topic).await;
    if elsewhere.is_empty() && done.len() == on.len() {
        cluster.forget_topic(topic, of_cluster).await;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let before = TopicConfig {
            read_queue_nums: 4,
            write_queue_nums: 4,
            perm: 4,
            ..fresh("T")
        };
        let wish = Wish {
            write_queues: Some(6),
            ..Wish::default()
        };
        let after = wish.applied_to(before);
        assert_eq!(
            (after.read_queue_nums, after.write_queue_nums, after.perm),
            (4, 6, 4)
        );
    }
}
