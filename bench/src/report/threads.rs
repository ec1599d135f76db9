//! CPU time of a process's threads by their names: what one thread alone does is a limit of its own.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time so far of all threads of a process with this name.
///
/// # Errors
/// There is no such process, or it has no such thread.
pub fn cpu_time_named(pid: u32, name: &str) -> Result<Duration> {
    let dir = format!("/proc/{pid}/task");
    let mut found = None;
    for entry in fs::read_dir(&dir).with_context(|| dir.clone())? {
        let task = entry?.path();
        // A thread may end at any time.
        let Ok(comm) = fs::read_to_string(task.join("comm")) else {
            continue;
        };
        if comm.trim_end() == name {
            let path = task.join("schedstat");
            let stat = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let nanos = stat.split_whitespace().next();
            let nanos: u64 = nanos.context("CPU time of a thread")?.parse()?;
            *found.get_or_insert(Duration::ZERO) += Duration::from_nanos(nanos);
        }
    }
    found.with_context(|| format!("no thread {name} in {dir}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_found_by_its_name() {
        let own = std::process::id();
        let told = std::thread::Builder::new()
            .name("counted".to_owned())
            .spawn(move || cpu_time_named(own, "counted").is_ok())
            .unwrap();
        assert!(told.join().unwrap());
        assert!(cpu_time_named(own, "nobody").is_err());
    }
}
