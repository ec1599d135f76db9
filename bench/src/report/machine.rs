//! What was measured, where, and when.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use sluice_tests::cluster::sluice_binary;

use super::page::Table;
use crate::disk;

/// As a table of two columns.
///
/// # Errors
/// The program that is measured can't be run, or a file can't be written.
pub fn described() -> Result<Table> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().display().to_string();
    let syncs = disk::sync_times(directory.path())?;
    let rows = [
        ("measured", version()?),
        (
            "date",
            humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        ),
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("processor", line_of("/proc/cpuinfo", "model name")),
        ("memory", line_of("/proc/meminfo", "MemTotal")),
        (
            "kernel",
            fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default(),
        ),
        ("fdatasync of 4 KiB", format!("{syncs} in {path}")),
    ];
    let row = |(name, value): (&str, String)| vec![name.to_owned(), value.trim().to_owned()];
    Ok(Table {
        head: vec!["what", "is"],
        rows: rows.into_iter().map(row).collect(),
    })
}

fn version() -> Result<String> {
    let binary = sluice_binary();
    let output = Command::new(&binary).arg("--version").output();
    let output = output.with_context(|| binary.display().to_string())?;
    ensure!(
        output.status.success(),
        "{} --version fails",
        binary.display()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The value of the first line of this name; empty where the kernel does not tell.
fn line_of(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let values = text.lines().filter_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    });
    values.into_iter().next().unwrap_or_default()
}
