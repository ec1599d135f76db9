//! What one disk sync costs here: the floor below every sync flush.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::latency::Latencies;

const SYNCS: u64 = 200;
const BLOCK: [u8; 4096] = [7; 4096];

/// Times `fdatasync` after each of 200 writes of 4 KiB into a preallocated file of `dir`.
///
/// # Errors
/// The file can't be written.
pub fn sync_times(dir: &Path) -> Result<Latencies> {
    let path = dir.join("sync-times");
    let context = || path.display().to_string();
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&path)
        .with_context(context)?;
    for block in 0..SYNCS {
        file.write_all_at(&BLOCK, block * BLOCK.len() as u64)
            .with_context(context)?;
    }
    file.sync_all().with_context(context)?;
    let mut times = Latencies::default();
    for block in 0..SYNCS {
        file.write_all_at(&BLOCK, block * BLOCK.len() as u64)
            .with_context(context)?;
        let began = Instant::now();
        file.sync_data().with_context(context)?;
        times.note(began.elapsed());
    }
    std::fs::remove_file(&path).with_context(context)?;
    Ok(times)
}
