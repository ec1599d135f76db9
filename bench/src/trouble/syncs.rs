//! A disk that is slow to sync because others have it sync all the time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow, ensure};

use crate::latency::Latencies;

const THREADS: usize = 4;
/// Bytes that are written before each sync.
const PIECE: usize = 256 << 10;
/// Pieces of a file, which is written from its start again after them.
const PIECES: u64 = 256;

/// Writes and syncs in several threads until it is over; what it did.
///
/// # Errors
/// Files can't be written, or nothing was synced.
pub fn hammer(dir: &Path, over: &AtomicBool, begun: impl FnOnce()) -> Result<String> {
    let files = (0..THREADS).map(|_| prepared(dir));
    let files: Vec<File> = files.collect::<Result<_>>()?;
    begun();
    let mut all = Latencies::default();
    thread::scope(|scope| {
        let threads: Vec<_> = files
            .iter()
            .map(|file| scope.spawn(|| sync_again_and_again(file, over)))
            .collect();
        for thread in threads {
            let times = thread
                .join()
                .map_err(|_| anyhow!("a syncing thread panicked"));
            all.join(&times??);
        }
        anyhow::Ok(())
    })?;
    ensure!(all.count() > 0, "nothing was synced");
    Ok(format!(
        "{} syncs of {} KiB, p50 {} us",
        all.count(),
        PIECE >> 10,
        all.at(0.5)
    ))
}

/// Has its blocks, so that a sync writes data alone.
fn prepared(dir: &Path) -> Result<File> {
    let file = tempfile::tempfile_in(dir)?;
    for piece in 0..PIECES {
        file.write_all_at(&vec![0; PIECE], piece * PIECE as u64)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn sync_again_and_again(file: &File, over: &AtomicBool) -> Result<Latencies> {
    let (mut times, bytes) = (Latencies::default(), vec![7; PIECE]);
    for piece in (0..PIECES).cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        file.write_all_at(&bytes, piece * PIECE as u64)?;
        let began = std::time::Instant::now();
        file.sync_data()?;
        times.note(began.elapsed());
    }
    Ok(times)
}
