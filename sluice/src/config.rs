//! `sluice config check`: what a start would say about a file of settings.

use std::fmt::Write;

use anyhow::Result;
use sluice_broker::BrokerConfig;

use crate::args::ConfigTask;
use crate::run;
use crate::settings::{self, Findings};

/// A file that a start would refuse; why is printed.
#[derive(Debug, thiserror::Error)]
#[error("the settings are refused")]
pub struct Refused;

/// Says all of it.
///
/// # Errors
/// [`Refused`], or the file can't be read.
pub fn run(task: ConfigTask) -> Result<()> {
    let ConfigTask::Check { file, namesrv } = task;
    let findings = if namesrv {
        settings::examine_namesrv(&mut settings::default_namesrv(), &file)?
    } else {
        settings::examine_broker(BrokerConfig::default(), &file)?.1
    };
    let verdict = if findings.wrong.is_empty() {
        "can be used"
    } else {
        "is refused"
    };
    run::print(&format!(
        "{}{} {verdict}\n",
        told(&findings),
        file.display()
    ))?;
    if findings.wrong.is_empty() {
        Ok(())
    } else {
        Err(Refused.into())
    }
}

fn told(findings: &Findings) -> String {
    let mut text = String::new();
    for error in &findings.wrong {
        let _ = writeln!(text, "error: {error:#}");
    }
    for warning in &findings.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for note in &findings.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}
