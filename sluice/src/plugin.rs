//! `sluice plugin`: administration of plugins.

use std::fmt;
use std::io::ErrorKind;

use anyhow::Result;
use sluice_admin::args::Plugin;
use sluice_admin::{AdminError, Outcome};

use crate::plugin_compile;

/// Something is not as it should be; it has been told.
#[derive(Debug)]
pub struct Wrong;

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not all is as it should be")
    }
}

impl std::error::Error for Wrong {}

/// Carries out `sluice plugin ...`.
pub fn run(plugin: Plugin) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let done = sluice_admin::plugin(plugin, plugin_compile::in_child(), &mut out);
    end(done)
}

/// How a command ended, as an exit code tells it.
pub fn end(done: Result<Outcome, AdminError>) -> Result<()> {
    match unless_nobody_reads(done, Outcome::Well)? {
        Outcome::Well => Ok(()),
        Outcome::Wrong => Err(Wrong.into()),
    }
}

/// A reader that has seen enough (`| head`) is no failure.
pub fn unless_nobody_reads<T>(done: Result<T, AdminError>, well: T) -> Result<T> {
    match done {
        Err(AdminError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(well),
        done => Ok(done?),
    }
}
