//! What the kernel keeps of files.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes all files below a directory to the disk and has the kernel forget them, but for pages that a process
/// has mapped and touched.
///
/// # Errors
/// A file can't be read or synced.
pub fn forget(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            forget_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn forget_file(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    // SAFETY: the descriptor is open; no memory is handed over.
    let error = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
