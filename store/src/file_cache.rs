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
    files: HashMap<PathBuf, (u64, Arc<dyn File>)>,
}

impl Opened {
    fn find(&mut self, path: &Path) -> Option<Arc<dyn File>> {
        self.uses += 1;
        let (used, file) = self.files.get_mut(path)?;
        *used = self.uses;
        Some(Arc::clone(file))
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

    pub(crate) fn get(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut open = self.open.lock();
        if let Some(file) = open.find(path) {
            return Ok(file);
        }
        let file = self.files.open(path, how)?;
        if open.files.len() >= self.limit {
            let mut times: Vec<u64> = open.files.values().map(|(used, _)| *used).collect();
            times.sort_unstable();
            // A quarter at once, so that the sort is paid rarely.
            let bound = times[times.len() / 4];
            open.files.retain(|_, (used, _)| *used > bound);
        }
        let used = open.uses;
        open.files
            .insert(path.to_owned(), (used, Arc::clone(&file)));
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

    /// Removes a directory with what is in it, for good: a power loss must not bring it back.
    pub(crate) fn remove_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.forget(dir);
        self.files.remove_dir_all(dir).at("remove", dir)?;
        match dir.parent().filter(|parent| self.files.exists(parent)) {
            Some(parent) => self.files.sync_dir(parent).at("sync", parent),
            None => Ok(()),
        }
    }

    pub(crate) fn forget(&self, below: &Path) {
        let mut open = self.open.lock();
        open.files.retain(|path, _| !path.starts_with(below));
    }
}
