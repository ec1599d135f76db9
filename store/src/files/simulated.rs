//! Files in memory, with power losses and faults that follow from a seed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Entry, File, FileSystem, LockGuard, Open, Space};

const SECTOR: usize = 512;

/// What goes wrong at a chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with EIO and does nothing.
    Io,
    /// The call fails with ENOSPC and does nothing.
    NoSpace,
    /// A write stops half-way, then fails with EIO.
    ShortWrite,
    /// This and every later call fails, until [`SimulatedFiles::lose_power`].
    PowerOff,
}

#[derive(Default)]
struct Content {
    written: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors whose written image may differ from the durable one.
    dirty: BTreeSet<usize>,
}

type Node = Arc<Mutex<Content>>;

/// A change of the name space that is not durable yet.
enum Change {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    UnlinkTree(PathBuf),
}

impl Change {
    /// Whether syncing the directory makes it durable. A directory made anew is not durable
    /// before the removal of the one it replaces.
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Change::Link(path, _) | Change::Unlink(path) | Change::Rename(path, _) => {
                path.parent() == Some(dir)
            }
            Change::UnlinkTree(path) => path.parent() == Some(dir) || dir.starts_with(path),
        }
    }
    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Link(path, node) => {
                names.insert(path, node);
            }
            Change::Unlink(path) => {
                names.remove(&path);
            }
            Change::UnlinkTree(dir) => names.retain(|path, _| !path.starts_with(&dir)),
            Change::Rename(from, to) => {
                if let Some(node) = names.remove(&from) {
                    names.insert(to, node);
                }
            }
        }
    }
}

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    changes: Vec<Change>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    generation: u64,
    space: Option<Space>,
    spaces: BTreeMap<PathBuf, Space>,
    unreadable: Option<PathBuf>,
    stuck: Option<PathBuf>,
    syncs_held: usize,
}

/// Files that keep apart what was written and what would survive a power loss. With no fault set
/// it is a plain in-memory file system.
#[derive(Clone, Default)]
pub struct SimulatedFiles(Arc<Mutex<State>>);

impl SimulatedFiles {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `calls_from_now`-th changing call (write, sync, make, remove, rename) go wrong.
    pub fn fail_at(&self, calls_from_now: u64, fault: Fault) {
        let mut state = self.0.lock();
        state.fault = Some((state.calls + calls_from_now, fault));
    }

    /// Changing calls so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// What a disk mounted at `dir` has room for.
    pub fn set_space_of(&self, dir: &Path, space: Space) {
        self.0.lock().spaces.insert(dir.to_owned(), space);
    }

    /// Sets what [`FileSystem::space`] answers.
    pub fn set_space(&self, space: Space) {
        self.0.lock().space = Some(space);
    }

    /// Lets every read of a file below `dir` fail with EIO, until called with `None`.
    pub fn fail_reads(&self, dir: Option<&Path>) {
        self.0.lock().unreadable = dir.map(Path::to_owned);
    }

    /// Lets every sync of a file below `dir`, and the making of one, wait, as on a disk that is stuck, until
    /// called with `None`.
    pub fn hold_syncs(&self, dir: Option<&Path>) {
        self.0.lock().stuck = dir.map(Path::to_owned);
    }

    /// Syncs that wait now.
    pub fn syncs_held(&self) -> usize {
        self.0.lock().syncs_held
    }

    /// The same names and contents, synced or not, independent from here on.
    pub fn copy(&self) -> Self {
        let state = self.0.lock();
        let names = anew(&state.names, |content| Content {
            durable: content.written.clone(),
            written: content.written.clone(),
            dirty: BTreeSet::new(),
        });
        SimulatedFiles(Arc::new(Mutex::new(State {
            durable_names: names.clone(),
            names,
            dirs: state.dirs.clone(),
            ..State::default()
        })))
    }

    /// Kills the process: what was written stays as it is, synced or not, and handles opened
    /// before are dead.
    pub fn kill_process(&self) {
        let mut state = self.0.lock();
        state.locks.clear();
        state.fault = None;
        state.generation += 1;
    }

    /// Cuts the power: every unsynced 512-byte sector is by `seed` lost, kept or torn, unsynced
    /// name changes survive up to a random point, and handles opened before are dead.
    pub fn lose_power(&self, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut state = self.0.lock();
        let changes = std::mem::take(&mut state.changes);
        let kept = rng.random_range(0..=changes.len());
        for change in changes.into_iter().take(kept) {
            change.apply(&mut state.durable_names);
        }
        state.durable_names = anew(&state.durable_names, |content| survive(content, &mut rng));
        state.names = state.durable_names.clone();
        state.locks.clear();
        state.fault = None;
        state.generation += 1;
    }

