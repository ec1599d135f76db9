//! The command line of administration: `sluice plugin ...`, `sluice tx ...` and `sluice timer ...`.
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
mod error;
mod expectation;
mod manifest;
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

use args::{Plugin, Task, Timer, TimerTask, Tx, TxTask};

/// How a command ended that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Well,
    /// A test found something wrong, and has told it.
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

/// Carries out `sluice timer ...`.
///
/// # Errors
/// The broker's refusals in its own words.
pub fn timer(timer: Timer, out: &mut dyn Write) -> Result<(), AdminError> {
    match timer.task {
        TimerTask::List(asked) => asked.show(out, crate::timer::list),
    }
}
