//! `sluice admin COMMAND`: the names and options of Java's mqadmin, done by what `sluice topic` and
//! the others have done, told in the lines that scripts look for.
//!
//! Unlike Java's, a command that fails ends with 1.

mod brokers;
mod commands;
mod groups;
mod messages;
mod name_servers;
mod offsets;
mod options;
mod topics;

use std::io::Write;

use sluice_protocol::java_properties::nearest;

use crate::Outcome;
use crate::args::{Scope, Servers};
use crate::cluster::{Cluster, Server};
use crate::error::AdminError;
use crate::visible::in_line;
use commands::{COMMANDS, Command, Name};
use options::Given;

/// What Java says of a cluster that it does not find.
const NO_CLUSTER: &str = "[error] Make sure the specified clusterName exists or the name server connected to is correct.";

/// What a command works with.
struct Work<'a> {
    cluster: Cluster,
    given: Given,
    out: &'a mut dyn Write,
}

pub(crate) async fn run(words: &[String], out: &mut dyn Write) -> Result<Outcome, AdminError> {
    match words {
        [] => list(out),
        [word] if word == "help" || word == "-h" || word == "--help" => list(out),
        [word, name, ..] if word == "help" => {
            write!(out, "{}", options::usage(find(name)?))?;
            Ok(Outcome::Well)
        }
        [name, rest @ ..] => carry_out(find(name)?, rest, out).await,
    }
}

fn list(out: &mut dyn Write) -> Result<Outcome, AdminError> {
    writeln!(out, "The most commonly used mqadmin commands are:")?;
    for command in COMMANDS {
        writeln!(out, "   {:<35} {}", command.name, command.does)?;
    }
    writeln!(
        out,
        "\nSee 'sluice admin help <command>' for more information on a specific command."
    )?;
    Ok(Outcome::Well)
}

/// A command by its name, in any case.
fn find(name: &str) -> Result<&'static Command, AdminError> {
    // The book's name; no release has it.
    let wanted = match name.eq_ignore_ascii_case("topicStats") {
        true => "topicStatus",
        false => name,
    };
    let found = COMMANDS
        .iter()
        .find(|command| command.name.eq_ignore_ascii_case(wanted));
    if let Some(found) = found {
        return Ok(found);
    }
    if let Some((name, why)) = commands::elsewhere(name) {
        return Err(AdminError::Command(format!(
            "{name} has no equivalent here: {why}"
        )));
    }
    let names = COMMANDS.iter().map(|command| command.name);
    let meant = match nearest(names, name) {
        Some(nearest) => format!(" Did you mean {nearest}?"),
        None => " `sluice admin` lists all.".to_owned(),
    };
    Err(AdminError::Command(format!(
        "The sub command {name} not exist.{meant}"
    )))
}

async fn carry_out(
    command: &'static Command,
    words: &[String],
    out: &mut dyn Write,
) -> Result<Outcome, AdminError> {
    let given = match options::parse(command, words) {
        Ok(given) => given,
        Err(error) => {
            write!(out, "{}", options::usage(command))?;
            return Err(error);
        }
    };
    if given.has("h") {
        write!(out, "{}", options::usage(command))?;
        return Ok(Outcome::Well);
    }
    let servers = Servers {
        namesrv_addr: given.get("n").map(str::to_owned).or_else(|| {
            std::env::var("NAMESRV_ADDR")
                .ok()
                .filter(|it| !it.is_empty())
        }),
        timeout: 5,
        json: false,
    };
    let mut work = Work {
        cluster: Cluster::of(&servers)?,
        given,
        out,
    };
    let done = work.dispatch(command.of).await;
    let missing = work.cluster.take_missing();
    for one in &missing {
        let line = format!("{} ({}): {}", one.server, one.address, one.why);
        eprintln!("{}", in_line(&line));
    }
    done?;
    Ok(match missing.is_empty() {
        true => Outcome::Well,
        false => Outcome::Wrong,
    })
}

