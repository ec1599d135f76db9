//! `sluice plugin build`: the author's own tools, and what to do when they are not there.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::AdminError;
use crate::manifest::Manifest;
use crate::table::bytes;

const TARGET: &str = "wasm32-unknown-unknown";

/// Runs a plugin's build command; its words go to the standard streams.
pub(crate) fn build(dir: &Path, out: &mut dyn Write) -> Result<(), AdminError> {
    let manifest = Manifest::read(dir)?;
    let Some((program, arguments)) = manifest.build.split_first() else {
        return Err(AdminError::Command(format!(
            "{}: plugin.toml has an empty `build`",
            dir.display()
        )));
    };
    let ran = Command::new(program)
        .args(arguments)
        .envs(&manifest.env)
        .current_dir(dir)
        .stdin(Stdio::null())
        .status();
    let failure = match ran {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("{program} failed ({status})")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some(format!("{program:?} is not installed"))
        }
        Err(error) => Some(format!("{program:?} can't be run: {error}")),
    };
    if let Some(failure) = failure {
        let hint =
            missing(&manifest.language, dir).map_or(String::new(), |hint| format!("\n{hint}"));
        return Err(AdminError::Command(format!("{failure}{hint}")));
    }
    let output = manifest.output(dir);
    let size = output.metadata().map_err(AdminError::file(&output))?.len();
    writeln!(out, "{}  {}", output.display(), bytes(size))?;
    Ok(())
}

/// What a language's tools lack, and the command that gets it; none when they are all there and the
/// fault is in the source.
fn missing(language: &str, dir: &Path) -> Option<String> {
    let hint = |text: &str| Some(text.to_owned());
    match language {
        "rust" if !runs("cargo", &["--version"]) => hint("Rust is needed: https://rustup.rs"),
        "rust" if !has_target() => Some(format!(
            "Rust's library for {TARGET} is not installed: rustup target add {TARGET}"
        )),
        "c" | "zig" if !runs("python3", &["--version"]) => {
            hint("Python 3 is needed, and then: python3 -m pip install ziglang")
        }
        "c" | "zig" if !runs("python3", &["-m", "ziglang", "version"]) => {
            hint("Zig is needed, which is a C compiler too: python3 -m pip install ziglang")
        }
        "assemblyscript" | "javascript" if !runs("npm", &["--version"]) => {
            hint("Node.js with npm is needed")
        }
        "assemblyscript" | "javascript" if !dir.join("node_modules").is_dir() => Some(format!(
            "its compiler is not installed: npm install --prefix {}",
            dir.display()
        )),
        "python" if !runs("componentize-py", &["--version"]) => {
            hint("componentize-py is needed: python3 -m pip install componentize-py")
        }
        "go" if !runs("go", &["version"]) => hint("Go 1.24 or later is needed: https://go.dev/dl"),
        _ => None,
    }
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let ran = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    ran.is_ok_and(|status| status.success())
}

/// Whether the standard library for the target lies where the compiler looks for it.
fn has_target() -> bool {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    asked.is_ok_and(|answer| {
        let dir = String::from_utf8_lossy(&answer.stdout);
        answer.status.success() && Path::new(dir.trim()).is_dir()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with(build: &str, output: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let manifest = format!(
            "name = \"x\"\nworld = \"filter\"\nlanguage = \"other\"\nbuild = {build}\noutput = \"{output}\"\nenv = {{ WHAT = \"made\" }}\n"
        );
        fs::write(dir.path().join("plugin.toml"), manifest).unwrap();
        dir
    }

    #[test]
    fn the_command_runs_in_the_directory_with_its_environment() {
        let dir = with(r#"["sh", "-c", "printf $WHAT > x.wasm"]"#, "x.wasm");
        let mut out = Vec::new();
        build(dir.path(), &mut out).unwrap();
        assert_eq!(fs::read(dir.path().join("x.wasm")).unwrap(), b"made");
        let told = String::from_utf8(out).unwrap();
        assert!(told.ends_with("x.wasm  4 B\n"), "{told}");
    }

    #[test]
    fn what_fails_is_told() {
        let told = |build: &str| {
            let dir = with(build, "x.wasm");
            super::build(dir.path(), &mut Vec::new())
                .unwrap_err()
                .to_string()
        };
        assert!(told(r#"["false"]"#).contains("false failed (exit status: 1)"));
        assert!(told(r#"["no-such-compiler"]"#).contains("is not installed"));
        assert!(told("[]").contains("empty `build`"));
        assert!(
            told(r#"["true"]"#).contains("x.wasm: "),
            "nothing was built"
        );
    }
}
