//! The machine's own files.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use super::{Entry, File, FileSystem, LockGuard, Open, Space};

/// The operating system's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemFiles;

struct SystemFile {
    file: fs::File,
    /// Commit log files are mapped for reading; writes are positional, so a full disk is an error.
    map: Option<Bytes>,
}

impl File for SystemFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
    #[cfg(target_os = "linux")]
    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        let part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        let (file, offset) = (self.file.as_raw_fd(), offset as libc::off_t);
        // SAFETY: the one part is a living buffer of the length it says, lent to this call alone, and
        // the descriptor is open.
        let read = unsafe { libc::preadv2(file, &part, 1, offset, libc::RWF_NOWAIT) };
        // A page that is not there, a file system that can't tell, the file's end: all the same here.
        Ok(usize::try_from(read).is_ok_and(|read| read == buffer.len()))
    }
    #[cfg(not(target_os = "linux"))]
    fn read_cached_at(&self, _offset: u64, _buffer: &mut [u8]) -> io::Result<bool> {
        Ok(false)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
    fn data_end(&self, offset: u64) -> io::Result<u64> {
        let (mut end, mut at) = (offset, offset);
        // Allocated blocks that were never written count as holes.
        while let Some(data) = seek(&self.file, at, libc::SEEK_DATA)? {
            at = seek(&self.file, data, libc::SEEK_HOLE)?.unwrap_or(data + 1);
            end = at;
        }
        Ok(end)
    }
    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        seek(&self.file, offset, libc::SEEK_DATA)
    }
    fn is_cached(&self, offset: u64, size: usize) -> bool {
        let map = self.map.as_ref();
        map.is_some_and(|map| is_resident(map, offset as usize, size))
    }
    fn slice(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        let start = offset as usize;
        match &self.map {
            Some(map) if start.checked_add(size).is_some_and(|end| end <= map.len()) => {
                Ok(map.slice(start..start + size))
            }
            _ => {
                let mut buffer = vec![0; size];
                self.read_at(offset, &mut buffer)?;
                Ok(buffer.into())
            }
        }
    }
}

/// Most pages that are asked about.
const PAGES_MAX: usize = 128;

/// Whether all pages of a part of a map are in memory; no for more than [`PAGES_MAX`].
fn is_resident(map: &[u8], start: usize, size: usize) -> bool {
    // SAFETY: sysconf only reads system values.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).unwrap_or(4096);
    let Some(end) = start.checked_add(size).filter(|end| *end <= map.len()) else {
        return false;
    };
    let first = start - start % page;
    let pages = (end - first).div_ceil(page);
    let mut states = [0_u8; PAGES_MAX];
    if pages > states.len() {
        return false;
    }
    // SAFETY: the address lies in the map and on a page's start, for the map itself does; the length ends in
    // the page that the map ends in; there is a byte for each page.
    let asked = unsafe {
        let address = map.as_ptr().add(first).cast_mut().cast();
        libc::mincore(address, end - first, states.as_mut_ptr().cast())
    };
    asked == 0 && states[..pages].iter().all(|state| state & 1 == 1)
}

/// Next position of a kind; `None` when there is none up to the file's end.
fn seek(file: &fs::File, from: u64, whence: libc::c_int) -> io::Result<Option<u64>> {
    // SAFETY: the descriptor is open; all reads and writes are positional, so moving is harmless.
    let found = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, whence) };
    if found >= 0 {
        return Ok(Some(found as u64));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENXIO) => Ok(None),
        _ => Err(error),
    }
}

struct Lock(#[allow(dead_code, reason = "closing the file releases the lock")] fs::File);
impl LockGuard for Lock {}

fn allocate(file: &fs::File, size: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size as libc::off_t) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// What had the name may have another one and stays as it is.
fn create_draft(path: &Path) -> io::Result<fs::File> {
    remove_if_there(path)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).open(path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn create(path: &Path, how: Open) -> io::Result<fs::File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let sized = match how {
        Open::Log(size) => allocate(&file, size),
        Open::Sparse(size) => file.set_len(size),
        Open::Existing | Open::Draft => Ok(()),
    };
    let durable = sized.and_then(|()| file.sync_all()).and_then(|()| {
        path.parent()
            .map_or(Ok(()), |dir| SystemFiles.sync_dir(dir))
    });
    if let Err(error) = durable {
        // A file of the wrong size would keep Java from starting, and one whose directory entry
        // may vanish in a power loss must not be found by the next try.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(file)
}

impl FileSystem for SystemFiles {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if how == Open::Draft {
            let file = create_draft(path)?;
            return Ok(Arc::new(SystemFile { file, map: None }));
        }
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && how != Open::Existing => {
                create(path, how)?
            }
            other => other?,
        };
        let map = match how {
            // SAFETY: the file is only ever unlinked, never shortened. While others append, only bytes below
            // the written offset are read through the map, where nothing is written again; a start, which
            // reads beyond, is alone.
            Open::Log(_) => Some(Bytes::from_owner(unsafe { Mmap::map(&file)? })),
            _ => None,
        };
        Ok(Arc::new(SystemFile { file, map }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let read = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut entries = Vec::new();
        for entry in read {
            let entry = entry?;
            let meta = entry.metadata()?;
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry {
                name,
                is_dir: meta.is_dir(),
                size,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().filter(|dir| !dir.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_dir_all(parent)?;
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        parent.map_or(Ok(()), |parent| self.sync_dir(parent))
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(file)?;
        if !meta.is_file() || meta.nlink() != 1 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        remove_if_there(name)?;
        fs::hard_link(file, name)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // SAFETY: flock is plain integers; zeroes are valid.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = libc::F_WRLCK as _;
        range.l_whence = libc::SEEK_SET as _;
        range.l_len = 1;
        // SAFETY: the descriptor is open and `range` outlives the call.
        // Java locks with a process-wide POSIX lock, which an OFD lock of ours conflicts with.
        let code = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &range) };
        if code != 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if file.metadata()?.len() < 4 {
            file.write_all_at(b"lock", 0)?;
        }
        Ok(Box::new(Lock(file)))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: statvfs is plain integers; zeroes are valid.
        let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are valid for the call.
        if unsafe { libc::statvfs(path.as_ptr(), &mut stat) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let block = stat.f_frsize as u64;
        let used = (stat.f_blocks as u64).saturating_sub(stat.f_bfree as u64) * block;
        let free = stat.f_bavail as u64 * block;
        Ok(Space {
            total: used + free,
            free,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_just_written_are_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let log = SystemFiles
            .open(&dir.path().join("log"), Open::Log(2 << 20))
            .unwrap();
        log.write_at(4_000, &[7; 9_000]).unwrap();
        assert!(log.is_cached(4_000, 9_000));
        assert!(log.is_cached(4_001, 1));
        assert!(!log.is_cached(0, 1 << 20), "too many pages to ask about");
        assert!(!log.is_cached((2 << 20) - 10, 20), "over the end");
        let queue = SystemFiles
            .open(&dir.path().join("queue"), Open::Sparse(100))
            .unwrap();
        assert!(!queue.is_cached(0, 10), "not mapped");
    }
}
