//! `sluice timer`: messages that wait for their delivery time.

use anyhow::Result;
use sluice_admin::args::Timer;

use crate::plugin::unless_nobody_reads;

/// Carries out `sluice timer ...`.
pub fn run(timer: Timer) -> Result<()> {
    unless_nobody_reads(
        sluice_admin::timer(timer, &mut std::io::stdout().lock()),
        (),
    )
}