impl Work<'_> {
    async fn dispatch(&mut self, name: Name) -> Result<(), AdminError> {
        match name {
            Name::UpdateTopic => self.update_topic().await,
            Name::DeleteTopic => self.delete_topic().await,
            Name::UpdateTopicPerm => self.update_topic_perm().await,
            Name::TopicRoute => self.topic_route().await,
            Name::TopicList => self.topic_list().await,
            Name::TopicStatus => self.topic_status().await,
            Name::TopicClusterList => self.topic_cluster_list().await,
            Name::UpdateOrderConf => self.update_order_conf().await,
            Name::StatsAll => self.stats_all().await,
            Name::UpdateSubGroup => self.update_sub_group().await,
            Name::DeleteSubGroup => self.delete_sub_group().await,
            Name::GetConsumerConfig => self.get_consumer_config().await,
            Name::ConsumerProgress => self.consumer_progress().await,
            Name::ConsumerConnection => self.consumer_connection().await,
            Name::ProducerConnection => self.producer_connection().await,
            Name::Producer => self.producer().await,
            Name::ResetOffsetByTime => self.reset_offset_by_time().await,
            Name::SkipAccumulatedMessage => self.skip_accumulated_message().await,
            Name::CloneGroupOffset => self.clone_group_offset().await,
            Name::UpdateBrokerConfig => self.update_broker_config().await,
            Name::GetBrokerConfig => self.get_broker_config().await,
            Name::BrokerStatus => self.broker_status().await,
            Name::BrokerConsumeStats => self.broker_consume_stats().await,
            Name::ClusterList => self.cluster_list().await,
            Name::UpdateKvConfig => self.update_kv_config().await,
            Name::DeleteKvConfig => self.delete_kv_config().await,
            Name::WipeWritePerm => self.write_perm(false).await,
            Name::AddWritePerm => self.write_perm(true).await,
            Name::GetNamesrvConfig => self.get_namesrv_config().await,
            Name::UpdateNamesrvConfig => self.update_namesrv_config().await,
            Name::QueryMsgById => self.query_msg_by_id().await,
            Name::QueryMsgByUniqueKey => self.query_msg_by_unique_key().await,
            Name::QueryMsgByKey => self.query_msg_by_key().await,
            Name::QueryMsgByOffset => self.query_msg_by_offset().await,
            Name::PrintMsg => self.print_msg().await,
            Name::PrintMsgByQueue => self.print_msg_by_queue().await,
            Name::SendMessage => self.send_message().await,
            Name::ConsumeMessage => self.consume_message().await,
        }
    }

    /// `-b` an address, or `-c` a cluster's masters.
    async fn masters(&mut self) -> Result<Vec<Server>, AdminError> {
        let scope = Scope {
            on: self.given.get("b").map(str::to_owned).into_iter().collect(),
            cluster: self.given.get("c").map(str::to_owned),
        };
        match self.cluster.masters(&scope).await {
            Err(error @ AdminError::Command(_)) if scope.cluster.is_some() => {
                write!(self.out, "{NO_CLUSTER}")?;
                Err(error)
            }
            masters => masters,
        }
    }

    /// All brokers of what is asked for, replicas too.
    fn scope(&self) -> Scope {
        Scope {
            on: self.given.get("b").map(str::to_owned).into_iter().collect(),
            cluster: self.given.get("c").map(str::to_owned),
        }
    }
}

/// `yyyy-MM-dd HH:mm:ss`, UTC.
fn date(ms: i64) -> String {
    let text = crate::table::date_of(ms);
    text.trim_end_matches('Z').replace('T', " ")
}

/// A Java map.
fn map<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let entries: Vec<String> = entries
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// `now`, Unix milliseconds, or `yyyy-MM-dd#HH:mm:ss:SSS` (UTC).
fn time(text: &str) -> Result<i64, AdminError> {
    let wrong = || {
        AdminError::Command(format!(
            "{text:?} is no time: now, Unix milliseconds or yyyy-MM-dd#HH:mm:ss:SSS is expected"
        ))
    };
    if text == "now" {
        return crate::args::time("0s").map_err(|_| wrong());
    }
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let (seconds, millis) = text.rsplit_once(':').ok_or_else(wrong)?;
    let seconds = crate::args::time(&seconds.replace('#', " ")).map_err(|_| wrong())?;
    let millis: i64 = millis.parse().map_err(|_| wrong())?;
    Ok(seconds + millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_any_case_and_by_the_book_s_name() {
        assert_eq!(find("TOPICLIST").unwrap().name, "topicList");
        assert_eq!(find("TopicStats").unwrap().name, "topicStatus");
        let error = find("updateTopik").unwrap_err().to_string();
        assert_eq!(
            error,
            "The sub command updateTopik not exist. Did you mean updateTopic?"
        );
        assert!(
            find("haStatus")
                .unwrap_err()
                .to_string()
                .contains("no equivalent")
        );
    }

    #[test]
    fn java_s_times_are_read() {
        assert_eq!(time("17").unwrap(), 17);
        assert_eq!(time("1970-01-01#00:00:01:500").unwrap(), 1500);
        assert!(time("yesterday").is_err());
        assert_eq!(date(1500), "1970-01-01 00:00:01");
    }

    #[tokio::test]
    async fn without_a_command_all_are_listed() {
        let mut out = Vec::new();
        assert_eq!(run(&[], &mut out).await.unwrap(), Outcome::Well);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("The most commonly used mqadmin commands are:\n   updateTopic "));
        let mut out = Vec::new();
        let words = ["help".to_owned(), "updatetopic".to_owned()];
        run(&words, &mut out).await.unwrap();
        assert!(
            String::from_utf8(out)
                .unwrap()
                .starts_with("usage: mqadmin updateTopic")
        );
    }
}
