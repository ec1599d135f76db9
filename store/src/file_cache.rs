//! A bounded number of open consume queue and index files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{At, StoreError};
use crate::files::{File, FileSystem, Open};

type Used = (u64, Arc<dyn File>);

pub(crate) struct FileCache {
    pub(crate) files: Arc<dyn FileSystem>,
    limit: usize,
    /// A count of uses, and each open file with the count at its last use.
    open: Mutex<(u64, HashMap<PathBuf, Used>)>,
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
        open.0 += 1;
        let now = open.0;
        if let Some((used, file)) = open.1.get_mut(path) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = self.files.open(path, how)?;
        if open.1.len() >= self.limit {
            let mut times: Vec<u64> = open.1.values().map(|(used, _)| *used).collect();
            times.sort_unstable();
            // A quarter at once, so that the sort is paid rarely.
            let bound = times[times.len() / 4];
            open.1.retain(|_, (used, _)| *used > bound);
        }
        open.1.insert(path.to_owned(), (now, Arc::clone(&file)));
        Ok(file)
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
        self.open
            .lock()
            .1
            .retain(|path, _| !path.starts_with(below));
    }
}