    /// Gives a new file its length. Blocks are allocated one after another, so a crash leaves some
    /// of them; the length of a sparse file changes at once.
    fn allocate(&self, node: &Node, size: usize, blocks: bool) -> io::Result<()> {
        let sectors = if blocks { size.div_ceil(SECTOR) } else { 0 };
        {
            let mut content = node.lock();
            content.written = vec![0; size];
            content.dirty = (0..sectors).collect();
        }
        if let Err(error) = self.turn(None) {
            node.lock().written.truncate(sectors / 2 * SECTOR);
            return Err(error);
        }
        sync(&mut node.lock());
        Ok(())
    }

    /// Waits while the disk is stuck for this file.
    fn wait_for_disk(&self, path: &Path) {
        let is_stuck = |state: &State| {
            let stuck = state.stuck.as_ref();
            stuck.is_some_and(|dir| path.starts_with(dir))
        };
        let mut state = self.0.lock();
        if !is_stuck(&state) {
            return;
        }
        state.syncs_held += 1;
        while is_stuck(&state) {
            MutexGuard::unlocked(&mut state, || std::thread::sleep(Duration::from_millis(1)));
        }
        state.syncs_held -= 1;
    }

    /// Gives a node a name, which is not durable yet.
    fn name(&self, path: &Path, node: Node) -> Node {
        let mut state = self.0.lock();
        state.names.insert(path.to_owned(), Arc::clone(&node));
        let change = Change::Link(path.to_owned(), Arc::clone(&node));
        state.changes.push(change);
        node
    }

