//! Commit log files that are deleted as soon as the next one is begun.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::request;
use sluice_tests::wire::Wire;

use super::Trouble;
use super::files::names;
use super::kinds::Lasting;
use crate::flight::{ask, fly};
use crate::sends::Sends;
use crate::subjects::Subject;

/// Nothing is kept longer than it must. Java looks at its files once in so many milliseconds, the first time
/// a minute after its start.
pub const SETTINGS: &str =
    "mappedFileSizeCommitLog=4194304\nfileReservedTime=0\ncleanResourceInterval=1000\n";
const FILE_SIZE: i64 = 4 << 20;
/// Time between two wishes to have files deleted.
const INTERVAL: Duration = Duration::from_millis(500);
/// Longest until the first file is gone.
const PATIENCE: Duration = Duration::from_secs(120);
/// Messages that fill some files at first.
const FIRST: i32 = 16_384;

/// Asks for deletion until it is ended.
struct Retention {
    dir: PathBuf,
    /// Number of the first file, and of the one behind the last.
    before: (i64, i64),
    over: Arc<AtomicBool>,
    asking: JoinHandle<Result<()>>,
}

/// Begins when the broker has deleted its first file.
pub fn begin(_: &Trouble, subject: &mut Subject) -> Result<Box<dyn Lasting>> {
    let dir = subject.cluster()?.broker.store().join("commitlog");
    let mut wire = Wire::connect(&subject.address)?;
    fill(&mut wire)?;
    let began = Instant::now();
    while bounds(&dir)?.0 == 0 {
        ensure!(began.elapsed() < PATIENCE, "no file is deleted");
        delete(&mut wire)?;
        thread::sleep(INTERVAL);
    }
    let over = Arc::new(AtomicBool::new(false));
    let end = over.clone();
    let asking = thread::spawn(move || {
        while !end.load(Ordering::Relaxed) {
            delete(&mut wire)?;
            thread::sleep(INTERVAL);
        }
        Ok(())
    });
    Ok(Box::new(Retention {
        before: bounds(&dir)?,
        dir,
        over,
        asking,
    }))
}

fn fill(wire: &mut Wire) -> Result<()> {
    let mut sends = Sends::new("bench-first", 1, 1024, 0);
    ask(wire, &sends.next())?;
    fly(wire, FIRST, 32, || sends.next(), |_, _| Ok(()))
}

fn delete(wire: &mut Wire) -> Result<()> {
    let delete = RemotingCommand::request(request::DELETE_EXPIRED_COMMITLOG, 0);
    ask(wire, &delete).context("deletion of expired files")?;
    Ok(())
}

/// Number of the first commit log file, and of the one behind the last: names are offsets.
fn bounds(dir: &Path) -> Result<(i64, i64)> {
    let names = names(dir)?;
    let number = |name: Option<&String>| -> Result<i64> {
        let start: i64 = name.context("no commit log file")?.parse()?;
        Ok(start / FILE_SIZE)
    };
    Ok((number(names.first())?, number(names.last())? + 1))
}

impl Lasting for Retention {
    fn end(self: Box<Self>) -> Result<String> {
        self.over.store(true, Ordering::Relaxed);
        let Ok(asked) = self.asking.join() else {
            bail!("the thread that has files deleted panicked")
        };
        asked?;
        let after = bounds(&self.dir)?;
        let (deleted, made) = (after.0 - self.before.0, after.1 - self.before.1);
        ensure!(deleted > 0, "no file was deleted, {made} were made");
        Ok(format!("{made} files made, {deleted} deleted"))
    }
}
