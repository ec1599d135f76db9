//! What a command works on: a module, or the directory of a plugin with its plugin.toml.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sluice_plugins::World;

use crate::args::{Grant, Local};
use crate::error::AdminError;
use crate::manifest::{FILE, Manifest};

/// A language's expression among a binding's settings.
const EXPRESSION: &str = "expression";
/// The messages that lie beside a plugin.
const MESSAGES: &str = "messages.jsonl";

/// A plugin to be run here.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) module: Vec<u8>,
    /// What it has to be, if something says so.
    pub(crate) world: Option<World>,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) kv: bool,
    /// Limits other than the defaults; of equal names the last counts.
    pub(crate) limits: Vec<(String, u64)>,
    /// Of a function: properties that stand in for its arguments.
    pub(crate) arguments: Vec<String>,
    /// Messages that lie beside it.
    pub(crate) messages: Option<PathBuf>,
}

impl Subject {
    pub(crate) fn of(local: &Local) -> Result<Subject, AdminError> {
        let mut subject = match local.path.is_dir() {
            true => Subject::in_directory(&local.path)?,
            false => {
                let (name, module) = module(&local.path)?;
                Subject {
                    name,
                    module,
                    world: None,
                    params: BTreeMap::new(),
                    kv: false,
                    limits: Vec::new(),
                    arguments: Vec::new(),
                    messages: None,
                }
            }
        };
        subject.params.extend(local.params.iter().cloned());
        subject.limits.extend(local.limits.iter().cloned());
        subject.kv |= local.grants.contains(&Grant::Kv);
        if !local.arguments.is_empty() {
            subject.arguments.clone_from(&local.arguments);
        }
        Ok(subject)
    }

    fn in_directory(dir: &Path) -> Result<Subject, AdminError> {
        let manifest = Manifest::read(dir)?;
        let module = built(&manifest, dir)?;
        let messages = dir.join(MESSAGES);
        let mut params = manifest.params;
        if let Some(expression) = manifest.test.expression {
            params.insert(EXPRESSION.to_owned(), expression);
        }
        Ok(Subject {
            name: manifest.name,
            module,
            world: Some(manifest.world),
            params,
            kv: manifest.grants.contains(&Grant::Kv),
            limits: manifest.limits.into_iter().collect(),
            arguments: manifest.test.arguments,
            messages: messages.is_file().then_some(messages),
        })
    }
}

fn built(manifest: &Manifest, dir: &Path) -> Result<Vec<u8>, AdminError> {
    let path = manifest.output(dir);
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(AdminError::Content {
            path,
            what: format!(
                "not there; build it first: sluice plugin build {}",
                dir.display()
            ),
        }),
        read => read.map_err(AdminError::file(&path)),
    }
}

/// A plugin's name and module: of a file, or what a directory's plugin.toml names.
pub(crate) fn module(path: &Path) -> Result<(String, Vec<u8>), AdminError> {
    if path.is_dir() {
        let manifest = Manifest::read(path)?;
        let module = built(&manifest, path)?;
        return Ok((manifest.name, module));
    }
    if path.ends_with(FILE) {
        return Err(AdminError::Command(format!(
            "{}: name the directory, or the module",
            path.display()
        )));
    }
    let module = fs::read(path).map_err(AdminError::file(path))?;
    let stem = path.file_stem().unwrap_or_default();
    Ok((stem.to_string_lossy().into_owned(), module))
}
