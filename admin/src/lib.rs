//! The command line of administration: `sluice topic ...`, `cluster`, `broker`, `group`, `message`,
//! `producer`, `namesrv`, `plugin`, `tx`, `timer`, `dlq`, and Java's spellings, `sluice admin ...`.
//!
//! A cluster is asked over remoting, through its name servers: all servers at the same time, and who
//! does not answer is named. Java brokers are asked alike. Each verb of `verbs/` makes a page of
//! what `cluster/` has found; `mqadmin/` has the same done and prints it in Java's words.
//!
//! A plugin is made of a template, built and tried offline, in the host that a broker has, under its
//! limits; then it is put and bound, watched, promoted or rolled back over the broker's HTTP side,
//! which `docs/plugins/openapi.json` describes.

mod answers;
pub mod args;
mod bench;
mod bindings;
mod building;
mod cluster;
mod connection;
mod content;
mod dead_letters;
mod error;
mod expectation;
mod groups;
mod joined;
mod manifest;
mod messages;
mod mqadmin;
mod new;
mod page;
mod plugins;
mod samples;
mod strategy;
mod subject;
mod table;
mod test;
mod timer;
mod transactions;
mod trial;
mod verbs;
mod versions;
mod visible;
mod watching;

use std::io::{IsTerminal, Write};

use sluice_plugins::Compile;

pub use error::AdminError;
pub use visible::visible;

use args::{
    BrokerConfigTask, BrokerTask, Cluster, ClusterTask, Dlq, DlqTask, Group, GroupTask, KvTask,
    Message, MessageTask, NamesrvConfigTask, NamesrvTask, Plugin, Producer, ProducerTask, Task,
    Timer, TimerTask, Topic, TopicTask, Tx, TxTask,
};

/// How a command ended that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Well,
    /// A test found something wrong, or a part was not done; it has been told.
    Wrong,
}

/// Carries out `sluice plugin ...`. `compile` is what the offline commands make machine code with.
///
/// # Errors
/// What is wrong with the command, a file or the plugin; the broker's refusals in its own words.
pub fn plugin(
    plugin: Plugin,
    compile: Compile,
    out: &mut dyn Write,
) -> Result<Outcome, AdminError> {
    match plugin.task {
        Task::New(wanted) => new::new(&wanted, out)?,
        Task::Build(wanted) => building::build(&wanted.dir, out)?,
        Task::Test(wanted) => return test::test(&wanted, compile, out),
        Task::Bench(wanted) => return bench::bench(&wanted, compile, out),
        Task::Put(asked) => asked.show(out, plugins::put)?,
        Task::List(asked) => asked.show(out, plugins::list)?,
        Task::Show(asked) => asked.show(out, plugins::show)?,
        Task::Rm(asked) => asked.show(out, plugins::remove)?,
        Task::Bind(asked) => asked.show(out, bindings::bind)?,
        Task::Unbind(asked) => asked.show(out, bindings::unbind)?,
        Task::Bindings(asked) => asked.show(out, bindings::list)?,
        Task::Limits(asked) => asked.show(out, bindings::limits)?,
        Task::Shadow(asked) => asked.show(out, versions::shadow)?,
        Task::Canary(asked) => asked.show(out, versions::canary)?,
        Task::Promote(asked) => asked.show(out, versions::promote)?,
        Task::Rollback(asked) => asked.show(out, versions::rollback)?,
        Task::Stats(asked) => asked.show(out, watching::stats)?,
        Task::Explain(asked) => asked.show(out, watching::explain)?,
        Task::Logs(asked) => watching::logs(&asked, out)?,
    }
    Ok(Outcome::Well)
}

/// Carries out `sluice tx ...`.
///
/// # Errors
/// What is wrong with the command; the broker's refusals in its own words.
pub fn tx(tx: Tx, out: &mut dyn Write) -> Result<(), AdminError> {
    match tx.task {
        TxTask::List(asked) => asked.show(out, transactions::list),
        TxTask::Show(asked) => asked.show(out, transactions::show),
        TxTask::Commit(asked) => asked.show(out, transactions::commit),
        TxTask::Rollback(asked) => asked.show(out, transactions::rollback),
    }
}

/// Carries out `sluice dlq ...`.
///
/// # Errors
/// What is wrong with the command; the broker's refusals in its own words.
pub fn dlq(dlq: Dlq, out: &mut dyn Write) -> Result<Outcome, AdminError> {
    match dlq.task {
        DlqTask::List(asked) => asked.show(out, dead_letters::list)?,
        DlqTask::Show(asked) => asked.show(out, dead_letters::show)?,
        DlqTask::Drop(asked) => asked.show(out, dead_letters::drop_letters)?,
        DlqTask::Resend(asked) => {
            let mut outcome = Outcome::Well;
            asked.show(out, |broker, wanted| {
                let (shown, done) = dead_letters::resend(broker, wanted)?;
                outcome = done;
                Ok(shown)
            })?;
            return Ok(outcome);
        }
    }
    Ok(Outcome::Well)
}

