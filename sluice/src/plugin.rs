//! `sluice plugin`: administration of plugins.

use std::fmt;
use std::io::ErrorKind;

use anyhow::Result;
use sluice_admin::args::Plugin;
use sluice_admin::{AdminError, Outcome};

use crate::plugin_compile;

/// A plugin does not do what it should; it has been told.
#[derive(Debug)]
pub struct Wrong;

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the plugin does not do what is expected")
    }
}

impl std::error::Error for Wrong {}

/// Carries out `sluice plugin ...`.
pub fn run(plugin: Plugin) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let done = sluice_admin::plugin(plugin, plugin_compile::in_child(), &mut out);
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
