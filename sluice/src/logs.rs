//! Where the log goes: to standard error, and, as RocketMQ's servers do, into files that are rolled by size.
//! `SLUICE_LOG_FORMAT=json` makes each line an object.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Bytes after which a file is set aside, and how many of those stay: Java's bounds.
const FILE_SIZE_MAX: u64 = 128 << 20;
const FILES_KEPT: usize = 20;

/// What standard output or standard error has shown already is for the files alone.
const SHOWN: &str = "sluice::shown";

/// Logs to standard error; `SLUICE_LOG` chooses how much, as in `SLUICE_LOG=debug`.
pub fn to_stderr(otherwise: &str) {
    let shown = format!("{SHOWN}=off").parse().expect("a directive");
    let filter = filter(otherwise).add_directive(shown);
    let all = lines(io::stderr, io::stderr().is_terminal()).with_filter(filter);
    tracing_subscriber::registry().with(all).init();
}

/// Lines for people, or objects for programs.
fn lines<S, W>(writer: W, colours: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    match std::env::var("SLUICE_LOG_FORMAT").as_deref() {
        Ok("json") => layer.json().flatten_event(true).boxed(),
        _ => layer.with_ansi(colours).boxed(),
    }
}

/// Logs to a file `name` in `directory`, warnings to standard error as well. Without the file, all goes to
/// standard error: a server must not fail for its log.
pub fn to_file(directory: &Path, name: &str) {
    let file = match RollingFile::open(directory, name, FILE_SIZE_MAX) {
        Ok(file) => file,
        Err(error) => {
            to_stderr("info");
            tracing::warn!(directory = %directory.display(), %error, "no log file can be written there");
            return;
        }
    };
    let warnings = lines(io::stderr, io::stderr().is_terminal()).with_filter(filter_fn(|event| {
        *event.level() <= Level::WARN && event.target() != SHOWN
    }));
    let all = lines(Mutex::new(file), false).with_filter(filter("info"));
    tracing_subscriber::registry()
        .with(warnings)
        .with(all)
        .init();
}

fn filter(otherwise: &str) -> EnvFilter {
    EnvFilter::try_from_env("SLUICE_LOG").unwrap_or_else(|_| EnvFilter::new(otherwise))
}

/// Prints a line and keeps it in the log.
pub fn say(line: &str) {
    println!("{line}");
    tracing::info!(target: SHOWN, "{line}");
}

/// Says on standard error why this ends, and keeps it in the log.
pub fn complain(line: &str) {
    eprintln!("{line}");
    tracing::error!(target: SHOWN, "{line}");
}

/// A file that is set aside as `otherdays/<name>.1.log` when it has grown to its bound; older ones move on
/// to 2, 3 and so forth, the oldest goes.
struct RollingFile {
    path: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
}

impl RollingFile {
    /// Goes on with the file `name` in `directory`.
    fn open(directory: &Path, name: &str, size_max: u64) -> io::Result<RollingFile> {
        fs::create_dir_all(directory)?;
        let path = directory.join(name);
        let file = append_to(&path)?;
        let size = file.metadata()?.len();
        Ok(RollingFile {
            path,
            file,
            size,
            size_max,
        })
    }

    fn aside(&self, number: usize) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{stem}.{number}.log");
        self.path.with_file_name("otherdays").join(name)
    }

    fn roll(&mut self) -> io::Result<()> {
        fs::create_dir_all(self.path.with_file_name("otherdays"))?;
        // One that could not be begun anew is gone from its place: nothing is to be moved for it again.
        let is_there = self.path.exists();
        for number in (1..FILES_KEPT).rev().filter(|_| is_there) {
            match fs::rename(self.aside(number), self.aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if is_there {
            fs::rename(&self.path, self.aside(1))?;
        }
        self.file = append_to(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Write for RollingFile {
    /// Writes a line whole. One that can't be set aside grows on: a line too many is better than none.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + line.len() as u64 > self.size_max {
            let _ = self.roll();
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_set_aside_by_size_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = RollingFile::open(directory.path(), "broker.log", 20).unwrap();
        for number in 100..100 + 2 * FILES_KEPT + 5 {
            log.write_all(format!("line {number}\n").as_bytes())
                .unwrap();
        }
        // A restart goes on with what is there.
        drop(log);
        let mut log = RollingFile::open(directory.path(), "broker.log", 20).unwrap();
        log.write_all(b"the last\n").unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("broker.log"), "line 144\nthe last\n");
        assert_eq!(read("otherdays/broker.1.log"), "line 142\nline 143\n");
        assert_eq!(read("otherdays/broker.20.log"), "line 104\nline 105\n");
        let kept = fs::read_dir(directory.path().join("otherdays")).unwrap();
        assert_eq!(kept.count(), FILES_KEPT);
    }

    #[test]
    fn a_line_is_never_cut_and_a_long_one_has_a_file_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = RollingFile::open(directory.path(), "namesrv.log", 10).unwrap();
        for line in ["short\n", "much longer than the bound\n", "end\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("namesrv.log"), "end\n");
        assert_eq!(
            read("otherdays/namesrv.1.log"),
            "much longer than the bound\n"
        );
        assert_eq!(read("otherdays/namesrv.2.log"), "short\n");
    }
}
