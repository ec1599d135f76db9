//! What an operator looks at and does: clusters, topics, groups, messages, settings; transactions that
//! await a decision, messages that wait for their delivery time, dead letters.

use std::io::stdout;

use anyhow::Result;
use clap::CommandFactory;
use sluice_admin::AdminError;
use sluice_admin::args::{
    BrokerTask, Cluster, Dlq, Group, Message, NamesrvTask, Producer, Timer, Topic, Tx,
};

use crate::args::{Admin, Broker, Completion, Namesrv, Sluice};

use crate::plugin::{end, unless_nobody_reads};

/// Carries out `sluice tx ...`.
pub fn tx(tx: Tx) -> Result<()> {
    unless_nobody_reads(sluice_admin::tx(tx, &mut stdout().lock()), ())
}

/// Carries out `sluice timer ...`.
pub fn timer(timer: Timer) -> Result<()> {
    unless_nobody_reads(sluice_admin::timer(timer, &mut stdout().lock()), ())
}

/// Carries out `sluice dlq ...`.
pub fn dlq(dlq: Dlq) -> Result<()> {
    end(sluice_admin::dlq(dlq, &mut stdout().lock()))
}

/// Carries out `sluice topic ...`.
pub async fn topic(topic: Topic) -> Result<()> {
    end(sluice_admin::topic(topic, &mut stdout().lock()).await)
}

/// Carries out `sluice cluster ...`.
pub async fn cluster(cluster: Cluster) -> Result<()> {
    end(sluice_admin::cluster(cluster, &mut stdout().lock()).await)
}

/// Carries out `sluice producer ...`.
pub async fn producer(producer: Producer) -> Result<()> {
    end(sluice_admin::producer(producer, &mut stdout().lock()).await)
}

/// Carries out `sluice message ...`.
pub async fn message(message: Message) -> Result<()> {
    end(sluice_admin::message(message, &mut stdout().lock()).await)
}

/// Carries out `sluice group ...`.
pub async fn group(group: Group) -> Result<()> {
    end(sluice_admin::group(group, &mut stdout().lock()).await)
}

/// Carries out `sluice broker VERB ...`.
pub async fn broker(start: &Broker, task: BrokerTask) -> Result<()> {
    let starts = start.namesrv_addr.is_some() || start.config_file.is_some();
    if starts || start.print || start.print_important {
        return Err(AdminError::Command("-n, -c, -p and -m before a verb are for a broker that starts: name the cluster behind it, `sluice broker show -n ADDRESSES`".to_owned()).into());
    }
    end(sluice_admin::broker(task, &mut stdout().lock()).await)
}

/// Carries out `sluice namesrv VERB ...`.
pub async fn namesrv(start: &Namesrv, task: NamesrvTask) -> Result<()> {
    if start.namesrv_addr.is_some() || start.config_file.is_some() || start.print {
        return Err(AdminError::Command("-n, -c and -p before a verb are for a name server that starts: name those that run behind it, `sluice namesrv config get -n ADDRESSES`".to_owned()).into());
    }
    end(sluice_admin::namesrv(task, &mut stdout().lock()).await)
}

/// Carries out `sluice admin ...`.
pub async fn admin(admin: Admin) -> Result<()> {
    end(sluice_admin::admin(&admin.words, &mut stdout().lock()).await)
}

/// Prints the completions of a shell.
pub fn completion(completion: &Completion) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        completion.shell,
        &mut Sluice::command(),
        "sluice",
        &mut script,
    );
    crate::run::print(&String::from_utf8_lossy(&script))
}
