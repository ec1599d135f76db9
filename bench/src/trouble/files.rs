//! Files of the store that are full soon, so that new ones are made all the time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Trouble;
use super::kinds::Lasting;
use crate::subjects::Subject;

/// At 5,000 messages a second of 1 KB one is full in less than a second.
pub const SMALL_LOG_FILES: &str = "mappedFileSizeCommitLog=4194304\n";
/// Every message has a unique key, which is indexed.
pub const SMALL_INDEX_FILES: &str = "maxHashSlotNum=5000\nmaxIndexNum=5000\n";

/// The files of a directory, all that have been there.
pub struct Files {
    dir: PathBuf,
    before: BTreeSet<String>,
}

impl Files {
    /// From now on.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn of(dir: PathBuf) -> Result<Files> {
        let before = names(&dir)?;
        Ok(Files { dir, before })
    }

    /// How many have been made since; files that have come and gone are not seen.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn made(&self) -> Result<usize> {
        Ok(names(&self.dir)?.difference(&self.before).count())
    }
}

/// Names of the files of a directory; none if it is not there yet.
pub fn names(dir: &Path) -> Result<BTreeSet<String>> {
    let context = || dir.display().to_string();
    if !dir.exists() {
        return Ok(BTreeSet::new());
    }
    let entries = std::fs::read_dir(dir).with_context(context)?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// New files of the commit log.
pub fn commit_log(_: &Trouble, subject: &mut Subject) -> Result<Box<dyn Lasting>> {
    let files = Files::of(subject.cluster()?.broker.store().join("commitlog"))?;
    Ok(Box::new(files))
}

/// New index files.
pub fn index(_: &Trouble, subject: &mut Subject) -> Result<Box<dyn Lasting>> {
    let files = Files::of(subject.cluster()?.broker.store().join("index"))?;
    Ok(Box::new(files))
}

impl Lasting for Files {
    fn end(self: Box<Self>) -> Result<String> {
        let made = self.made()?;
        ensure!(made > 1, "{made} files made in {}", self.dir.display());
        Ok(format!("{made} files made"))
    }
}
