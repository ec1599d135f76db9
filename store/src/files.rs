//! The file seam: everything the store does to a disk goes through these two traits.

mod simulated;
mod system;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

pub use simulated::{Fault, SimulatedFiles};
pub use system::SystemFiles;

/// One open file; all access is positional.
pub trait File: Send + Sync {
    /// Reads exactly `buffer.len()` bytes.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Reads as [`File::read_at`] does if that waits for no disk; `false`, and nothing can be said of
    /// the buffer, when it would or when the system can't tell.
    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        self.read_at(offset, buffer).map(|()| true)
    }
    /// Writes all of `bytes`; on an error any part of them may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far durable. After an error nothing is known.
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Behind the last byte at or behind `offset` that can be other than zero, as far as is known
    /// without reading; `offset` if there is none.
    fn data_end(&self, offset: u64) -> io::Result<u64> {
        Ok(self.len()?.max(offset))
    }
    /// The first byte at or behind `offset` that can be other than zero, as far as is known without
    /// reading.
    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset).filter(|_| self.len().is_ok_and(|len| offset < len)))
    }
    /// Whether [`File::slice`] of these bytes can be read without waiting for a disk, as far as the system
    /// tells.
    fn is_cached(&self, offset: u64, size: usize) -> bool {
        let _ = (offset, size);
        true
    }
    /// A part of the file that costs no copy where the file is mapped.
    fn slice(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; size];
        self.read_at(offset, &mut buffer)?;
        Ok(buffer.into())
    }
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must exist.
    Existing,
    /// Make it, of this length and sparse, if it is missing; it is durable then.
    Sparse(u64),
    /// Make it with real blocks if it is missing, durable as well; mapped for reading where the system can.
    Log(u64),
    /// Make it anew and empty, in place of what has its name. Nothing of it is durable before its own sync, its
    /// name not before its directory's.
    Draft,
}

/// A directory's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name within the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for directories.
    pub size: u64,
}

/// Room on a disk, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Used plus usable.
    pub total: u64,
    /// Usable by this process.
    pub free: u64,
}

impl Space {
    /// Used share in percent, rounded up, as Java computes it.
    pub fn used_percent(&self) -> u8 {
        if self.total == 0 {
            return 0;
        }
        (self.total - self.free.min(self.total))
            .saturating_mul(100)
            .div_ceil(self.total) as u8
    }
}

/// Keeps a directory locked while it lives.
pub trait LockGuard: Send + Sync {}

/// Directories and files. Making, renaming and removing are durable after [`FileSystem::sync_dir`].
pub trait FileSystem: Send + Sync {
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// Entries of a directory, sorted by name; a missing directory has none.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> bool;
    /// Makes a directory and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and what is in it; a missing one is no error.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Renames within one directory, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name within its directory, in place of what has that. An error where the system has
    /// no such links, or the file has another name already: it could be changed under that.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;
    /// Makes a directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes Java's lock on the file (bytes 0..1); `WouldBlock` when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;
    /// Room on the disk that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Lengths of all files below a directory, whatever of them is on the disk.
    fn size_below(&self, dir: &Path) -> io::Result<u64> {
        let mut size = 0;
        for entry in self.list(dir)? {
            size += match entry.is_dir {
                true => self.size_below(&dir.join(&entry.name))?,
                false => entry.size,
            };
        }
        Ok(size)
    }

    /// Whole content of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Existing)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces a small file so that after any crash the old or the new content is there whole;
    /// the previous content stays as `<file>.bak`, as Java keeps it. The two are never one file under two
    /// names: Java writes into the `.bak` that is there.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.create_dir_all(dir)?;
        let (new, old) = (suffixed(path, ".tmp"), suffixed(path, ".bak.tmp"));
        self.write_draft(&new, bytes)?;
        let replaces = self.exists(path);
        if replaces && self.link(path, &old).is_err() {
            self.write_draft(&old, &self.read(path)?)?;
        }
        self.rename(&new, path)?;
        if replaces && let Err(error) = self.rename(&old, &suffixed(path, ".bak")) {
            tracing::warn!(path = %path.display(), %error, "the previous content was not kept as a backup");
        }
        self.sync_dir(dir)
    }

    /// Writes a temporary file, syncs it and renames it over `path`.
    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = suffixed(path, ".tmp");
        self.write_draft(&temporary, bytes)?;
        self.rename(&temporary, path)
    }

    /// Writes a file anew and syncs it; its name is not durable yet.
    fn write_draft(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(path, Open::Draft)?;
        file.write_at(0, bytes)?;
        file.sync()
    }
}

