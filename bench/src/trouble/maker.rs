//! Troubles that come from another process of the machine: this program once more, until its input ends.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use sluice_tests::process::Running;

use super::kinds::Lasting;
use super::{Trouble, pressure, syncs};
use crate::subjects::Subject;

/// What it prints when the trouble has begun.
const BEGUN: &str = "begun";
/// Longest until then: much memory has to be taken.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest that it takes to end.
const END: Duration = Duration::from_secs(60);

/// Which trouble to make.
#[derive(Debug, Args)]
pub struct Maker {
    what: What,
    /// Where its files are
    dir: PathBuf,
    /// Memory to leave to others
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    leave: u64,
    /// Size of the file
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    file: u64,
}

/// A trouble that a process makes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Little memory, and much that is read and written
    PageCache,
    /// Disk syncs without end
    DiskSyncs,
}

/// Makes a trouble until standard input ends, then prints what it did.
///
/// # Errors
/// It can't be made.
pub fn run(wanted: &Maker) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let end = over.clone();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        end.store(true, Ordering::Relaxed);
    });
    let begun = || println!("{BEGUN}");
    let (dir, leave, file) = (&wanted.dir, wanted.leave, wanted.file);
    let happened = match wanted.what {
        What::PageCache => pressure::press(dir, leave, file, &over, begun)?,
        What::DiskSyncs => syncs::hammer(dir, &over, begun)?,
    };
    println!("{happened}");
    Ok(())
}

/// Page-cache pressure on the whole machine.
pub fn page_cache(wanted: &Trouble, subject: &mut Subject) -> Result<Box<dyn Lasting>> {
    let (leave, file) = (wanted.leave.to_string(), wanted.file.to_string());
    let arguments = ["page-cache", "--leave", &leave, "--file", &file];
    start(&arguments, &subject.dir())
}

/// Disk syncs beside the broker's own.
pub fn disk_syncs(_: &Trouble, subject: &mut Subject) -> Result<Box<dyn Lasting>> {
    start(&["disk-syncs"], &subject.dir())
}

struct Process(Running);

fn start(arguments: &[&str], dir: &Path) -> Result<Box<dyn Lasting>> {
    let program = std::env::current_exe().context("path of this program")?;
    let mut command = Command::new(program);
    command.arg("make-trouble").args(arguments).arg(dir);
    let mut running = Running::start("trouble", dir, &mut command);
    running.wait_for(BEGUN, PATIENCE);
    Ok(Box::new(Process(running)))
}

impl Lasting for Process {
    fn end(mut self: Box<Self>) -> Result<String> {
        let status = self.0.finish(END);
        let output = self.0.output();
        ensure!(status.success(), "the trouble ended: {output}");
        let Some((BEGUN, happened)) = output.trim_end().split_once('\n') else {
            bail!("the trouble said {output:?}")
        };
        Ok(happened.to_owned())
    }
}
