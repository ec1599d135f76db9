//! What an operator looks at and does: transactions that await a decision, messages that
//! wait for their delivery time, dead letters, messages, groups.

use std::io::stdout;

use anyhow::Result;
use sluice_admin::args::{Dlq, Group, Message, Timer, Tx};

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

/// Carries out `sluice message ...`.
pub fn message(message: Message) -> Result<()> {
    unless_nobody_reads(sluice_admin::message(message, &mut stdout().lock()), ())
}

/// Carries out `sluice group ...`.
pub fn group(group: Group) -> Result<()> {
    unless_nobody_reads(sluice_admin::group(group, &mut stdout().lock()), ())
}