fn suffixed(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A file that only grows, for small journals.
pub struct Journal {
    file: Arc<dyn File>,
    end: Mutex<u64>,
}

impl Journal {
    /// Begins an empty one at `path`, in place of what is there, see [`Open::Draft`].
    pub fn begin(files: &dyn FileSystem, path: &Path) -> io::Result<Self> {
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        files.create_dir_all(dir)?;
        let file = files.open(path, Open::Draft)?;
        let end = Mutex::new(0);
        Ok(Journal { file, end })
    }
    /// Adds bytes at the end.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut end = self.end.lock();
        self.file.write_at(*end, bytes)?;
        *end += bytes.len() as u64;
        Ok(())
    }
    /// Makes what was appended durable.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        *self.end.lock()
    }
    /// Whether nothing was ever appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Which of the changing calls of a replacement links the old content.
    const LINK: u64 = 4;

    fn contents(files: &dyn FileSystem, path: &Path) -> [Option<Vec<u8>>; 2] {
        [path.to_owned(), suffixed(path, ".bak")].map(|path| files.read(&path).ok())
    }

    fn both(now: &[u8], before: &[u8]) -> [Option<Vec<u8>>; 2] {
        [Some(now.to_vec()), Some(before.to_vec())]
    }

    #[test]
    fn a_replaced_file_stays_as_its_backup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/topics.json");
        let systems: [&dyn FileSystem; 2] = [&SystemFiles, &SimulatedFiles::new()];
        for files in systems {
            files.replace(&path, b"one").unwrap();
            assert_eq!(contents(files, &path), [Some(b"one".to_vec()), None]);
            files.replace(&path, b"two").unwrap();
            assert_eq!(contents(files, &path), both(b"two", b"one"));
            // Killed before the old content had its name.
            files.link(&path, &suffixed(&path, ".bak.tmp")).unwrap();
            files.replace(&path, b"three").unwrap();
            assert_eq!(contents(files, &path), both(b"three", b"two"));
            files.replace(&path, b"4").unwrap();
            assert_eq!(contents(files, &path), both(b"4", b"three"));
        }
    }

    #[test]
    fn where_links_fail_the_backup_is_a_copy() {
        let files = SimulatedFiles::new();
        let path = PathBuf::from("/config/topics.json");
        files.replace(&path, b"one").unwrap();
        files.fail_at(LINK, Fault::Io);
        files.replace(&path, b"two").unwrap();
        assert_eq!(contents(&files, &path), both(b"two", b"one"));
    }

    #[test]
    fn who_has_given_a_file_another_name_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("master"), b"one").unwrap();
        std::fs::hard_link(file("master"), file("linked.json")).unwrap();
        std::os::unix::fs::symlink("master", file("symlinked.json")).unwrap();
        for name in ["linked.json", "symlinked.json"] {
            SystemFiles.replace(&file(name), b"two").unwrap();
            assert_eq!(contents(&SystemFiles, &file(name)), both(b"two", b"one"));
            // As Java does.
            std::fs::write(file(&format!("{name}.bak")), b"three").unwrap();
        }
        assert_eq!(std::fs::read(file("master")).unwrap(), b"one");
    }

    #[test]
    fn a_power_loss_leaves_the_old_content_or_the_new_one() {
        let path = PathBuf::from("/config/topics.json");
        let texts: Vec<Vec<u8>> = (1..5).map(|at| vec![at; 700 * usize::from(at)]).collect();
        for seed in 0..2_000 {
            let files = SimulatedFiles::new();
            let done = (seed % 4) as usize;
            for text in &texts[..done] {
                files.replace(&path, text).unwrap();
            }
            files.fail_at(1 + seed / 4 % 10, Fault::PowerOff);
            let last = files.replace(&path, &texts[done]).is_ok();
            files.lose_power(seed);
            let [now, before] = contents(&files, &path);
            let (old, new) = (done.checked_sub(1), Some(done));
            let known = |text: Option<Vec<u8>>| {
                text.map(|text| texts.iter().position(|one| *one == text).expect("whole"))
            };
            let now = known(now);
            assert!(now == new || now == old && !last, "{seed}: {now:?}, {last}");
            let before = known(before);
            // Two contents ago if the power went between the two names.
            let allowed = [old, done.checked_sub(2)];
            assert!(allowed.contains(&before), "{seed}: {before:?} of {done}");
            files.replace(&path, b"again").unwrap();
        }
    }
}
