//! Whether a file is the operator's: nobody else may have written it or put it there.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path};

use crate::error::PluginError;
use crate::native;

/// Largest library, bytes: it is read whole to be hashed.
const SIZE_MAX: u64 = 256 << 20;
/// Writable by the group or by everybody.
const OTHERS_WRITE: u32 = 0o022;

/// The content of a file of that name in a directory of the operator's.
///
/// # Errors
/// It lies elsewhere, is no plain file, or somebody else than root and this process's user owns it or
/// its directory or may write there.
pub(crate) fn read(directory: &Path, name: &str) -> Result<Vec<u8>, PluginError> {
    let mut parts = Path::new(name).components();
    let plain = matches!(parts.next(), Some(Component::Normal(only)) if only == name);
    if !plain {
        return Err(PluginError::Setting(format!(
            "{name:?} is no name of a file in {}: libraries are loaded from nowhere else",
            directory.display()
        )));
    }
    let path = directory.join(name);
    let failed = |path: &Path, error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => untrusted(path, "is not there"),
        _ => PluginError::File {
            path: path.to_owned(),
            source: error,
        },
    };
    let about = fs::symlink_metadata(directory).map_err(|error| failed(directory, error))?;
    if !about.is_dir() {
        return Err(untrusted(directory, "is no directory"));
    }
    check(directory, &about)?;
    // Waiting for a pipe's other end would last.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path);
    let file: File = match opened {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(untrusted(&path, "is a link; put the library itself there"));
        }
        opened => opened.map_err(|error| failed(&path, error))?,
    };
    // Of the open file: what is checked is what is read.
    let about = file.metadata().map_err(|error| failed(&path, error))?;
    if !about.is_file() {
        return Err(untrusted(&path, "is no file"));
    }
    check(&path, &about)?;
    if about.len() > SIZE_MAX {
        return Err(untrusted(&path, "is larger than 256 MiB"));
    }
    let mut content = Vec::with_capacity(about.len() as usize);
    file.take(SIZE_MAX)
        .read_to_end(&mut content)
        .map_err(|error| failed(&path, error))?;
    Ok(content)
}

fn check(path: &Path, about: &Metadata) -> Result<(), PluginError> {
    let (owner, user) = (about.uid(), native::user());
    if owner != user && owner != 0 {
        return Err(untrusted(
            path,
            &format!(
                "belongs to user {owner}; only root's and those of user {user}, as whom the broker runs, are loaded"
            ),
        ));
    }
    let mode = about.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        return Err(untrusted(
            path,
            &format!("may be written by others than its owner (mode {mode:o}): chmod go-w"),
        ));
    }
    Ok(())
}

fn untrusted(path: &Path, what: &str) -> PluginError {
    PluginError::Setting(format!("{} {what}", path.display()))
}
