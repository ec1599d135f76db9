//! Child processes that never outlive their test.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Waits until `condition` gives a value; panics with `what` after `deadline`.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {deadline:?}");
        std::thread::sleep(POLL);
    }
}

/// A program of `client/examples`, built beside the running test.
///
/// # Panics
/// If it is not there.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("path of the test program");
    test.ancestors()
        .nth(2)
        .map(|dir| dir.join("examples").join(name))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("no example {name} of the client: run `cargo test -p sluice-client --no-run`")
        })
}

/// A command of `program`, which may have no more than `files` files open: it can't raise that limit.
pub fn with_open_files(files: u64, program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")])
        .arg(program);
    command
}

/// A running child; what it prints goes to a file. Killed on drop.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command`; its output goes to `<dir>/<name>.log`, its input is a pipe.
    pub fn start(name: &str, dir: &Path, command: &mut Command) -> Self {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).expect("log file of a child");
        let errors = output.try_clone().expect("second handle of a log file");
        die_with_parent(command);
        let child = command
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({command:?}): {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its input; closed when dropped.
    ///
    /// # Panics
    /// If it was taken before.
    pub fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("input of a child")
    }

    /// Everything printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until a printed line contains `needle`; panics if the child ends or `deadline` passes.
    pub fn wait_for(&mut self, needle: &str, deadline: Duration) {
        let end = Instant::now() + deadline;
        while !self.output().contains(needle) {
            if let Some(status) = self.child.try_wait().expect("state of a child") {
                panic!(
                    "{} ended ({status}) before printing {needle:?}: {}",
                    self.name,
                    self.tail()
                );
            }
            assert!(
                Instant::now() < end,
                "{} did not print {needle:?} within {deadline:?}: {}",
                self.name,
                self.tail()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Waits for the end; panics after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().expect("state of a child") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "{} did not end within {deadline:?}: {}",
                self.name,
                self.tail()
            );
            std::thread::sleep(POLL);
        }
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill -9 of a child");
        self.child.wait().expect("end of a killed child");
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        let pid = libc::pid_t::try_from(self.child.id()).expect("process id");
        // SAFETY: kill has no memory preconditions; the child is not yet waited for, so the id is its own.
        let sent = unsafe { libc::kill(pid, libc::SIGTERM) };
        assert_eq!(sent, 0, "SIGTERM to {}", self.name);
        self.wait(deadline)
    }

    /// Ends the child's input, and waits for its end.
    pub fn finish(&mut self, deadline: Duration) -> ExitStatus {
        drop(self.child.stdin.take());
        self.wait(deadline)
    }

    /// The last lines of the output, for a message.
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ends only a child that still runs; both calls fail harmlessly otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has the kernel kill the child when the thread that starts it ends, so that an aborted test
/// run leaves nothing behind.
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe, and the closure touches no memory of the parent.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}
