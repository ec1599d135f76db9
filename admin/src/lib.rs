//! The command line of administration: `sluice plugin ...`, `tx`, `timer`, `dlq`, `message` and `group`.
//!
//! A plugin is made of a template, built and tried offline, in the host that a broker has, under its
//! limits; then it is put and bound, watched, promoted or rolled back over the broker's HTTP side,
//! which `docs/plugins/openapi.json` describes.

mod answers;
pub mod args;
mod bench;
mod bindings;
mod building;
mod connection;
mod content;
mod dead_letters;
mod error;
mod expectation;
mod groups;
mod manifest;
mod messages;
mod new;
mod plugins;
mod samples;
mod strategy;
mod subject;
mod table;
mod test;
mod timer;
mod transactions;
mod trial;
mod versions;
mod watching;

use std::io::Write;

use sluice_plugins::Compile;

pub use error::AdminError;

use args::{
    Dlq, DlqTask, Group, GroupTask, Message, MessageTask, Plugin, Task, Timer, TimerTask, Tx,
    TxTask,
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

/// Carries out `sluice message ...`.
///
/// # Errors
/// As above.
pub fn message(message: Message, out: &mut dyn Write) -> Result<(), AdminError> {
    match message.task {
        MessageTask::Show(asked) => asked.show(out, messages::show),
    }
}

/// Carries out `sluice group ...`.
///
/// # Errors
/// As above.
pub fn group(group: Group, out: &mut dyn Write) -> Result<(), AdminError> {
    match group.task {
        GroupTask::List(asked) => asked.show(out, groups::list),
        GroupTask::Show(asked) => asked.show(out, groups::show),
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
