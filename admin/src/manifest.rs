//! `plugin.toml`: how a plugin is built and tried.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sluice_plugins::World;

use crate::args::Grant;
use crate::error::AdminError;

/// Its name in a plugin's directory.
pub(crate) const FILE: &str = "plugin.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The plugin's name.
    pub(crate) name: String,
    /// What the module has to be.
    pub(crate) world: World,
    /// What it is written in.
    pub(crate) language: String,
    /// The program that builds it, and its arguments.
    pub(crate) build: Vec<String>,
    /// Environment of that program.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// The module that it makes.
    output: PathBuf,
    /// Settings it is tried with.
    #[serde(default)]
    pub(crate) params: BTreeMap<String, String>,
    /// What it is allowed when it is tried.
    #[serde(default)]
    pub(crate) grants: Vec<Grant>,
    /// Limits it is tried with, where the defaults are not enough.
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, u64>,
    #[serde(default)]
    pub(crate) test: Test,
}

/// How it is tried.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Test {
    /// Of a function: properties that stand in for its arguments.
    pub(crate) arguments: Vec<String>,
    /// Of a language.
    pub(crate) expression: Option<String>,
}

impl Manifest {
    pub(crate) fn read(dir: &Path) -> Result<Manifest, AdminError> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).map_err(AdminError::file(&path))?;
        toml::from_str(&text).map_err(|error| AdminError::Content {
            path,
            what: error.to_string(),
        })
    }

    /// Where the module lies when it is built.
    pub(crate) fn output(&self, dir: &Path) -> PathBuf {
        // A plugin of a workspace may name its folder from its own: `../../target`.
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) if self.language == "rust" => self.below(Path::new(&target), dir),
            _ => dir.join(&self.output),
        }
    }

    /// The module in another target directory of Cargo's.
    fn below(&self, target: &Path, dir: &Path) -> PathBuf {
        let mut parts = self.output.components();
        let named = parts.any(|part| part.as_os_str() == "target");
        match named {
            true => target.join(parts.as_path()),
            false => dir.join(&self.output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join(FILE),
            "name = \"x\"\nworld = \"filter\"\nlanguage = \"c\"\nbuild = [\"make\"]\noutputs = \"x.wasm\"\n",
        )
        .unwrap();
        let told = Manifest::read(dir.path()).unwrap_err().to_string();
        assert!(
            told.contains("line 5") && told.contains("outputs"),
            "{told}"
        );
    }

    #[test]
    fn the_module_lies_where_cargo_is_told_to_build() {
        let text = "name = \"x\"\nworld = \"filter\"\nlanguage = \"rust\"\nbuild = [\"cargo\"]\noutput = \"../../target/wasm/x.wasm\"\n";
        let manifest: Manifest = toml::from_str(text).unwrap();
        let found = manifest.below(Path::new("/t"), Path::new("/p"));
        assert_eq!(found, Path::new("/t/wasm/x.wasm"));
    }
}
