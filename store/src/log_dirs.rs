//! Where files of the commit log lie: one directory, or several on several disks.

use std::path::{Path, PathBuf};

use crate::files::FileSystem;

/// The directories of a commit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirs {
    /// New files are made here, in turn; sorted, at least one.
    writable: Vec<PathBuf>,
    /// Files that are here already are read.
    read_only: Vec<PathBuf>,
    /// Percent of a disk in use from which the others take its turn.
    full_percent: u8,
}

impl LogDirs {
    /// From `storePathCommitLog` and `readOnlyCommitLogStorePaths`: a directory in both is read only. With
    /// none left, `otherwise` is the one.
    pub fn new(
        store_path: Option<&Path>,
        read_only: Option<&Path>,
        otherwise: PathBuf,
        full_percent: u8,
    ) -> LogDirs {
        let read_only = read_only.map(paths).unwrap_or_default();
        let mut writable = store_path.map(paths).unwrap_or_default();
        writable.retain(|path| !read_only.contains(path));
        if writable.is_empty() {
            writable.push(otherwise);
        }
        LogDirs {
            writable,
            read_only,
            full_percent,
        }
    }

    /// The first of those in which files are made.
    pub fn first(&self) -> &Path {
        &self.writable[0]
    }

    /// Those in which files are made.
    pub fn writable(&self) -> &[PathBuf] {
        &self.writable
    }

    /// Those that are only read.
    pub fn read_only(&self) -> &[PathBuf] {
        &self.read_only
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.writable.iter().chain(&self.read_only)
    }

    /// Where the file with the index `number` is made, as Java takes turns: by its number, passing over
    /// full disks as long as one is not.
    pub(crate) fn turn(&self, number: usize, files: &dyn FileSystem) -> &Path {
        let has_room = |dir: &&PathBuf| {
            let space = files.space(dir);
            space.map_or(true, |space| space.used_percent() <= self.full_percent)
        };
        let mut dirs: Vec<&PathBuf> = self.writable.iter().collect();
        if dirs.len() > 1 {
            dirs.retain(has_room);
        }
        match dirs.len() {
            0 => &self.writable[number % self.writable.len()],
            count => dirs[number % count],
        }
    }
}

/// Java's list: `,` between directories, or `:` as its old versions had it, where each part is a path from
/// the root.
fn paths(text: &Path) -> Vec<PathBuf> {
    let whole = text.to_string_lossy();
    let colons = whole.contains(':') && whole.split(':').all(|part| part.trim().starts_with('/'));
    let separator = if colons && !whole.contains(',') {
        ':'
    } else {
        ','
    };
    let parts = whole.split(separator).map(str::trim);
    // By their names, as Java sorts them, so that both take the same turns; without what only looks
    // different, a `/` at the end.
    let mut paths: Vec<PathBuf> = parts
        .filter(|part| !part.is_empty())
        .map(|part| Path::new(part).components().collect())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writable(text: &str) -> Vec<PathBuf> {
        let otherwise = PathBuf::from("/store/commitlog");
        let dirs = LogDirs::new(Some(Path::new(text)), None, otherwise, 85);
        dirs.writable().to_vec()
    }

    #[test]
    fn lists_are_read_as_java_reads_them() {
        assert_eq!(writable("/b, /a/,/b"), ["/a", "/b"].map(PathBuf::from));
        assert_eq!(writable("/b:/a"), ["/a", "/b"].map(PathBuf::from));
        assert_eq!(writable("/a:b"), [PathBuf::from("/a:b")]);
        assert_eq!(writable(r"D:\log"), [PathBuf::from(r"D:\log")]);
        assert_eq!(writable(","), [PathBuf::from("/store/commitlog")]);
    }

    #[test]
    fn what_is_read_only_takes_no_turns() {
        let both = LogDirs::new(
            Some(Path::new("/a,/b")),
            Some(Path::new("/a,/old")),
            PathBuf::from("/c"),
            85,
        );
        assert_eq!(both.writable(), [PathBuf::from("/b")]);
        let all: Vec<_> = both.all().collect();
        assert_eq!(all, ["/b", "/a", "/old"].map(Path::new));
    }
}