/// Carries out `sluice topic ...`.
///
/// # Errors
/// What is wrong with the command, no name server that answers, or the refusal of a server. Who of
/// several does not answer is told among what the others say; it ends [`Outcome::Wrong`].
pub async fn topic(topic: Topic, out: &mut dyn Write) -> Result<Outcome, AdminError> {
    use verbs::{topic_changes, topics};
    match topic.task {
        TopicTask::List(asked) => asked.show(out, topics::list).await,
        TopicTask::Show(asked) => asked.show(out, topics::show).await,
        TopicTask::Route(asked) => asked.show(out, topics::route).await,
        TopicTask::Stats(asked) => asked.show(out, topics::stats).await,
        TopicTask::Create(asked) => asked.carry_out(out, topic_changes::create).await,
        TopicTask::Update(asked) => asked.carry_out(out, topic_changes::update).await,
        TopicTask::Perm(asked) => asked.carry_out(out, topic_changes::perm).await,
        TopicTask::Delete(asked) => asked.carry_out(out, topic_changes::delete).await,
    }
}

/// Carries out `sluice cluster ...`.
///
/// # Errors
/// As [`topic`].
pub async fn cluster(cluster: Cluster, out: &mut dyn Write) -> Result<Outcome, AdminError> {
    match cluster.task {
        ClusterTask::Show(asked) => asked.show(out, verbs::cluster::show).await,
    }
}

/// Carries out `sluice broker VERB ...`.
///
/// # Errors
/// As [`topic`].
pub async fn broker(task: BrokerTask, out: &mut dyn Write) -> Result<Outcome, AdminError> {
    use verbs::brokers;
    match task {
        BrokerTask::Show(asked) => asked.show(out, brokers::show).await,
        BrokerTask::Stats(asked) => asked.show(out, verbs::cluster::stats).await,
        BrokerTask::Config(BrokerConfigTask::Get(asked)) => {
            asked.show(out, brokers::config_get).await
        }
        BrokerTask::Config(BrokerConfigTask::Set(asked)) => {
            asked.carry_out(out, brokers::config_set).await
        }
        BrokerTask::WritePerm(asked) => asked.carry_out(out, brokers::write_perm).await,
    }
}

/// Carries out `sluice namesrv VERB ...`.
///
/// # Errors
/// As [`topic`].
pub async fn namesrv(task: NamesrvTask, out: &mut dyn Write) -> Result<Outcome, AdminError> {
    use verbs::name_servers;
    match task {
        NamesrvTask::Config(NamesrvConfigTask::Get(asked)) => {
            asked.show(out, name_servers::config_get).await
        }
        NamesrvTask::Config(NamesrvConfigTask::Set(asked)) => {
            asked.carry_out(out, name_servers::config_set).await
        }
        NamesrvTask::Kv(KvTask::Get(asked)) => asked.show(out, name_servers::kv_get).await,
        NamesrvTask::Kv(KvTask::Set(asked)) => asked.carry_out(out, name_servers::kv_set).await,
        NamesrvTask::Kv(KvTask::Delete(asked)) => {
            asked.carry_out(out, name_servers::kv_delete).await
        }
    }
}

/// Carries out `sluice producer ...`.
///
/// # Errors
/// As [`topic`].
pub async fn producer(producer: Producer, out: &mut dyn Write) -> Result<Outcome, AdminError> {
    match producer.task {
        ProducerTask::List(asked) => asked.show(out, verbs::producers::list).await,
    }
}

/// Carries out `sluice message ...`.
///
/// # Errors
/// As [`topic`]; of `show` as well what a broker's HTTP side says.
pub async fn message(message: Message, out: &mut dyn Write) -> Result<Outcome, AdminError> {
    use verbs::messages as of_cluster;
    match message.task {
        MessageTask::Show(asked) => asked.show(out, of_cluster::show, messages::show).await,
        MessageTask::Find(asked) => asked.show(out, of_cluster::find).await,
        MessageTask::Print(asked) => asked.show(out, of_cluster::print).await,
        MessageTask::Send(asked) => asked.carry_out(out, of_cluster::send).await,
    }
}

/// Carries out `sluice group ...`.
///
/// # Errors
/// As [`message`].
pub async fn group(group: Group, out: &mut dyn Write) -> Result<Outcome, AdminError> {
    use verbs::{groups as of_cluster, offsets};
    match group.task {
        GroupTask::List(asked) => asked.show(out, of_cluster::list, groups::list).await,
        GroupTask::Show(asked) => asked.show(out, of_cluster::show, groups::show).await,
        GroupTask::Progress(asked) => asked.show(out, of_cluster::progress).await,
        GroupTask::Create(asked) => asked.carry_out(out, of_cluster::create).await,
        GroupTask::Update(asked) => asked.carry_out(out, of_cluster::update).await,
        GroupTask::Delete(asked) => asked.carry_out(out, of_cluster::delete).await,
        GroupTask::Reset(asked) => asked.carry_out(out, offsets::reset).await,
        GroupTask::Clone(asked) => asked.carry_out(out, offsets::clone).await,
    }
}

/// Carries out a command in mqadmin's spelling; `words` are its name and its options.
///
/// # Errors
/// As [`topic`].
pub async fn admin(words: &[String], out: &mut dyn Write) -> Result<Outcome, AdminError> {
    // Scripts get texts as they are.
    match std::io::stdout().is_terminal() {
        true => mqadmin::run(words, &mut visible::Visible(out)).await,
        false => mqadmin::run(words, out).await,
    }
}

/// Carries out `sluice timer ...`.
///
/// # Errors
/// The broker's refusals in its own words.
pub fn timer(timer: Timer, out: &mut dyn Write) -> Result<(), AdminError> {
    match timer.task {
        TimerTask::List(asked) => asked.show(out, crate::timer::list),
    }
}
