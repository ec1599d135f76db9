//! Compiling uploaded plugins: this program again, as a child that may take only so much memory and
//! time. A compiler's bug or an upload made to exhaust it costs the child.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use sluice_plugins::{Compile, Compiled};

/// Name of the command; not for people.
pub const COMMAND: &str = "plugin-compile";
/// Address space of the child, bytes. An interpreter's component takes nearly 400 MB.
const MEMORY: u64 = 3 << 30;
/// Processor time of the child, seconds.
const CPU_SECONDS: u64 = 60;
/// After which it is killed, whatever it does.
const WALL: Duration = Duration::from_secs(90);

/// What a broker compiles with: one child at a time.
pub fn in_child() -> Compile {
    let one = Mutex::new(());
    Box::new(move |upload| {
        let _one = one.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        run_child(upload).map_err(|error| format!("{error:#}"))
    })
}

fn run_child(upload: &[u8]) -> Result<Compiled> {
    let mut child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the compiler can't be started")?;
    let (mut stdin, mut stdout, mut stderr) = (
        child.stdin.take().context("no pipe")?,
        child.stdout.take().context("no pipe")?,
        child.stderr.take().context("no pipe")?,
    );
    let (output, errors) = std::thread::scope(|scope| {
        // A child that ends before it has read everything says why on the other pipe.
        scope.spawn(move || {
            let _ = stdin.write_all(upload);
        });
        let errors = scope.spawn(move || read_all(&mut stderr));
        let output = scope.spawn(move || read_all(&mut stdout));
        let began = Instant::now();
        while !output.is_finished() && began.elapsed() < WALL {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !output.is_finished() {
            // It may have ended this moment.
            let _ = child.kill();
        }
        let join = |read: std::thread::ScopedJoinHandle<'_, std::io::Result<Vec<u8>>>| {
            read.join()
                .map_err(|_| anyhow!("reading panicked"))?
                .context("the compiler's answer can't be read")
        };
        anyhow::Ok((join(output)?, join(errors)?))
    })?;
    let status = child.wait().context("the compiler can't be waited for")?;
    let said = String::from_utf8_lossy(&errors);
    match status.code() {
        Some(0) => unpack(&output),
        Some(1) => Err(anyhow!("{}", said.trim_end())),
        _ => Err(anyhow!(
            "the compiler was stopped ({status}): the module takes more than {} MiB, {CPU_SECONDS} s of processor time or {} s. {}",
            MEMORY >> 20,
            WALL.as_secs(),
            said.trim_end()
        )),
    }
}

fn read_all(pipe: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Length of the component, the component, machine code.
fn unpack(output: &[u8]) -> Result<Compiled> {
    let (length, rest) = output
        .split_first_chunk()
        .context("the compiler's answer is cut short")?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    let parts = rest.split_at_checked(length);
    let (component, machine_code) = parts.context("the compiler's answer is cut short")?;
    Ok(Compiled {
        component: component.to_vec(),
        machine_code: machine_code.to_vec(),
    })
}

/// The child: an upload on standard input, what it becomes on standard output.
pub fn compile_standard_input() -> Result<()> {
    limit(libc::RLIMIT_AS, MEMORY)?;
    limit(libc::RLIMIT_CPU, CPU_SECONDS)?;
    limit(libc::RLIMIT_CORE, 0)?;
    let mut upload = Vec::new();
    let most = sluice_plugin_compiler::UPLOAD_MAX as u64 + 1;
    std::io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut upload)?;
    let compiled = sluice_plugin_compiler::compile(&upload)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&(compiled.component.len() as u64).to_le_bytes())?;
    out.write_all(&compiled.component)?;
    out.write_all(&compiled.machine_code)?;
    out.flush()?;
    Ok(())
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: `limit` lives through the call, which only reads it.
    if unsafe { libc::setrlimit(resource, &limit) } != 0 {
        return Err(std::io::Error::last_os_error()).context("a limit can't be set");
    }
    Ok(())
}
