//! `sluice tx`: transactions that await a decision.

use anyhow::Result;
use sluice_admin::args::Tx;

use crate::plugin::unless_nobody_reads;

/// Carries out `sluice tx ...`.
pub fn run(tx: Tx) -> Result<()> {
    unless_nobody_reads(sluice_admin::tx(tx, &mut std::io::stdout().lock()), ())
}
