//! A bounded number of open consume queue and index files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{At, StoreError};
use crate::files::{File, FileSystem, Open};

/// Files with the count of uses at their last.
#[derive(Default)]
struct Opened {
    uses: u64,
    /// How often files were forgotten: one that was opened before may be gone.
    forgotten: u64,
    files: HashMap<PathBuf, (u64, Arc<dyn File>)>,
}

impl Opened {
    fn find(&mut self, path: &Path) -> Option<Arc<dyn File>> {
        self.uses += 1;
        let (used, file) = self.files.get_mut(path)?;
        *used = self.uses;
        Some(Arc::clone(file))
    }

    fn keep(&mut self, path: &Path, file: &Arc<dyn File>, limit: usize) {
        if self.files.len() >= limit {
            self.shed();
        }
        let kept = (self.uses, Arc::clone(file));
        self.files.insert(path.to_owned(), kept);
    }

    /// Closes the quarter that was not used for longest: at once, so that the sort is paid rarely.
    fn shed(&mut self) {
        let mut times: Vec<u64> = self.files.values().map(|(used, _)| *used).collect();
        times.sort_unstable();
        let bound = times[times.len() / 4];
        self.files.retain(|_, (used, _)| *used > bound);
    }
}

pub(crate) struct FileCache {
    pub(crate) files: Arc<dyn FileSystem>,
    limit: usize,
    open: Mutex<Opened>,
}

impl FileCache {
    pub(crate) fn new(files: Arc<dyn FileSystem>, limit: usize) -> Self {
        FileCache {
            files,
            limit: limit.max(8),
            open: Mutex::default(),
        }
    }

    /// The file, opened if it is not. Making one waits for the disk, and holds up nobody who wants another.
    pub(crate) fn get(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let forgotten = {
            let mut open = self.open.lock();
            if let Some(file) = open.find(path) {
                return Ok(file);
            }
            open.forgotten
        };
        let file = self.files.open(path, how)?;
        let mut open = self.open.lock();
        if let Some(theirs) = open.find(path) {
            return Ok(theirs);
        }
        if open.forgotten == forgotten {
            open.keep(path, &file, self.limit);
        }
        Ok(file)
    }

    /// Syncs files that are there, opening those that are not open.
    pub(crate) fn sync(&self, paths: impl Iterator<Item = PathBuf>) -> Result<(), StoreError> {
        for path in paths {
            let file = self.get(&path, Open::Existing).at("open", &path)?;
            file.sync().at("sync", &path)?;
        }
        Ok(())
    }

    /// A file that is open already: opening one may wait for a disk.
    pub(crate) fn get_open(&self, path: &Path) -> Option<Arc<dyn File>> {
        self.open.lock().find(path)
    }

    /// Removes a file; its directory is not synced yet.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), StoreError> {
        let removed = self.files.remove_file(path).at("remove", path);
        self.forget(path);
        removed
    }

    /// Removes a directory with what is in it, for good: a power loss must not bring it back.
    pub(crate) fn remove_dir(&self, dir: &Path) -> Result<(), StoreError> {
        let removed = self.files.remove_dir_all(dir).at("remove", dir);
        self.forget(dir);
        removed?;
        match dir.parent().filter(|parent| self.files.exists(parent)) {
            Some(parent) => self.files.sync_dir(parent).at("sync", parent),
            None => Ok(()),
        }
    }

    /// Closes a file, or all below a directory. Call it when they are removed: one that is opened meanwhile by
    /// another thread is not kept then.
    pub(crate) fn forget(&self, below: &Path) {
        let mut open = self.open.lock();
        open.forgotten += 1;
        let removed = open.files.extract_if(|path, _| path.starts_with(below));
        let removed: Vec<_> = removed.collect();
        drop(open);
        // The last handle of a removed file frees its blocks, which may wait for the disk: nobody else does.
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SimulatedFiles;

    #[test]
    fn who_waits_for_a_new_file_holds_up_nobody() {
        let files = SimulatedFiles::new();
        let cache = FileCache::new(Arc::new(files.clone()), 100);
        let (old, new) = (Path::new("/q/old/0"), Path::new("/q/new/0"));
        cache.get(old, Open::Sparse(20)).unwrap();
        files.hold_syncs(new.parent());
        std::thread::scope(|scope| {
            let making = scope.spawn(|| cache.get(new, Open::Sparse(20)).map(drop));
            while files.syncs_held() == 0 && !making.is_finished() {
                std::thread::yield_now();
            }
            let (tell, told) = std::sync::mpsc::channel();
            let cache = &cache;
            scope.spawn(move || {
                cache.get(old, Open::Existing).unwrap();
                // What is being made is not kept: it may be gone already.
                cache.forget(Path::new("/q/new"));
                tell.send(cache.get_open(old).is_some())
            });
            let found = told.recv_timeout(std::time::Duration::from_secs(30));
            files.hold_syncs(None);
            assert_eq!(found, Ok(true));
            making.join().unwrap().unwrap();
        });
        assert!(cache.get_open(new).is_none());
        cache.get(new, Open::Existing).unwrap();
        assert!(cache.get_open(new).is_some());
    }
}
