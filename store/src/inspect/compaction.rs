//! Files of topics that are kept by their last key, looked at from outside.

use std::collections::BTreeSet;
use std::path::Path;

use sluice_protocol::message::Record;

use super::{Closed, Report};
use crate::commit_log::{file_name, file_start, is_zero};
use crate::compaction::{UNIT, Unit, roots};
use crate::error::{At, StoreError};
use crate::files::{File, Open};

/// The two directories of a queue.
struct Dirs<'a> {
    closed: &'a Closed,
    log: &'a Path,
    queue: &'a Path,
}

/// Whether each record is whole, and found by the unit that says so; offsets must ascend.
pub(super) fn check(closed: &Closed, report: &mut Report) -> Result<(), StoreError> {
    let (log_root, queue_root) = roots(&closed.config.root);
    for topic in dirs(closed, &log_root)? {
        for id in dirs(closed, &log_root.join(&topic))? {
            let dirs = Dirs {
                closed,
                log: &log_root.join(&topic).join(&id),
                queue: &queue_root.join(&topic).join(&id),
            };
            report.compacted += 1;
            dirs.check(report)?;
        }
    }
    Ok(())
}

fn dirs(closed: &Closed, dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = closed.env.files.list(dir).at("list", dir)?.into_iter();
    let dirs = entries.filter(|entry| entry.is_dir);
    Ok(dirs.map(|entry| entry.name).collect())
}

impl Dirs<'_> {
    fn starts(&self, dir: &Path) -> Result<BTreeSet<i64>, StoreError> {
        let entries = self.closed.env.files.list(dir).at("list", dir)?;
        let names = entries
            .iter()
            .filter(|entry| !entry.is_dir && entry.size > 0);
        Ok(names.filter_map(|entry| file_start(&entry.name)).collect())
    }

    fn check(&self, report: &mut Report) -> Result<(), StoreError> {
        let (logs, queues) = (self.starts(self.log)?, self.starts(self.queue)?);
        for lonely in logs.symmetric_difference(&queues) {
            let dir = if logs.contains(lonely) {
                self.log
            } else {
                self.queue
            };
            let path = dir.join(file_name(*lonely));
            report.problems.push(format!(
                "{}: there is no file of this name beside it, in the other of the two directories",
                path.display()
            ));
        }
        let mut last = -1;
        for start in logs.intersection(&queues) {
            if let Some(problem) = self.check_piece(*start, &mut last)? {
                let path = self.log.join(file_name(*start));
                report
                    .problems
                    .push(format!("{} {problem}", path.display()));
            }
        }
        Ok(())
    }

    /// The first thing that is wrong; `last` is the offset before and after.
    fn check_piece(&self, start: i64, last: &mut i64) -> Result<Option<String>, StoreError> {
        let open = |dir: &Path| {
            let path = dir.join(file_name(start));
            let file = self.closed.env.files.open(&path, Open::Existing);
            file.at("open", &path)
        };
        let (log, queue) = (open(self.log)?, open(self.queue)?);
        let (log_path, queue_path) = (self.log, self.queue);
        let size = log.len().at("measure", log_path)?;
        let mut bytes = vec![0; queue.len().at("measure", queue_path)? as usize];
        queue.read_at(0, &mut bytes).at("read", queue_path)?;
        let mut end = 0;
        for unit in bytes.chunks_exact(UNIT as usize).map_while(Unit::decode) {
            let at = unit.position - start;
            if at < 0 || at as u64 + unit.size as u64 > size {
                return Ok(Some(format!(
                    "at {end}: the message of offset {} should lie at {at}",
                    unit.queue_offset
                )));
            }
            if let Some(problem) = wrong(&*log, at as u64, &unit, *last) {
                return Ok(Some(format!("at {at}: {problem}")));
            }
            *last = unit.queue_offset;
            end = at as u64 + unit.size as u64;
        }
        // Behind the last one lies at most what says that the file is full.
        let from = (end + 8).min(size);
        let nothing = is_zero(&*log, from, size).at("read", log_path)?;
        Ok((!nothing && self.closed.clean)
            .then(|| format!("at {from}: there is no message, but other bytes")))
    }
}

fn wrong(log: &dyn File, at: u64, unit: &Unit, last: i64) -> Option<String> {
    let bytes = match log.slice(at, unit.size as usize) {
        Ok(bytes) => bytes,
        Err(error) => return Some(error.to_string()),
    };
    let record = match Record::parse(&bytes) {
        Ok(record) => record,
        Err(error) => return Some(error.to_string()),
    };
    let offset = unit.queue_offset;
    if record.check_crc().is_err() {
        return Some(format!("body checksum of offset {offset} differs"));
    }
    if record.queue_offset() != offset || record.size() != bytes.len() {
        return Some(format!("another message than that of offset {offset}"));
    }
    (offset <= last).then(|| format!("offset {offset} stands behind {last}"))
}