    /// Counts a changing call and lets it fail if its turn has come.
    fn turn(&self, generation: Option<u64>) -> Result<Option<Fault>, io::Error> {
        let mut state = self.0.lock();
        if generation.is_some_and(|mine| mine != state.generation) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        state.calls += 1;
        let Some((at, fault)) = state.fault else {
            return Ok(None);
        };
        if state.calls < at {
            return Ok(None);
        }
        if fault != Fault::PowerOff {
            state.fault = None;
        }
        match fault {
            Fault::ShortWrite => Ok(Some(fault)),
            Fault::NoSpace => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Fault::Io | Fault::PowerOff => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }
}

fn sync(content: &mut Content) {
    let Content {
        written,
        durable,
        dirty,
    } = content;
    durable.resize(written.len(), 0);
    for sector in std::mem::take(dirty) {
        let range = sector * SECTOR..((sector + 1) * SECTOR).min(written.len());
        durable[range.clone()].copy_from_slice(&written[range]);
    }
}

/// New nodes for all names; those that shared one do so again.
fn anew(
    names: &BTreeMap<PathBuf, Node>,
    mut content: impl FnMut(&Content) -> Content,
) -> BTreeMap<PathBuf, Node> {
    let mut made: HashMap<*const Mutex<Content>, Node> = HashMap::new();
    let renewed = names.iter().map(|(path, node)| {
        let new = || Arc::new(Mutex::new(content(&node.lock())));
        let new = made.entry(Arc::as_ptr(node)).or_insert_with(new);
        (path.clone(), Arc::clone(new))
    });
    renewed.collect()
}

fn survive(content: &Content, rng: &mut SmallRng) -> Content {
    let mut bytes = content.durable.clone();
    for &sector in &content.dirty {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(content.written.len());
        if start >= end {
            continue;
        }
        let kept = match rng.random_range(0..4) {
            0 => 0,
            1 => rng.random_range(0..=end - start),
            _ => end - start,
        };
        if bytes.len() < start + kept {
            bytes.resize(start + kept, 0);
        }
        bytes[start..start + kept].copy_from_slice(&content.written[start..start + kept]);
    }
    Content {
        written: bytes.clone(),
        durable: bytes,
        dirty: BTreeSet::new(),
    }
}

struct SimulatedFile {
    files: SimulatedFiles,
    path: PathBuf,
    node: Node,
    generation: u64,
}

impl File for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let unreadable = self.files.0.lock().unreadable.clone();
        if unreadable.is_some_and(|dir| self.path.starts_with(dir)) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let content = self.node.lock();
        let start = offset as usize;
        let part = content
            .written
            .get(start..start.saturating_add(buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let fault = self.files.turn(Some(self.generation))?;
        let bytes = if fault.is_some() {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let mut content = self.node.lock();
        if content.written.len() < end {
            content.written.resize(end, 0);
        }
        content.written[start..end].copy_from_slice(bytes);
        if start < end {
            content.dirty.extend(start / SECTOR..=(end - 1) / SECTOR);
        }
        match fault {
            Some(_) => Err(io::Error::from_raw_os_error(libc::EIO)),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.files.wait_for_disk(&self.path);
        match self.files.turn(Some(self.generation)) {
            Ok(None) => {
                sync(&mut self.node.lock());
                Ok(())
            }
            // The kernel takes the pages for clean after it has told once: they stay lost.
            failed => {
                self.node.lock().dirty.clear();
                failed?;
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.node.lock().written.len() as u64)
    }
}

struct SimulatedLock(SimulatedFiles, PathBuf, u64);
impl LockGuard for SimulatedLock {}
impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        if state.generation == self.2 {
            state.locks.remove(&self.1);
        }
    }
}

impl FileSystem for SimulatedFiles {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let found = self.0.lock().names.get(path).cloned();
        let node = match (found, how) {
            (_, Open::Draft) => {
                self.turn(None)?;
                self.name(path, Node::default())
            }
            (Some(node), _) => node,
            (None, Open::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (None, Open::Sparse(size) | Open::Log(size)) => {
                self.wait_for_disk(path);
                self.turn(None)?;
                let node = self.name(path, Node::default());
                let made = self.allocate(&node, size as usize, matches!(how, Open::Log(_)));
                if let Err(error) = made.and_then(|()| match path.parent() {
                    Some(dir) => self.sync_dir(dir),
                    None => Ok(()),
                }) {
                    // As the system's files do, unless the process is gone: a file of the wrong
                    // size, or an entry that may vanish, must not be found again.
                    if self.turn(None).is_ok() {
                        let mut state = self.0.lock();
                        state.names.remove(path);
                        state.changes.push(Change::Unlink(path.to_owned()));
                    }
                    return Err(error);
                }
                node
            }
        };
        let generation = self.0.lock().generation;
        Ok(Arc::new(SimulatedFile {
            files: self.clone(),
            path: path.to_owned(),
            node,
            generation,
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.lock();
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let dirs = state.dirs.iter().map(|path| (path, None));
        let names = state.names.iter().map(|(path, node)| (path, Some(node)));
        for (path, node) in dirs.chain(names) {
            let Ok(rest) = path.strip_prefix(dir) else {
                continue;
            };
            let mut parts = rest.components();
            let Some(first) = parts.next() else { continue };
            let name = first.as_os_str().to_string_lossy().into_owned();
            let file = node.filter(|_| parts.next().is_none());
            let size = file.map_or(0, |node| node.lock().written.len() as u64);
            entries.entry(name.clone()).or_insert(Entry {
                name,
                is_dir: file.is_none(),
                size,
            });
        }
        Ok(entries.into_values().collect())
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.0.lock();
        state.names.contains_key(path) || state.dirs.contains(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().dirs.insert(dir.to_owned());
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.turn(None)?;
        let mut state = self.0.lock();
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.changes.push(Change::Unlink(path.to_owned()));
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.turn(None)?;
        let mut state = self.0.lock();
        state.dirs.retain(|path| !path.starts_with(dir));
        state.names.retain(|path, _| !path.starts_with(dir));
        state.changes.push(Change::UnlinkTree(dir.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.turn(None)?;
        let mut state = self.0.lock();
        let node = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), node);
        state
            .changes
            .push(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.turn(None)?;
        let names = self.0.lock().names.clone();
        let node = names.get(file).ok_or(io::ErrorKind::NotFound)?;
        let is_other = |(path, other): (&PathBuf, &Node)| path != file && Arc::ptr_eq(other, node);
        if names.iter().any(is_other) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.name(name, Arc::clone(node));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.turn(None)?;
        let mut state = self.0.lock();
        let changes = std::mem::take(&mut state.changes);
        for change in changes {
            if change.is_in(dir) {
                change.apply(&mut state.durable_names);
            } else {
                state.changes.push(change);
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let mut state = self.0.lock();
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let generation = state.generation;
        drop(state);
        Ok(Box::new(SimulatedLock(
            self.clone(),
            path.to_owned(),
            generation,
        )))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let state = self.0.lock();
        let empty = Space {
            total: 1 << 40,
            free: 1 << 40,
        };
        let own = state.spaces.get(path).copied();
        Ok(own.or(state.space).unwrap_or(empty))
    }
}
